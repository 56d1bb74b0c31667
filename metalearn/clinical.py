"""What a diagnosis is judged by, beside scikit-learn's measures: decisions, intervals over patients, sample sizes."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from statistics import NormalDist
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from metalearn._given import at_least_one

Numbers = npt.NDArray[Any]


class Interval(NamedTuple):
    """A number with a 95 % interval.

    Attributes:
        value: Of the patients at hand.
        low: Lower end.
        high: Upper end.

    Example:
        >>> from metalearn.clinical import Interval
        >>> f"{Interval(0.8, 0.7, 0.9):.2f}"
        '0.80 (0.70 to 0.90)'
    """

    value: float
    low: float
    high: float

    def __format__(self, spec: str) -> str:
        """Return value and ends, each with the format given."""
        return f"{self.value:{spec}} ({self.low:{spec}} to {self.high:{spec}})"


def sensitivity_at(y: Any, score: Any, specificity: float = 0.9) -> float:
    """Return the highest sensitivity that a threshold on the score reaches with at least the given specificity.

    Args:
        y: 1 for the ill, 0 for the healthy ``[n]``.
        score: Higher for those called ill ``[n]``.
        specificity: Share of the healthy that must be called healthy, in [0, 1].

    Raises:
        ValueError: If labels are not 0 and 1 with both present, lengths differ, a score is not finite, or the
            specificity is no share.

    Example:
        >>> from metalearn.clinical import sensitivity_at
        >>> sensitivity_at([0, 0, 0, 0, 1, 1], [0.1, 0.2, 0.3, 0.8, 0.5, 0.9], specificity=0.75)
        1.0
    """
    y, score = _checked(y, score)
    if not 0 <= specificity <= 1:
        raise ValueError(f"specificity must be a share in [0, 1], got {specificity}")
    healthy = np.sort(score[y == 0])
    allowed = math.floor(len(healthy) * (1 - specificity) + 1e-9)  # so many of the healthy may be called ill
    bound = -math.inf if allowed >= len(healthy) else healthy[len(healthy) - 1 - allowed]
    return float((score[y == 1] > bound).mean())


def net_benefit(y: Any, probability: Any, thresholds: Any) -> Any:
    """Return the net benefit of acting on all patients whose predicted probability reaches a threshold.

    It is the share of true positives, less the share of false positives weighted by the odds of the threshold: of two
    models, the one with the higher value is worth more to somebody for whom a missed case weighs as much as
    ``(1 - t) / t`` needless actions. A model that acts on nobody has 0.

    Args:
        y: 1 for the ill, 0 for the healthy ``[n]``.
        probability: Predicted probabilities ``[n]``; ones for "act on everybody".
        thresholds: Each above 0 and below 1 ``[n_thresholds]``.

    Returns:
        Net benefits ``[n_thresholds]``, in true positives a patient.

    Raises:
        ValueError: If labels are not 0 and 1, lengths differ, or a number is out of its range.

    Reference:
        Vickers, Elkin: Decision Curve Analysis: A Novel Method for Evaluating Prediction Models, 2006,
        doi 10.1177/0272989X06295361.

    Example:
        >>> from metalearn.clinical import net_benefit
        >>> net_benefit([1, 1, 0, 0], [0.9, 0.6, 0.6, 0.1], [0.5]).tolist()
        [0.25]
    """
    y, probability = _checked(y, probability, both=False)
    t = np.asarray(thresholds, dtype=float)
    if t.ndim != 1:
        raise ValueError(f"expected thresholds [n_thresholds], got shape {t.shape}")
    if not ((t > 0) & (t < 1)).all():
        raise ValueError(f"thresholds must be above 0 and below 1, got {t.min():g} to {t.max():g}")
    if probability.min() < 0 or probability.max() > 1:
        raise ValueError(f"expected probabilities in [0, 1], got {probability.min():g} to {probability.max():g}")
    acts = probability >= t[:, None]  # [n_thresholds, n]
    true, false = (acts & (y == 1)).mean(1), (acts & (y == 0)).mean(1)
    result: Numbers = true - false * t / (1 - t)
    return result


def coverage_curve(confidence: Any, right: Any) -> tuple[Any, Any]:
    """Return which accuracy is reached if only the most confident answers are given, and the others left to a human.

    Args:
        confidence: Of each answer ``[n]``.
        right: Whether it is right ``[n]``.

    Returns:
        Share of the answers that are given, rising to 1 ``[n]``, and the share of them that is right ``[n]``. Answers
        of equal confidence are given together: there the accuracy is that of all of them.

    Example:
        >>> from metalearn.clinical import coverage_curve
        >>> coverage, accuracy = coverage_curve([0.9, 0.6, 0.8, 0.7], [1, 0, 1, 1])
        >>> coverage.tolist(), accuracy.tolist()
        ([0.25, 0.5, 0.75, 1.0], [1.0, 1.0, 1.0, 0.75])
    """
    confidence, right = np.asarray(confidence, dtype=float), np.asarray(right, dtype=float)
    if confidence.shape != right.shape or confidence.ndim != 1 or not len(right):
        raise ValueError(f"expected confidence and right [n], got shapes {confidence.shape} and {right.shape}")
    order = np.argsort(-confidence, kind="stable")
    n = np.arange(1, len(right) + 1)
    last = np.searchsorted(-confidence[order], -confidence[order], side="right")  # of the answers as confident
    accuracy: Numbers = np.cumsum(right[order])[last - 1] / last
    return n / len(right), accuracy


def bootstrap(
    measure: Callable[..., float],
    *columns: Any,
    groups: Any = None,
    n_draws: int = 1000,
    seed: int = 0,
) -> Interval:
    """Return a measure with its 95 % interval over patients: the percentiles of resamples with replacement.

    Differences between models are a measure, too: give both columns of predictions, and let the measure subtract.

    Args:
        measure: ``measure(*columns) -> float``. Resamples for which it raises ``ValueError`` or is not finite, since
            they have no ill patient, say, are left out.
        *columns: One entry for each row ``[n, ...]``: labels, predictions.
        groups: Whose row it is ``[n]``: all rows of a patient (a slide, a hospital) are drawn together; ``None``: each
            row is a patient of its own.
        n_draws: Number of resamples.
        seed: Of the resamples.

    Raises:
        ValueError: If lengths differ, there is no row or no draw, or fewer than half of the resamples have a value.

    Reference:
        Efron: Bootstrap Methods: Another Look at the Jackknife, 1979, doi 10.1214/aos/1176344552.

    Example:
        >>> import numpy as np
        >>> from metalearn.clinical import bootstrap
        >>> result = bootstrap(np.mean, np.arange(100) % 2)
        >>> result.value, 0.35 < result.low < 0.45, 0.55 < result.high < 0.65
        (0.5, True, True)
    """
    at_least_one(n_draws=n_draws)
    arrays = [np.asarray(column) for column in columns]
    if not arrays or not len(arrays[0]):
        raise ValueError("expected at least one column of at least one row, got none")
    rows = np.arange(len(arrays[0]))
    ids = rows if groups is None else np.unique(np.asarray(groups), return_inverse=True)[1]
    if {len(array) for array in arrays} != {len(ids)}:
        raise ValueError(f"expected columns and groups of one length, got {[len(a) for a in arrays]} and {len(ids)}")
    members = np.split(np.argsort(ids, kind="stable"), np.cumsum(np.bincount(ids))[:-1])
    generator, values = np.random.default_rng(seed), []
    for _ in range(n_draws):
        drawn = generator.integers(len(members), size=len(members))
        index = drawn if groups is None else np.concatenate([members[i] for i in drawn])
        try:
            values.append(float(measure(*(array[index] for array in arrays))))
        except ValueError:
            continue
    found = np.array([value for value in values if math.isfinite(value)])
    if 2 * len(found) < n_draws:
        raise ValueError(f"the measure has a value for {len(found)} of {n_draws} resamples only: too few patients")
    low, high = np.quantile(found, [0.025, 0.975])
    return Interval(float(measure(*arrays)), float(low), float(high))


def sample_size(p_old: float, p_new: float, *, power: float = 0.8, level: float = 0.05) -> int:
    """Return how many patients each arm of a trial needs to tell two proportions apart.

    Args:
        p_old: Proportion under the old way, above 0 and below 1.
        p_new: Proportion under the new one.
        power: Probability of finding the difference where it is there.
        level: Probability of finding one where there is none (two-sided).

    Raises:
        ValueError: If a number is no probability, or the proportions are equal.

    Example:
        >>> from metalearn.clinical import sample_size
        >>> sample_size(0.8, 0.92)
        128
    """
    values = {"p_old": p_old, "p_new": p_new, "power": power, "level": level}
    for name, value in values.items():
        if not 0 < value < 1:
            raise ValueError(f"{name} must be above 0 and below 1, got {value}")
    if p_old == p_new:
        raise ValueError(f"two equal proportions cannot be told apart, got {p_old} twice")
    spread = p_old * (1 - p_old) + p_new * (1 - p_new)
    n = (_quantiles(power, level) / (p_new - p_old)) ** 2 * spread
    return math.ceil(n)


def paired_sample_size(only_old: float, only_new: float, *, power: float = 0.8, level: float = 0.05) -> int:
    """Return how many patients a study needs in which both ways judge every patient (McNemar's test).

    Args:
        only_old: Share of patients whom only the old way gets right.
        only_new: Share of patients whom only the new way gets right.
        power: As in :func:`sample_size`.
        level: As in :func:`sample_size`.

    Raises:
        ValueError: If the shares are negative, equal, or sum to more than 1.

    Example:
        >>> from metalearn.clinical import paired_sample_size
        >>> paired_sample_size(0.03, 0.15)
        91
    """
    if min(only_old, only_new) < 0 or only_old + only_new > 1 or only_old == only_new:
        raise ValueError(
            f"expected two different shares of at least 0 that sum to at most 1, got {only_old}, {only_new}"
        )
    difference = only_new - only_old
    variance = only_old + only_new - difference**2  # of the difference in one patient: 1, 0 or -1
    return math.ceil((_quantiles(power, level) / difference) ** 2 * variance)


def _quantiles(power: float, level: float) -> float:
    return NormalDist().inv_cdf(1 - level / 2) + NormalDist().inv_cdf(power)


def _checked(y: Any, score: Any, both: bool = True) -> tuple[Numbers, Numbers]:
    y, score = np.asarray(y), np.asarray(score, dtype=float)
    if y.shape != score.shape or y.ndim != 1 or not len(y):
        raise ValueError(f"expected labels and scores [n], got shapes {y.shape} and {score.shape}")
    there: Sequence[Any] = sorted(set(y.tolist()))
    if not set(there) <= {0, 1} or (both and len(there) < 2):
        raise ValueError(f"expected labels 0 (healthy) and 1 (ill), both present, got {there[:5]}")
    if not np.isfinite(score).all():
        raise ValueError(f"{(~np.isfinite(score)).sum()} scores are not finite")
    return y, score
