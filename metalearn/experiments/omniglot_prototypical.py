"""Prototypical networks on Omniglot (Vinyals split, characters turned by 90 degrees are classes), within a CPU budget.

Run it with ``METALEARN_DATA=... python -m metalearn.experiments.omniglot_prototypical``; stop and start it at will.
Training is 60-way with 5 queries a class, as Snell, Swersky, Zemel, 2017, arXiv 1703.05175, section 3.1 have it. They
halve the rate every 2,000 episodes until validation stops improving; here it falls along a cosine over a fixed budget.
The norm policy is ``"frozen"``: test predictions are inductive.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import torch

from metalearn.data import omniglot
from metalearn.evaluation import evaluate
from metalearn.experiments import record, summary
from metalearn.experiments._glyphs import draw
from metalearn.learners import Prototypical
from metalearn.networks import Conv4
from metalearn.training import cosine, fit

SETTINGS: dict[str, Any] = {
    "data": "omniglot, split vinyals",
    "n_steps": 2_000,
    "n_tasks": 1,
    "train_way": 60,
    "n_query": 5,
    "outer_lr": 1e-3,
    "schedule": "cosine to 0 over n_steps",
    "norm": "frozen",
    "channels": 64,
    "downsample": "pool",
    "seeds": [0, 1, 2],
    "test_ways": [5, 20],
    "n_test_tasks": 1_000,
    "n_test_query": 5,
    "test_seed": 1_000,
}
PUBLISHED: dict[str, Any] = {
    "source": "Snell, Swersky, Zemel, 2017, arXiv 1703.05175, table 1",
    "prototypical": {"5-way 1-shot": 98.8, "5-way 5-shot": 99.7, "20-way 1-shot": 96.0, "20-way 5-shot": 98.9},
}

splits = cache(lambda: omniglot("vinyals"))


def run(n_shot: int, seed: int, folder: Path, n_steps: int) -> list[dict[str, Any]]:
    """Train one learner with so many shots; return its rows of results at 5 and 20 ways."""
    torch.manual_seed(seed)
    learner = Prototypical(Conv4(channels=SETTINGS["channels"], norm="frozen", downsample="pool"))
    learner.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # the same numbers, faster on a CPU
    history = fit(
        learner,
        draw(splits().train, SETTINGS["n_tasks"], SETTINGS["train_way"], n_shot, SETTINGS["n_query"]),
        n_steps,
        outer_lr=SETTINGS["outer_lr"],
        schedule=cosine(SETTINGS["n_steps"]),
        seed=seed,
        checkpoint=folder / f"{n_shot}_{seed}.pt",
        checkpoint_every=100,
        progress=False,
    )
    if history.interrupted:
        raise KeyboardInterrupt
    what = {"method": "prototypical", "n_shot": n_shot, "seed": seed}
    done = {"trained_steps": history.n_steps, "minutes": round(history.seconds / 60, 2)}
    rows = []
    for n_way in SETTINGS["test_ways"]:
        sample = draw(splits().test, 10, n_way, n_shot, SETTINGS["n_test_query"])
        score = evaluate(learner, sample, SETTINGS["n_test_tasks"], seed=SETTINGS["test_seed"])
        rows.append({**what, **done, "n_way": n_way, **summary(score)})
    return rows


PLAN = [(1, seed) for seed in SETTINGS["seeds"]] + [(5, seed) for seed in SETTINGS["seeds"]]

if __name__ == "__main__":
    record("omniglot_prototypical", SETTINGS, PLAN, run, published=PUBLISHED)
