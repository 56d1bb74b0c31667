"""What weights need in a file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn.utils.parametrize import is_parametrized

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
    found = tensors.state_dict() if isinstance(tensors, nn.Module) else tensors
    return sum(tensor.numel() * tensor.element_size() for tensor in found.values())


def check_layers(found: Mapping[str, nn.Module], learner: Learner, verb: str) -> None:
    """Refuse a learner without layers, or one whose weights are computed: what is written to these is lost."""
    if not found:
        raise ValueError(f"{type(learner).__name__} has no linear or convolutional layer to {verb}")
    if held := [name for name, layer in found.items() if is_parametrized(layer)]:
        raise ValueError(
            f"cannot {verb} {held}: masks hold their weights; compress the learner as it was, or prune with hold=False"
        )
