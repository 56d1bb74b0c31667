"""Layers as products of two thinner ones."""

from __future__ import annotations

import torch
from torch import nn

from metalearn._layers import Layer, layers, replaced, two_layers
from metalearn.compression._size import Compressed, check_layers, stored_bytes
from metalearn.learners._base import Learner


def factorise(learner: Learner, share: float, *, hold: bool = True) -> Compressed:
    r"""Replace each ``nn.Linear`` and ``nn.Conv2d`` layer by two thinner ones, the best of their rank.

    The weight is a matrix :math:`W = U \Sigma V^\top`, of outputs by inputs (of a convolution: inputs times kernel).
    With the largest :math:`r` singular values the first layer is :math:`\Sigma_r^{1/2} V_r^\top`, the second
    :math:`U_r \Sigma_r^{1/2}`. No matrix of this rank is nearer to :math:`W` (Eckart and Young). A layer that would
    not become smaller stays as it is.

    Args:
        learner: Any learner; it stays as it is.
        share: The rank that each layer keeps, as a share of its full rank, in (0, 1]; at least rank 1.
        hold: Whether the copy keeps the two layers, which are then what adapts, so that the rank stays. Without it
            they are multiplied out when the file is read: the learner adapts as before, from a start of low rank.

    Raises:
        ValueError: If the share is out of range, there is no layer, one is held by a mask, or a convolution is in
                groups.

    Reference:
        Denton, Zaremba, Bruna, LeCun, Fergus: Exploiting Linear Structure Within Convolutional Networks for Efficient
        Evaluation, 2014, arXiv 1404.0736, section 3.

    Differs from the paper:
        One truncated decomposition of the flattened kernel; the paper has several, and clusters of filters.

    Taught in:
        What learning to learn costs.

    Example:
        >>> from metalearn.compression import factorise, stored_bytes
        >>> from metalearn.learners import MAML
        >>> from metalearn.networks import MLP
        >>> learner = MAML(MLP([40, 40, 1]), inner_lr=0.01)
        >>> stored_bytes(learner), factorise(learner, 0.25).n_bytes  # the last layer stays as it is
        (6724, 3524)
    """
    if not 0 < share <= 1:
        raise ValueError(f"share must lie in (0, 1], got {share}")
    check_layers(layers(learner), learner, "factorise")
    thin = replaced(learner, lambda _, layer: _factors(layer, share))
    return Compressed(thin if hold else replaced(learner, lambda _, layer: _product(layer, share)), stored_bytes(thin))


@torch.no_grad()
def _factors(layer: Layer, share: float) -> nn.Module:
    matrix = layer.weight.flatten(1)  # [n_outputs, n_inputs]
    rank = max(1, round(share * min(matrix.shape)))
    if rank * sum(matrix.shape) >= matrix.numel():
        return layer
    first, second = two_layers(layer, rank)
    u, s, v = torch.linalg.svd(matrix, full_matrices=False)
    root = s[:rank].sqrt()
    first.weight.copy_((root[:, None] * v[:rank]).view_as(first.weight))
    second.weight.copy_((u[:, :rank] * root).view_as(second.weight))
    second.bias = layer.bias
    return nn.Sequential(first, second)


@torch.no_grad()
def _product(layer: Layer, share: float) -> Layer:
    factors = _factors(layer, share)
    if isinstance(factors, nn.Sequential):
        first, second = layers(factors).values()
        layer.weight.copy_((second.weight.flatten(1) @ first.weight.flatten(1)).view_as(layer.weight))
    return layer
