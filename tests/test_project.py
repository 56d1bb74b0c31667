"""The project around the package: versions, pins, addresses, commands, imports."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
from importlib.metadata import version
from pathlib import Path

import pytest
import yaml

import metalearn
from tools.set_address import current_address, project_files, set_address, slug

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
PINS = dict(pin.split("==") for pin in PROJECT["optional-dependencies"]["pinned"])


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


@pytest.mark.parametrize("package", PINS)
def test_the_environment_holds_the_pinned_version(package: str) -> None:
    assert version(package).split("+")[0] == PINS[package], "run `make book`, which installs the pinned versions"


def test_environment_yml_has_the_same_pins() -> None:
    *_, pip = yaml.safe_load(read("environment.yml"))["dependencies"]
    assert dict(entry.split("==") for entry in pip["pip"] if "==" in entry) == PINS


def test_the_makefile_installs_the_pinned_torch() -> None:
    assert f"TORCH ?= torch=={PINS['torch']}\n" in read("Makefile")


def test_the_changelog_names_the_version() -> None:
    first = re.search(r"^## (\S+)", read("CHANGELOG.md"), re.MULTILINE)
    assert first is not None and first[1] == PROJECT["version"] == version("metalearn-book")


def test_the_package_tells_its_version() -> None:
    assert metalearn.__version__ == PROJECT["version"]


def test_the_citation_names_version_address_and_licence() -> None:
    citation = yaml.safe_load(read("CITATION.cff"))
    assert citation["version"] == PROJECT["version"] and citation["license"] == PROJECT["license"]
    assert citation["repository-code"] == current_address(ROOT)
    assert [author["name"] for author in citation["authors"]] == [author["name"] for author in PROJECT["authors"]]


def test_what_a_release_needs_is_pinned() -> None:
    assert all("==" in pin for pin in PROJECT["optional-dependencies"]["release"])


def mentioned_addresses(root: Path) -> set[str]:
    """Return every address of the project that a file mentions, by its own or by its placeholder's name."""
    names = "|".join({"metalearn", re.escape(slug(current_address(root)).split("/")[1])})
    mention = re.compile(rf"(?:github\.com|colab\.research\.google\.com/github|/v2/gh)/([\w.-]+/(?:{names}))(?![\w-])")
    texts = [path.read_text(encoding="utf-8") for path in project_files(root)]
    return {found for text in texts for found in mention.findall(text)}


def test_every_mention_of_the_address_is_the_one_of_the_configuration() -> None:
    assert mentioned_addresses(ROOT) == {slug(current_address(ROOT))}
    assert PROJECT["urls"]["Homepage"] == current_address(ROOT)


def test_set_address_replaces_every_mention_and_can_run_again(tmp_path: Path) -> None:
    for path in project_files(ROOT):
        copy = tmp_path / path.relative_to(ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, copy)
    for new in ("some-one/metalearn", "another/book.of.learning"):
        address = "https://github.com/" + new
        changed = {str(path.relative_to(tmp_path)) for path in set_address(tmp_path, address)}
        assert {"_config.yml", "pyproject.toml", "README.md"} <= changed
        assert current_address(tmp_path) == address
        assert mentioned_addresses(tmp_path) == {new}


@pytest.mark.parametrize(
    "address",
    [
        "me/book",
        "http://{host}/me/book",
        "https://example.org/me/book",
        "https://{host}/me/book/tree",
        "https://{host}/me",
    ],
)
def test_set_address_refuses_other_forms(address: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="expected an address of the form"):
        set_address(tmp_path, address.format(host="github.com"))


def test_commands_that_the_documents_name_exist() -> None:
    targets = set(re.findall(r"^([a-z]+):.*## ", read("Makefile"), re.MULTILINE))
    for name in ("README.md", "CONTRIBUTING.md", "book/intro.md", "book/setup.md", ".ci/run"):
        named = set(re.findall(r"(?:^|`)(?:[A-Z_]+=\S+ )*make ([a-z]+)", read(name), re.MULTILINE))
        assert named <= targets, name
    for name in ("README.md", ".ci/run"):
        for command in ("make book", "make test"):
            assert len(re.findall(f"^{command}", read(name), re.MULTILINE)) == 1, (name, command)


@pytest.mark.slow
def test_the_readme_example_runs(capsys: pytest.CaptureFixture[str]) -> None:
    (example,) = re.findall(r"```python\n(.*?)```", read("README.md"), re.DOTALL)
    for whole, short in (("n_steps=100", "n_steps=2"), ("evaluate(learner, ", "evaluate(learner, n_tasks=8, sample=")):
        assert whole in example
        example = example.replace(whole, short)
    exec(example, {})
    assert "(8 tasks)" in capsys.readouterr().out


def test_no_file_names_a_machine_or_a_registry() -> None:
    forbidden = [
        "/wo" + "rk/",
        "/ro" + "ot/",
        "py" + "pi.org",
        "files.python" + "hosted.org",
        "registry.npm" + "js.org",
    ]
    found = [
        (str(path.relative_to(ROOT)), word)
        for path in project_files(ROOT)
        for word in forbidden
        if word in path.read_text(encoding="utf-8")
    ]
    assert found == []


def run_python(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT).stdout


@pytest.mark.slow
def test_import_brings_neither_torchvision_nor_matplotlib() -> None:
    code = "import sys, metalearn; print({'torchvision', 'matplotlib', 'sklearn', 'scipy', 'PIL'} & set(sys.modules))"
    assert run_python(code) == "set()\n"
