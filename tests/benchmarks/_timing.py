"""What the benchmarks share: interleaved timing, one line for each result, the stored file."""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Callable, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import median
from typing import Any

import torch

Result = dict[str, Any]


def interleave(
    contestants: Mapping[str, Callable[[], object]], repeats: int, before: Callable[[], object] = lambda: None
) -> dict[str, float]:
    """Return each contestant's median time in milliseconds, taken in turns: A B C A B C ...

    The clock is the CPU time of this process, which has one thread: other jobs on the machine do not count. In its
    turn each one runs twice and the second run counts, so that none pays for caches that its predecessor filled.
    """
    times: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(repeats):
        for name, contestant in contestants.items():
            before()
            contestant()
            before()  # not timed: sets gradients to None
            start = time.process_time()
            contestant()
            times[name].append(1000 * (time.process_time() - start))
    return {name: median(found) for name, found in times.items()}


def result(
    what: str,
    medians: Mapping[str, float],
    ratio: float,
    goal: str | None = None,
    *,
    unit: str = "ms",
    note: str = "",
) -> Result:
    """Print one line, and return it to be stored.

    Args:
        what: What was measured.
        medians: Median of each contestant.
        ratio: The number that the goal is about.
        goal: ``">= 7"`` or ``"<= 0.35"``; ``None``: measured for information.
        unit: Unit of the medians.
        note: What a reader must know beside the numbers.
    """
    met = None
    if goal is not None:
        relation, bound = goal.split()
        met = ratio >= float(bound) if relation == ">=" else ratio <= float(bound)
    numbers = ", ".join(f"{name} {value:.4g} {unit}" for name, value in medians.items())
    verdict = "for information" if met is None else f"goal {goal}: {'met' if met else 'MISSED'}"
    print(f"{what}: {numbers}; ratio {ratio:.3g}; {verdict}", flush=True)
    rounded = {name: float(f"{value:.4g}") for name, value in medians.items()}
    values = {"medians": rounded, "unit": unit, "ratio": float(f"{ratio:.3g}"), "goal": goal, "met": met}
    return {"what": what, **values, "note": note}


def environment() -> dict[str, Any]:
    """Return hardware and versions, by which stored numbers are to be read."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text(encoding="utf-8").splitlines() if cpuinfo.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    versions = {"python": platform.python_version(), "torch": torch.__version__}
    versions |= {name: _version(name) for name in ("higher", "jax")}
    return {
        "processor": names[0] if names else platform.processor(),
        "cores": os.cpu_count(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
        "clock": "CPU time of the process, medians, interleaved",
        "versions": versions,
    }


def store(path: Path, results: Mapping[str, list[Result]]) -> None:
    """Write the results with their environment."""
    content = {"environment": environment(), "results": results}
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
