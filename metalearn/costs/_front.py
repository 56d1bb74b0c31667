"""Which of several choices no other one beats in cost and in quality at once."""

from __future__ import annotations

from collections.abc import Mapping


def non_dominated(choices: Mapping[str, tuple[float, float]]) -> list[str]:
    """Return the choices that no other one dominates, the cheapest first: the Pareto front.

    One dominates another if it costs no more and is as good, and is better in one of the two. Whether a difference is
    larger than its interval is not asked.

    Args:
        choices: Cost and quality by name; of two equal ones the first is kept.

    Raises:
        ValueError: If a number is NaN.

    Example:
        >>> from metalearn.costs import non_dominated
        >>> non_dominated({"slow": (9.0, 0.9), "cheap": (1.0, 0.5), "worse": (9.0, 0.8), "poor": (2.0, 0.5)})
        ['cheap', 'slow']
    """
    for name, (cost, quality) in choices.items():
        if cost != cost or quality != quality:
            raise ValueError(f"expected numbers, got cost {cost} and quality {quality} for {name!r}")
    front: list[str] = []
    best = float("-inf")
    for name, (_, quality) in sorted(choices.items(), key=lambda item: (item[1][0], -item[1][1])):
        if quality > best:
            front.append(name)
            best = quality
    return front
