"""What the recorded runs on glyphs share: settings, sampling, test rows."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import nn

from metalearn.data import glyphs
from metalearn.episodes import Episode
from metalearn.evaluation import Sample, evaluate
from metalearn.experiments import summary
from metalearn.learners import Learner
from metalearn.learners._encoder import EncoderLearner
from metalearn.networks import norm_policies
from metalearn.pools import Pool
from metalearn.sampling import sample_episodes
from metalearn.training import TrainingSample, fit

SETTINGS: dict[str, Any] = {
    "data": "glyphs",
    "n_way": 5,
    "shots": [1, 5],
    "seeds": [0, 1, 2],
    "n_test_tasks": 600,
    "n_test_query": 5,
    "test_seed": 1_000,
    "channels": 64,
    "outer_lr": 1e-3,
}

splits = cache(glyphs)


def draw(pool: Pool, n_tasks: int, n_way: int, n_shot: int, n_query: int) -> Sample:
    """Return a sampler of episodes of a pool."""

    def sample(generator: torch.Generator) -> Episode:
        return sample_episodes(pool, n_tasks, n_way, n_shot, n_query, generator)

    return sample


def train(
    learner: Learner,
    sample: TrainingSample,
    n_steps: int,
    seed: int,
    checkpoint: Path,
    optimizer: torch.optim.Optimizer | None = None,
) -> dict[str, Any]:
    """Train, or go on training, and return what is recorded of it."""
    history = fit(
        learner,
        sample,
        n_steps,
        outer_lr=SETTINGS["outer_lr"],
        optimizer=optimizer,
        seed=seed,
        checkpoint=checkpoint,
        checkpoint_every=100,
    )
    if history.interrupted:
        raise KeyboardInterrupt
    return {"trained_steps": history.n_steps, "minutes": round(history.seconds / 60, 2)}


def two_rates(learner: Learner, encoder_lr: float, head_lr: float) -> torch.optim.Optimizer:
    """Return Adam with a rate of its own for what is not the encoder: a logistic head is slow at the encoder's."""
    parts: tuple[list[nn.Parameter], list[nn.Parameter]] = [], []
    for name, parameter in learner.named_parameters():
        parts[not name.startswith("encoder.")].append(parameter)
    groups = zip(parts, (encoder_lr, head_lr), strict=True)
    return torch.optim.Adam([{"params": part, "lr": lr} for part, lr in groups if part])


def test(learner: Learner, n_shot: int, n_steps: Sequence[int] | None = None) -> list[dict[str, Any]]:
    """Return a row of results on test tasks, or one for each number of inner steps."""
    pool = splits().test
    if isinstance(learner, EncoderLearner) and not getattr(learner, "encoder_lr", 0):
        learner, pool = embed(learner, pool)
    n_way, n_query, n_tasks = SETTINGS["n_way"], SETTINGS["n_test_query"], SETTINGS["n_test_tasks"]
    sample, seed = draw(pool, 10, n_way, n_shot, n_query), SETTINGS["test_seed"]
    if n_steps is None:
        return [summary(evaluate(learner, sample, n_tasks, seed=seed))]
    scores = evaluate(learner, sample, n_tasks, n_steps, seed=seed)
    return [{"n_steps": k, **summary(score)} for k, score in scores.items()]


Comparing = TypeVar("Comparing", bound=EncoderLearner)


@torch.no_grad()
def embed(learner: Comparing, pool: Pool) -> tuple[Comparing, Pool]:
    """Return a copy of the learner for features in place of inputs, and the pool of features: each is computed once.

    The predictions are the same, if the encoder treats each image by itself (norm policies ``"frozen"``, ``"none"``).
    """
    if norm_policies(learner.encoder) - {"frozen", "none"}:
        raise ValueError(f"images must be embedded one by one, got the norm policies {norm_policies(learner.encoder)}")
    rows, starts = torch.arange(len(pool)), range(0, len(pool), 500)
    features = torch.cat([learner.eval().encoder(pool.read(rows[start : start + 500])) for start in starts])
    comparer = deepcopy(learner)
    comparer.encoder = nn.Identity()
    return comparer, Pool(features, pool.y, class_names=pool.class_names)


def pixels() -> nn.Module:
    """Return the encoder of the baseline "raw pixels": with one shot, Prototypical is then the nearest neighbour."""
    return nn.Flatten()
