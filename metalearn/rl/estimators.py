"""Surrogates of the return whose derivatives estimate its derivatives, the second ones rightly or not."""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor

Estimator = Literal["naive", "lvc", "dice"]


def magic_box(log_probs: Tensor) -> Tensor:
    r"""Return 1 for each entry, with the derivatives of :math:`\exp(x - \bot(x))`, where :math:`\bot` stops gradients.

    Example:
        >>> import torch
        >>> from metalearn.rl import magic_box
        >>> x = torch.tensor(0.7, requires_grad=True)
        >>> y = magic_box(x)
        >>> (slope,) = torch.autograd.grad(y, x, create_graph=True)
        >>> y.item(), slope.item(), torch.autograd.grad(slope, x)[0].item()
        (1.0, 1.0, 1.0)
    """
    return (log_probs - log_probs.detach()).exp()


def surrogate(
    log_probs: Tensor,
    advantages: Tensor,
    mask: Tensor,
    estimator: Estimator = "dice",
    *,
    old_log_probs: Tensor | None = None,
) -> Tensor:
    r"""Return the contribution of each step to a surrogate of the return, of which means or sums are to be taken.

    All three have the same first derivative at the parameters that acted, the policy gradient
    :math:`\sum_t \nabla\log\pi(a_t)\, A_t`. With :math:`\square` of :func:`magic_box` they are

    - ``"naive"``: :math:`\sum_t \log\pi(a_t)\, A_t`. Its second derivative lacks how the parameters change which
      actions are taken: all products of two first derivatives are missing.
    - ``"lvc"``: :math:`\sum_t \square(\log\pi(a_t))\, A_t`, the low-variance curvature. It has the products within a
      step and lacks those of an earlier step with a later one.
    - ``"dice"``: :math:`\sum_t [\square(\sum_{k \le t}\log\pi(a_k)) - \square(\sum_{k < t}\log\pi(a_k))]\, A_t`, loaded
      DiCE: all derivatives are unbiased where the advantage is the (undiscounted) reward to come less a function of the
      observation.

    Args:
        log_probs: Log-probability of each action under the parameters ``[..., horizon]``.
        advantages: Advantage of each action, a constant ``[..., horizon]``.
        mask: 1 for the steps that count, 0 after the end of an episode ``[..., horizon]``.
        estimator: Which of the three.
        old_log_probs: Log-probabilities under the parameters that acted, where these are others: the ratio to them
            replaces the magic box. ``"naive"`` does not use them.

    Returns:
        ``[..., horizon]``, 0 where the mask is.

    Raises:
        ValueError: If the estimator is unknown.

    Reference:
        DiCE: Foerster, Farquhar, Al-Shedivat, Rocktäschel, Xing, Whiteson: DiCE: The Infinitely Differentiable Monte
        Carlo Estimator, 2018, arXiv 1802.05098. Loaded DiCE: Farquhar, Whiteson, Foerster: Loaded DiCE: Trading off
        Bias and Variance in Any-Order Score Function Estimators for Reinforcement Learning, 2019, arXiv 1909.10549. The
        low-variance curvature: Rothfuss, Lee, Clavera, Asfour, Abbeel: ProMP: Proximal Meta-Policy Search, 2018, arXiv
        1810.06784, section 5.

    Taught in:
        Meta-reinforcement learning.

    Example:
        >>> import torch
        >>> from metalearn.rl import surrogate
        >>> log_probs = torch.tensor([-0.5, -1.0], requires_grad=True)
        >>> kept = torch.ones(2)
        >>> for name in ("naive", "lvc", "dice"):
        ...     value = surrogate(log_probs, torch.tensor([2.0, 1.0]), kept, name).sum()
        ...     print(torch.autograd.grad(value, log_probs)[0])
        tensor([2., 1.])
        tensor([2., 1.])
        tensor([2., 1.])
    """
    if estimator not in get_args(Estimator):
        raise ValueError(f"estimator must be one of {list(get_args(Estimator))}, got {estimator!r}")
    if estimator == "naive":
        return log_probs * advantages * mask
    old = log_probs.detach() if old_log_probs is None else old_log_probs
    gap = (log_probs - old) * mask
    if estimator == "lvc":
        return gap.exp() * advantages * mask
    until = gap.cumsum(-1)
    before = torch.cat([torch.zeros_like(until[..., :1]), until[..., :-1]], -1)
    return (until.exp() - before.exp()) * advantages * mask
