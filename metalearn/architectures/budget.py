"""Budgets in operations, so that searches are compared at an equal price."""

from __future__ import annotations

from collections.abc import Callable

import torch

from metalearn import costs
from metalearn.episodes import Episode
from metalearn.learners import Learner
from metalearn.search import Search, Trial
from metalearn.search.spaces import Settings, Space, draw
from metalearn.search.trials import TaskScore, more

MAX_TOO_DEAR = 20  # draws in a row that do not fit; then the budget counts as spent


def operations(learner: Learner, episodes: Episode) -> int:
    """Return the floating-point operations of one training step on a batch of tasks, counted.

    Args:
        learner: Any learner; its gradients are left as they were.
        episodes: The batch.

    Taught in:
        Trust.

    Example:
        >>> import torch
        >>> from metalearn import Episode
        >>> from metalearn.architectures import operations
        >>> from metalearn.learners import Prototypical
        >>> x, y = torch.zeros(1, 2, 3), torch.arange(2).unsqueeze(0)
        >>> operations(Prototypical(torch.nn.Linear(3, 2)), Episode(x, y, x, y, 2))  # 4 · 24, and 2 · 16 for the means
        128
    """
    before = [param.grad for param in learner.parameters()]
    found = costs.count(lambda: learner.backward(episodes)).operations
    for param, grad in zip(learner.parameters(), before, strict=True):
        param.grad = grad
    return found


def random_search_within(
    space: Space,
    score: TaskScore,
    cost: Callable[[Settings], float],
    *,
    budget: float,
    n_tasks: int,
    generator: torch.Generator | None = None,
) -> tuple[Search, float]:
    """Draw settings and judge them, as :func:`metalearn.search.random_search` does, until a budget is spent.

    A candidate that no longer fits is passed over, and so is one that was judged before; after 20 of them in a row the
    search ends.

    Args:
        space: Where settings come from.
        score: As in :func:`metalearn.search.random_search`.
        cost: What judging a candidate costs, in any unit, above 0.
        budget: In the same unit.
        n_tasks: Tasks of each candidate.
        generator: Source of the settings.

    Returns:
        The search and what it spent.

    Raises:
        ValueError: If no candidate fits, or one costs nothing.

    Taught in:
        Trust.

    Example:
        >>> import torch
        >>> from metalearn.architectures import random_search_within
        >>> from metalearn.search import Uniform
        >>> def score(settings, tasks):
        ...     return torch.full((len(tasks),), settings["x"])
        >>> found, spent = random_search_within({"x": Uniform(0, 1)}, score, lambda _: 2.0, budget=9.0, n_tasks=3)
        >>> len(found.trials), spent
        (4, 8.0)
    """
    trials, spent, too_dear, seen = list[Trial](), 0.0, 0, list[Settings]()
    while too_dear < MAX_TOO_DEAR:
        settings = draw(space, generator)
        price = cost(settings)
        if not price > 0:
            raise ValueError(f"a candidate must cost more than 0, got {price} for {settings}: no budget would end it")
        if settings in seen or spent + price > budget:
            too_dear += 1
            continue
        too_dear, spent = 0, spent + price
        seen.append(settings)
        trials.append(more(Trial(settings, torch.empty(0)), score, range(n_tasks), len(trials)))
    if not trials:
        raise ValueError(f"expected a budget for one candidate at least, got {budget}")
    return Search.of(trials), spent
