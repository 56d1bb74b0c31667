"""A prototypical 20-way 5-shot 15-query episode with Conv4: against the plain implementation, and channels last."""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
from _timing import Result, interleave, result
from torch import Tensor, nn
from torch.nn import functional as F

from metalearn import Episode, sample_episodes
from metalearn.data import glyphs
from metalearn.learners import Prototypical
from metalearn.networks import Conv4

N_SHOT = 5


def plain(encoder: nn.Module, support_x: Tensor, query_x: Tensor, query_y: Tensor, n_way: int) -> None:
    """One pass over support and query, rows sorted by class, so that a view gives the prototypes."""
    features = encoder(torch.cat([support_x, query_x]))
    prototypes = features[: len(support_x)].view(n_way, N_SHOT, -1).mean(1)
    F.cross_entropy(-torch.cdist(features[len(support_x) :], prototypes).square(), query_y).backward()


def ours(learner: Prototypical, batch: Episode) -> None:
    """The learner's own gradient."""
    learner.backward(batch)


def run(quick: bool = False) -> list[Result]:
    """Compare forward and backward of one episode, in both memory layouts."""
    torch.manual_seed(0)
    n_way, channels, repeats = (5, 8, 2) if quick else (20, 64, 9)
    batch = sample_episodes(glyphs().train, 1, n_way, N_SHOT, 15)
    task = batch[0]
    rows = task.support_x[task.support_y.argsort()], task.query_x, task.query_y, n_way
    encoder = Conv4(channels=channels)
    last = copy.deepcopy(encoder).to(memory_format=torch.channels_last)
    contestants: dict[str, Callable[[], None]] = {
        "plain": lambda: plain(encoder, *rows),
        "ours": lambda: ours(Prototypical(encoder), batch),
        "plain, channels last": lambda: plain(last, *rows),
        "ours, channels last": lambda: ours(Prototypical(last), batch),
    }
    times = interleave(contestants, repeats, lambda: (encoder.zero_grad(), last.zero_grad()))
    what = f"prototypical episode, {n_way}-way 5-shot 15-query, Conv4 ({channels} channels, pool), forward and backward"
    pair = {name: times[name] for name in ("plain", "ours")}
    both = {name: times[name] for name in ("ours", "ours, channels last")}
    same = {name: times[name] for name in ("plain, channels last", "ours, channels last")}
    return [
        result(f"{what}: ours against plain", pair, pair["plain"] / pair["ours"], ">= 0.97", note="0.97: not slower"),
        result(f"{what}: channels last against not", both, both["ours"] / both["ours, channels last"]),
        result(
            f"{what}: ours against plain, both channels last",
            same,
            same["plain, channels last"] / same["ours, channels last"],
        ),
    ]
