"""What learned update rules share: each weight is a row of one batch, so that one small network serves all weights."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def log_and_sign(values: Tensor, p: float = 10.0) -> Tensor:
    r"""Return two numbers of moderate size for each value, ``[...] -> [..., 2]``, however large or small it is.

    Where :math:`|x| \ge e^{-p}` these are :math:`\log|x| / p` and the sign, else -1 and :math:`e^p x`.

    Reference:
        Andrychowicz, Denil, Gomez, Hoffman, Pfau, Schaul, Shillingford, de Freitas: Learning to learn by gradient
        descent by gradient descent, 2016, arXiv 1606.04474, appendix A.

    Example:
        >>> import torch
        >>> from metalearn.learners._preprocessing import log_and_sign
        >>> log_and_sign(torch.tensor([-1.0, 0.0]))
        tensor([[ 0., -1.],
                [-1.,  0.]])
    """
    threshold = math.exp(-p)
    large = values.abs() >= threshold
    size = torch.where(large, values.abs(), threshold)  # no logarithm of zero, in the gradient either
    small = torch.where(large, threshold, values)
    return torch.stack([size.log() / p, torch.where(large, values.sign(), small / threshold)], -1)


def root(square: Tensor) -> Tensor:
    """Return the square root; its derivative at 0 is 0, so that a weight without a gradient gives no NaN.

    Example:
        >>> import torch
        >>> from metalearn.learners._preprocessing import root
        >>> square = torch.tensor([0.0, 4.0], requires_grad=True)
        >>> torch.autograd.grad(root(square).sum(), square)
        (tensor([0.0000, 0.2500]),)
    """
    zero = square == 0
    return square.masked_fill(zero, 1.0).sqrt().masked_fill(zero, 0.0)
