"""After how many tasks meta-training has paid for itself."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from metalearn.evaluation import Score


@dataclass(frozen=True)
class BreakEven:
    """After how many tasks meta-training has paid; see :func:`break_even`.

    Attributes:
        n_tasks: Number of tasks; infinite where it never pays.
        low: Its lower bound.
        high: Its upper bound; infinite where the tasks seen leave open whether it pays.

    Example:
        >>> from metalearn.costs import BreakEven
        >>> print(BreakEven(1200.0, 1000.0, float("inf")))
        1,200 tasks (1,000 to inf)
    """

    n_tasks: float
    low: float
    high: float

    def __str__(self) -> str:
        """Print number and bounds, rounded up to whole tasks."""
        middle, low, high = (
            f"{math.ceil(value):,}" if math.isfinite(value) else "inf" for value in (self.n_tasks, self.low, self.high)
        )
        return f"{middle} tasks ({low} to {high})"


def break_even(training: float | Sequence[float], saved: float | Tensor) -> BreakEven:
    r"""Return the number of tasks after which a training has paid for what each task then costs less.

    Another way to do a task costs :math:`u` and needs no training; ours costs :math:`C` once and :math:`a` a task.
    The sums :math:`C + n a` and :math:`n u` meet at :math:`n^* = C / (u - a)`; if :math:`a \ge u` they never do.
    All costs are in one unit: operations, seconds, joules or money. If the other way has a training too, ``training``
    is the difference.

    Args:
        training: Cost :math:`C` of the training, at least 0, or one of each seed: the mean counts, and the cheapest and
            the dearest enter the bounds.
        saved: What a task costs less, :math:`u - a`: a number, or one for each of several tasks ``[n_tasks]``, whose
            95 % interval of the mean enters the bounds.

    Raises:
        ValueError: If a training costs less than nothing, there is none, or a saving is missing.

    Example:
        >>> import torch
        >>> from metalearn.costs import break_even
        >>> break_even(1000.0, 4.0).n_tasks, break_even(1000.0, -1.0).n_tasks
        (250.0, inf)
        >>> print(break_even([900.0, 1100.0], torch.tensor([3.0, 5.0, 4.0, 4.0])))
        250 tasks (188 to 344)
    """
    costs = [float(cost) for cost in training] if isinstance(training, Sequence) else [float(training)]
    if not costs or not all(cost >= 0 for cost in costs):
        raise ValueError(f"expected the cost of at least one training, each at least 0, got {training}")
    values = torch.as_tensor(saved, dtype=torch.float64).reshape(-1)
    if not len(values) or values.isnan().any():
        raise ValueError(f"expected a saving, or one for each of several tasks, and no NaN, got {saved}")
    mean, half = values.mean().item(), Score.of(values).ci95 if len(values) > 1 else 0.0
    middle = _tasks(sum(costs) / len(costs), mean)
    return BreakEven(middle, _tasks(min(costs), mean + half), _tasks(max(costs), mean - half))


def _tasks(training: float, saved: float) -> float:
    return training / saved if saved > 0 else math.inf
