"""GitHub's workflows, as far as they can be checked without GitHub: commands, pins, rights."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]
PATHS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
TARGETS = set(re.findall(r"^([a-z]+):.*## ", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
PINNED = re.compile(r"actions/[a-z-]+@[0-9a-f]{40}")
WRITES = {"pages.yml": {"pages", "id-token"}}
Workflow = dict[Any, Any]


def steps(workflow: Workflow) -> Iterator[dict[str, Any]]:
    for job in workflow["jobs"].values():
        yield from job["steps"]


def wrong_commands(workflow: Workflow) -> list[str]:
    """Return the commands that are not one target of the Makefile."""
    commands = [step["run"] for step in steps(workflow) if "run" in step]
    return [command for command in commands if command.removeprefix("make ") not in TARGETS]


def wrong_actions(text: str) -> list[str]:
    """Return the actions that are not GitHub's own at a commit, with its version beside it."""
    used = re.findall(r"uses: (\S+)(?: # (\S+))?$", text, re.MULTILINE)
    named = len(re.findall(r"\buses:", text))
    wrong = [
        name for name, version in used if not (PINNED.fullmatch(name) and re.fullmatch(r"v\d+\.\d+\.\d+", version))
    ]
    return wrong + ["an action that cannot be read"] * (named - len(used))


def wrong_rights(workflow: Workflow, allowed: set[str]) -> list[str]:
    """Return the rights beyond reading that a workflow gives itself, and the jobs without limits."""
    wrong = [] if workflow["permissions"] == {} else ["rights for all jobs"]
    for name, job in workflow["jobs"].items():
        given = {right for right, kind in job["permissions"].items() if kind != "read"}
        wrong += [f"{name} may write {right}" for right in sorted(given - allowed)]
        wrong += [] if 0 < job.get("timeout-minutes", 0) <= 120 else [f"{name} has no limit"]
    for step in steps(workflow):
        if "checkout" in step.get("uses", "") and step.get("with", {}).get("persist-credentials") is not False:
            wrong.append("a checkout keeps its token")
    return wrong


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.name)
def test_a_workflow_calls_the_makefile_with_few_rights_and_pinned_actions(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    workflow = yaml.safe_load(text)
    assert workflow["name"] == path.stem and "concurrency" in workflow
    assert wrong_commands(workflow) == []
    assert wrong_actions(text) == []
    assert wrong_rights(workflow, WRITES.get(path.name, set())) == []
    assert "secrets." not in text and "pull_request_target" not in text


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.name)
def test_versions_are_those_of_the_project(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    tried = {name.rpartition(" :: ")[2] for name in PROJECT["classifiers"] if "Python :: 3." in name}
    assert set(re.findall(r"python-version: \"(.+)\"", text)) <= tried
    (pin,) = (pin for pin in PROJECT["optional-dependencies"]["pinned"] if pin.startswith("torch=="))
    assert set(re.findall(r"TORCH: (\S+)", text)) <= {pin}
    assert text.count("setup-python@") == text.count("cache: pip\n") == text.count("cache-dependency-path: pyproject")


def test_the_tests_run_as_here_on_two_processors_and_another_system() -> None:
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "tests.yml").read_text(encoding="utf-8"))
    here = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    there = set()
    for job in workflow["jobs"].values():
        before = "".join(f"{name}={value} " for name, value in job.get("env", {}).items() if name != "TORCH")
        there |= {before + step["run"] for step in job["steps"] if "run" in step}
    assert set(re.findall(r"^(?:[A-Z_0-9]+=\S+ )*make \w+$", here, re.MULTILINE)) <= there
    assert {job["runs-on"].split("-")[0] for job in workflow["jobs"].values()} == {"ubuntu", "macos"}


def test_faults_are_noticed() -> None:
    workflow = {
        "permissions": {"contents": "write"},
        "jobs": {
            "a": {"permissions": {"packages": "write"}, "steps": [{"uses": "actions/checkout@v4"}, {"run": "make bok"}]}
        },
    }
    assert wrong_commands(workflow) == ["make bok"]
    assert wrong_rights(workflow, set()) == [
        "rights for all jobs",
        "a may write packages",
        "a has no limit",
        "a checkout keeps its token",
    ]
    commit = "0" * 40
    lines = f"- uses: actions/checkout@v4\n- uses: other/thing@{commit} # v1.0.0\n- uses: actions/cache@{commit}\n"
    assert len(wrong_actions(lines)) == 3 and wrong_actions(f"- uses: actions/cache@{commit} # v1.0.0\n") == []
