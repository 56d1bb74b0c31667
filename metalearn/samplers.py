"""Samplers: draws as objects, which ``fit``, ``evaluate`` and others call with a generator."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import torch

from metalearn._given import at_least_one
from metalearn.episodes import Batch, Episode
from metalearn.sampling import (
    check_pairs,
    check_sizes,
    check_triplets,
    group_members,
    sample_episodes,
    sample_pairs,
    sample_pictures,
    sample_triplets,
)

if TYPE_CHECKING:
    from metalearn.pools import Pool


@dataclass(frozen=True)
class EpisodeSampler:
    """N-way K-shot episodes of a pool, as :func:`metalearn.sample_episodes` draws them; made by ``pool.episodes``.

    Attributes:
        device: Where the pool lies: a generator of that device draws there.

    Example:
        >>> import torch
        >>> from metalearn import Pool
        >>> pool = Pool(torch.zeros(60, 1, 28, 28, dtype=torch.uint8), torch.arange(60) // 20)
        >>> sampler = pool.episodes(n_tasks=4, n_way=2, n_shot=1, n_query=3)
        >>> sampler(torch.Generator().manual_seed(0))
        Episode(support_x=[4, 2, 1, 28, 28], support_y=[4, 2], query_x=[4, 6, 1, 28, 28], query_y=[4, 6], n_way=2)
    """

    pool: Pool
    n_tasks: int
    n_way: int
    n_shot: int
    n_query: int
    groups: Sequence[str] | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        check_sizes(self.pool, self.n_tasks, self.n_way, self.n_shot, self.n_query)
        if self.groups is not None:
            object.__setattr__(self, "groups", tuple(self.groups))  # a sampler can be hashed
            group_members(self.pool, self.groups, self.n_way)  # refuses a wrong grouping

    @property
    def device(self) -> torch.device:
        """Where the pool lies."""
        return self.pool.device

    def __call__(self, generator: torch.Generator | None = None) -> Episode:
        """Draw a batch of episodes."""
        sizes = self.n_tasks, self.n_way, self.n_shot, self.n_query
        return sample_episodes(self.pool, *sizes, generator, groups=self.groups)


@dataclass(frozen=True)
class BatchSampler:
    """Ordinary labelled batches of a pool, as ``pool.sample_batch`` draws them; made by ``pool.batches``.

    Attributes:
        device: Where the pool lies: a generator of that device draws there.

    Example:
        >>> import torch
        >>> from metalearn import Pool
        >>> Pool(torch.zeros(6, 2), torch.arange(6) // 3).batches(batch_size=64)
        BatchSampler(pool=Pool(6 examples [2], 2 classes of 3), batch_size=64)
    """

    pool: Pool
    batch_size: int

    def __post_init__(self) -> None:
        at_least_one(batch_size=self.batch_size)

    @property
    def device(self) -> torch.device:
        """Where the pool lies."""
        return self.pool.device

    def __call__(self, generator: torch.Generator | None = None) -> Batch:
        """Draw a batch."""
        return self.pool.sample_batch(self.batch_size, generator)


@dataclass(frozen=True)
class PairSampler:
    """Pairs of examples of a pool, as :func:`metalearn.sample_pairs` draws them; made by ``pool.pairs``.

    Attributes:
        device: Where the pool lies: a generator of that device draws there.

    Example:
        >>> import torch
        >>> from metalearn import Pool
        >>> sampler = Pool(torch.zeros(6, 2), torch.arange(6) // 3).pairs(n_pairs=4)
        >>> sampler(torch.Generator().manual_seed(0))
        Batch(x=([4, 2], [4, 2]), y=[4], kind='pairs')
    """

    pool: Pool
    n_pairs: int

    def __post_init__(self) -> None:
        check_pairs(self.pool, self.n_pairs)

    @property
    def device(self) -> torch.device:
        """Where the pool lies."""
        return self.pool.device

    def __call__(self, generator: torch.Generator | None = None) -> Batch:
        """Draw a batch of pairs."""
        return sample_pairs(self.pool, self.n_pairs, generator)


@dataclass(frozen=True)
class TripletSampler:
    """Triplets of examples of a pool, as :func:`metalearn.sample_triplets` draws them; made by ``pool.triplets``.

    Attributes:
        device: Where the pool lies: a generator of that device draws there.

    Example:
        >>> import torch
        >>> from metalearn import Pool
        >>> sampler = Pool(torch.zeros(6, 2), torch.arange(6) // 3).triplets(n_triplets=4)
        >>> sampler(torch.Generator().manual_seed(0))
        Batch(x=([4, 2], [4, 2], [4, 2]), y=[4], kind='triplets')
    """

    pool: Pool
    n_triplets: int

    def __post_init__(self) -> None:
        check_triplets(self.pool, self.n_triplets)

    @property
    def device(self) -> torch.device:
        """Where the pool lies."""
        return self.pool.device

    def __call__(self, generator: torch.Generator | None = None) -> Batch:
        """Draw a batch of triplets."""
        return sample_triplets(self.pool, self.n_triplets, generator)


@dataclass(frozen=True)
class PictureSampler:
    """Tasks of one class each, from noise to its examples, as :func:`metalearn.sampling.sample_pictures` draws them.

    ``pool.pictures`` makes it.

    Attributes:
        device: Where the pool lies: a generator of that device draws there.

    Example:
        >>> import torch
        >>> from metalearn.data import glyphs
        >>> sampler = glyphs().test.pictures(n_tasks=2, n_shot=1, n_query=3, n_latent=4)
        >>> list(sampler(torch.Generator().manual_seed(0)).query_y.shape)
        [2, 3, 1, 28, 28]
    """

    pool: Pool
    n_tasks: int
    n_shot: int
    n_query: int
    n_latent: int

    def __post_init__(self) -> None:
        check_sizes(self.pool, self.n_tasks, 1, self.n_shot, self.n_query)
        at_least_one(n_latent=self.n_latent)

    @property
    def device(self) -> torch.device:
        """Where the pool lies."""
        return self.pool.device

    def __call__(self, generator: torch.Generator | None = None) -> Episode:
        """Draw a batch of tasks."""
        return sample_pictures(self.pool, self.n_tasks, self.n_shot, self.n_query, self.n_latent, generator)


@runtime_checkable
class TaskFamily(Protocol):
    """A distribution over tasks that makes its data itself, such as :class:`metalearn.data.Sinusoids`.

    A class that derives from it and defines ``sample`` gets ``episodes``.

    Example:
        >>> import torch
        >>> from metalearn import Episode, TaskFamily
        >>> class Lines(TaskFamily):
        ...     def sample(self, n_tasks, n_shot, n_query, generator=None):
        ...         x = torch.rand(n_tasks, n_shot + n_query, 1, generator=generator)
        ...         y = x * torch.rand(n_tasks, 1, 1, generator=generator)
        ...         return Episode(x[:, :n_shot], y[:, :n_shot], x[:, n_shot:], y[:, n_shot:])
        >>> sampler = Lines().episodes(n_tasks=4, n_shot=2, n_query=3)
        >>> sampler(torch.Generator().manual_seed(0))
        Episode(support_x=[4, 2, 1], support_y=[4, 2, 1], query_x=[4, 3, 1], query_y=[4, 3, 1], n_way=None)
    """

    def sample(self, n_tasks: int, n_shot: int, n_query: int, generator: torch.Generator | None = None) -> Episode:
        """Draw a batch of tasks with ``n_shot`` support and ``n_query`` query examples each."""
        ...

    def episodes(self, *, n_tasks: int, n_shot: int, n_query: int, device: torch.device | str = "cpu") -> FamilySampler:
        """Return a sampler of batches of tasks; its sizes are checked now.

        Args:
            n_tasks: Number of tasks, at least 1.
            n_shot: Support examples of each task, at least 1.
            n_query: Query examples of each task, at least 1.
            device: Where to draw: the device of the generators that the sampler is called with.

        Raises:
            ValueError: If a number is no int, or below 1.
        """
        return FamilySampler(self, n_tasks, n_shot, n_query, torch.device(device))


@dataclass(frozen=True)
class FamilySampler:
    """Batches of tasks of a family, such as the sine waves; made by its method ``episodes``.

    Attributes:
        device: Where to draw: the device of the generators that the sampler is called with.

    Example:
        >>> import torch
        >>> from metalearn.data import sinusoids
        >>> sampler = sinusoids().episodes(n_tasks=25, n_shot=10, n_query=5)
        >>> sampler(torch.Generator().manual_seed(0))
        Episode(support_x=[25, 10, 1], support_y=[25, 10, 1], query_x=[25, 5, 1], query_y=[25, 5, 1], n_way=None)
    """

    family: TaskFamily
    n_tasks: int
    n_shot: int
    n_query: int
    device: torch.device = field(default=torch.device("cpu"), repr=False)

    def __post_init__(self) -> None:
        at_least_one(n_tasks=self.n_tasks, n_shot=self.n_shot, n_query=self.n_query)

    def __call__(self, generator: torch.Generator | None = None) -> Episode:
        """Draw a batch of tasks."""
        return self.family.sample(self.n_tasks, self.n_shot, self.n_query, generator)
