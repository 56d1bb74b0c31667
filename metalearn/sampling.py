"""Episodes, pairs and triplets drawn from a pool, vectorised on its device, without a Python loop over examples."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from metalearn._given import at_least_one, only_ints
from metalearn.episodes import Batch, Episode, Inputs

if TYPE_CHECKING:
    from metalearn.pools import Pool

__all__ = ["sample_episodes", "sample_pairs", "sample_pictures", "sample_triplets"]


def sample_episodes(
    pool: Pool,
    n_tasks: int,
    n_way: int,
    n_shot: int,
    n_query: int,
    generator: torch.Generator | None = None,
    *,
    groups: Sequence[str] | None = None,
) -> Episode:
    """Draw a batch of N-way K-shot episodes from a pool.

    Each task has its own classes, drawn without replacement and labelled 0…n_way-1 at random; support and query are
    disjoint. Rows are in random order, so that a row's position says nothing of its class.

    Args:
        pool: Where to draw from.
        n_tasks: Number of tasks, at least 1.
        n_way: Classes of a task, at least 1 and at most ``pool.n_classes``.
        n_shot: Support examples of each class, at least 1.
        n_query: Query examples of each class, at least 1.
        generator: Source of randomness; the same state draws the same episodes.
        groups: Group of each class ``[n_classes]``, such as its alphabet. The classes of a task then come from one
            group, drawn uniformly among those with enough classes.

    Returns:
        A batch of episodes: ``support_x [n_tasks, n_way * n_shot, ...]``, ``query_x [n_tasks, n_way * n_query, ...]``.

    Raises:
        ValueError: If the pool or every group has too few classes, or a class has too few examples.

    Example:
        >>> import torch
        >>> from metalearn import Pool, sample_episodes
        >>> pool = Pool(torch.zeros(60, 1, 28, 28, dtype=torch.uint8), torch.arange(60) // 20)
        >>> sample_episodes(pool, n_tasks=4, n_way=2, n_shot=1, n_query=3)
        Episode(support_x=[4, 2, 1, 28, 28], support_y=[4, 2], query_x=[4, 6, 1, 28, 28], query_y=[4, 6], n_way=2)
    """
    check_sizes(pool, n_tasks, n_way, n_shot, n_query)
    device = draws_on(generator, pool)

    def keys(*shape: int) -> Tensor:
        return torch.rand(shape, generator=generator, device=device)

    sizes, starts = pool.class_sizes.to(device), pool.class_starts.to(device)
    class_keys = keys(n_tasks, pool.n_classes)
    if groups is not None:
        member = group_members(pool, groups, n_way).to(device)  # [n_groups, n_classes]
        picked = (keys(n_tasks) * len(member)).long()
        class_keys = class_keys.masked_fill(~member[picked], -1)
    classes = class_keys.topk(n_way).indices  # [n_tasks, n_way]
    order = keys(n_tasks, n_way, int(pool.class_sizes.max()))
    beyond = torch.arange(order.shape[-1], device=device) >= sizes[classes].unsqueeze(-1)  # the class's end
    found = order.masked_fill(beyond, -1).topk(n_shot + n_query).indices
    chosen = starts[classes].unsqueeze(-1) + found  # [n_tasks, n_way, n_shot + n_query]
    labels = torch.arange(n_way, device=device)

    def rows(index: Tensor) -> tuple[Inputs, Tensor]:
        shuffle = keys(n_tasks, index[0].numel()).argsort(1)
        y = labels.repeat_interleave(index.shape[2]).expand(n_tasks, -1)
        return pool.read(index.flatten(1).gather(1, shuffle), generator), y.gather(1, shuffle).to(pool.device)

    support_x, support_y = rows(chosen[:, :, :n_shot])
    query_x, query_y = rows(chosen[:, :, n_shot:])
    return Episode(support_x, support_y, query_x, query_y, n_way=n_way)


def sample_pictures(
    pool: Pool, n_tasks: int, n_shot: int, n_query: int, n_latent: int, generator: torch.Generator | None = None
) -> Episode:
    """Draw a batch of tasks of one class each, in which the examples are the targets and noise is the input.

    A learner that generates is given the examples of the support, and is judged by those of the query.

    Args:
        pool: Where to draw from; its examples are single tensors.
        n_tasks: Number of tasks, at least 1.
        n_shot: Examples of the class that are given, at least 1.
        n_query: Further examples of it, at least 1.
        n_latent: Size of the noise that stands beside each example, at least 1.
        generator: Source of randomness; the same state draws the same tasks.

    Returns:
        A batch of regression tasks: ``support_x [n_tasks, n_shot, n_latent]`` is standard normal noise,
        ``support_y [n_tasks, n_shot, ...]`` are examples; the query alike.

    Raises:
        ValueError: If a number is no int or below 1, or a class has too few examples.

    Example:
        >>> from metalearn.data import glyphs
        >>> from metalearn.sampling import sample_pictures
        >>> tasks = sample_pictures(glyphs().test, n_tasks=4, n_shot=1, n_query=8, n_latent=16)
        >>> list(tasks.support_y.shape), list(tasks.query_x.shape), tasks.n_way
        ([4, 1, 1, 28, 28], [4, 8, 16], None)
    """
    at_least_one(n_latent=n_latent)
    drawn = sample_episodes(pool, n_tasks, 1, n_shot, n_query, generator)
    device = draws_on(generator, pool)
    noise = torch.randn(n_tasks, n_shot + n_query, n_latent, generator=generator, device=device).to(pool.device)
    return Episode(noise[:, :n_shot], drawn.support_x, noise[:, n_shot:], drawn.query_x)


def sample_pairs(pool: Pool, n_pairs: int, generator: torch.Generator | None = None) -> Batch:
    """Draw pairs of examples, half of them of one class and half of two.

    Classes are drawn uniformly, whatever their sizes; the two examples of one class are different ones.

    Args:
        pool: Where to draw from.
        n_pairs: Number of pairs, even and at least 2.
        generator: Source of randomness.

    Returns:
        ``x = (left, right)``, each ``[n_pairs, ...]``, and ``y [n_pairs]``: 1 for one class, 0 for two.

    Raises:
        ValueError: If ``n_pairs`` is odd, the pool has one class only, or a class has a single example.

    Example:
        >>> import torch
        >>> from metalearn import Pool, sample_pairs
        >>> (left, right), y = sample_pairs(Pool(torch.zeros(6, 2), torch.tensor([0, 0, 0, 1, 1, 1])), 4)
        >>> left.shape, y
        (torch.Size([4, 2]), tensor([1, 0, 1, 0]))
    """
    check_pairs(pool, n_pairs)
    anchor, positive, negative, _ = _triplets(pool, n_pairs, generator)
    y = 1 - torch.arange(n_pairs, device=pool.device) % 2
    other = torch.where(y.bool(), positive, negative)
    return Batch((pool.read(anchor, generator), pool.read(other, generator)), y, "pairs")


def sample_triplets(pool: Pool, n_triplets: int, generator: torch.Generator | None = None) -> Batch:
    """Draw triplets: an anchor, another example of its class, and an example of another class.

    Args:
        pool: Where to draw from.
        n_triplets: Number of triplets, at least 1.
        generator: Source of randomness.

    Returns:
        ``x = (anchor, positive, negative)``, each ``[n_triplets, ...]``, and ``y [n_triplets]``: the anchor's class id.

    Raises:
        ValueError: If the pool has one class only, or a class has a single example.

    Example:
        >>> import torch
        >>> from metalearn import Pool, sample_triplets
        >>> pool = Pool(torch.tensor([0.0, 0.0, 1.0, 1.0]), torch.tensor([0, 0, 1, 1]))
        >>> (anchor, positive, negative), y = sample_triplets(pool, 8)
        >>> bool((anchor == positive).all()), bool((anchor == negative).any())
        (True, False)
    """
    check_triplets(pool, n_triplets)
    *rows, y = _triplets(pool, n_triplets, generator)
    return Batch(tuple(pool.read(index, generator) for index in rows), y, "triplets")


def _triplets(pool: Pool, n: int, generator: torch.Generator | None) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return rows of anchors, positives and negatives, and the anchors' class ids, each ``[n]``."""
    device = draws_on(generator, pool)
    sizes, starts = pool.class_sizes.to(device), pool.class_starts.to(device)

    def below(high: Tensor | int) -> Tensor:
        return (torch.rand(n, generator=generator, device=device) * high).long()

    first = below(pool.n_classes)
    second = (first + 1 + below(pool.n_classes - 1)) % pool.n_classes
    anchor = below(sizes[first])
    positive = (anchor + 1 + below(sizes[first] - 1)) % sizes[first]
    rows = starts[first] + anchor, starts[first] + positive, starts[second] + below(sizes[second])
    return rows[0].to(pool.device), rows[1].to(pool.device), rows[2].to(pool.device), first.to(pool.device)


def group_members(pool: Pool, groups: Sequence[str], n_way: int) -> Tensor:
    """Return which classes belong to which group ``[n_groups, n_classes]``, groups of fewer than n_way left out."""
    if len(groups) != pool.n_classes:
        raise ValueError(f"groups must name the group of each of {pool.n_classes} classes, got {len(groups)} names")
    sizes = Counter(groups)
    member = torch.tensor([[group == own for own in groups] for group in sizes])
    member = member[member.sum(1) >= n_way]
    if not len(member):
        raise ValueError(f"n_way={n_way} needs a group of as many classes, the largest has {max(sizes.values())}")
    return member


def check_sizes(pool: Pool, n_tasks: int, n_way: int, n_shot: int, n_query: int) -> None:
    """Refuse episodes that the pool cannot give."""
    at_least_one(n_tasks=n_tasks, n_way=n_way, n_shot=n_shot, n_query=n_query)
    if n_way > pool.n_classes:
        raise ValueError(f"n_way={n_way} needs as many classes, the pool has {pool.n_classes}")
    smallest = int(pool.class_sizes.argmin())
    if n_shot + n_query > pool.class_sizes[smallest]:
        raise ValueError(
            f"n_shot + n_query = {n_shot + n_query} needs as many examples in every class, but class "
            f"{pool.class_names[smallest]!r} has {int(pool.class_sizes[smallest])}: draw fewer, or keep the larger "
            f"classes with pool.select(pool.class_sizes >= {n_shot + n_query})"
        )


def check_pairs(pool: Pool, n_pairs: int) -> None:
    """Refuse pairs that the pool cannot give."""
    only_ints(n_pairs=n_pairs)
    if n_pairs < 2 or n_pairs % 2:
        raise ValueError(f"n_pairs must be even and at least 2, for as many equal as unequal pairs, got {n_pairs}")
    _check_classes(pool)


def check_triplets(pool: Pool, n_triplets: int) -> None:
    """Refuse triplets that the pool cannot give."""
    at_least_one(n_triplets=n_triplets)
    _check_classes(pool)


def _check_classes(pool: Pool) -> None:
    smallest = int(pool.class_sizes.argmin())
    if pool.n_classes < 2:
        raise ValueError(
            f"unequal pairs need at least 2 classes, the pool has {pool.n_classes}: {pool.class_names[0]!r}"
        )
    if pool.class_sizes[smallest] < 2:
        raise ValueError(
            f"equal pairs need at least 2 examples of each class, but class {pool.class_names[smallest]!r} has 1: keep"
            " the larger classes with pool.select(pool.class_sizes >= 2)"
        )


def draws_on(generator: torch.Generator | None, pool: Pool) -> torch.device:
    """Return where random numbers are drawn: on the generator's device, by default on the pool's."""
    return pool.device if generator is None else generator.device


def generator_on(device: torch.device, generator: torch.Generator | None) -> torch.Generator | None:
    """Return the generator, or where it lies elsewhere one on ``device`` that is seeded from it."""
    if generator is None or generator.device.type == device.type:
        return generator
    seed = torch.randint(2**62, (), generator=generator, device=generator.device)
    return torch.Generator(device).manual_seed(int(seed))
