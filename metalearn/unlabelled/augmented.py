"""Augmentations of unlabelled images: an image and its augmentations as a class, and pairs of views."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from metalearn._given import at_least_one
from metalearn._torch import tree_map
from metalearn.augment import Augment
from metalearn.episodes import Batch, Episode, Inputs
from metalearn.pools import Pool
from metalearn.sampling import draws_on, generator_on

Change = Augment | Callable[[Inputs, torch.Generator | None], Inputs]


@dataclass(frozen=True)
class AugmentedTasks:
    """Tasks in which each of some random images is a class of its own, and its augmentations are the queries.

    The pool's labels are not read. Two images of a task may be of one true class; the more classes, the more rarely.

    Args:
        pool: Images.
        augment: ``augment(x, generator) -> x``, such as :class:`metalearn.augment.Augment`.
        n_tasks: Number of tasks.
        n_way: Images of a task, and so its classes.
        n_query: Augmentations of each, to be predicted.
        n_shot: Support examples of each: the image as it is, and ``n_shot - 1`` augmentations of it.

    Attributes:
        device: Where the pool lies: a generator of that device draws there.

    Raises:
        ValueError: If a number is below 1, or there are fewer images than ``n_way``.

    Reference:
        Khodadadeh, Bölöni, Shah: Unsupervised Meta-Learning for Few-Shot Image Classification (UMTRA), 2019,
        arXiv 1811.11819, algorithm 1.

    Differs from the paper:
        A task may have several queries and several shots.

    Taught in:
        Without labels.

    Example:
        >>> import torch
        >>> from metalearn.augment import Augment
        >>> from metalearn.data import glyphs
        >>> from metalearn.unlabelled import AugmentedTasks
        >>> sampler = AugmentedTasks(glyphs().train, Augment(shift=3.0), n_tasks=4, n_way=5)
        >>> sampler(torch.Generator().manual_seed(0))
        Episode(support_x=[4, 5, 1, 28, 28], support_y=[4, 5], query_x=[4, 5, 1, 28, 28], query_y=[4, 5], n_way=5)
    """

    pool: Pool
    augment: Change = field(repr=False)
    n_tasks: int
    n_way: int
    n_query: int = 1
    n_shot: int = 1

    def __post_init__(self) -> None:
        at_least_one(n_tasks=self.n_tasks, n_way=self.n_way, n_query=self.n_query, n_shot=self.n_shot)
        _enough_images(self.pool, n_way=self.n_way)

    @property
    def device(self) -> torch.device:
        """Where the pool lies."""
        return self.pool.device

    def __call__(self, generator: torch.Generator | None = None) -> Episode:
        """Draw a batch of tasks."""
        rows = distinct(self.pool, self.n_tasks, self.n_way, generator)
        label = torch.arange(self.n_way, device=self.pool.device).expand(self.n_tasks, -1)
        support_x, support_y = self.pool.read(rows, generator), label
        query_x, query_y = self._changed(rows, label, self.n_query, generator)
        if self.n_shot > 1:
            more_x, more_y = self._changed(rows, label, self.n_shot - 1, generator)
            support_x = tree_map(lambda *parts: torch.cat(parts, 1), support_x, more_x)
            support_y = torch.cat([support_y, more_y], 1)
        return Episode(support_x, support_y, query_x, query_y, self.n_way)

    def _changed(
        self, rows: Tensor, label: Tensor, n_each: int, generator: torch.Generator | None
    ) -> tuple[Inputs, Tensor]:
        rows = rows.repeat(1, n_each)  # [n_tasks, n_each * n_way]
        there = generator_on(self.pool.device, generator)
        x = self.augment(self.pool.read(rows.flatten(), generator), there)
        return tree_map(lambda leaf: leaf.reshape(*rows.shape, *leaf.shape[1:]), x), label.repeat(1, n_each)


@dataclass(frozen=True)
class Views:
    """Batches of pairs of views: two augmentations of each of some distinct images.

    The pool's labels are not read; ``y`` of a batch counts its images.

    Args:
        pool: Images.
        augment: ``augment(x, generator) -> x``, such as :class:`metalearn.augment.Augment`.
        batch_size: Number of images, at least 2.

    Attributes:
        device: Where the pool lies: a generator of that device draws there.

    Raises:
        ValueError: If ``batch_size`` is below 2, or there are fewer images.

    Taught in:
        Without labels.

    Example:
        >>> import torch
        >>> from metalearn.augment import Augment
        >>> from metalearn.data import glyphs
        >>> from metalearn.unlabelled import Views
        >>> Views(glyphs().train, Augment(shift=3.0), batch_size=64)(torch.Generator().manual_seed(0))
        Batch(x=([64, 1, 28, 28], [64, 1, 28, 28]), y=[64], kind='views')
    """

    pool: Pool
    augment: Change = field(repr=False)
    batch_size: int

    def __post_init__(self) -> None:
        at_least_one(batch_size=self.batch_size)
        if self.batch_size < 2:
            raise ValueError(f"other images' views are needed: batch_size must be at least 2, got {self.batch_size}")
        _enough_images(self.pool, batch_size=self.batch_size)

    @property
    def device(self) -> torch.device:
        """Where the pool lies."""
        return self.pool.device

    def __call__(self, generator: torch.Generator | None = None) -> Batch:
        """Draw a batch."""
        rows = distinct(self.pool, 1, self.batch_size, generator).flatten()
        x, there = self.pool.read(rows, generator), generator_on(self.pool.device, generator)
        sides = self.augment(x, there), self.augment(x, there)
        return Batch(sides, torch.arange(self.batch_size, device=self.pool.device), "views")


def distinct(pool: Pool, n_tasks: int, n_each: int, generator: torch.Generator | None) -> Tensor:
    """Return random rows of a pool ``[n_tasks, n_each]``, no row twice in a task.

    Example:
        >>> import torch
        >>> from metalearn import Pool
        >>> from metalearn.unlabelled import distinct
        >>> distinct(Pool(torch.zeros(3, 1), torch.zeros(3, dtype=torch.long)), 1, 3, None).sort().values
        tensor([[0, 1, 2]])
    """
    keys = torch.rand(n_tasks, len(pool), generator=generator, device=draws_on(generator, pool))
    return keys.topk(n_each).indices.to(pool.device)


def _enough_images(pool: Pool, **needed: int) -> None:
    for name, number in needed.items():
        if number > len(pool):
            raise ValueError(f"{name}={number} needs as many images, the pool has {len(pool)}")
