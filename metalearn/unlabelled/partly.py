"""Episodes that hide some of their labels."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from metalearn._given import at_least_one
from metalearn._torch import tree_map
from metalearn.episodes import Episode, Inputs
from metalearn.pools import Pool
from metalearn.sampling import check_sizes, sample_episodes


@dataclass(frozen=True)
class PartlyLabelledTasks:
    """Episodes whose support also holds unlabelled images, marked by the label -1.

    They are further images of the task's classes, and as many each of other classes, the distractors. In the support
    labelled images come first, then the unlabelled ones, class by class, distractors last. This sampler reads labels:
    it hides them.

    Args:
        pool: Where to draw from.
        n_tasks: Number of tasks.
        n_way: Classes of a task.
        n_shot: Labelled support examples of each class.
        n_query: Query examples of each class.
        n_unlabelled: Unlabelled images of each class, and of each distractor.
        n_distractors: Further classes of which there are unlabelled images only, at least 0.

    Attributes:
        device: Where the pool lies: a generator of that device draws there.

    Raises:
        ValueError: If a number is out of range, or the pool has too few classes or images.

    Reference:
        Ren, Triantafillou, Ravi, Snell, Swersky, Tenenbaum, Larochelle, Zemel: Meta-Learning for Semi-Supervised
        Few-Shot Classification, 2018, arXiv 1803.00676, section 3.

    Differs from the paper:
        Labelled and unlabelled images of a class are drawn from all its images, not from two fixed parts of them.

    Taught in:
        Without labels.

    Example:
        >>> from metalearn.data import glyphs
        >>> from metalearn.unlabelled import PartlyLabelledTasks
        >>> sizes = {"n_way": 5, "n_shot": 1, "n_query": 5, "n_unlabelled": 3, "n_distractors": 2}
        >>> sampler = PartlyLabelledTasks(glyphs().test, n_tasks=4, **sizes)
        >>> batch = sampler()
        >>> list(batch.support_y.shape), (batch.support_y[0] == -1).sum().item()
        ([4, 26], 21)
    """

    pool: Pool
    n_tasks: int
    n_way: int
    n_shot: int
    n_query: int
    n_unlabelled: int
    n_distractors: int = 0

    def __post_init__(self) -> None:
        at_least_one(n_unlabelled=self.n_unlabelled, n_shot=self.n_shot)
        if self.n_distractors < 0:
            raise ValueError(f"n_distractors must be at least 0, got {self.n_distractors}")
        n_classes, n_support = self.n_way + self.n_distractors, self.n_shot + self.n_unlabelled
        check_sizes(self.pool, self.n_tasks, n_classes, n_support, self.n_query)

    @property
    def device(self) -> torch.device:
        """Where the pool lies."""
        return self.pool.device

    def __call__(self, generator: torch.Generator | None = None) -> Episode:
        """Draw a batch of tasks."""
        n_classes, n_support = self.n_way + self.n_distractors, self.n_shot + self.n_unlabelled
        drawn = sample_episodes(self.pool, self.n_tasks, n_classes, n_support, self.n_query, generator)
        order = drawn.support_y.argsort(dim=1, stable=True)  # rows of class 0, then of class 1, …, each in random order
        by_class = order.reshape(self.n_tasks, n_classes, n_support)
        labelled, others = by_class[:, : self.n_way, : self.n_shot], by_class[:, :, self.n_shot :]
        support = torch.cat([labelled.flatten(1), others.flatten(1)], 1)
        support_y = drawn.support_y.gather(1, support)
        support_y[:, self.n_way * self.n_shot :] = -1
        known = drawn.query_y < self.n_way
        query = known.nonzero()[:, 1].reshape(self.n_tasks, -1)  # as many in each task
        query_x, query_y = _rows(drawn.query_x, query), drawn.query_y.gather(1, query)
        return Episode(_rows(drawn.support_x, support), support_y, query_x, query_y, self.n_way)


def _rows(x: Inputs, rows: Tensor) -> Inputs:
    """Return some rows ``[n_tasks, m]`` of each task's inputs ``[n_tasks, n, ...]``."""
    task = torch.arange(len(rows), device=rows.device).unsqueeze(1)
    return tree_map(lambda leaf: leaf[task, rows], x)
