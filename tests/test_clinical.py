"""Clinical measures against numbers that can be counted by hand, simulations, and scikit-learn."""

import math

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score, roc_curve

from metalearn.clinical import (
    Interval,
    bootstrap,
    coverage_curve,
    net_benefit,
    paired_sample_size,
    sample_size,
    sensitivity_at,
)
from metalearn.experiments.heart import auroc

RNG = np.random.default_rng


def test_net_benefit_by_hand():
    y, p = [1, 1, 0, 0, 0], [0.9, 0.3, 0.6, 0.2, 0.1]
    # At 0.25 three are acted on: two true, one false, which costs a third; at 0.5 one true, one false, which costs one.
    np.testing.assert_allclose(net_benefit(y, p, [0.25, 0.5]), [2 / 5 - 1 / 5 / 3, 0.0], atol=1e-12)
    everybody = net_benefit(y, np.ones(5), [0.2])
    np.testing.assert_allclose(everybody, 0.4 - 0.6 * 0.25)
    assert net_benefit(y, np.zeros(5), [0.2, 0.7]).tolist() == [0, 0]


def test_true_probabilities_have_the_highest_net_benefit():
    generator = RNG(0)
    p = generator.random(200_000)
    y = (generator.random(200_000) < p).astype(int)
    thresholds = [0.1, 0.3, 0.6]
    for other in (p**2, np.sqrt(p), np.ones_like(p), np.zeros_like(p)):
        assert (net_benefit(y, p, thresholds) > net_benefit(y, other, thresholds)).all()


@pytest.mark.parametrize("specificity", [0.0, 0.5, 0.8, 0.9, 1.0])
def test_sensitivity_is_the_best_point_of_the_roc_curve(specificity):
    generator = RNG(1)
    y = generator.integers(2, size=150)
    score = np.round(generator.normal(size=150) + y, 1)  # with ties
    false, true, _ = roc_curve(y, score, drop_intermediate=False)
    assert sensitivity_at(y, score, specificity) == pytest.approx(true[false <= 1 - specificity + 1e-9].max())


def test_auroc_is_scikit_learns():
    generator = RNG(2)
    y = generator.integers(2, size=80)
    score = np.round(generator.normal(size=80) + y, 1)
    assert auroc(y, score) == pytest.approx(roc_auc_score(y, score))


def test_coverage_curve_with_equal_confidence():
    coverage, accuracy = coverage_curve([0.9, 0.9, 0.5, 0.5], [1, 0, 1, 1])
    assert coverage.tolist() == [0.25, 0.5, 0.75, 1] and accuracy.tolist() == [0.5, 0.5, 0.75, 0.75]


def test_the_bootstrap_finds_the_standard_error():
    x = RNG(0).normal(size=400)
    found = bootstrap(np.mean, x, n_draws=2000)
    half = 1.96 * x.std() / 20
    assert found.value == x.mean()
    assert found.high - found.low == pytest.approx(2 * half, rel=0.08)
    assert bootstrap(np.mean, x, seed=1) != bootstrap(np.mean, x) == bootstrap(np.mean, x)


def test_rows_of_one_patient_stay_together():
    """Ten copies of each patient tell nothing new: the interval must be that of the patients."""
    x = RNG(3).normal(size=50)
    alone = bootstrap(np.mean, x, n_draws=2000)
    copies, patient = np.repeat(x, 10), np.repeat(np.arange(50), 10)
    grouped = bootstrap(np.mean, copies, groups=patient, n_draws=2000)
    naive = bootstrap(np.mean, copies, n_draws=2000)
    assert grouped.low == pytest.approx(alone.low, abs=0.03) and grouped.high == pytest.approx(alone.high, abs=0.03)
    assert naive.high - naive.low < 0.4 * (grouped.high - grouped.low)


def test_differences_are_paired():
    y = RNG(4).integers(2, size=100)
    right = RNG(5).random(100)

    def gain(y, a, b):
        return float(((a > 0.5) == y).mean() - ((b > 0.5) == y).mean())

    assert bootstrap(gain, y, right, right) == Interval(0, 0, 0)


def test_the_sample_size_has_its_power():
    generator, n = RNG(0), sample_size(0.8, 0.92)
    old, new = (generator.binomial(n, p, size=20_000) / n for p in (0.8, 0.92))
    error = np.sqrt((old * (1 - old) + new * (1 - new)) / n)
    assert (np.abs(new - old) / error > 1.96).mean() == pytest.approx(0.8, abs=0.03)


def test_the_paired_sample_size_has_its_power():
    generator, n = RNG(0), paired_sample_size(0.03, 0.15)
    drawn = generator.multinomial(n, [0.03, 0.15, 0.82], size=20_000) / n
    difference = drawn[:, 1] - drawn[:, 0]
    error = np.sqrt((drawn[:, 0] + drawn[:, 1] - difference**2) / n)
    assert (difference / error > 1.96).mean() == pytest.approx(0.8, abs=0.04)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: sensitivity_at([0, 0], [0.1, 0.2]), r"labels 0 \(healthy\) and 1 \(ill\), both present, got \[0\]"),
        (lambda: sensitivity_at([0, 2], [0.1, 0.2]), r"got \[0, 2\]"),
        (lambda: sensitivity_at([0, 1], [0.1]), r"shapes \(2,\) and \(1,\)"),
        (lambda: sensitivity_at([0, 1], [0.1, math.nan]), "1 scores are not finite"),
        (lambda: sensitivity_at([0, 1], [0.1, 0.2], 90), r"a share in \[0, 1\], got 90"),
        (lambda: sensitivity_at([0, 1], [0.1, 0.2], math.nan), r"a share in \[0, 1\], got nan"),
        (lambda: net_benefit([0, 1], [0.1, 1.2], [0.5]), r"probabilities in \[0, 1\], got 0.1 to 1.2"),
        (lambda: net_benefit([0, 1], [0.1, 0.2], [0.0, 0.5]), "thresholds must be above 0 and below 1, got 0 to 0.5"),
        (lambda: net_benefit([0, 1], [0.1, 0.2], [math.nan]), "thresholds must be above 0 and below 1, got nan"),
        (lambda: net_benefit([0, 1], [0.1, 0.2], 0.5), r"expected thresholds \[n_thresholds\], got shape \(\)"),
        (lambda: coverage_curve([0.5], [1, 0]), r"shapes \(1,\) and \(2,\)"),
        (lambda: bootstrap(np.mean, [1, 2], groups=[1]), r"got \[2\] and 1"),
        (lambda: bootstrap(np.mean, [1, 2], n_draws=0), "n_draws must be at least 1, got 0"),
        (lambda: bootstrap(np.mean, []), "at least one column of at least one row"),
        (lambda: bootstrap(np.mean), "at least one column of at least one row"),
        (lambda: bootstrap(roc_auc_score, [0, 0, 0], [1, 2, 3]), "0 of 1000 resamples only: too few patients"),
        (lambda: sample_size(0.5, 0.5), "got 0.5 twice"),
        (lambda: sample_size(0.0, 0.5), "p_old must be above 0 and below 1, got 0.0"),
        (lambda: paired_sample_size(0.6, 0.5), "a sum of at most 1|sum to at most 1"),
    ],
)
@pytest.mark.filterwarnings("ignore:Only one class")
def test_errors(call, message):
    with pytest.raises(ValueError, match=message):
        call()
