"""Recorded runs: a script per run with its settings, and what it measured as JSON, shipped with the package."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from importlib import metadata
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch

from metalearn.evaluation import Score

RESULTS = files("metalearn.experiments") / "results"


def names() -> list[str]:
    """Return the names of all recorded runs."""
    return sorted(entry.name.removesuffix(".json") for entry in RESULTS.iterdir() if entry.name.endswith(".json"))


def load(name: str) -> dict[str, Any]:
    """Return a recorded run: its settings, results, seeds, hardware, minutes, versions and commit.

    Args:
        name: One of :func:`names`.

    Raises:
        ValueError: If there is no such run; the message lists the known ones.

    Example:
        >>> load("sinusoid_maml")["settings"]["n_steps"]
        70000
    """
    if name not in names():
        raise ValueError(f"no recorded run {name!r}; known: {names()}")
    content: dict[str, Any] = json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))
    return content


def rows(run: dict[str, Any], **wanted: Any) -> list[dict[str, Any]]:
    """Return the results of a recorded run whose fields have the wanted values, in the order of the run.

    Raises:
        ValueError: If there are none; the message shows the fields of a result.

    Example:
        >>> [row["seed"] for row in rows(load("sinusoid_maml"), method="maml", train_shot=10, n_shot=5, n_steps=1)]
        [0, 1, 2]
    """
    found = [row for row in run["results"] if wanted.items() <= row.items()]
    if not found:
        example = {key: value for key, value in run["results"][0].items() if key not in ("per_task", "curvature")}
        raise ValueError(f"no result with {wanted}; a result looks like {example}")
    return found


def save(path: Path, content: dict[str, Any]) -> None:
    """Write a recorded run atomically, one line for each result, so that a change is readable."""
    results = content["results"]
    text = json.dumps({**content, "results": []}, indent=1, ensure_ascii=False)
    lines = ",\n".join(f"  {json.dumps(row, separators=(',', ':'))}" for row in results)
    text = text.replace('"results": []', f'"results": [\n{lines}\n ]')
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(f".{os.getpid()}.tmp")
    try:
        temporary.write_text(text + "\n", encoding="utf-8")
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def summary(score: Score, *, diverged_above: float) -> dict[str, Any]:
    """Return what is recorded of a score; the values of single tasks go along, so that all else can be re-derived.

    Args:
        score: A score; values are kept to four digits, values that are not finite as ``None``.
        diverged_above: A task counts as diverged if its value is above this or not finite.
    """
    values = [float(f"{value:.4g}") for value in score.per_task.double().tolist()]
    finite = score.per_task.isfinite()
    diverged = ~finite | (score.per_task > diverged_above)
    return {
        "mean": _number(score.mean),
        "ci95": _number(score.ci95),
        "median": _number(score.median),
        "diverged": float(diverged.double().mean()),
        "mean_of_rest": _number(float(score.per_task[~diverged].double().mean())),
        "n_tasks": score.n_tasks,
        "per_task": [value if ok else None for value, ok in zip(values, finite.tolist(), strict=True)],
    }


def environment() -> dict[str, Any]:
    """Return versions, hardware and commit, to be stored with every result."""
    packages = {name: metadata.version(name) for name in ("torch", "numpy", "metalearn-book")}
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return {
        "versions": {"python": platform.python_version(), **packages},
        "hardware": {"cpu": _cpu_name(), "threads": torch.get_num_threads(), "gpu": gpu},
        "commit": _commit(),
    }


def _number(value: float) -> float | None:
    return value if torch.isfinite(torch.tensor(value)) else None


def _cpu_name() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.processor())


def _commit() -> str | None:
    here = Path(__file__).parent
    try:
        answer = subprocess.run(["git", "rev-parse", "HEAD"], cwd=here, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return answer.stdout.strip()
