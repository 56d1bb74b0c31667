"""What noise buys: epsilon of a training run by opacus's accountant, and of one Gaussian release exactly."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from statistics import NormalDist

from metalearn._given import at_least_one

DELTA = 1e-5


def epsilon(noise_multiplier: float, sample_rate: float, n_steps: int, delta: float = DELTA) -> float:
    r"""Return :math:`\epsilon` of so many steps that each add Gaussian noise to a Poisson sample of clipped terms.

    Two data sets are neighbours if one has a task more than the other. Rényi differential privacy bounds each step,
    the bounds add up over steps, and the sum is converted to :math:`(\epsilon, \delta)`.

    Args:
        noise_multiplier: Standard deviation of the noise in units of the clip norm, at least 0; 0: no privacy.
        sample_rate: Probability with which each task takes part in a step, in (0, 1].
        n_steps: Number of steps.
        delta: Of the guarantee, in (0, 1).

    Raises:
        ValueError: If a number is out of its range.
        ImportError: If opacus is not installed.

    Reference:
        Mironov, Talwar, Zhang: Rényi Differential Privacy of the Sampled Gaussian Mechanism, 2019, arXiv 1908.10530.

    Taught in:
        Trust.

    Example:
        >>> from metalearn.privacy import epsilon
        >>> round(epsilon(1.0, 0.125, 40, 1e-5), 3)  # dp-accounting: 6.594
        6.589
    """
    at_least_one(n_steps=n_steps)
    if not noise_multiplier >= 0 or not 0 < sample_rate <= 1:
        raise ValueError(
            f"expected noise_multiplier >= 0 and sample_rate in (0, 1], got {noise_multiplier} and {sample_rate}"
        )
    _check_delta(delta)
    if noise_multiplier == 0:
        return math.inf
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the orders that it tried, the best one was the first or the last
        try:
            from opacus.accountants import RDPAccountant  # type: ignore[import-untyped, unused-ignore]
        except ImportError as err:
            raise ImportError('the accountant comes with opacus: pip install "metalearn-book[chapters]"') from err
        accountant = RDPAccountant()
        accountant.history = [(noise_multiplier, sample_rate, n_steps)]
        return float(accountant.get_epsilon(delta))


def noise_for(target: float, sample_rate: float, n_steps: int, delta: float = DELTA) -> float:
    """Return the least noise multiplier whose :func:`epsilon` is at most ``target``, to four digits.

    Args:
        target: The epsilon that is allowed, above 0.
        sample_rate: As in :func:`epsilon`.
        n_steps: As there.
        delta: As there.

    Raises:
        ValueError: If a number is out of its range, or a noise multiplier of 1000 is too little.
        ImportError: If opacus is not installed.

    Example:
        >>> from metalearn.privacy import noise_for
        >>> round(noise_for(6.589, 0.125, 40), 3)
        1.0
    """
    return _least(lambda noise: epsilon(noise, sample_rate, n_steps, delta), target)


def gaussian_delta(epsilon: float, noise_multiplier: float) -> float:
    r"""Return the least :math:`\delta` at which one Gaussian release is :math:`(\epsilon, \delta)`-private, exactly.

    With :math:`s` the noise multiplier it is
    :math:`\Phi(\frac{1}{2s} - \epsilon s) - e^\epsilon \Phi(-\frac{1}{2s} - \epsilon s)`.

    Args:
        epsilon: At least 0.
        noise_multiplier: Standard deviation of the noise over the sensitivity, the most that one change of the data
            moves what is released; above 0.

    Raises:
        ValueError: If a number is out of its range.

    Reference:
        Balle, Wang: Improving the Gaussian Mechanism for Differential Privacy: Analytical Calibration and Optimal
        Denoising, 2018, arXiv 1805.06083.

    Taught in:
        Trust.

    Example:
        >>> from metalearn.privacy import gaussian_delta
        >>> round(gaussian_delta(1.0, 1.0), 4)
        0.1269
    """
    if epsilon < 0 or not noise_multiplier > 0:
        raise ValueError(f"expected epsilon >= 0 and noise_multiplier above 0, got {epsilon} and {noise_multiplier}")
    normal, half, shift = NormalDist(), 1 / (2 * noise_multiplier), epsilon * noise_multiplier
    below = normal.cdf(-half - shift)
    return max(normal.cdf(half - shift) - (math.exp(epsilon) * below if below else 0.0), 0.0)


def gaussian_epsilon(noise_multiplier: float, delta: float = DELTA) -> float:
    """Return the least epsilon of one Gaussian release at a given delta; arguments as of :func:`gaussian_delta`.

    Example:
        >>> from metalearn.privacy import gaussian_delta, gaussian_epsilon
        >>> round(gaussian_epsilon(1.0, gaussian_delta(1.0, 1.0)), 6)
        1.0
    """
    _check_delta(delta)
    if gaussian_delta(0.0, noise_multiplier) <= delta:
        return 0.0
    low, high = 0.0, 1.0
    while gaussian_delta(high, noise_multiplier) > delta:
        low, high = high, 2 * high
        if high > 600:
            return math.inf
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if gaussian_delta(middle, noise_multiplier) > delta else (low, middle)
    return high


def gaussian_noise(target: float, delta: float = DELTA) -> float:
    """Return the least noise multiplier with which one Gaussian release has an epsilon of at most ``target``.

    Example:
        >>> from metalearn.privacy import gaussian_noise
        >>> round(gaussian_noise(1.0, 1e-5), 2)
        3.73
    """
    return _least(lambda noise: gaussian_epsilon(noise, delta), target)


def attack_bound(fpr: float, epsilon: float, delta: float = DELTA) -> float:
    r"""Return the highest true-positive rate that any attack on membership can have at a false-positive rate.

    It is the lower of :math:`e^\epsilon \mathrm{FPR} + \delta` and :math:`1 - e^{-\epsilon}(1 - \delta -
    \mathrm{FPR})`.

    Args:
        fpr: False-positive rate, in [0, 1].
        epsilon: Of the guarantee, at least 0; infinite: none.
        delta: Of the guarantee, in [0, 1].

    Raises:
        ValueError: If a number is out of its range.

    Reference:
        Kairouz, Oh, Viswanath: The Composition Theorem for Differential Privacy, 2015, arXiv 1311.0776.

    Taught in:
        Trust.

    Example:
        >>> from metalearn.privacy import attack_bound
        >>> round(attack_bound(0.01, 1.0, 1e-5), 4)
        0.0272
    """
    if not 0 <= fpr <= 1 or not epsilon >= 0 or not 0 <= delta <= 1:
        raise ValueError(f"expected fpr in [0, 1], delta in [0, 1] and epsilon >= 0, got {fpr}, {delta} and {epsilon}")
    if epsilon > 600:
        return 1.0
    return max(min(math.exp(epsilon) * fpr + delta, 1 - math.exp(-epsilon) * (1 - delta - fpr), 1.0), 0.0)


def _check_delta(delta: float) -> None:
    if not 0 < delta < 1:
        raise ValueError(f"delta must be in (0, 1), got {delta}")


def _least(of_noise: Callable[[float], float], target: float) -> float:
    """Return the least noise multiplier with which a decreasing function is at most ``target``."""
    if not target > 0:
        raise ValueError(f"the target epsilon must be above 0, got {target}")
    low, high = 0.01, 1000.0
    if of_noise(high) > target:
        raise ValueError(f"no noise multiplier up to {high:g} gives an epsilon of {target}: allow more, or fewer steps")
    while high / low > 1.00001:
        middle = math.sqrt(low * high)
        low, high = (middle, high) if of_noise(middle) > target else (low, middle)
    return high
