"""Prototypical networks on glyphs, 5-way 1- and 5-shot, beside raw pixels and the untrained encoder.

Run it with ``python -m metalearn.experiments.glyphs_prototypical``; stop and start it at will. Training is 20-way, as
Snell, Swersky, Zemel, 2017, arXiv 1703.05175 advise more classes in training than at test; they take 60 on Omniglot.
The norm policy is ``"frozen"``: test predictions are inductive.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from metalearn.experiments import _glyphs, record
from metalearn.experiments._glyphs import draw, splits, test, train
from metalearn.learners import Prototypical
from metalearn.networks import Conv4

SETTINGS: dict[str, Any] = {
    **_glyphs.SETTINGS,
    "n_steps": 10_000,
    "n_tasks": 1,
    "train_way": 20,
    "n_query": 5,
    "norm": "frozen",
    "downsample": "pool",
}


def run(method: str, n_shot: int, seed: int, folder: Path, n_steps: int) -> list[dict[str, Any]]:
    """Train and test one learner; return its row of results."""
    torch.manual_seed(seed)
    learner = Prototypical(
        Conv4(channels=SETTINGS["channels"], norm=SETTINGS["norm"], downsample=SETTINGS["downsample"])
    )
    done: dict[str, Any] = {"trained_steps": 0, "minutes": 0.0}
    sample = draw(splits().train, SETTINGS["n_tasks"], SETTINGS["train_way"], n_shot, SETTINGS["n_query"])
    if method == "raw pixels":
        learner = Prototypical(_glyphs.pixels())
    elif method == "untrained":
        learner.update_statistics(sample(torch.Generator().manual_seed(seed)))
    else:
        done = train(learner, sample, n_steps, seed, folder / f"{method}_{n_shot}_{seed}.pt")
    what = {"method": method, "n_shot": n_shot, "seed": seed}
    return [{**what, **done, **row} for row in test(learner, n_shot)]


PLAN = [("raw pixels", shot, 0) for shot in SETTINGS["shots"]]
PLAN += [(method, shot, seed) for method in ("untrained", "prototypical") for shot in SETTINGS["shots"]
         for seed in SETTINGS["seeds"]]  # fmt: skip

if __name__ == "__main__":
    record("glyphs_prototypical", SETTINGS, PLAN, run)
