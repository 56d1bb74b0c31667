"""Users of a made-up world with their ratings, in disjoint parts."""

from __future__ import annotations

from typing import NamedTuple

import torch

from metalearn.data.raters import Raters, Truth
from metalearn.data.rating_world import RatingWorld


class RatingSplits(NamedTuple):
    """Disjoint users, shared items: learn on ``train``, choose on ``validation``, report on ``test``.

    Example:
        >>> from metalearn.data import ratings
        >>> [part.n_users for part in ratings()]
        [2000, 300, 600]
    """

    train: Raters
    validation: Raters
    test: Raters


def ratings(
    world: RatingWorld | None = None, *, n_train: int = 2000, n_validation: int = 300, n_test: int = 600, seed: int = 0
) -> RatingSplits:
    """Return users of a made-up world with their ratings.

    Args:
        world: What users and items are; ``None``: :class:`metalearn.data.RatingWorld` as it is.
        n_train: Number of users to learn from; the others likewise.
        n_validation: Number of users by whom settings are chosen.
        n_test: Number of users to report on.
        seed: Of users and ratings; seeds that differ by 100 or 200 share draws.

    Example:
        >>> from metalearn.data import ratings
        >>> train, validation, test = ratings(n_train=50)
        >>> train.n_users, bool((train.counts >= 30).all())
        (50, True)
    """
    world = world or RatingWorld()
    sizes = {"train": n_train, "validation": n_validation, "test": n_test}
    return RatingSplits(*(_drawn(world, part, n, seed + 100 * i) for i, (part, n) in enumerate(sizes.items(), 1)))


def _drawn(world: RatingWorld, part: str, n_users: int, seed: int) -> Raters:
    generator = torch.Generator().manual_seed(seed)
    liking = world.liking(world.tastes(n_users, generator))
    rating, order = world.rate(liking, generator), world.order(liking, generator)
    counts = world.counts(n_users, generator)
    rated = torch.arange(world.n_items) < counts.unsqueeze(1)  # the first of each user's order
    item = order[rated]
    truth = Truth(liking, rating)
    return Raters(f"{world}, {part}", item, rating.gather(1, order)[rated], counts, world.items().features, truth)
