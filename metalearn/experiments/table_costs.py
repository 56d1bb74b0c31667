"""What the learners of the one table cost: operations and memory, counted; milliseconds of an adaptation, in turns.

python -m metalearn.experiments.table_costs     count and measure again and write the record
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import nn

from metalearn import costs
from metalearn._modes import evaluating
from metalearn.episodes import Episode
from metalearn.experiments import table_glyphs, table_natural
from metalearn.experiments._rows import seeded, write
from metalearn.experiments._sources import sampler, source
from metalearn.experiments.study import Method, Study
from metalearn.learners import Learner
from metalearn.learners._settings import from_settings

N_TURNS, N_THREADS = 15, 1
STUDIES = {"glyphs": table_glyphs.STUDY, "photographs": table_natural.STUDY}


def norm_of(method: Method) -> str:
    """Return the normalisation policy of a method's network."""
    networks = [value for value in method.model.values() if value["network"] == "Conv4"]
    return str(networks[0]["config"]["norm"]) if networks else "none"


def task_of(study: Study, test: str) -> Episode:
    """Return a task of a test."""
    sizes = {key: value for key, value in study.tests[test].items() if key != "n_tasks"}
    task: Episode = source(study.data).test.episodes(n_tasks=1, **sizes)(seeded(0))[0]
    return task


def adapt(learner: Learner, task: Episode, n_steps: int | None) -> None:
    """Adapt to a task as evaluation does."""
    with evaluating(learner), torch.no_grad():
        learner.adapt(task.support_x, task.support_y, n_way=task.n_way, n_steps=n_steps)


def counted(study: Study, label: str) -> tuple[dict[str, Any], Callable[[str], Any]]:
    """Return what a method costs by count, and what adapts to a task of a test; weights are those of the start."""
    method, generator = study.methods[label], seeded(0)
    learner = from_settings(method.settings)
    steps = max(method.test.get("n_steps", [0])) or None
    trained = method.weights is None and method.training.n_steps > 0
    batch = sampler(source(study.data).train, **method.episodes)(generator) if trained else None
    row: dict[str, Any] = {"method": label, "norm": norm_of(method), "tests": {}}
    row["parameters"] = sum(weights.numel() for weights in nn.Module.parameters(learner))
    row["step_operations"] = costs.meta_step(learner, batch) if trained else 0
    if method.weights is not None:
        row["trained_as"] = method.weights
    for name, test in study.tests.items():
        if method.fits(test):
            found = costs.adaptation(learner, task_of(study, name), steps)
            row["tests"][name] = {"operations": found.operations, "peak_bytes": found.peak_bytes}
    return row, lambda test: partial(adapt, learner, task_of(study, test), steps)


def main() -> None:
    """Count, measure, and write the record."""
    begun, before, rows = time.process_time(), [round(load, 2) for load in os.getloadavg()], []
    torch.set_num_threads(N_THREADS)
    for data, study in STUDIES.items():
        works = {}
        for label in study.methods:
            row, work_on = counted(study, label)
            rows.append({"data": data, **row})
            works.update({(label, test): work_on(test) for test in row["tests"] if test == "5-way 1-shot"})
        by_name = {f"{label}|{test}": work for (label, test), work in works.items()}
        for name, times in costs.compare_times(by_name, N_TURNS).items():
            label, test = name.split("|")
            (row,) = [row for row in rows if (row["data"], row["method"]) == (data, label)]
            row["tests"][test] |= {"milliseconds": 1e3 * times.cpu_seconds, "wall_milliseconds": 1e3 * times.seconds}
    for row in rows:  # what another method was trained as
        if "trained_as" in row:
            of = (row["data"], row["trained_as"])
            row["step_operations"] = next(r["step_operations"] for r in rows if (r["data"], r["method"]) == of)
    write("table_costs", begun, seeds=[0], n_turns=N_TURNS, load_before=before, rows=rows)


if __name__ == "__main__":
    main()
