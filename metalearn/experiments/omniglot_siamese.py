"""Siamese networks on Omniglot (25 background alphabets train, the 20 evaluation alphabets test), within a CPU budget.

Run it with ``METALEARN_DATA=... python -m metalearn.experiments.omniglot_siamese``; stop and start it at will. Training
takes pairs, half of them equal, with the logistic head of Koch, Zemel, Salakhutdinov, 2015, or the contrastive loss.
They train on 30 alphabets with affine distortions, images of 105x105, a larger network and SGD with rates for each
layer, chosen by Bayesian optimisation; here it is 28x28 without distortions, four blocks of 64 channels and Adam, with
one rate for the encoder and one for the head. The margin (of 5, 10, 20) and the head's rate (of 0.01, 0.05, 0.2) were
chosen on the five validation alphabets, after 100 steps each. The norm policy is ``"frozen"``: test predictions are
inductive, so that each test image is embedded once for all tasks.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import nn

from metalearn.data import omniglot
from metalearn.episodes import Episode
from metalearn.evaluation import Sample, evaluate
from metalearn.experiments import record, summary
from metalearn.experiments._glyphs import embed, two_rates
from metalearn.learners import Siamese
from metalearn.networks import Conv4
from metalearn.sampling import sample_episodes, sample_pairs
from metalearn.training import cosine, fit

SETTINGS: dict[str, Any] = {
    "data": "omniglot, split official",
    "n_steps": 600,
    "n_pairs": 120,
    "outer_lr": 1e-3,
    "head_lr": 0.2,
    "margin": 20.0,
    "schedule": "cosine to 0 over n_steps",
    "norm": "frozen",
    "channels": 64,
    "downsample": "pool",
    "seeds": [0, 1, 2],
    "tests": [
        {"n_way": 20, "within": "alphabet"},
        {"n_way": 20, "within": "all"},
        {"n_way": 5, "within": "all"},
    ],
    "n_test_tasks": 1_000,
    "n_test_query": 5,
    "test_seed": 1_000,
}
PUBLISHED: dict[str, Any] = {
    "siamese, logistic": {
        "20-way 1-shot within an alphabet": 92.0,
        "source": "Koch, Zemel, Salakhutdinov, 2015: 400 trials, 10 alphabets, support and queries of two drawers",
    },
    "siamese, logistic, run again": {
        "5-way 1-shot": 97.3,
        "20-way 1-shot": 88.2,
        "source": "Vinyals et al., 2016, arXiv 1606.04080, table 1: another split of the characters, with rotations",
    },
}

splits = cache(lambda: omniglot("official"))


def build(method: str) -> Siamese:
    """Return an untrained learner; without training, distances are compared as the contrastive loss does."""
    if method == "raw pixels":
        return Siamese(nn.Flatten())
    encoder = Conv4(channels=SETTINGS["channels"], norm=SETTINGS["norm"], downsample=SETTINGS["downsample"])
    encoder.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # the same numbers, faster on a CPU
    loss = "logistic" if method == "siamese, logistic" else "contrastive"
    return Siamese(encoder, pair_loss=loss, margin=SETTINGS["margin"])  # type: ignore[arg-type]


def train(learner: Siamese, seed: int, n_steps: int, checkpoint: Path) -> dict[str, Any]:
    """Train on pairs of the background alphabets, or go on training; return what is recorded of it."""
    history = fit(
        learner,
        lambda generator: sample_pairs(splits().train, SETTINGS["n_pairs"], generator),
        n_steps,
        optimizer=two_rates(learner, SETTINGS["outer_lr"], SETTINGS["head_lr"]),
        schedule=cosine(SETTINGS["n_steps"]),
        seed=seed,
        checkpoint=checkpoint,
        checkpoint_every=100,
        progress=False,
    )
    if history.interrupted:
        raise KeyboardInterrupt
    return {"trained_steps": history.n_steps, "minutes": round(history.seconds / 60, 2)}


def test(learner: Siamese) -> list[dict[str, Any]]:
    """Return a row of results for each test; within an alphabet means one of at least n_way characters."""
    comparer, pool = embed(learner, splits().test)
    alphabets = [name.split("/")[0] for name in pool.class_names]

    def draw(n_way: int, within: str) -> Sample:
        groups = alphabets if within == "alphabet" else None

        def sample(generator: torch.Generator) -> Episode:
            return sample_episodes(pool, 20, n_way, 1, SETTINGS["n_test_query"], generator, groups=groups)

        return sample

    tests, n_tasks, seed = SETTINGS["tests"], SETTINGS["n_test_tasks"], SETTINGS["test_seed"]
    return [{**each, "n_shot": 1, **summary(evaluate(comparer, draw(**each), n_tasks, seed=seed))} for each in tests]


def run(method: str, seed: int, folder: Path, n_steps: int) -> list[dict[str, Any]]:
    """Train one learner and test it; return its rows of results."""
    torch.manual_seed(seed)
    learner = build(method)
    done: dict[str, Any] = {"trained_steps": 0, "minutes": 0.0}
    if method.startswith("siamese"):
        done = train(learner, seed, n_steps, folder / f"{method}_{seed}.pt")
    else:
        learner.update_statistics([sample_pairs(splits().train, 500, torch.Generator().manual_seed(seed))])
    return [{"method": method, "seed": seed, **done, **row} for row in test(learner)]


METHODS = ("untrained", "siamese, logistic", "siamese, contrastive")
PLAN = [("raw pixels", 0), *((method, seed) for seed in SETTINGS["seeds"] for method in METHODS)]

if __name__ == "__main__":
    record("omniglot_siamese", SETTINGS, PLAN, run, published=PUBLISHED)
