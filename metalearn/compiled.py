"""The whole meta-gradient compiled: traced through the inner loop and over all tasks, then turned into C++."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Hashable
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from metalearn._torch import compile_graph, trace, tree_flatten, tree_unflatten
from metalearn.episodes import Batch, Episode
from metalearn.learners._base import Learner
from metalearn.learners._checks import episodes_only
from metalearn.vectorize import over_tasks

Gradient = Callable[[list[Tensor], list[Tensor]], tuple[Tensor, list[Tensor | None]]]
Backend = Literal["inductor", "eager"]


def compile_backward(learner: Learner, *, backend: Backend = "inductor") -> Callable[[Episode | Batch], Tensor]:
    """Return a function that does what ``learner.backward`` does, compiled; ``fit(..., compile=True)`` calls it.

    The first batch of each shape takes seconds to compile (up to half a minute on a slow machine). It pays for small
    networks and many outer steps. The gradient is the same up to rounding. The learner's settings and its modules are
    built in at that first batch: change one, and compile anew. Values of parameters and statistics, ``requires_grad``,
    the mode (``train`` or ``eval``) and the device may change at any time.

    Args:
        learner: A learner with the plain meta-gradient, which :meth:`metalearn.learners.Learner.backward` computes.
        backend: ``"inductor"`` compiles the traced gradient; ``"eager"`` runs the trace as it is, to tell a fault of
            the trace from one of the compiler.

    Returns:
        ``backward(batch) -> loss``, which adds to ``.grad``.

    Raises:
        ValueError: If the learner has a ``backward`` of its own, ``backend`` is unknown, or tasks are of unequal shape.
        RuntimeError: If there is no C++ compiler.

    Example:
        >>> from metalearn.compiled import compile_backward
        >>> from metalearn.learners import MAML
        >>> from metalearn.networks import MLP
        >>> backward = compile_backward(MAML(MLP([1, 40, 1]), inner_lr=0.01))
    """
    if type(learner).backward is not Learner.backward:
        raise ValueError(
            f"compile=True needs the plain meta-gradient, {type(learner).__name__} has its own: leave it out"
        )
    if backend not in get_args(Backend):
        raise ValueError(f"backend must be one of {list(get_args(Backend))}, got {backend!r}")
    if backend == "inductor":
        _check_compiler()
    objective, compiled = _Objective(learner), dict[Hashable, Gradient]()
    tensors = _Tensors(objective)

    def add_gradient(part: Episode, n_tasks: int) -> Tensor:
        leaves, form = tree_flatten((part.support_x, part.support_y, part.query_x, part.query_y))
        values, trained = tensors.read(), tensors.trained()
        kinds = [(leaf.shape, leaf.dtype, leaf.device) for leaf in leaves]
        key = (*kinds, *trained, n_tasks, part.n_way, learner.training)
        if key not in compiled:
            names = [name for name, trains in zip(tensors.names, trained, strict=True) if trains]
            compiled[key] = _compile(objective, leaves, form, names, n_tasks, part.n_way, backend)
        loss, grads = compiled[key](leaves, values)
        parameters = (value for value, trains in zip(values, trained, strict=True) if trains)
        for p, grad in zip(parameters, grads, strict=True):
            if grad is not None:
                p.grad = grad if p.grad is None else p.grad + grad
        return loss

    def backward(batch: Episode | Batch) -> Tensor:
        batch = _of_one_shape(episodes_only(learner, batch))
        n_tasks = len(batch)
        size = learner.chunk_size or n_tasks
        if size >= n_tasks:
            return add_gradient(batch, n_tasks)
        losses = [add_gradient(batch[start : start + size], n_tasks) for start in range(0, n_tasks, size)]
        return torch.stack(losses).sum()

    return backward


def _of_one_shape(batch: object) -> Episode:
    if isinstance(batch, Episode):
        return batch
    given = type(batch).__name__
    raise ValueError(f"compile=True needs tasks of one shape, got {given}: leave compile out, or draw such tasks")


def _check_compiler() -> None:
    compiler = os.environ.get("CXX", {"darwin": "clang++", "win32": "cl"}.get(sys.platform, "g++"))
    if shutil.which(compiler) is None:
        raise RuntimeError(
            f"compile=True needs a C++ compiler, found no {compiler!r}: install one (apt-get install g++), name another"
            " in the environment variable CXX, or leave compile out"
        )


class _Objective(nn.Module):
    """Mean loss over tasks as a module, so that ``functional_call`` can replace the learner's parameters."""

    def __init__(self, learner: Learner) -> None:
        super().__init__()
        self.learner = learner

    def forward(self, batch: Episode, n_tasks: int) -> Tensor:
        how = "vmap" if self.learner.how == "auto" else self.learner.how  # a loop would be compiled task by task
        losses: Tensor = over_tasks(self.learner.loss, batch, how)
        return losses.sum() / n_tasks


class _Tensors:
    """The parameters and buffers of a module, read at each step without walking through its children again."""

    def __init__(self, module: nn.Module) -> None:
        self.names = [name for name, _ in (*module.named_parameters(), *module.named_buffers())]
        places = [name.rpartition(".") for name in self.names]
        self.places = [(module.get_submodule(path), name) for path, _, name in places]

    def read(self) -> list[Tensor]:
        return [getattr(owner, name) for owner, name in self.places]

    def trained(self) -> list[bool]:
        return [tensor.requires_grad for tensor in self.read()]


def _compile(
    objective: _Objective,
    leaves: list[Tensor],
    form: Any,
    trained: list[str],
    n_tasks: int,
    n_way: int | None,
    backend: Backend,
) -> Gradient:
    """Return ``gradient(leaves, values) -> loss, gradients of the trained parameters``, ``None`` where unused."""
    tensors = _Tensors(objective)
    unused: list[int] = []

    def gradient(*inputs: Tensor) -> list[Tensor]:
        values = dict(zip(tensors.names, inputs[len(leaves) :], strict=True))
        values |= {name: values[name].detach().requires_grad_() for name in trained}
        support_x, support_y, query_x, query_y = tree_unflatten(list(inputs[: len(leaves)]), form)
        batch = Episode(support_x, support_y, query_x, query_y, n_way)
        loss = torch.func.functional_call(objective, values, (batch, n_tasks))
        grads = torch.autograd.grad(loss, [values[name] for name in trained], allow_unused=True)
        unused[:] = [i for i, grad in enumerate(grads) if grad is None]
        return [loss.detach(), *(grad for grad in grads if grad is not None)]

    example = [*leaves, *(tensor.detach() for tensor in tensors.read())]
    run = trace(gradient, example, _PRODUCTS)
    if backend == "inductor":
        run = compile_graph(run, example)

    def call(leaves: list[Tensor], values: list[Tensor]) -> tuple[Tensor, list[Tensor | None]]:
        with torch.no_grad():
            loss, *grads = run(*leaves, *values)
        for i in unused:
            grads.insert(i, None)
        return loss, grads

    return call


def _product(a: Tensor, b: Tensor) -> Any:
    """Write a matrix product with a vector in it as products of numbers, which the compiler fuses with what is near.

    Gradients of layers with one input or output are full of them, and on a CPU each costs a call of BLAS.
    """
    if a.device.type != "cpu":
        return NotImplemented
    if a.shape[-1] == 1:  # a column times a row
        return a * b
    if b.shape[-1] == 1:  # a matrix times a column
        return (a * b.transpose(-1, -2)).sum(-1, keepdim=True)
    if a.shape[-2] == 1:  # a row times a matrix
        return (a.transpose(-1, -2) * b).sum(-2, keepdim=True)
    return NotImplemented


_PRODUCTS = {torch.ops.aten.mm.default: _product, torch.ops.aten.bmm.default: _product}
