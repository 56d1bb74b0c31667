"""Tasks from images without labels: an image and its augmentations as a class, clusters as classes, pairs of views."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from metalearn._given import at_least_one
from metalearn._torch import tree_map
from metalearn.augment import Augment
from metalearn.episodes import Batch, Episode, Inputs
from metalearn.pools import Pool
from metalearn.sampling import check_sizes, draws_on, sample_episodes

Change = Augment | Callable[[Inputs, torch.Generator | None], Inputs]


@dataclass(frozen=True)
class AugmentedTasks:
    """Tasks in which each of some random images is a class of its own, and its augmentations are the queries.

    The pool's labels are not read. Two images of a task may be of one true class: with many classes, rarely.

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
        x = self.augment(self.pool.read(rows.flatten(), generator), generator)
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
        x = self.pool.read(rows, generator)
        sides = self.augment(x, generator), self.augment(x, generator)
        return Batch(sides, torch.arange(self.batch_size, device=self.pool.device), "views")


def partitions(
    pool: Pool,
    features: Tensor,
    n_clusters: int,
    n_partitions: int = 1,
    *,
    scaled: bool = True,
    seed: int = 0,
) -> list[Pool]:
    """Cluster images by their features, several times, and make a pool of each partition, its clusters as classes.

    The pool's labels are not read. Each partition scales the features' dimensions by its own random numbers, uniform in
    (0, 1), so that the clusters of one partition are not those of another.

    Args:
        pool: Images.
        features: An embedding of the pool's images in its order ``[n, n_features]``, as ``pool.encoded(encoder).x``
            gives it, learned without labels; or pixels, ``pool.encoded(torch.nn.Flatten()).x``.
        n_clusters: Clusters of each partition, at least 2 and at most ``n``.
        n_partitions: Number of partitions, at least 1.
        scaled: Whether to scale the dimensions; without it partitions differ by the start of k-means alone.
        seed: Of the scales, and of k-means.

    Returns:
        Pools of the same images, with the numbers of clusters as classes.

    Raises:
        ValueError: If features do not match the pool, or a number is out of range.
        ImportError: Where scikit-learn is missing.

    Reference:
        Hsu, Levine, Finn: Unsupervised Learning via Meta-Learning (CACTUs), 2019, arXiv 1810.02334, algorithm 2.

    Differs from the paper:
        Features are those that one gives. The authors' code leaves the first partition unscaled.

    Taught in:
        Without labels.

    Example:
        >>> import torch
        >>> from metalearn import Pool
        >>> from metalearn.unlabelled import partitions
        >>> x = torch.tensor([0.0, 0.1, 5.0, 5.1, 9.0, 9.1]).reshape(-1, 1)
        >>> partitions(Pool(x, torch.zeros(6, dtype=torch.long)), x, n_clusters=3)
        [Pool(6 examples [1], 3 classes of 2)]
    """
    try:
        from sklearn.cluster import KMeans
    except ImportError as err:
        raise ImportError('k-means comes from scikit-learn: pip install "metalearn-book[chapters]"') from err
    at_least_one(n_clusters=n_clusters, n_partitions=n_partitions)
    if features.ndim != 2 or len(features) != len(pool):
        raise ValueError(f"expected features [{len(pool)}, n_features] of the pool, got {list(features.shape)}")
    if not 2 <= n_clusters <= len(pool):
        raise ValueError(f"n_clusters must be between 2 and {len(pool)}, the number of images, got {n_clusters}")
    generator, found = torch.Generator().manual_seed(seed), []
    for number in range(n_partitions):
        scale = torch.rand(features.shape[1], generator=generator) if scaled else torch.ones(features.shape[1])
        points = (features.detach().cpu().float() * scale).numpy()
        cluster = KMeans(n_clusters, n_init=1, random_state=seed + number).fit_predict(points)
        found.append(Pool(pool.x, torch.as_tensor(cluster).long(), transform=pool.transform))
    return found


def purity(clusters: Tensor, labels: Tensor) -> float:
    """Return the share of examples that are of the commonest class of their cluster.

    It grows with the number of clusters, to 1 where each example is a cluster of its own.

    Args:
        clusters: Number of each example's cluster ``[n]``, any integers.
        labels: Its class ``[n]``, any integers.

    Raises:
        ValueError: If there is no example, or shapes differ.

    Taught in:
        Without labels.

    Example:
        >>> import torch
        >>> from metalearn.unlabelled import purity
        >>> purity(torch.tensor([0, 0, 0, 1, 1]), torch.tensor([7, 7, 8, 8, 8]))
        0.8
    """
    if clusters.shape != labels.shape or clusters.ndim != 1 or not len(clusters):
        raise ValueError(
            f"expected clusters and labels [n] with n > 0, got {list(clusters.shape)} and {list(labels.shape)}"
        )
    cluster = torch.unique(clusters, return_inverse=True)[1]
    label = torch.unique(labels, return_inverse=True)[1]
    table = torch.zeros(int(cluster.max()) + 1, int(label.max()) + 1, dtype=torch.long, device=cluster.device)
    table.index_put_((cluster, label), torch.ones_like(cluster), accumulate=True)  # [n_clusters, n_classes]
    return int(table.amax(1).sum()) / len(clusters)


@dataclass(frozen=True)
class ClusteredTasks:
    """Episodes whose classes are clusters: each task is drawn from one of several partitions.

    Args:
        pools: Partitions, as :func:`partitions` makes them; clusters with fewer than ``n_shot + n_query`` images are
            left out.
        n_tasks: Number of tasks.
        n_way: Classes of a task.
        n_shot: Support examples of each class.
        n_query: Query examples of each class.

    Attributes:
        device: Where the pools lie: a generator of that device draws there.

    Raises:
        ValueError: If there is no partition, or one has too few clusters that are large enough.

    Reference:
        Hsu, Levine, Finn: Unsupervised Learning via Meta-Learning (CACTUs), 2019, arXiv 1810.02334, algorithm 2.

    Taught in:
        Without labels.

    Example:
        >>> import torch
        >>> from metalearn import Pool
        >>> from metalearn.unlabelled import ClusteredTasks
        >>> halves = Pool(torch.arange(20.0).reshape(-1, 1), torch.arange(20) // 10)
        >>> ClusteredTasks([halves], n_tasks=4, n_way=2, n_shot=1, n_query=3)()
        Episode(support_x=[4, 2, 1], support_y=[4, 2], query_x=[4, 6, 1], query_y=[4, 6], n_way=2)
    """

    pools: Sequence[Pool] = field(repr=False)
    n_tasks: int
    n_way: int
    n_shot: int
    n_query: int

    def __post_init__(self) -> None:
        at_least_one(n_shot=self.n_shot, n_query=self.n_query)
        if not self.pools:
            raise ValueError("expected at least one partition, got none")
        least = self.n_shot + self.n_query
        large = tuple(pool.select(pool.class_sizes >= least) for pool in self.pools if pool.class_sizes.max() >= least)
        if len(large) < len(self.pools):
            raise ValueError(f"a partition has no cluster of n_shot + n_query = {least} images: make fewer clusters")
        for pool in large:
            check_sizes(pool, self.n_tasks, self.n_way, self.n_shot, self.n_query)
        object.__setattr__(self, "pools", large)

    @property
    def device(self) -> torch.device:
        """Where the pools lie."""
        return self.pools[0].device

    def __call__(self, generator: torch.Generator | None = None) -> Episode:
        """Draw a batch of tasks."""
        on = draws_on(generator, self.pools[0])
        picked = torch.randint(len(self.pools), (self.n_tasks,), generator=generator, device=on).tolist()
        sizes = 1, self.n_way, self.n_shot, self.n_query
        tasks = [sample_episodes(self.pools[i], *sizes, generator) for i in picked]

        def together(name: str) -> Any:
            return tree_map(lambda *leaves: torch.cat(leaves), *(getattr(task, name) for task in tasks))

        support, query = (together("support_x"), together("support_y")), (together("query_x"), together("query_y"))
        return Episode(*support, *query, self.n_way)


@dataclass(frozen=True)
class PartlyLabelledTasks:
    """Episodes whose support also holds unlabelled images, marked by the label -1.

    They are further images of the task's classes, and of as many images each of other classes, the distractors. This
    sampler reads labels: it hides them.

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


def _rows(x: Inputs, rows: Tensor) -> Inputs:
    """Return some rows ``[n_tasks, m]`` of each task's inputs ``[n_tasks, n, ...]``."""
    task = torch.arange(len(rows), device=rows.device).unsqueeze(1)
    return tree_map(lambda leaf: leaf[task, rows], x)


def _enough_images(pool: Pool, **needed: int) -> None:
    for name, number in needed.items():
        if number > len(pool):
            raise ValueError(f"{name}={number} needs as many images, the pool has {len(pool)}")
