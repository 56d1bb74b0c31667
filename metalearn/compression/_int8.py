"""Weights in one byte each."""

from __future__ import annotations

from copy import deepcopy

import torch
from torch import Tensor

from metalearn._layers import layers
from metalearn.compression._size import Compressed, check_layers, stored_bytes
from metalearn.learners._base import Learner

LARGEST = 127  # of an int8 that lies alike on both sides of zero


def to_int8(weight: Tensor) -> tuple[Tensor, Tensor]:
    r"""Round a weight to whole numbers from -127 to 127, each output channel by a scale of its own.

    The scale of a channel is :math:`s = \max_i |w_i| / 127`, the number :math:`q_i = \text{round}(w_i / s)`, so that
    :math:`|w_i - s q_i| \le s / 2`.

    Args:
        weight: Weight ``[n_outputs, ...]`` of a layer.

    Returns:
        Numbers ``[n_outputs, ...]`` of type ``torch.int8``, and scales ``[n_outputs]``.

    Reference:
        Krishnamoorthi: Quantizing deep convolutional networks for efficient inference: A whitepaper, 2018,
        arXiv 1806.08342, sections 2.2 and 3.1.1.

    Example:
        >>> import torch
        >>> from metalearn.compression import to_int8
        >>> to_int8(torch.tensor([[1.0, -0.5], [0.0, 254.0]]))
        (tensor([[127, -64],
                [  0, 127]], dtype=torch.int8), tensor([0.0079, 2.0000]))
    """
    largest = weight.detach().flatten(1).abs().amax(1)
    scales = torch.where(largest > 0, largest / LARGEST, torch.ones_like(largest))
    numbers = (weight.detach() / _beside(scales, weight)).round().clamp(-LARGEST, LARGEST)
    return numbers.to(torch.int8), scales


def from_int8(numbers: Tensor, scales: Tensor) -> Tensor:
    """Return the weight that numbers and scales stand for.

    Args:
        numbers: ``[n_outputs, ...]`` of type ``torch.int8``.
        scales: ``[n_outputs]``.

    Example:
        >>> import torch
        >>> from metalearn.compression import from_int8
        >>> from_int8(torch.tensor([[127, -64]], dtype=torch.int8), torch.tensor([0.5]))
        tensor([[ 63.5000, -32.0000]])
    """
    return numbers.to(scales.dtype) * _beside(scales, numbers)


def quantize(learner: Learner) -> Compressed:
    """Round the weights of all ``nn.Linear`` and ``nn.Conv2d`` layers to int8; the rest stays in floating point.

    The copy holds the rounded weights as floats, so that it adapts and predicts in float as before: its file is
    smaller, its arithmetic is not. Bytes are one for each such weight, and four for each scale and all else.

    Args:
        learner: Any learner; it stays as it is.

    Raises:
        ValueError: If there is no layer, or one is held by a mask.

    Reference:
        As :func:`to_int8`.

    Taught in:
        What learning to learn costs.

    Example:
        >>> from metalearn.compression import quantize, stored_bytes
        >>> from metalearn.learners import MAML
        >>> from metalearn.networks import MLP
        >>> learner = MAML(MLP([40, 40, 1]), inner_lr=0.01)
        >>> stored_bytes(learner), quantize(learner).n_bytes
        (6724, 1968)
    """
    twin, n_bytes = deepcopy(learner), stored_bytes(learner)
    found = layers(twin)
    check_layers(found, learner, "quantise")
    for layer in found.values():
        numbers, scales = to_int8(layer.weight)
        n_bytes += stored_bytes({"numbers": numbers, "scales": scales}) - stored_bytes({"weight": layer.weight})
        with torch.no_grad():
            layer.weight.copy_(from_int8(numbers, scales))
    return Compressed(twin, n_bytes)


def _beside(scales: Tensor, weight: Tensor) -> Tensor:
    return scales.view(-1, *[1] * (weight.ndim - 1))
