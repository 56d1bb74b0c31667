"""How many tasks a comparison needs: races over common tasks, and tasks that have numbers."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import torch

from metalearn._torch import tree_map
from metalearn.episodes import Episode
from metalearn.runtime import stream as stream_of
from metalearn.search.trials import Search, TaskScore, Trial, more

MIN_TASKS = 10  # below it, a standard deviation says little


@dataclass(frozen=True, eq=False)
class Race(Search):
    """A search by :func:`race`, and who left when.

    Args:
        dropped_at: For each candidate the number of tasks after which it was dropped; ``None``: it was still there.

    Example:
        >>> import torch
        >>> from metalearn.search import Race, Trial
        >>> trial = Trial({}, torch.zeros(2))
        >>> Race([trial], trial, 2, dropped_at=[None, 20]).alive
        [0]
    """

    dropped_at: list[int | None]

    @property
    def alive(self) -> list[int]:
        """Numbers of the candidates that were never dropped."""
        return [i for i, dropped in enumerate(self.dropped_at) if dropped is None]


def race(
    candidates: Sequence[Mapping[str, Any]],
    score: TaskScore,
    *,
    n_tasks: int = 20,
    max_tasks: int = 1000,
    level: float = 0.05,
) -> Race:
    """Run all candidates on the same tasks, and drop each as soon as it is surely worse than the best.

    After every ``n_tasks`` tasks the candidate of the lowest mean is compared with each other one, by the difference
    of their losses task by task: what makes a task hard for both cancels. A candidate is dropped when the lower bound
    of that difference's interval is above 0, or when it has a loss that is not finite and the best has none. The level
    is divided by all pairs of candidates and by all looks (Bonferroni), so that the best one is dropped with a
    probability of about ``level`` at most; about, as the interval is the normal one.

    Args:
        candidates: Settings, at least two.
        score: As in :func:`random_search`.
        n_tasks: New tasks between two looks, at least 10.
        max_tasks: Tasks of a candidate in all, at most.
        level: Probability that the race may drop the best candidate, in (0, 1).

    Returns:
        All trials, look by look, each with all losses that the candidate has by then.

    Raises:
        ValueError: If there are fewer than two candidates, a number is out of its range, or the losses do not fit.

    Reference:
        Maron, Moore: Hoeffding Races: Accelerating Model Selection Search for Classification and Function
        Approximation, 1994 (NIPS 6).

    Differs from the paper:
        Intervals are those of normal paired differences, not Hoeffding's bound of each candidate's own mean.

    Taught in:
        Trial and error, and evolution.

    Example:
        >>> import torch
        >>> from metalearn.search import race
        >>> hard = torch.rand(200, generator=torch.Generator().manual_seed(0))
        >>> def score(settings, tasks):
        ...     return 10 * hard[tasks] + settings["x"] * (1 + 0.1 * hard[tasks])
        >>> found = race([{"x": 0.0}, {"x": 0.1}, {"x": 0.2}], score, max_tasks=200)
        >>> found.alive, found.dropped_at, found.n_tasks
        ([0], [None, 20, 20], 60)
    """
    if len(candidates) < 2 or not 0 < level < 1:
        raise ValueError(f"expected two candidates at least and a level in (0, 1), got {len(candidates)} and {level}")
    if not MIN_TASKS <= n_tasks <= max_tasks:
        raise ValueError(f"n_tasks must be at least {MIN_TASKS} and at most max_tasks, got {n_tasks}, {max_tasks}")
    n_looks, n_pairs = max_tasks // n_tasks, len(candidates) * (len(candidates) - 1) / 2
    width = NormalDist().inv_cdf(1 - level / (n_looks * n_pairs))  # of an interval with one side, in standard errors
    state = {i: Trial(dict(settings), torch.empty(0)) for i, settings in enumerate(candidates)}
    dropped: list[int | None] = [None] * len(candidates)
    trials, spent = list[Trial](), 0
    for look in range(n_looks):
        new = range(look * n_tasks, (look + 1) * n_tasks)
        state = {i: more(trial, score, new, look) for i, trial in state.items()}
        trials += state.values()
        spent += len(state) * n_tasks
        best = min(state, key=lambda i: state[i].mean)
        for i in [i for i in state if i != best and _worse(state[i], state[best], width)]:
            dropped[i] = new.stop
            del state[i]
        if len(state) == 1:
            break
    return Race(trials, min(state.values(), key=lambda trial: trial.mean), spent, dropped)


def n_tasks_needed(spread: float, gap: float, *, level: float = 0.05, power: float = 0.8) -> int:
    r"""Return how many tasks a comparison needs: :math:`\lceil (z_{1-\alpha/2} + z_{\beta})^2 s^2 / \Delta^2\rceil`.

    Args:
        spread: Standard deviation over tasks of the difference of two losses, s. With a correlation r of losses of
            equal spread :math:`s_1` it is :math:`s_1 \sqrt{2(1-r)}` on common tasks, and :math:`s_1\sqrt2` on two sets.
        gap: Difference of the mean losses that is to be seen, above 0.
        level: Probability of seeing one where there is none, two-sided.
        power: Probability of seeing it where it is.

    Raises:
        ValueError: If a number is out of its range.

    Taught in:
        Trial and error, and evolution.

    Example:
        >>> from metalearn.search import n_tasks_needed
        >>> n_tasks_needed(spread=1.0, gap=0.1), n_tasks_needed(spread=1.0, gap=0.5)
        (785, 32)
    """
    if not (spread >= 0 and gap > 0 and 0 < level < 1 and 0 < power < 1):
        raise ValueError(
            f"expected spread >= 0, gap > 0, level and power in (0, 1), got {spread}, {gap}, {level}, {power}"
        )
    width = NormalDist().inv_cdf(1 - level / 2) + NormalDist().inv_cdf(power)
    return max(math.ceil((width * spread / gap) ** 2), 2)


def numbered_tasks(
    sample: Callable[[torch.Generator], Episode], tasks: range, *, seed: int = 0, stream: str = "validation"
) -> Episode:
    """Return the tasks with some numbers: each is drawn from a generator of its own, so that a number names a task.

    Args:
        sample: Draws a batch of one task, all of one shape.
        tasks: Their numbers, at least one.
        seed: Of all of them.
        stream: Name of the stream, as in :func:`metalearn.runtime.stream`.

    Taught in:
        Trial and error, and evolution.

    Example:
        >>> from metalearn.data import sinusoids
        >>> from metalearn.search import numbered_tasks
        >>> one = sinusoids().episodes(n_tasks=1, n_shot=5, n_query=5)
        >>> (numbered_tasks(one, range(3, 5)).support_x[0] == numbered_tasks(one, range(4))[3].support_x).all()
        tensor(True)
    """
    if not len(tasks):
        raise ValueError("expected the numbers of some tasks, got none")
    device = getattr(sample, "device", "cpu")
    drawn = [sample(stream_of(seed, f"{stream} {number}", device))[0] for number in tasks]
    parts = [(task.support_x, task.support_y, task.query_x, task.query_y) for task in drawn]
    stacked: Any = tree_map(lambda *leaves: torch.stack(leaves), *parts)
    support_x, support_y, query_x, query_y = stacked
    return Episode(support_x, support_y, query_x, query_y, drawn[0].n_way)


def _worse(trial: Trial, best: Trial, width: float) -> bool:
    """Return whether a trial's mean loss is above another's, by more than so many standard errors."""
    difference = (trial.losses - best.losses).double()
    if not difference.isfinite().all():
        return trial.mean > best.mean
    return (difference.mean() > width * difference.std() / math.sqrt(len(difference))).item() is True
