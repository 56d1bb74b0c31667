"""A made-up world of users, items and ratings, in which everything is known: tastes, items, and who rates what."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

import torch
from torch import Tensor

from metalearn._given import at_least_one

MEAN = 3.3  # of all ratings, before rounding
ITEM_SPREAD, USER_SPREAD, TASTE_SPREAD = 0.45, 0.4, 0.8  # standard deviations of what adds up to a liking
WITHIN = 0.6  # standard deviation of a taste around its type's; over all users it is 1
FEATURE_NOISE = 0.7  # of a side feature whose other part has a standard deviation of 1
LEAST, TYPICAL, TAIL = 30, 3.2, 1.0  # ratings of a user: LEAST + exp(normal(TYPICAL, TAIL))
ROUNDING = 1 / 12  # variance that rounding to whole stars adds


class Items(NamedTuple):
    """What the items are, one row for each.

    Attributes:
        factors: What tastes multiply ``[n_items, n_latent]``; never seen by a learner.
        bias: How much better than others an item is liked by all ``[n_items]``; never seen.
        fame: Logarithm of how much sooner than others it comes to be rated ``[n_items]``, of standard deviation 1.
        features: What is told about it ``[n_items, n_features]``: a noisy view of its factors.
    """

    factors: Tensor
    bias: Tensor
    fame: Tensor
    features: Tensor


class Tastes(NamedTuple):
    """What users are, one row for each.

    Attributes:
        factors: How much of each factor of an item a user likes ``[n_users, n_latent]``.
        offset: How much more stars than others a user gives to all ``[n_users]``.
    """

    factors: Tensor
    offset: Tensor


@dataclass(frozen=True)
class RatingWorld:
    r"""Users who rate items from 1 to 5 stars, with a known truth.

    User u likes item i as much as :math:`3.3 + b_u + b_i + p_u^\top q_i`; the rating is that plus normal noise, rounded
    and clipped to 1…5. Tastes :math:`p_u` scatter around a few types. Users rate a long-tailed number of items, at
    least 30, in an order that starts with famous items: the logarithm of an item's weight in the draw is ``popularity``
    times its fame plus ``selection`` times the user's liking. With a ``selection`` above 0, what users rated is better
    than what they did not, and a guess that is right on the one is wrong on the other.

    Args:
        n_items: Number of items, at least 60.
        n_latent: Length of tastes and of items' factors.
        n_features: Length of the side features.
        n_types: Number of types of users.
        noise: Standard deviation of a rating around the liking, in stars.
        popularity: How much fame decides what is rated; 0: not at all.
        selection: How much a user's liking decides what the user rates; 0: not at all.
        seed: Of the items and the types.

    Raises:
        ValueError: If a number is out of range.

    Example:
        >>> from metalearn.data import RatingWorld
        >>> world = RatingWorld()
        >>> world.items().features.shape, world.liking(world.tastes(10)).shape
        (torch.Size([300, 8]), torch.Size([10, 300]))
    """

    n_items: int = 300
    n_latent: int = 5
    n_features: int = 8
    n_types: int = 6
    noise: float = 0.7
    popularity: float = 1.0
    selection: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        at_least_one(n_latent=self.n_latent, n_features=self.n_features, n_types=self.n_types)
        if self.n_items < 2 * LEAST or self.noise <= 0:
            raise ValueError(
                f"expected at least {2 * LEAST} items and a noise above 0, got {self.n_items} and {self.noise}"
            )

    def items(self) -> Items:
        """Return the items."""
        return _items(self)

    def types(self) -> Tensor:
        """Return the mean tastes of the types ``[n_types, n_latent]``."""
        return _types(self)

    def tastes(self, n_users: int, generator: torch.Generator | None = None) -> Tastes:
        """Draw users, of all types alike."""
        at_least_one(n_users=n_users)
        kind = torch.randint(self.n_types, (n_users,), generator=generator)
        factors = self.types()[kind] + WITHIN * torch.randn(n_users, self.n_latent, generator=generator)
        return Tastes(factors, USER_SPREAD * torch.randn(n_users, generator=generator))

    def liking(self, tastes: Tastes) -> Tensor:
        """Return how much each user likes each item ``[n_users, n_items]``, in stars, without noise or bounds."""
        items = self.items()
        return MEAN + tastes.offset.unsqueeze(1) + items.bias + tastes.factors @ items.factors.T

    def rate(self, liking: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Draw a rating 1…5 for each liking."""
        noise = self.noise * torch.randn(liking.shape, generator=generator)
        return (liking + noise).round().clamp(1, 5)

    def expected(self, liking: Tensor, variance: Tensor | float = 0.0) -> Tensor:
        """Return the mean rating of each liking, or of a normal one with that variance: no guess has a lower error."""
        return 1 + self._at_least(liking, variance).sum(0)

    def spread(self, liking: Tensor) -> Tensor:
        """Return the variance of the rating of each liking: the squared error of a guess that knows all but noise."""
        above = self._at_least(liking)
        second = 1 + torch.einsum("c,c...->...", torch.tensor([3.0, 5.0, 7.0, 9.0], dtype=liking.dtype), above)
        return second - (1 + above.sum(0)).square()

    def order(self, liking: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Draw the order in which users come to items ``[n_users, n_items]``, one after the other by their weights."""
        weight = self.popularity * self.items().fame + self.selection * liking  # logarithms
        gumbel = -torch.rand(liking.shape, generator=generator).clamp_min(1e-12).log().neg().log()
        return (weight + gumbel).argsort(1, descending=True)

    def counts(self, n_users: int, generator: torch.Generator | None = None) -> Tensor:
        """Draw how many items each user rates ``[n_users]``: at least 30, at most two thirds of the items."""
        tail = (TYPICAL + TAIL * torch.randn(n_users, generator=generator)).exp().long()
        return (LEAST + tail).clamp_max(2 * self.n_items // 3)

    def best_guess(self, item: Tensor, rating: Tensor) -> Tensor:
        """Return the best guess of a user's rating of every item ``[n_items]``, where the items are known.

        It is the posterior mean given some ratings of the user, with the items' factors and biases and the types known:
        a mixture of normal posteriors, one for each type. It takes the given ratings for unbounded and rounding for
        noise, and does not use which items were rated: with ``selection`` above 0 that would tell more.

        Args:
            item: Numbers of the items that the user has rated ``[k]``; k may be 0.
            rating: Their ratings ``[k]``.
        """
        items, types = self.items(), self.types().double()  # [n_types, n_latent]
        factors = torch.cat([torch.ones(self.n_items, 1), items.factors], 1).double()  # the offset's come first
        prior = torch.tensor([USER_SPREAD**2] + self.n_latent * [WITHIN**2], dtype=torch.float64)
        centre = torch.cat([torch.zeros(len(types), 1), types], 1)
        variance = self.noise**2 + ROUNDING
        base = MEAN + items.bias.double() + centre @ factors.T  # [n_types, n_items], before anything is rated
        seen, left = factors[item], rating.double() - base[:, item]  # [k, 1 + n_latent], [n_types, k]
        joint = seen * prior @ seen.T + variance * torch.eye(len(item), dtype=torch.float64)
        gain = prior * factors @ torch.linalg.solve(joint, seen).T  # [n_items, k]
        evidence = -0.5 * (left * torch.linalg.solve(joint, left.T).T).sum(1)  # [n_types]; the rest is shared
        uncertainty = (factors * prior * factors).sum(1) - (gain * (factors * prior @ seen.T)).sum(1)
        guess = self.expected(base + left @ gain.T, uncertainty)  # [n_types, n_items]
        mixed: Tensor = evidence.softmax(0) @ guess
        return mixed.float()

    def _at_least(self, liking: Tensor, variance: Tensor | float = 0.0) -> Tensor:
        """Return the probabilities of at least 2, 3, 4 and 5 stars ``[4, ...]``."""
        scale = torch.as_tensor(self.noise**2 + variance).sqrt()
        return torch.stack([torch.special.ndtr((liking - (stars - 0.5)) / scale) for stars in range(2, 6)])


@cache
def _items(world: RatingWorld) -> Items:
    generator = torch.Generator().manual_seed(world.seed)
    drawn = torch.randn(world.n_items, world.n_latent, generator=generator)
    bias, own = torch.randn(2, world.n_items, generator=generator)
    mixing = torch.randn(world.n_latent, world.n_features, generator=generator) / math.sqrt(world.n_latent)
    noise = FEATURE_NOISE * torch.randn(world.n_items, world.n_features, generator=generator)
    fame = 0.5 * bias + math.sqrt(0.75) * own  # what all like more is better known
    factors = TASTE_SPREAD / math.sqrt(world.n_latent) * drawn
    return Items(factors, ITEM_SPREAD * bias, fame, drawn @ mixing + noise)


@cache
def _types(world: RatingWorld) -> Tensor:
    generator = torch.Generator().manual_seed(world.seed + 1)
    return math.sqrt(1 - WITHIN**2) * torch.randn(world.n_types, world.n_latent, generator=generator)
