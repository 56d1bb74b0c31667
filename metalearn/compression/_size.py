"""What weights need in a file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn.utils.parametrize import is_parametrized

from metalearn._layers import refuse_shared
from metalearn._torch import AnyConvolution
from metalearn.learners._base import Learner


@dataclass(frozen=True)
class Compressed:
    """A compressed copy of a learner.

    Attributes:
        learner: The copy, which runs as any learner does.
        n_bytes: What its weights and statistics need in a file.

    Example:
        >>> from metalearn.compression import prune, stored_bytes
        >>> from metalearn.learners import MAML
        >>> from metalearn.networks import MLP
        >>> learner = MAML(MLP([8, 80, 1]), inner_lr=0.01)
        >>> stored_bytes(learner), prune(learner, 0.75).n_bytes
        (3204, 1134)
    """

    learner: Learner
    n_bytes: int


def stored_bytes(tensors: nn.Module | Mapping[str, Tensor]) -> int:
    """Return the bytes of a module's parameters and buffers, or of tensors such as ``adapted``.

    Example:
        >>> import torch
        >>> from metalearn.compression import stored_bytes
        >>> stored_bytes(torch.nn.Linear(10, 2)), stored_bytes({"prototypes": torch.zeros(5, 64)})
        (88, 1280)
    """
    if isinstance(tensors, nn.Module):  # a tensor with two names is one
        found = list({id(tensor): tensor for tensor in tensors.state_dict(keep_vars=True).values()}.values())
    else:
        found = list(tensors.values())
    return sum(tensor.numel() * tensor.element_size() for tensor in found)


def check_layers(found: Mapping[str, nn.Module], learner: Learner, verb: str) -> None:
    """Refuse a learner whose layers cannot be compressed one by one, and counted.

    There are none, or some are of another kind; a weight is computed, so that what is written to it is lost; or two
    layers share one, which would be compressed twice or torn apart.
    """
    convolutions = {name: part for name, part in learner.named_modules() if isinstance(part, AnyConvolution)}
    if others := {name: type(part).__name__ for name, part in convolutions.items() if name not in found}:
        raise ValueError(f"cannot {verb} {others}: expected convolutions of the kind nn.Conv2d and linear layers")
    refuse_shared(learner, verb)
    if not found:
        raise ValueError(f"{type(learner).__name__} has no linear or convolutional layer to {verb}")
    if held := [name for name, layer in found.items() if is_parametrized(layer)]:
        raise ValueError(
            f"cannot {verb} {held}: masks hold their weights; compress the learner as it was, or prune with hold=False"
        )
