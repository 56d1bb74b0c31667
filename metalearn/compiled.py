"""The whole meta-gradient compiled: traced through the inner loop and over all tasks, then turned into C++."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Hashable
from typing import Any

import torch
from torch import Tensor, nn
from torch.fx.experimental.proxy_tensor import make_fx
from torch.utils._pytree import tree_flatten, tree_unflatten

from metalearn.episodes import Batch, Episode
from metalearn.learners._base import Learner
from metalearn.learners._checks import episodes_only
from metalearn.vectorize import over_tasks

Gradient = Callable[[list[Tensor]], tuple[Tensor, list[Tensor | None]]]


def compile_backward(learner: Learner) -> Callable[[Episode | Batch], Tensor]:
    """Return a function that does what ``learner.backward`` does, compiled; ``fit(..., compile=True)`` calls it.

    The first batch of each shape takes seconds to compile (up to half a minute on a slow machine). It pays for small
    networks and many outer steps. The gradient is the same up to rounding. The learner's settings are built in at
    that first batch: change one, and compile anew. Parameters and statistics may change at any time.

    Args:
        learner: A learner with the plain meta-gradient, which :meth:`metalearn.learners.Learner.backward` computes.

    Returns:
        ``backward(batch) -> loss``, which adds to ``.grad``.

    Raises:
        ValueError: If the learner has a ``backward`` of its own.
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
    compiler = os.environ.get("CXX", {"darwin": "clang++", "win32": "cl"}.get(sys.platform, "g++"))
    if shutil.which(compiler) is None:
        raise RuntimeError(
            f"compile=True needs a C++ compiler, found no {compiler!r}: install one (apt-get install g++), name another"
            " in the environment variable CXX, or leave compile out"
        )
    objective, compiled = _Objective(learner), dict[Hashable, Gradient]()

    def backward(batch: Episode | Batch) -> Tensor:
        batch = episodes_only(learner, batch)
        size = learner.chunk_size or len(batch)
        total = batch.query_y.new_zeros((), dtype=torch.get_default_dtype())
        trained = [name for name, p in objective.named_parameters() if p.requires_grad]
        for start in range(0, len(batch), size):
            leaves, form = tree_flatten(_parts(batch if size >= len(batch) else batch[start : start + size]))
            key = (*((leaf.shape, leaf.dtype) for leaf in leaves), *trained, len(batch), batch.n_way, learner.training)
            if key not in compiled:
                compiled[key] = _compile(objective, leaves, form, trained, len(batch), batch.n_way)
            loss, grads = compiled[key](leaves)
            for name, grad in zip(trained, grads, strict=True):
                p = objective.get_parameter(name)
                if grad is not None:
                    p.grad = grad if p.grad is None else p.grad + grad
            total = total + loss
        return total

    return backward


class _Objective(nn.Module):
    """Mean loss over tasks as a module, so that ``functional_call`` can replace the learner's parameters."""

    def __init__(self, learner: Learner) -> None:
        super().__init__()
        self.learner = learner

    def forward(self, batch: Episode, n_tasks: int) -> Tensor:
        how = "vmap" if self.learner.how == "auto" else self.learner.how  # a loop would be compiled task by task
        losses: Tensor = over_tasks(self.learner.loss, batch, how)
        return losses.sum() / n_tasks


def _compile(
    objective: _Objective, leaves: list[Tensor], form: Any, trained: list[str], n_tasks: int, n_way: int | None
) -> Gradient:
    """Return ``gradient(leaves of a batch) -> loss, gradient of each trained parameter``; ``None`` where unused."""
    names = list(_tensors(objective))
    unused: list[int] = []

    def gradient(*inputs: Tensor) -> list[Tensor]:
        values = dict(zip(names, inputs[len(leaves) :], strict=True))
        values |= {name: values[name].detach().requires_grad_() for name in trained}
        support_x, support_y, query_x, query_y = tree_unflatten(list(inputs[: len(leaves)]), form)
        batch = Episode(support_x, support_y, query_x, query_y, n_way)
        loss = torch.func.functional_call(objective, values, (batch, n_tasks))
        grads = torch.autograd.grad(loss, [values[name] for name in trained], allow_unused=True)
        unused[:] = [i for i, grad in enumerate(grads) if grad is None]
        return [loss.detach(), *(grad for grad in grads if grad is not None)]

    example = [*leaves, *(t.detach() for t in _tensors(objective).values())]
    graph = make_fx(gradient)(*example)
    run: Any = torch._inductor.compile(graph, list(example))

    def call(leaves: list[Tensor]) -> tuple[Tensor, list[Tensor | None]]:
        with torch.no_grad():
            loss, *grads = run(*leaves, *_tensors(objective).values())
        for i in unused:
            grads.insert(i, None)
        return loss, grads

    return call


def _tensors(module: nn.Module) -> dict[str, Tensor]:
    return {**dict(module.named_parameters()), **dict(module.named_buffers())}


def _parts(batch: Episode) -> tuple[Any, ...]:
    return batch.support_x, batch.support_y, batch.query_x, batch.query_y
