"""MAML as one writes it without a library: a loop over tasks, ``torch.autograd.grad``, ``functional_call``."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.func import functional_call

from metalearn import Episode

TaskLoss = Callable[[Tensor, Tensor], Tensor]


def task_loss(model: nn.Module, loss_fn: TaskLoss, inner_lr: float, task: tuple[Tensor, ...]) -> Tensor:
    """Return the loss on the query after one second-order step on the support."""
    support_x, support_y, query_x, query_y = task
    params = dict(model.named_parameters())
    loss = loss_fn(functional_call(model, params, (support_x,)), support_y)
    grads = torch.autograd.grad(loss, list(params.values()), create_graph=True)
    fast = {name: p - inner_lr * grad for (name, p), grad in zip(params.items(), grads, strict=True)}
    return loss_fn(functional_call(model, fast, (query_x,)), query_y)


def tasks_of(batch: Episode) -> list[tuple[Tensor, ...]]:
    """Return the tasks as tuples of tensors, cut out beforehand."""
    return list(zip(batch.support_x, batch.support_y, batch.query_x, batch.query_y, strict=True))


def backward_each(model: nn.Module, loss_fn: TaskLoss, inner_lr: float, tasks: list[tuple[Tensor, ...]]) -> None:
    """Differentiate task by task: one graph in memory at a time."""
    for task in tasks:
        (task_loss(model, loss_fn, inner_lr, task) / len(tasks)).backward()


def backward_once(model: nn.Module, loss_fn: TaskLoss, inner_lr: float, tasks: list[tuple[Tensor, ...]]) -> None:
    """Differentiate the mean over tasks: all graphs in memory at once."""
    torch.stack([task_loss(model, loss_fn, inner_lr, task) for task in tasks]).mean().backward()
