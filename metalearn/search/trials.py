"""Searches that lose no trial: at random, by variation of the best, and by halving."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from metalearn._given import at_least_one
from metalearn.evaluation import Score
from metalearn.search.spaces import Settings, Space, draw, vary

TaskScore = Callable[[Settings, range], Tensor]


@dataclass(frozen=True, eq=False)
class Trial:
    """One candidate and the losses by which it was judged.

    Args:
        settings: The candidate.
        losses: Its loss on each task ``[n_tasks]``; lower is better.
        round: When it was judged: the number of the trial, of the round, or of the look.

    Example:
        >>> import torch
        >>> from metalearn.search import Trial
        >>> Trial({"lr": 0.1}, torch.tensor([1.0, 3.0]), round=0).mean
        2.0
    """

    settings: Settings
    losses: Tensor
    round: int = 0

    @property
    def mean(self) -> float:
        """Mean loss; what is not finite counts as infinite."""
        losses = self.losses.double()
        return torch.where(losses.isfinite(), losses, math.inf).mean().item()

    @property
    def ci95(self) -> float:
        """Half-width of the 95 % interval of the mean, 1.96 standard errors."""
        return Score.of(self.losses).ci95


@dataclass(frozen=True, eq=False)
class Search:
    """All trials of a search, in their order, and what it cost.

    Args:
        trials: All of them; a candidate that was judged in several rounds stands there several times.
        best: The one that the search would take.
        n_tasks: Tasks on which candidates were run, in all.

    Example:
        >>> import torch
        >>> from metalearn.search import LogUniform, random_search
        >>> def score(settings, tasks):
        ...     return torch.full((len(tasks),), abs(settings["lr"] - 0.1))
        >>> found = random_search({"lr": LogUniform(1e-3, 1.0)}, score, n_trials=20, n_tasks=5)
        >>> len(found.trials), found.n_tasks, found.best.mean == min(trial.mean for trial in found.trials)
        (20, 100, True)
    """

    trials: list[Trial]
    best: Trial
    n_tasks: int

    @classmethod
    def of(cls, trials: Sequence[Trial]) -> Search:
        """Return the search whose best trial is the one of the lowest mean, the first of equal ones."""
        if not trials:
            raise ValueError("expected at least one trial, got none")
        return cls(list(trials), min(trials, key=lambda trial: trial.mean), sum(len(trial.losses) for trial in trials))


def random_search(
    space: Space, score: TaskScore, *, n_trials: int, n_tasks: int, generator: torch.Generator | None = None
) -> Search:
    """Draw settings again and again, and judge all on the same tasks.

    Args:
        space: Where settings come from.
        score: ``score(settings, tasks) -> losses [n_tasks]`` of the tasks with these numbers; the same number must
            mean the same task (:func:`numbered_tasks`).
        n_trials: Number of candidates.
        n_tasks: Tasks of each: numbers 0 to ``n_tasks - 1``.
        generator: Source of the settings.

    Raises:
        ValueError: If a number is below 1, or the losses do not fit.

    Reference:
        Bergstra, Bengio: Random Search for Hyper-Parameter Optimization, 2012, Journal of Machine Learning Research 13.

    Taught in:
        Trial and error, and evolution.

    Example:
        >>> import torch
        >>> from metalearn.search import Uniform, random_search
        >>> def score(settings, tasks):
        ...     return torch.full((len(tasks),), settings["x"] ** 2)
        >>> abs(random_search({"x": Uniform(-1, 1)}, score, n_trials=200, n_tasks=2).best.settings["x"]) < 0.1
        True
    """
    at_least_one(n_trials=n_trials, n_tasks=n_tasks)
    trials = []
    for k in range(n_trials):
        settings = draw(space, generator)
        trials.append(Trial(settings, _judge(score, settings, range(n_tasks)), k))
    return Search.of(trials)


def trial_and_error(
    start: Mapping[str, Any],
    space: Space,
    score: TaskScore,
    *,
    n_trials: int,
    n_tasks: int,
    scale: float = 0.2,
    generator: torch.Generator | None = None,
) -> Search:
    """Vary the best settings so far, judge them, keep them if they are better, and go on: a search on foot.

    Args:
        start: Settings of the first trial.
        space: In which they are varied, by :func:`vary`.
        score: As in :func:`random_search`; all are judged on the same tasks.
        n_trials: Number of trials, the first included.
        n_tasks: Tasks of each.
        scale: How far a setting moves, in shares of its range.
        generator: Source of the variations; nothing else draws from it.

    Raises:
        ValueError: If a number is below 1, or settings or losses do not fit.

    Taught in:
        Trial and error, and evolution.

    Example:
        >>> import torch
        >>> from metalearn.search import Uniform, trial_and_error
        >>> def score(settings, tasks):
        ...     return torch.full((len(tasks),), settings["x"] ** 2)
        >>> found = trial_and_error({"x": 1.0}, {"x": Uniform(-1, 1)}, score, n_trials=100, n_tasks=2)
        >>> abs(found.best.settings["x"]) < 0.1
        True
    """
    at_least_one(n_trials=n_trials, n_tasks=n_tasks)
    settings, trials, best = dict(start), list[Trial](), None
    for k in range(n_trials):
        if best is not None:
            settings = vary(best.settings, space, generator, scale)
        trials.append(Trial(settings, _judge(score, settings, range(n_tasks)), k))
        if best is None or trials[-1].mean < best.mean:
            best = trials[-1]
    return Search.of(trials)


def successive_halving(
    candidates: Sequence[Mapping[str, Any]], score: TaskScore, *, n_tasks: int, factor: int = 2
) -> Search:
    """Judge many candidates on few tasks, keep the best part, judge those on more, until one is left.

    A round's tasks include those of the rounds before, which are not run again: each round costs about as much as the
    second, a share of ``1 - 1 / factor`` of the first.

    Args:
        candidates: Settings, at least one.
        score: As in :func:`random_search`.
        n_tasks: Tasks of each candidate in the first round.
        factor: One candidate in so many is kept, and gets so many times as many tasks; at least 2.

    Returns:
        All trials, round by round, each with all losses that the candidate has by then; ``best`` is of the last round.

    Raises:
        ValueError: If there is no candidate, a number is out of its range, or the losses do not fit.

    Reference:
        Jamieson, Talwalkar: Non-stochastic Best Arm Identification and Hyperparameter Optimization, 2016,
        arXiv 1502.07943.

    Taught in:
        Trial and error, and evolution.

    Example:
        >>> import torch
        >>> from metalearn.search import successive_halving
        >>> def score(settings, tasks):
        ...     return torch.full((len(tasks),), settings["x"])
        >>> found = successive_halving([{"x": float(x)} for x in range(8)], score, n_tasks=4)
        >>> [trial.round for trial in found.trials].count(1), len(found.best.losses), found.n_tasks
        (4, 32, 80)
    """
    at_least_one(n_tasks=n_tasks)
    if factor < 2 or not candidates:
        raise ValueError(f"expected a factor of at least 2 and a candidate, got {factor} and {len(candidates)}")
    trials, spent, k = list[Trial](), 0, 0
    alive = [Trial(dict(settings), torch.empty(0)) for settings in candidates]
    while True:
        new = range(len(alive[0].losses), n_tasks * factor**k)
        spent += len(alive) * len(new)
        alive = [more(trial, score, new, k) for trial in alive]
        trials += alive
        if len(alive) == 1:
            return Search(trials, alive[0], spent)
        alive = sorted(alive, key=lambda trial: trial.mean)[: max(len(alive) // factor, 1)]
        k += 1


def _judge(score: TaskScore, settings: Settings, tasks: range) -> Tensor:
    losses = score(dict(settings), tasks).detach()
    if list(losses.shape) != [len(tasks)]:
        raise ValueError(f"score must return a loss for each task, [{len(tasks)}], got {list(losses.shape)}")
    return losses


def more(trial: Trial, score: TaskScore, tasks: range, round: int) -> Trial:
    """Return a trial with the losses of more tasks behind those it has."""
    losses = _judge(score, trial.settings, tasks)
    return Trial(trial.settings, torch.cat([trial.losses.to(losses), losses]), round)
