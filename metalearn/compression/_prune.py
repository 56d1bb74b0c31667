"""Pruning by magnitude, with masks that hold while the learner adapts."""

from __future__ import annotations

import math
from collections.abc import Mapping
from copy import deepcopy

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import register_parametrization

from metalearn._layers import layers
from metalearn.compression._size import Compressed, check_layers, stored_bytes
from metalearn.learners._base import Learner


class Mask(nn.Module):
    """Multiply a weight by a mask of zeros and ones, so that its gradient is masked too."""

    mask: Tensor

    def __init__(self, mask: Tensor) -> None:
        super().__init__()
        self.register_buffer("mask", mask)

    def forward(self, weight: Tensor) -> Tensor:
        """Return the weight with zeros where the mask has them."""
        return weight * self.mask


def prune(learner: Learner, share: float, *, hold: bool = True, each_layer: bool = False) -> Compressed:
    """Set the smallest weights of all ``nn.Linear`` and ``nn.Conv2d`` layers to zero.

    The sizes of weights are compared over all layers, or within each; biases and normalisation stay. Bytes are those of
    a file that holds a bit for each weight, which says whether it is there, and four bytes for each that is.

    Args:
        learner: Any learner; it stays as it is.
        share: Share of the weights that go, in [0, 1).
        hold: Whether zeros stay zeros when the learner adapts or trains: each pruned layer then multiplies its weight
            by a mask (``torch.nn.utils.parametrize``), and the weight's name gets longer. Without it, the first
            inner step gives most of them a value again.
        each_layer: Whether each layer loses the same share, in place of the smallest weights of all layers.

    Raises:
        ValueError: If the share is out of range, there is no layer, or one is held by a mask already.

    Reference:
        Han, Pool, Tran, Dally: Learning both Weights and Connections for Efficient Neural Networks, 2015,
        arXiv 1506.02626, section 3.

    Differs from the paper:
        One threshold for all layers unless ``each_layer`` is set, and then one by the share, not by the layer's
        standard deviation; no training after pruning.

    Taught in:
        What learning to learn costs.

    Example:
        >>> import torch
        >>> from metalearn.compression import prune, sparsity
        >>> from metalearn.learners import MAML
        >>> from metalearn.networks import MLP
        >>> learner = MAML(MLP([1, 40, 1]), inner_lr=0.01, loss_fn=torch.nn.functional.mse_loss)
        >>> sparsity(prune(learner, 0.75).learner)
        0.75
    """
    if not 0 <= share < 1:
        raise ValueError(f"share must lie in [0, 1), got {share}")
    twin = deepcopy(learner)
    found = layers(twin)
    check_layers(found, learner, "prune")
    sizes = [layer.weight.detach().abs().flatten() for layer in found.values()]
    n_weights = sum(map(len, sizes))
    if each_layer:
        masks = [_largest(part, share) for part in sizes]
    else:
        masks = list(torch.split(_largest(torch.cat(sizes), share), [len(part) for part in sizes]))
    for layer, mask in zip(found.values(), masks, strict=True):
        shaped = mask.view_as(layer.weight).to(layer.weight.dtype)
        with torch.no_grad():
            layer.weight.mul_(shaped)
        if hold:
            register_parametrization(layer, "weight", Mask(shaped))
    n_gone = n_weights - sum(int(mask.sum()) for mask in masks)
    n_bytes = stored_bytes(learner) - n_gone * sizes[0].element_size() + math.ceil(n_weights / 8)
    return Compressed(twin, n_bytes)


def _largest(sizes: Tensor, share: float) -> Tensor:
    """Return which of the sizes are left when a share of the smallest goes."""
    kept = torch.ones_like(sizes, dtype=torch.bool)
    kept[sizes.argsort(stable=True)[: round(share * len(sizes))]] = False
    return kept


def sparsity(tensors: nn.Module | Mapping[str, Tensor]) -> float:
    """Return the share of exact zeros among weights: parameters, or tensors of ``adapted``, with two axes or more.

    Raises:
        ValueError: If there is no such weight.

    Example:
        >>> import torch
        >>> from metalearn.compression import sparsity
        >>> sparsity({"model.0.weight": torch.tensor([[0.0, 1.0]]), "model.0.bias": torch.zeros(1)})
        0.5
    """
    named = dict(tensors.named_parameters()) if isinstance(tensors, nn.Module) else tensors
    weights = [tensor.detach() for tensor in named.values() if tensor.ndim >= 2]
    if not weights:
        raise ValueError(f"expected at least one tensor with two axes or more, got {list(named)}")
    n_zeros = sum(int((weight == 0).sum()) for weight in weights)
    return n_zeros / sum(weight.numel() for weight in weights)
