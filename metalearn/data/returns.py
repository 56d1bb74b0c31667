"""Daily returns of a made-up market, which can be predicted a little, or for a while, or not at all."""

from __future__ import annotations

import torch
from torch import Tensor

from metalearn._given import at_least_one


def returns(
    n_days: int,
    *,
    momentum: float = 0.0,
    change_day: int | None = None,
    momentum_after: float = 0.0,
    volatility: float = 0.01,
    generator: torch.Generator | None = None,
) -> Tensor:
    r"""Draw daily returns ``[n_days]``, :math:`r_t = a\, r_{t-1} + \sigma\, \epsilon_t`.

    With ``momentum`` a of 0, the default, no past tells anything about the future. From ``change_day`` on another
    momentum holds: what was learned before is wrong.

    Args:
        n_days: Number of days, at least 1.
        momentum: a, in (-1, 1).
        change_day: First day of the other momentum; ``None``: it never changes.
        momentum_after: The other one.
        volatility: Standard deviation of a day's news, above 0.
        generator: Source of randomness.

    Raises:
        ValueError: If a number is out of range.

    Example:
        >>> from metalearn.data import returns
        >>> returns(250).shape
        torch.Size([250])
    """
    at_least_one(n_days=n_days)
    if max(abs(momentum), abs(momentum_after)) >= 1 or volatility <= 0:
        raise ValueError(
            f"expected momenta in (-1, 1) and a volatility above 0, got {momentum}, {momentum_after} and {volatility}"
        )
    if change_day is not None and not 0 <= change_day <= n_days:
        raise ValueError(f"change_day must be a day 0…{n_days}, got {change_day}")
    news = volatility * torch.randn(n_days, generator=generator)
    drawn = [news[0]]
    for day in range(1, n_days):
        changed = change_day is not None and day >= change_day
        drawn.append((momentum_after if changed else momentum) * drawn[-1] + news[day])
    return torch.stack(drawn)


def windows(series: Tensor, n_past: int, n_ahead: int) -> tuple[Tensor, Tensor]:
    """Return overlapping windows of a series, and the sum of what follows each.

    Windows one day apart share all days but one, and so do their targets: neighbours in time are no independent
    examples, and a split must leave a gap of ``n_ahead`` between training and test days
    (``sklearn.model_selection.TimeSeriesSplit(gap=n_ahead)``).

    Args:
        series: Returns ``[n_days]``.
        n_past: Days of a window.
        n_ahead: Days after it, of which the target is the sum.

    Returns:
        Inputs ``[n, n_past]`` and targets ``[n]``, with n = n_days - n_past - n_ahead + 1, in the order of time.

    Raises:
        ValueError: If the series is too short, or a number is below 1.

    Example:
        >>> import torch
        >>> from metalearn.data.returns import windows
        >>> x, y = windows(torch.tensor([1.0, 2.0, 3.0, 4.0]), n_past=2, n_ahead=1)
        >>> x.tolist(), y.tolist()
        ([[1.0, 2.0], [2.0, 3.0]], [3.0, 4.0])
    """
    at_least_one(n_past=n_past, n_ahead=n_ahead)
    if series.ndim != 1 or len(series) < n_past + n_ahead:
        raise ValueError(f"expected a series [n_days] of at least {n_past + n_ahead} days, got {list(series.shape)}")
    both = series.unfold(0, n_past + n_ahead, 1)  # [n, n_past + n_ahead]
    return both[:, :n_past], both[:, n_past:].sum(1)
