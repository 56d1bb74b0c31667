"""Linear and convolutional layers of a module by their names, and copies in which they are other ones."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from typing import Any, TypeVar

from torch import nn

Layer = nn.Linear | nn.Conv2d
AnyModule = TypeVar("AnyModule", bound=nn.Module)


def layers(module: nn.Module) -> dict[str, Layer]:
    """Return the layers whose weight is a matrix, or a stack of such, by their names."""
    return {name: part for name, part in module.named_modules() if isinstance(part, nn.Linear | nn.Conv2d)}


def replaced(module: AnyModule, make: Callable[[str, Layer], nn.Module]) -> AnyModule:
    """Return a copy in which each layer is what ``make(name, layer)`` returns, which may be the layer itself."""
    twin = deepcopy(module)
    for name, layer in layers(twin).items():
        path, _, last = name.rpartition(".")
        if not name:
            return make(name, layer)  # type: ignore[return-value]
        setattr(twin.get_submodule(path), last, make(name, layer))
    return twin


def refuse_shared(module: nn.Module, verb: str) -> None:
    """Refuse a module with a weight of two names, which would be changed under one of them only, or twice."""
    shared: dict[int, list[str]] = {}
    for name, tensor in module.named_parameters(remove_duplicate=False):
        shared.setdefault(id(tensor), []).append(name)
    if tied := [names for names in shared.values() if len(names) > 1]:
        raise ValueError(f"cannot {verb} a model in which {' and '.join(tied[0])} are one weight: give each its own")


def refuse_groups(layer: Layer) -> None:
    """Refuse a convolution in groups, whose weight is not one matrix, or one that pads by other than zeros."""
    if isinstance(layer, nn.Conv2d) and (layer.groups != 1 or layer.padding_mode != "zeros"):
        raise ValueError(
            f"expected a convolution in one group that pads by zeros, got groups={layer.groups} and"
            f" padding_mode={layer.padding_mode!r}: leave this layer as it is"
        )


def two_layers(layer: Layer, rank: int) -> tuple[Layer, Layer]:
    """Return fresh layers without bias: from the layer's inputs to ``rank`` outputs, and from these to its outputs.

    A product of two matrices is a layer of this form: the first convolution has the layer's kernel, stride and padding,
    the second looks at one position at a time.
    """
    if rank < 1:
        raise ValueError(f"rank must be at least 1, got {rank}")
    like: dict[str, Any] = {"device": layer.weight.device, "dtype": layer.weight.dtype, "bias": False}
    if isinstance(layer, nn.Linear):
        return nn.Linear(layer.in_features, rank, **like), nn.Linear(rank, layer.out_features, **like)
    refuse_groups(layer)
    place: dict[str, Any] = {name: getattr(layer, name) for name in ("kernel_size", "stride", "padding", "dilation")}
    return nn.Conv2d(layer.in_channels, rank, **place, **like), nn.Conv2d(rank, layer.out_channels, 1, **like)
