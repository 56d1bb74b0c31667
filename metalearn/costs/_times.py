"""Times of functions that take turns, as ratios."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import median
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Ratio:
    """How many times as long one function takes as another.

    Attributes:
        middle: Ratio of the medians.
        low: Lower quartile of the ratios turn by turn.
        high: Upper quartile of these.

    Example:
        >>> from metalearn.costs import Ratio
        >>> print(Ratio(2.0, 1.9, 2.2))
        2.00 (1.90 to 2.20)
    """

    middle: float
    low: float
    high: float

    def __str__(self) -> str:
        """Print the ratio and its quartiles."""
        return f"{self.middle:.2f} ({self.low:.2f} to {self.high:.2f})"


@dataclass(frozen=True)
class Times:
    """How long a function takes; see :func:`compare_times`.

    Attributes:
        seconds: Median of the seconds on the wall's clock, which other programs and waiting lengthen.
        cpu_seconds: Median of the processor's seconds, summed over its threads.
        ratio: ``seconds`` beside the first function's.
        cpu_ratio: ``cpu_seconds`` beside the first function's.

    Example:
        >>> from metalearn.costs import Ratio, Times
        >>> Times(0.5, 0.9, Ratio(0.5, 0.5, 0.6), Ratio(1.1, 1.0, 1.2)).ratio.middle
        0.5
    """

    seconds: float
    cpu_seconds: float
    ratio: Ratio
    cpu_ratio: Ratio


def compare_times(functions: Mapping[str, Callable[[], Any]], n_turns: int = 9) -> dict[str, Times]:
    """Time functions that take turns, and return each one's times and their ratios to the first one's.

    Since they take turns, a change in the load of the machine meets all alike; a turn before the first one is not
    counted. Unlike counts, times differ from machine to machine.

    Args:
        functions: By name; each takes nothing.
        n_turns: Timings of each function, at least 1.

    Raises:
        ValueError: If there is no function or no turn.

    Example:
        >>> import torch
        >>> from metalearn import costs
        >>> matrix = torch.ones(100, 100)
        >>> functions = {"once": lambda: matrix @ matrix, "twice": lambda: matrix @ matrix @ matrix}
        >>> print(costs.compare_times(functions)["once"].ratio)
        1.00 (1.00 to 1.00)
    """
    if not functions or n_turns < 1:
        raise ValueError(f"expected at least one function and one turn, got {len(functions)} and {n_turns}")
    walls: dict[str, list[float]] = {name: [] for name in functions}
    cpus: dict[str, list[float]] = {name: [] for name in functions}
    for _ in range(n_turns + 1):
        for name, function in functions.items():
            wall, cpu = time.perf_counter(), time.process_time()
            function()
            cpus[name].append(time.process_time() - cpu)
            walls[name].append(time.perf_counter() - wall)
    first = next(iter(functions))
    return {
        name: Times(
            median(walls[name][1:]),
            median(cpus[name][1:]),
            _ratio(walls[name][1:], walls[first][1:]),
            _ratio(cpus[name][1:], cpus[first][1:]),
        )
        for name in functions
    }


def relative_times(functions: Mapping[str, Callable[[], Any]], n_turns: int = 9) -> dict[str, float]:
    """Return the processor time of each function as a multiple of the first one's: ratios of medians.

    :func:`compare_times` tells more.

    Args:
        functions: By name; each takes nothing.
        n_turns: Timings of each function, at least 1.

    Raises:
        ValueError: If there is no function or no turn.

    Example:
        >>> import torch
        >>> from metalearn import costs
        >>> matrix = torch.ones(100, 100)
        >>> costs.relative_times({"once": lambda: matrix @ matrix, "twice": lambda: matrix @ matrix @ matrix})["once"]
        1.0
    """
    return {name: times.cpu_ratio.middle for name, times in compare_times(functions, n_turns).items()}


def _ratio(times: list[float], first: list[float]) -> Ratio:
    tiny = 1e-12  # a clock may not have moved
    low, high = np.quantile([t / max(f, tiny) for t, f in zip(times, first, strict=True)], [0.25, 0.75])
    return Ratio(median(times) / max(median(first), tiny), float(low), float(high))
