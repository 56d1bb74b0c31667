"""The ordinary convolutional network of tutorials on MNIST: all ten digits, official training and test part.

Run it with ``METALEARN_DATA=... python -m metalearn.experiments.mnist_cnn``; stop and start it at will. The network has
three 3x3 convolutions (32, 64, 64 channels, no padding, a 2x2 maximum after the first two), a hidden layer of 64 units
and ten logits, all with ReLU. Training takes as many images as five passes over the training part, drawn with
replacement, in batches of 32; pixels are divided by 255, nothing is augmented and no layer normalises.

A recorded row needs tasks: the 10,000 test images are dealt into 1,000 groups of ten at random (the same groups for all
seeds), and the value of a group is the share of its images that are recognised. The mean over groups is the test
accuracy, and the interval says what another 10,000 test images could change.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from metalearn.data.mnist import mnist_parts
from metalearn.evaluation import Score
from metalearn.experiments import record, summary
from metalearn.learners import Transfer
from metalearn.training import fit

SETTINGS: dict[str, Any] = {
    "data": "mnist, official parts",
    "n_steps": 9_375,  # five times 60,000 images
    "batch_size": 32,
    "outer_lr": 1e-3,
    "channels": [32, 64, 64],
    "n_hidden": 64,
    "norm": "none",
    "seeds": [0, 1, 2],
    "n_groups": 1_000,
    "group_seed": 1_000,
}

parts = cache(mnist_parts)


def encoder() -> nn.Sequential:
    """Return the network without its last layer: images ``[n, 1, 28, 28]`` to ``[n, n_hidden]``."""
    first, second, third = SETTINGS["channels"]
    return nn.Sequential(
        *(nn.Conv2d(1, first, 3), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(first, second, 3), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(second, third, 3), nn.ReLU(), nn.Flatten()),
        *(nn.Linear(third * 3 * 3, SETTINGS["n_hidden"]), nn.ReLU()),
    )


@torch.no_grad()
def hits(learner: Transfer) -> Tensor:
    """Return the share of right answers in each group of test images ``[n_groups]``."""
    pool, n_groups = parts()[1], SETTINGS["n_groups"]
    order = torch.randperm(len(pool), generator=torch.Generator().manual_seed(SETTINGS["group_seed"]))
    right = [learner.classify(pool.read(rows)).argmax(1) == pool.y[rows] for rows in torch.split(order, 500)]
    return torch.cat(right).float().reshape(n_groups, -1).mean(1)


def run(seed: int, folder: Path, n_steps: int) -> list[dict[str, Any]]:
    """Train one network and test it; return its row of results."""
    torch.manual_seed(seed)
    learner, size = Transfer(encoder(), 10, n_features=SETTINGS["n_hidden"]), SETTINGS["batch_size"]
    history = fit(
        learner,
        lambda generator: parts()[0].sample_batch(size, generator),
        n_steps,
        outer_lr=SETTINGS["outer_lr"],
        seed=seed,
        checkpoint=folder / f"{seed}.pt",
        progress=False,
    )
    if history.interrupted:
        raise KeyboardInterrupt
    done = {"trained_steps": history.n_steps, "minutes": round(history.seconds / 60, 2)}
    return [{"method": "base CNN", "seed": seed, **done, **summary(Score.of(hits(learner.eval())))}]


PLAN = [(seed,) for seed in SETTINGS["seeds"]]

if __name__ == "__main__":
    record("mnist_cnn", SETTINGS, PLAN, run)
