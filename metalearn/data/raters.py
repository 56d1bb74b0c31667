"""Users as tasks: each rates a few items, and the rest of the items is to be guessed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from metalearn._given import at_least_one, only_ints
from metalearn.episodes import Batch, Episode, EpisodeList

HELD = 20  # ratings of a user that no test asks for: the largest support


class Truth(NamedTuple):
    """What only a made-up world knows about its users.

    Attributes:
        liking: How much each user likes each item, without noise ``[n_users, n_items]``.
        rating: What each user would give to each item ``[n_users, n_items]``.
    """

    liking: Tensor
    rating: Tensor


@dataclass(frozen=True, eq=False)
class Raters:
    """Users with their ratings of shared items; each is a task.

    An input is an item: ``{"item": number [n], "features": [n, n_features]}``; targets are ratings ``[n, 1]``.

    Args:
        name: What the ratings are; shown, and part of a study's checksum.
        item: Numbers of the rated items, user after user, of each in the order of rating ``[n_ratings]``.
        rating: The ratings ``[n_ratings]``.
        counts: Number of ratings of each user ``[n_users]``.
        features: What is told about each item ``[n_items, n_features]``.
        truth: What a made-up world knows of all items; ``None`` for real ratings.

    Raises:
        ValueError: If the sizes do not fit together, or a user has no rating.

    Example:
        >>> from metalearn.data import ratings
        >>> test = ratings().test
        >>> test.n_users, test.n_items, test.n_ratings
        (600, 300, 40579)
        >>> task = test.tasks(n_shot=5)[0]
        >>> list(task.support_y.shape), task.query_x["item"].shape == task.query_y.squeeze(1).shape
        ([5, 1], True)
    """

    name: str
    item: Tensor
    rating: Tensor
    counts: Tensor
    features: Tensor
    truth: Truth | None = None

    def __post_init__(self) -> None:
        n, total = len(self.item), int(self.counts.sum())
        if not n == len(self.rating) == total or int(self.counts.min()) < 1:
            raise ValueError(
                f"expected as many items as ratings as the counts say, and no user without a rating, got {n} items,"
                f" {len(self.rating)} ratings, counts from {int(self.counts.min())} with the sum {total}"
            )
        if not 0 <= int(self.item.min()) <= int(self.item.max()) < len(self.features):
            raise ValueError(f"items must be numbers 0…{len(self.features) - 1}, got up to {int(self.item.max())}")

    @property
    def n_users(self) -> int:
        """Number of users."""
        return len(self.counts)

    @property
    def n_items(self) -> int:
        """Number of items."""
        return len(self.features)

    @property
    def n_ratings(self) -> int:
        """Number of ratings of all users."""
        return len(self.rating)

    def of(self, user: int) -> tuple[Tensor, Tensor]:
        """Return the items of one user, in the order of rating, and their ratings.

        Args:
            user: The user's number, in [0, n_users).

        Raises:
            ValueError: If there is no such user.
        """
        if not 0 <= user < self.n_users:
            raise ValueError(f"expected a user's number 0…{self.n_users - 1}, got {user}")
        end = int(self.counts[: user + 1].sum())
        rows = slice(end - int(self.counts[user]), end)
        return self.item[rows], self.rating[rows]

    def inputs(self, item: Tensor) -> dict[str, Tensor]:
        """Return items by their numbers as a learner's inputs."""
        return {"item": item, "features": self.features[item]}

    def tasks(self, n_shot: int, *, held: int = HELD, query: Literal["rated", "all"] = "rated") -> EpisodeList:
        """Return each user once as a task: the first ratings are the support, later ones the query.

        Users without a rating after the first ``held`` are left out. Queries are of unequal numbers, and the same for
        every ``n_shot`` up to ``held``.

        Args:
            n_shot: Number of ratings to adapt to, at most ``held``.
            held: Number of first ratings that are never asked for.
            query: ``"rated"``: what the user rated after those; ``"all"``: every item but those, with the rating that
                the user would give, which only a made-up world knows.

        Raises:
            ValueError: If a number is out of range, no user is left, or ``"all"`` is asked of real ratings.
        """
        at_least_one(n_shot=n_shot, held=held)
        if n_shot > held:
            raise ValueError(f"n_shot must be at most held={held}, the ratings that no query asks for, got {n_shot}")
        if query not in ("rated", "all"):
            raise ValueError(f"query must be 'rated' or 'all', got {query!r}")
        if query == "all" and self.truth is None:
            raise ValueError("nobody knows real users' ratings of what they did not rate: take query='rated'")
        found, start = [], 0
        for user, count in enumerate(self.counts.tolist()):
            item, rating = self.item[start : start + count], self.rating[start : start + count]
            start += count
            if count <= held:
                continue
            asked, answer = item[held:], rating[held:]
            if query == "all" and self.truth is not None:
                asked = torch.ones(self.n_items, dtype=torch.bool).index_fill(0, item[:held], False).nonzero().flatten()
                answer = self.truth.rating[user, asked]
            support = self.inputs(item[:n_shot]), rating[:n_shot, None]
            found.append(Episode(*support, self.inputs(asked), answer[:, None]))
        if not found:
            raise ValueError(f"no user has more than {held} ratings: lower held")
        return EpisodeList(found)

    def users(self, *, n_shot: int, held: int = HELD, query: Literal["rated", "all"] = "rated") -> UserSampler:
        """Return :meth:`tasks` as what ``evaluate`` takes: each call gives all users, in their order."""
        return UserSampler(self.tasks(n_shot, held=held, query=query))

    def sample(
        self, n_tasks: int, n_shot: int, n_query: int, generator: torch.Generator | None = None, *, held: int = HELD
    ) -> Episode:
        """Draw a batch of users to train on: of the first ``held`` ratings of each some are the support.

        The query is drawn from the later ratings. Users with fewer than ``held + n_query`` ratings are not drawn; the
        others all alike.

        Raises:
            ValueError: If a number is out of range, or no user has so many ratings.
        """
        at_least_one(n_tasks=n_tasks, n_shot=n_shot, n_query=n_query)
        able = (self.counts >= held + n_query).nonzero().flatten()
        if n_shot > held or not len(able):
            raise ValueError(
                f"expected n_shot of at most held={held}, and a user with held + n_query ratings, got n_shot={n_shot},"
                f" n_query={n_query}, users with up to {int(self.counts.max())} ratings"
            )
        user = able[torch.randint(len(able), (n_tasks,), generator=generator)]
        count, last = self.counts[user], self.counts.cumsum(0)[user]
        keys = torch.rand(n_tasks, int(count.max()), generator=generator)
        place = torch.arange(keys.shape[1])
        keys = keys + (place >= held) + (place >= count.unsqueeze(1))  # the support's, the query's, no rating
        chosen = keys.argsort(1)  # [n_tasks, most ratings]
        row = torch.cat([chosen[:, :n_shot], chosen[:, held : held + n_query]], 1) + (last - count).unsqueeze(1)
        item, rating = self.item[row], self.rating[row].unsqueeze(2)
        parts = [(self.inputs(item[:, own]), rating[:, own]) for own in (slice(n_shot), slice(n_shot, None))]
        return Episode(*parts[0], *parts[1])

    def episodes(self, *, n_tasks: int, n_shot: int | Sequence[int], n_query: int, held: int = HELD) -> RaterSampler:
        """Return a sampler of training batches; of two numbers ``n_shot``, each batch draws one from the first on."""
        return RaterSampler(self, n_tasks, n_shot if isinstance(n_shot, int) else tuple(n_shot), n_query, held)

    def table(self) -> Callable[..., Batch]:
        """Return a sampler of all ratings at once, ``x = {"user": [n], "item": [n]}`` and ``y`` the ratings."""
        user = torch.arange(self.n_users).repeat_interleave(self.counts)
        batch = Batch({"user": user, "item": self.item}, self.rating)
        return lambda generator=None: batch

    def __repr__(self) -> str:
        """Show sizes."""
        return f"Raters({self.name}: {self.n_users} users, {self.n_items} items, {self.n_ratings:,} ratings)"


@dataclass(frozen=True, eq=False)
class UserSampler:
    """All users of :class:`Raters` as tasks of unequal size, for ``evaluate``; made by ``raters.users``.

    Example:
        >>> from metalearn.data import ratings
        >>> ratings().validation.users(n_shot=5)()
        EpisodeList(300 tasks)
    """

    tasks: EpisodeList

    def __call__(self, generator: torch.Generator | None = None) -> EpisodeList:
        """Return the tasks; nothing is drawn."""
        return self.tasks


@dataclass(frozen=True, eq=False)
class RaterSampler:
    """Batches of users to train on, of one size each; made by ``raters.episodes``.

    Example:
        >>> from metalearn.data import ratings
        >>> sampler = ratings().train.episodes(n_tasks=16, n_shot=(1, 20), n_query=10)
        >>> sampler().query_y.shape
        torch.Size([16, 10, 1])
    """

    raters: Raters
    n_tasks: int
    n_shot: int | tuple[int, ...]
    n_query: int
    held: int = HELD

    def __post_init__(self) -> None:
        bounds = (self.n_shot, self.n_shot) if isinstance(self.n_shot, int) else self.n_shot
        if len(bounds) != 2 or bounds[0] > bounds[1]:
            raise ValueError(f"n_shot must be a number, or the least and the most of it, got {self.n_shot}")
        only_ints(least=bounds[0], most=bounds[1])
        at_least_one(n_tasks=self.n_tasks, n_shot=bounds[0], n_query=self.n_query)

    def __call__(self, generator: torch.Generator | None = None) -> Episode:
        """Draw a batch."""
        n_shot = self.n_shot
        if not isinstance(n_shot, int):
            n_shot = int(torch.randint(n_shot[0], n_shot[1] + 1, (1,), generator=generator))
        return self.raters.sample(self.n_tasks, n_shot, self.n_query, generator, held=self.held)
