"""One check for all numbers that count something."""

from __future__ import annotations

from numbers import Integral
from typing import Any


def only_ints(**counts: Any) -> None:
    """Refuse a number that is no int.

    Raises:
        ValueError: Naming the number.

    Example:
        >>> only_ints(n_way="3")
        Traceback (most recent call last):
        ValueError: n_way must be an int, got '3' (str)
    """
    for name, value in counts.items():
        if isinstance(value, bool) or not isinstance(value, Integral):
            raise ValueError(f"{name} must be an int, got {value!r} ({type(value).__name__})")


def at_least_one(**counts: Any) -> None:
    """Refuse a number that is no int, or below 1.

    Raises:
        ValueError: Naming the number.

    Example:
        >>> at_least_one(n_way=5, n_shot=0)
        Traceback (most recent call last):
        ValueError: n_shot must be at least 1, got 0
    """
    only_ints(**counts)
    for name, value in counts.items():
        if value < 1:
            raise ValueError(f"{name} must be at least 1, got {value}")
