"""Where settings come from: ranges and choices, drawn and varied."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

Settings = dict[str, Any]


@dataclass(frozen=True)
class Uniform:
    """Numbers between two bounds.

    Args:
        low: Lowest.
        high: Highest, above ``low``.

    Example:
        >>> import torch
        >>> from metalearn.search import Uniform
        >>> 0.5 <= Uniform(0.5, 0.9).draw(torch.Generator().manual_seed(0)) < 0.9
        True
    """

    low: float
    high: float

    def __post_init__(self) -> None:
        if not self.low < self.high:
            raise ValueError(f"low must be below high, got ({self.low}, {self.high})")

    def draw(self, generator: torch.Generator | None = None) -> float:
        """Draw a number."""
        return self.low + (self.high - self.low) * _number(torch.rand, generator)

    def vary(self, value: float, generator: torch.Generator | None = None, scale: float = 0.2) -> float:
        """Move a number by a normal draw of ``scale`` times the range, and no further than the bounds."""
        moved = value + scale * (self.high - self.low) * _number(torch.randn, generator)
        return min(max(moved, self.low), self.high)


@dataclass(frozen=True)
class LogUniform:
    """Numbers above 0 between two bounds, uniform in their logarithm: for rates and strengths.

    Args:
        low: Lowest, above 0.
        high: Highest, above ``low``.

    Example:
        >>> import torch
        >>> from metalearn.search import LogUniform
        >>> 1e-4 <= LogUniform(1e-4, 1.0).draw(torch.Generator().manual_seed(0)) < 1
        True
    """

    low: float
    high: float

    def __post_init__(self) -> None:
        if not 0 < self.low < self.high:
            raise ValueError(f"low must be above 0 and below high, got ({self.low}, {self.high})")

    def draw(self, generator: torch.Generator | None = None) -> float:
        """Draw a number."""
        return math.exp(self._logs().draw(generator))

    def vary(self, value: float, generator: torch.Generator | None = None, scale: float = 0.2) -> float:
        """Multiply a number by a log-normal draw, ``scale`` times the range of the logarithm wide."""
        moved = math.exp(self._logs().vary(math.log(value), generator, scale))
        return min(max(moved, self.low), self.high)  # not past them by rounding

    def _logs(self) -> Uniform:
        return Uniform(math.log(self.low), math.log(self.high))


@dataclass(frozen=True)
class Choice:
    """One of some values, each as likely.

    Args:
        values: At least two.

    Example:
        >>> import torch
        >>> from metalearn.search import Choice
        >>> Choice(("relu", "tanh")).vary("relu")
        'tanh'
    """

    values: Sequence[Any]

    def __post_init__(self) -> None:
        if len(self.values) < 2:
            raise ValueError(f"expected at least two values to choose from, got {list(self.values)}")

    def draw(self, generator: torch.Generator | None = None) -> Any:
        """Draw a value."""
        return self.values[_place(len(self.values), generator)]

    def vary(self, value: Any, generator: torch.Generator | None = None, scale: float = 0.2) -> Any:
        """Draw another value; there is no near and far, so that the scale does not matter."""
        others = [other for other in self.values if other != value]
        return others[_place(len(others), generator)]


Space = Mapping[str, Uniform | LogUniform | Choice]


def draw(space: Space, generator: torch.Generator | None = None) -> Settings:
    """Draw settings from a space, one name after the other.

    Example:
        >>> import torch
        >>> from metalearn.search import Choice, LogUniform, draw
        >>> space = {"lr": LogUniform(1e-3, 1.0), "steps": Choice((1, 5))}
        >>> sorted(draw(space, torch.Generator().manual_seed(0)))
        ['lr', 'steps']
    """
    if not space:
        raise ValueError("expected a space of at least one setting, got none")
    return {name: part.draw(generator) for name, part in space.items()}


def vary(
    settings: Mapping[str, Any], space: Space, generator: torch.Generator | None = None, scale: float = 0.2
) -> Settings:
    """Return settings of which one, drawn first, is varied.

    Args:
        settings: A value for each name of the space.
        space: Where they come from.
        generator: Source of randomness.
        scale: How far, in shares of a range.

    Example:
        >>> from metalearn.search import Choice, vary
        >>> vary({"steps": 1}, {"steps": Choice((1, 5))})
        {'steps': 5}
    """
    names = list(space)
    if not names or set(names) != set(settings):
        raise ValueError(f"expected settings for the names of the space, {names}, got {list(settings)}")
    name = names[_place(len(names), generator)]
    return {**settings, name: space[name].vary(settings[name], generator, scale)}


def _number(of: Callable[..., Tensor], generator: torch.Generator | None) -> float:
    return float(of((), generator=generator, device=_device(generator), dtype=torch.float64))


def _place(n: int, generator: torch.Generator | None) -> int:
    return int(torch.randint(n, (), generator=generator, device=_device(generator)))


def _device(generator: torch.Generator | None) -> torch.device | None:
    return None if generator is None else generator.device
