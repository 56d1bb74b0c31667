"""What analyses of costs share: rows of scores with the value of each task, and how a record is written."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from typing import Any

import torch

from metalearn import evaluate
from metalearn.experiments._store import HERE, environment, write_analysis
from metalearn.learners import Learner

N_TASKS, N_QUERY = 200, 5


def tasks(pool: Any, n_tasks: int = 20, n_shot: int = 1, n_query: int = N_QUERY) -> Callable[..., Any]:
    """Return what draws 5-way tasks of a pool of glyphs."""
    sampler: Callable[..., Any] = pool.episodes(n_tasks=n_tasks, n_way=5, n_shot=n_shot, n_query=n_query)
    return sampler


def scored(learner: Learner, sample: Callable[..., Any], n_steps: int | None = None, digits: int = 4) -> dict[str, Any]:
    """Return mean, half-width of its 95 % interval, median, and the value of each test task."""
    score = evaluate(learner, sample, N_TASKS, n_steps, stream="test", seed=0)
    values = [round(value, digits) for value in score.per_task.tolist()]
    return {"mean": score.mean, "ci95": score.ci95, "median": score.median, "per_task": values}


def write(name: str, begun: float, earlier: float = 0.0, **content: Any) -> None:
    """Write the record of an analysis, with the hardware, its load and the processor's seconds since ``begun``.

    Args:
        name: Of the analysis.
        begun: What ``time.process_time`` said at the start.
        earlier: Seconds of earlier sittings.
        **content: Plain data.
    """
    load = [round(number, 2) for number in os.getloadavg()]
    seconds = round(time.process_time() - begun + earlier, 1)
    write_analysis({"name": name, **content, "cpu_seconds": seconds, "load": load, **environment()})


def seeded(seed: int) -> torch.Generator:
    """Seed torch's global state, from which networks draw their first weights, and return a generator."""
    torch.manual_seed(seed)
    return torch.Generator().manual_seed(seed)


def so_far(name: str) -> dict[str, Any]:
    """Return what a record holds by now, or nothing; delete its file to measure all again."""
    path = HERE / "analyses" / f"{name}.json"
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    return content
