"""Clusters of unlabelled images as classes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from metalearn._given import at_least_one
from metalearn._torch import tree_map
from metalearn.episodes import Episode
from metalearn.pools import Pool
from metalearn.sampling import check_sizes, draws_on, sample_episodes


def partitions(pool: Pool, features: Tensor, n_clusters: int, n_partitions: int = 1, *, seed: int = 0) -> list[Pool]:
    """Cluster images by their features, several times, and make a pool of each partition, its clusters as classes.

    The pool's labels are not read. Each partition scales the features' dimensions by its own random numbers, uniform in
    (0, 1), so that the clusters of one partition are not those of another.

    Args:
        pool: Images.
        features: An embedding of the pool's images in its order ``[n, n_features]``, as ``pool.encoded(encoder).x``
            gives it, learned without labels; or pixels, ``pool.encoded(torch.nn.Flatten()).x``.
        n_clusters: Clusters of each partition, at least 2 and at most ``n``.
        n_partitions: Number of partitions, at least 1.
        seed: Of the scales, and of k-means.

    Returns:
        Pools of the same images, with the numbers of clusters as classes.

    Raises:
        ValueError: If features do not match the pool, or a number is out of range.
        ImportError: Where scikit-learn is missing.

    Reference:
        Hsu, Levine, Finn: Unsupervised Learning via Meta-Learning (CACTUs), 2019, arXiv 1810.02334.

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
        scale = torch.rand(features.shape[1], generator=generator)
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
        Hsu, Levine, Finn: Unsupervised Learning via Meta-Learning (CACTUs), 2019, arXiv 1810.02334.

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
