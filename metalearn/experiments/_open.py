"""Tests with queries that belong to none of a task's classes, which a learner should notice."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from metalearn.episodes import Episode
from metalearn.pools import Pool
from metalearn.samplers import EpisodeSampler


@dataclass(frozen=True)
class OpenTasks:
    """Tasks of known classes, with as many queries of unknown ones behind theirs, labelled 0.

    Args:
        known: What draws the tasks.
        unknown: Examples of other classes.
    """

    known: EpisodeSampler
    unknown: Pool

    @property
    def device(self) -> torch.device:
        """Where the pools lie."""
        return self.known.device

    def __call__(self, generator: torch.Generator | None = None) -> Episode:
        """Draw a batch of tasks."""
        batch = self.known(generator)
        rows = torch.randint(len(self.unknown), batch.query_y.shape, generator=generator, device=self.device)
        x = torch.cat([batch.query_x, self.unknown.read(rows, generator)], 1)
        return replace(batch, query_x=x, query_y=torch.cat([batch.query_y, torch.zeros_like(batch.query_y)], 1))


def auroc(logits: Tensor, y: Tensor) -> Tensor:
    """Return how well the top logit tells the first half of the queries, known, from the second, unknown.

    It is the area under the curve of accepted known against accepted unknown queries: the share of pairs in which the
    known query has the higher top logit, ties counted as a half.

    Example:
        >>> auroc(torch.tensor([[3.0, 0.0], [1.0, 0.0], [2.0, 1.0], [0.0, 1.0]]), torch.tensor([0, 0, 0, 0]))
        tensor(0.6250)
    """
    known, unknown = logits.amax(-1).chunk(2)
    gap = known.unsqueeze(1) - unknown  # [n_known, n_unknown]
    return (gap > 0).float().mean() + (gap == 0).float().mean() / 2
