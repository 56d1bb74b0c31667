"""Real blood cells from a few slides, told apart on other slides: what training on drawn cells is worth for that.

python -m metalearn.experiments.cells     measure again and write the record, which a chapter shows
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import torch
from torch import nn

from metalearn import evaluate, fit, pretrained
from metalearn.clinical import Numbers, bootstrap, coverage_curve
from metalearn.data.cells import KINDS, Cells, cells
from metalearn.experiments._store import environment, write_analysis
from metalearn.learners import Learner, Prototypical, Shrinkage
from metalearn.networks import Conv4, Moments
from metalearn.runtime import stream

SEEDS, SHOTS, N_TASKS, N_QUERY, N_BOOTSTRAP = (0, 1, 2), (1, 5), 60, 10, 200
STRENGTHS, COVERAGES = (0.001, 0.003, 0.01, 0.03, 0.1), (1.0, 0.9, 0.8, 0.5)
FIT: dict[str, Any] = {"n_steps": 400, "max_seconds": 6, "progress": False}


def logistic(validation: Cells) -> Learner:
    """Return logistic regression on colour moments, its penalty chosen on validation slides."""
    tasks = validation.episodes(n_tasks=10, n_shot=5, n_query=N_QUERY)
    found = [Shrinkage(Moments(), 3, strength=strength) for strength in STRENGTHS]
    return max(found, key=lambda learner: evaluate(learner, tasks, 50, stream="validation", seed=0).mean)


def learners(seed: int) -> dict[str, Learner]:
    """Return every method: two untrained, three trained on drawn cells, one on real cells of other slides."""
    parts = cells()
    torch.manual_seed(seed)
    real = Prototypical(Conv4(in_channels=3, image_size=32, channels=32, norm="frozen", downsample="stride"))
    fit(real, parts.train.episodes(n_tasks=4, n_shot=5, n_query=5), seed=seed, **FIT)
    drawn = {
        name: pretrained(name, "slides", n_way=3, n_shot=5, seed=seed) for name in ("transfer", "prototypical", "maml")
    }
    return {
        "raw pixels": Prototypical(nn.Flatten()),
        "colour moments, nearest mean": Prototypical(Moments()),
        "colour moments, logistic": logistic(parts.validation),
        "Transfer, drawn cells": drawn["transfer"],
        "Prototypical, drawn cells": drawn["prototypical"],
        "MAML, drawn cells": drawn["maml"],
        "Prototypical, real cells of other slides": real,
    }


def answers(learner: Learner, test: Cells, n_shot: int) -> dict[str, Numbers]:
    """Return for each query of all tasks its kind, its slide, whether the answer is right, and its confidence."""
    generator, parts = stream(0, "cells"), []
    for _ in range(N_TASKS):
        support, query = test.rows(n_shot, N_QUERY, generator)
        with torch.no_grad():
            adapted = learner.eval().adapt(test.read(support), test.y[support], n_way=test.n_way)
            confidence, answer = learner.predict(adapted, test.read(query)).softmax(1).max(1)
        parts.append(torch.stack([test.y[query], test.slide[query], answer == test.y[query], confidence]))
    return dict(zip(("kind", "slide", "right", "confidence"), torch.cat(parts, 1).numpy(), strict=True))


def judged(found: dict[str, Numbers], base: dict[str, Numbers]) -> dict[str, Any]:
    """Return accuracy, the difference to a baseline, sensitivity per kind and accuracy by coverage, over slides."""
    right, slide = found["right"], found["slide"]
    options: dict[str, Any] = {"n_draws": N_BOOTSTRAP}
    row: dict[str, Any] = {"accuracy": list(bootstrap(np.mean, right, groups=slide, **options))}
    row["above baseline"] = list(bootstrap(np.mean, right - base["right"], groups=slide, **options))
    for number, kind in enumerate(KINDS):
        rows = found["kind"] == number
        row[kind] = list(bootstrap(np.mean, right[rows], groups=slide[rows], **options))
    coverage, accuracy = coverage_curve(found["confidence"], right)
    row["accuracy at coverage"] = [float(accuracy[np.searchsorted(coverage, share - 1e-9)]) for share in COVERAGES]
    return row


def main() -> None:
    """Measure all methods, and write the record."""
    begun, test = time.process_time(), cells().test
    made, rows = [learners(seed) for seed in SEEDS], []
    for n_shot in SHOTS:
        found = {}
        for label in made[0]:
            each = [answers(one[label], test, n_shot) for one in made]
            found[label] = {key: np.concatenate([part[key] for part in each]) for key in each[0]}
        for label, values in found.items():
            base = found["colour moments, logistic"]
            rows.append({"n_shot": n_shot, "method": label, **judged(values, base)})
        print(n_shot, f"{time.process_time() - begun:.0f} s", flush=True)
    content = {
        **{"name": "cells", "seeds": list(SEEDS), "n_tasks": N_TASKS, "n_query": N_QUERY, "coverages": list(COVERAGES)},
        **{"n_bootstrap": N_BOOTSTRAP, "cpu_seconds": round(time.process_time() - begun), **environment()},
        **{"test": repr(test), "kinds": list(KINDS), "rows": rows},
    }
    write_analysis(content)


if __name__ == "__main__":
    main()
