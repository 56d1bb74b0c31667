"""Bandits solved by dynamic programming: the Gittins index of an arm, and the best player of some pulls."""

from __future__ import annotations

import math
from functools import cache

import torch
from torch import Tensor

from metalearn._given import at_least_one

Arms = tuple[tuple[int, int], ...]  # wins and losses of each arm


def gittins_index(discount: float, n_pulls: int, *, n_ahead: int | None = None, n_rates: int = 1_000) -> Tensor:
    r"""Return the Gittins index of a Bernoulli arm with a uniform prior, for all wins and losses.

    The index is the sure reward per pull :math:`\lambda` for which it makes no difference whether one turns to it now
    or after the best time of stopping. It is found by calibration: for each :math:`\lambda` of a grid the arm's value
    :math:`V = \max(\lambda / (1 - \gamma), \mathrm{E}[r + \gamma V'])` is computed backwards, and the point where
    both sides are equal is interpolated.

    Args:
        discount: The factor, in (0, 1).
        n_pulls: Wins and losses go up to this number together.
        n_ahead: Pulls that are looked ahead beyond, at least 1; ``None``: until a reward is worth 0.0001 of what it is
            now.
        n_rates: Size of the grid.

    Returns:
        The index by wins and losses ``[n_pulls + 1, n_pulls + 1]``, NaN where both together exceed ``n_pulls``;
        float64.

    Raises:
        ValueError: If the discount is not in (0, 1), or a number is too small.

    Reference:
        Gittins: Bandit Processes and Dynamic Allocation Indices, 1979.

    Taught in:
        Meta-reinforcement learning.

    Example:
        >>> from metalearn.rl import gittins_index
        >>> round(gittins_index(0.9, 0).item(), 3)
        0.703
    """
    check_discount(discount)
    if n_ahead is None:
        n_ahead = int(math.log(1e-4) / math.log(discount)) + 1
    at_least_one(n_ahead=n_ahead)
    if n_pulls:
        at_least_one(n_pulls=n_pulls)
    rates = torch.linspace(0, 1, n_rates + 1, dtype=torch.float64)  # of the sure reward
    retire = rates / (1 - discount)
    last = n_pulls + n_ahead
    wins = torch.arange(last + 1, dtype=torch.float64).unsqueeze(1)  # on one diagonal: wins + losses = n
    value = torch.maximum(retire, (wins + 1) / (last + 2) / (1 - discount))  # [wins, n_rates + 1]
    index = torch.full((n_pulls + 1, n_pulls + 1), torch.nan, dtype=torch.float64)
    for n in range(last - 1, -1, -1):
        p = (wins[: n + 1] + 1) / (n + 2)
        go_on = p * (1 + discount * value[1 : n + 2]) + (1 - p) * discount * value[: n + 1]
        if n <= n_pulls:
            index[torch.arange(n + 1), n - torch.arange(n + 1)] = _crossing(rates, go_on - retire)
        value = torch.maximum(retire, go_on)
    return index


def check_discount(discount: float) -> None:
    """Refuse a discount with which an endless game has no value, or no future.

    Example:
        >>> from metalearn.rl.dynamic import check_discount
        >>> check_discount(0.9)
    """
    if not 0 < discount < 1:
        raise ValueError(f"discount must be in (0, 1), got {discount}: without one, an endless game has no value")


def _crossing(rates: Tensor, gain: Tensor) -> Tensor:
    """Return where gains ``[n, n_rates]``, which fall along the rates, cross zero ``[n]``, by linear interpolation."""
    after = (gain > 1e-12).sum(1).clamp(1, len(rates) - 1)
    rows = torch.arange(len(gain))
    high, low = gain[rows, after - 1], gain[rows, after]
    return rates[after - 1] + (rates[after] - rates[after - 1]) * high / (high - low).clamp(min=1e-300)


def bayes_optimal_table(n_pulls: int) -> tuple[float, list[Tensor]]:
    r"""Return how much the best player of two Bernoulli arms gets, and what its choice is at each state.

    Both arms have uniform priors. With :math:`t` pulls made, a state is wins and losses of the first arm and wins of
    the second; the value :math:`V_t(s) = \max_a \mathrm{E}[r + V_{t+1}(s')]` is computed from the end backwards.

    Args:
        n_pulls: Pulls in all, at least 1; memory grows with its cube.

    Returns:
        The expected total reward, and for each number of pulls made, ``t``, what the second arm is worth more than the
        first ``[t + 1, t + 1, t + 1]``; float64, and without meaning where the counts exceed ``t``.

    Raises:
        ValueError: If there is no pull.

    Taught in:
        Meta-reinforcement learning.

    Example:
        >>> from metalearn.rl import bayes_optimal_table
        >>> value, gains = bayes_optimal_table(2)
        >>> round(value, 4), len(gains)
        (1.0833, 2)
    """
    at_least_one(n_pulls=n_pulls)
    value = torch.zeros((n_pulls + 1,) * 3, dtype=torch.float64)
    gains: list[Tensor] = []
    for t in range(n_pulls - 1, -1, -1):
        count = torch.arange(t + 1, dtype=torch.float64)
        wins, losses, others = count[:, None, None], count[:, None], count
        rest = (t - wins - losses - others).clamp(min=0)  # losses of the second arm
        p, q = (wins + 1) / (wins + losses + 2), (others + 1) / (others + rest + 2)
        after = value[: t + 2, : t + 2, : t + 2]
        first = p * (1 + after[1:, :-1, :-1]) + (1 - p) * after[:-1, 1:, :-1]
        second = q * (1 + after[:-1, :-1, 1:]) + (1 - q) * after[:-1, :-1, :-1]
        gains.append(second - first)
        value = torch.maximum(first, second)
    return value.item(), gains[::-1]


def bayes_optimal_value(n_arms: int, n_pulls: int) -> float:
    """Return how much the best player of Bernoulli arms with uniform priors gets in all, on average.

    Args:
        n_arms: Number of arms, at least 1.
        n_pulls: Pulls in all, at least 1. Two arms are solved for hundreds of pulls, five for about twelve.

    Raises:
        ValueError: If a number is below 1, or the states are too many.

    Taught in:
        Meta-reinforcement learning.

    Example:
        >>> from metalearn.rl import bayes_optimal_value
        >>> round(bayes_optimal_value(n_arms=3, n_pulls=2), 4)
        1.0833
    """
    at_least_one(n_arms=n_arms, n_pulls=n_pulls)
    if n_arms == 2:
        return bayes_optimal_table(n_pulls)[0]
    if n_arms > 2 and n_pulls > 15:
        raise ValueError(f"{n_arms} arms have too many states for {n_pulls} pulls: take at most 15, or two arms")

    @cache
    def value(arms: Arms, n_left: int) -> float:
        if not n_left:
            return 0.0
        best = 0.0
        for k in {arm: i for i, arm in enumerate(arms)}.values():
            wins, losses = arms[k]
            p = (wins + 1) / (wins + losses + 2)
            rest = arms[:k] + arms[k + 1 :]
            won, lost = (tuple(sorted((*rest, arm))) for arm in ((wins + 1, losses), (wins, losses + 1)))
            best = max(best, p * (1 + value(won, n_left - 1)) + (1 - p) * value(lost, n_left - 1))
        return best

    return value(((0, 0),) * n_arms, n_pulls)
