"""Private and undocumented parts of torch, in one place: each has a canary in ``tests/test_torch.py``.

When a new torch breaks one of them, that test says which, and this is the file to mend.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.fx.experimental.proxy_tensor import get_proxy_mode, make_fx
from torch.multiprocessing.reductions import StorageWeakRef
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_leaves, tree_map, tree_unflatten

__all__ = [
    "AnyBatchNorm",
    "AnyConvolution",
    "StorageWeakRef",
    "TorchDispatchMode",
    "compile_graph",
    "draw_gamma",
    "is_traced",
    "is_transformed",
    "trace",
    "tree_flatten",
    "tree_leaves",
    "tree_map",
    "tree_unflatten",
    "unwrapped",
    "wants_gradient",
]


def draw_gamma(shape: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """Draw a gamma variate of rate 1 for each shape; torch's distributions take no generator."""
    drawn: Tensor = torch._standard_gamma(shape, generator=generator)
    return drawn


AnyBatchNorm = _BatchNorm  # what BatchNorm1d, 2d, 3d and SyncBatchNorm are, lazy ones too
AnyConvolution = _ConvNd  # what Conv1d, 2d, 3d and the transposed ones are


def is_transformed() -> bool:
    """Return whether this runs under a transform of ``torch.func`` (vmap, grad, vjp)."""
    return torch._C._functorch.peek_interpreter_stack() is not None


def is_traced() -> bool:
    """Return whether :func:`trace` is recording."""
    return get_proxy_mode() is not None


def unwrapped(tensor: Tensor) -> Tensor | None:
    """Return what a transform of ``torch.func`` has wrapped, one layer down; ``None`` for an ordinary tensor."""
    if not torch._C._functorch.is_functorch_wrapped_tensor(tensor):
        return None
    inner: Tensor = torch._C._functorch.get_unwrapped(tensor)
    return inner


def wants_gradient(tensor: Tensor) -> bool:
    """Return whether a tensor, or what transforms of ``torch.func`` wrapped on any level, requires a gradient."""
    inner = unwrapped(tensor)
    return tensor.requires_grad or (inner is not None and wants_gradient(inner))


def trace(
    function: Callable[..., Sequence[Tensor]], example: Sequence[Tensor], rules: Mapping[Any, Callable[..., Any]]
) -> Callable[..., Any]:
    """Return the graph of a function of tensors, gradients and transforms in it included, for these shapes.

    A rule replaces an operator (``torch.ops.aten.mm.default``) by others, or returns ``NotImplemented`` to keep it.
    """
    graph: Callable[..., Any] = make_fx(function, decomposition_table=dict(rules))(*example)
    return graph


def compile_graph(graph: Callable[..., Any], example: Sequence[Tensor]) -> Callable[..., Any]:
    """Turn a graph of :func:`trace` into machine code (C++ on a CPU, Triton on a GPU)."""
    compiled: Callable[..., Any] = torch._inductor.compile(graph, list(example))  # type: ignore[arg-type]
    return compiled
