"""MAML on glyphs, 5-way 1- and 5-shot, with the settings of the paper's Omniglot experiment.

Run it with ``python -m metalearn.experiments.glyphs_maml``; stop and start it at will. Settings follow Finn, Abbeel,
Levine, 2017, arXiv 1703.03400, section 5.2: a strided network, one inner step of 0.4 in training and three at test,
32 tasks a step, 60,000 steps, as many queries as shots in training. The norm policy is the paper's, ``"batch"``: the
queries of a test task are normalised together, 5 of each class, so the numbers are transductive.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from metalearn.experiments import _glyphs, record
from metalearn.experiments._glyphs import draw, splits, test, train
from metalearn.learners import MAML
from metalearn.networks import Conv4

SETTINGS: dict[str, Any] = {
    **_glyphs.SETTINGS,
    "n_steps": 60_000,
    "n_tasks": 32,
    "inner_lr": 0.4,
    "n_inner_steps": 1,
    "test_steps": [1, 3],
    "norm": "batch",
    "downsample": "stride",
}


def run(method: str, n_shot: int, seed: int, folder: Path, n_steps: int) -> list[dict[str, Any]]:
    """Train and test one learner; return a row of results for each number of inner steps at test time."""
    torch.manual_seed(seed)
    n_way, norm, downsample = SETTINGS["n_way"], SETTINGS["norm"], SETTINGS["downsample"]
    model = Conv4(n_way, channels=SETTINGS["channels"], norm=norm, downsample=downsample)
    learner = MAML(model, SETTINGS["inner_lr"], SETTINGS["n_inner_steps"])
    done: dict[str, Any] = {"trained_steps": 0, "minutes": 0.0}
    if method == "maml":
        sample = draw(splits().train, SETTINGS["n_tasks"], n_way, n_shot, n_query=n_shot)
        done = train(learner, sample, n_steps, seed, folder / f"{method}_{n_shot}_{seed}.pt")
    what = {"method": method, "n_shot": n_shot, "seed": seed}
    return [{**what, **done, **row} for row in test(learner, n_shot, SETTINGS["test_steps"])]


PLAN = [(method, shot, seed) for method in ("untrained", "maml") for shot in SETTINGS["shots"]
        for seed in SETTINGS["seeds"]]  # fmt: skip

if __name__ == "__main__":
    record("glyphs_maml", SETTINGS, PLAN, run)
