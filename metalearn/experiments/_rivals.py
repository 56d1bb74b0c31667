"""Learners against what one would have done without them: who enters, and by how much it is better."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from metalearn.evaluation import Score
from metalearn.experiments._record import Record


@dataclass(frozen=True)
class Gain:
    """By how much a method is better than another on the same tasks.

    Args:
        score: The gain over tasks, with its 95 % interval; above zero is better.
        unit: ``"points"`` of accuracy, or ``"%"`` of the other's mean error or reward.

    Example:
        >>> from metalearn import experiments
        >>> print(experiments.gain(experiments.load("natural"), "Prototypical", "Transfer", "5-way 5-shot"))
        -2.8 ± 0.5 points
    """

    score: Score
    unit: str

    @property
    def verdict(self) -> str:
        """On which side of zero the interval lies: ``"better"``, ``"worse"``, ``"level"``; ``"undefined"`` without one.

        Example:
            >>> from metalearn import experiments
            >>> experiments.gain(experiments.load("natural"), "Prototypical", "Transfer", "5-way 5-shot").verdict
            'worse'
        """
        mean, half = self.score.mean, self.score.ci95
        if not (math.isfinite(mean) and math.isfinite(half)):
            return "undefined"
        return "better" if mean > half else "worse" if mean < -half else "level"

    def __str__(self) -> str:
        """Print mean, interval and unit."""
        return "undefined" if self.verdict == "undefined" else f"{self.score:.1f} {self.unit}"


def gain(record: Record, method: str, rival: str, test: str | None = None, seed: int | None = None) -> Gain:
    r"""Return by how much a method is better than another, task by task.

    Where tasks are scored by accuracy the gain is a difference, in points. Otherwise it is a share of the rival's mean,
    in percent: :math:`1 - r` for errors, with the ratio of means :math:`r = \bar m / \bar m'`. Its interval is to first
    order that of the mean of :math:`(m_i - r\, m'_i) / \bar m'`. Both are taken at the largest number of inner steps of
    the test. Where one of them diverged on a task there is no mean, and the gain is ``"undefined"``.

    Args:
        record: A recorded study.
        method: Label of the method.
        rival: Label of the other.
        test: Name of the test; ``None``: the first.
        seed: Training of the method; ``None``: means over all trainings. Of the rival it is always the mean.

    Raises:
        ValueError: If one of the two was not made or not tested so, or not on as many tasks, or if a share is asked of
            a rival whose mean is zero.

    Example:
        >>> from metalearn import experiments
        >>> print(experiments.gain(experiments.load("ratings"), "MeLU", "fold-in", "5 ratings"))
        -5.2 ± 0.9 %
    """
    ours = record.over_seeds(method, test) if seed is None else record.score(method, test, seed=seed)
    theirs = record.over_seeds(rival, test)
    if ours.n_tasks != theirs.n_tasks:
        raise ValueError(
            f"expected two methods tested on the same tasks, got {ours.n_tasks} of {method!r} and {theirs.n_tasks} of"
            f" {rival!r}: test both again"
        )
    values, others = ours.per_task.double(), theirs.per_task.double()
    if "n_answers" in record.row(method, test, seed=record.parts(method, seed)[0]["seed"]):
        return Gain(Score.of(100 * (values - others)), "points")
    if theirs.mean == 0:
        raise ValueError(f"the mean of {rival!r} is 0, so there is no share of it: compare with Score.above")
    ratio, sign = ours.mean / theirs.mean, 1 if ours.higher_is_better else -1
    moves = values - ratio * others + ours.mean - theirs.mean
    return Gain(Score.of(100 * sign * moves / abs(theirs.mean)), "%")


def finalists(record: Record, begins: str | tuple[str, ...] = "", *, without: str = "") -> dict[str, list[str]]:
    """Return, for each test that validation was like, the learners trained on tasks, the best validated first.

    Best is the highest (for errors the lowest) validation of a training, averaged over trainings; of errors, validation
    is the median over tasks. Nothing that was measured on test tasks is looked at. Learners with a training that was
    never validated, such as one that diverged before, are left out.

    Args:
        record: A recorded study.
        begins: How labels begin that may enter; ``""``: all.
        without: A label that may not enter, such as the rival's.

    Returns:
        Labels by the name of the test.

    Example:
        >>> from metalearn import experiments
        >>> experiments.finalists(experiments.load("natural"))
        {'5-way 5-shot': ['Prototypical', 'HyperNetwork', 'MAML']}
    """
    found: dict[str, dict[str, float]] = {}
    for label, method in record.methods.items():
        if "n_tasks" not in method.get("episodes", {}) or not label.startswith(begins) or label == without:
            continue
        test = method["fit"].get("validate_on") or next(iter(record.tests))
        peaks = [_peak(record, label, test, part["seed"]) for part in record.parts(label)]
        if peaks and all(map(math.isfinite, peaks)):
            found.setdefault(test, {})[label] = sum(peaks) / len(peaks)
    return {test: sorted(peaks, key=peaks.__getitem__, reverse=True) for test, peaks in found.items()}


def _peak(record: Record, label: str, test: str, seed: int) -> float:
    """Return the best validation of a training, so that higher is better; minus infinity where there was none."""
    means = torch.tensor(record.curve(label, seed)[1])
    sign = 1 if record.score(label, test, seed=seed).higher_is_better else -1
    return (sign * means).nan_to_num(-math.inf).max().item() if len(means) else -math.inf
