"""The variance of evolution strategies' gradient, in closed form for quadratic functions."""

from __future__ import annotations

from typing import get_args

from torch import Tensor

from metalearn._given import at_least_one
from metalearn.evolution.estimate import Kind


def es_variance(
    gradient: Tensor, n_pairs: int, kind: Kind = "gaussian", *, noise: float = 0.0, sigma: float = 1.0
) -> float:
    r"""Return the total variance :math:`\mathbb{E}\lVert\hat g - g\rVert^2` of antithetic pairs, exact for quadratics.

    With d parameters and n pairs: :math:`(d+1)\lVert g\rVert^2/n` for Gaussian perturbations,
    :math:`(d-1)\lVert g\rVert^2/n` for signs, :math:`(d/n-1)\lVert g\rVert^2` for orthogonal ones; noise of variance
    :math:`s^2` in each evaluation adds :math:`d s^2/(2\sigma^2 n)`.

    Args:
        gradient: The true gradient ``[n_params]``.
        n_pairs: Number of pairs.
        kind: Of the perturbations.
        noise: Standard deviation of one evaluation's own noise, independent of all others.
        sigma: Standard deviation of the perturbed parameters; it matters with noise only.

    Raises:
        ValueError: If a number is out of its range, or the kind is unknown.

    Taught in:
        Trial and error, and evolution.

    Example:
        >>> import torch
        >>> from metalearn.evolution import es_variance
        >>> [es_variance(torch.tensor([3.0, 4.0]), 2, kind) for kind in ("gaussian", "signs", "orthogonal")]
        [37.5, 12.5, 0.0]
    """
    at_least_one(n_pairs=n_pairs)
    if kind not in get_args(Kind):
        raise ValueError(f"kind must be one of {list(get_args(Kind))}, got {kind!r}")
    d = gradient.numel()
    if kind == "orthogonal" and n_pairs > d:
        raise ValueError(f"there are {d} orthogonal directions at most (n_params), got n_pairs={n_pairs}")
    if noise < 0 or not sigma > 0:
        raise ValueError(f"noise must be at least 0 and sigma above 0, got noise={noise}, sigma={sigma}")
    factor = {"gaussian": (d + 1) / n_pairs, "signs": (d - 1) / n_pairs, "orthogonal": d / n_pairs - 1}[kind]
    return factor * gradient.square().sum().item() + d * noise**2 / (2 * sigma**2 * n_pairs)


def es_variance_one_sided(value: float, gradient: Tensor, hessian: Tensor, n: int, sigma: float) -> float:
    r"""Return the total variance of :math:`\frac1n\sum_i f(\theta+\sigma\epsilon_i)\,\epsilon_i/\sigma`.

    The perturbations are Gaussian; it is exact for quadratics:
    :math:`[f^2 d/\sigma^2 + (d+1)\lVert g\rVert^2 + f(d+2)\operatorname{tr}H +
    \frac{\sigma^2}{4}(d+4)(2\operatorname{tr}H^2 + (\operatorname{tr}H)^2)]/n`. Where the function's value f is
    subtracted from each loss as a baseline, set ``value=0``.

    Args:
        value: f at the parameters.
        gradient: g there ``[n_params]``.
        hessian: H ``[n_params, n_params]``, symmetric.
        n: Number of draws, each of one evaluation.
        sigma: Standard deviation of the perturbed parameters, above 0.

    Raises:
        ValueError: If a number is out of its range, or the shapes do not fit.

    Taught in:
        Trial and error, and evolution.

    Example:
        >>> import torch
        >>> from metalearn.evolution import es_variance_one_sided
        >>> flat = torch.zeros(2, 2)
        >>> [es_variance_one_sided(value, torch.tensor([3.0, 4.0]), flat, 2, 0.1) for value in (0.0, 1.0)]
        [37.5, 137.5]
    """
    at_least_one(n=n)
    d = gradient.numel()
    if list(hessian.shape) != [d, d] or not sigma > 0:
        raise ValueError(f"expected hessian [{d}, {d}] and sigma above 0, got {list(hessian.shape)} and {sigma}")
    trace, square = hessian.trace().item(), hessian.square().sum().item()
    total = value**2 * d / sigma**2 + (d + 1) * gradient.square().sum().item() + value * (d + 2) * trace
    return (total + sigma**2 / 4 * (d + 4) * (2 * square + trace**2)) / n
