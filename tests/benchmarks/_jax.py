"""The sinusoid meta-gradient as one writes it in JAX: vmap over tasks, grad in grad, jit."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from metalearn import Episode

Step = Callable[[], tuple[Any, Any]]


def make_step(model: nn.Module, inner_lr: float, batch: Episode) -> tuple[Step | None, str]:
    """Return the jitted step of an MLP with ReLU and squared error; or ``None``, and why there is none."""
    os.environ.setdefault("JAX_PLATFORMS", "cpu")  # both are read when JAX is imported: one thread, as ours
    os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1")
    try:
        import jax
    except ImportError as error:
        return None, f"skipped: {type(error).__name__}: {error}"

    def predict(weights: list[Any], x: Any) -> Any:
        for i in range(0, len(weights), 2):
            x = x @ weights[i].T + weights[i + 1]
            x = jax.nn.relu(x) if i + 2 < len(weights) else x
        return x

    def mse(weights: list[Any], x: Any, y: Any) -> Any:
        return ((predict(weights, x) - y) ** 2).mean()

    def task_loss(weights: list[Any], support_x: Any, support_y: Any, query_x: Any, query_y: Any) -> Any:
        grads = jax.grad(mse)(weights, support_x, support_y)
        adapted = [weight - inner_lr * grad for weight, grad in zip(weights, grads, strict=True)]
        return mse(adapted, query_x, query_y)

    def objective(weights: list[Any], *parts: Any) -> Any:
        return jax.vmap(task_loss, (None, 0, 0, 0, 0))(weights, *parts).mean()

    step = jax.jit(jax.value_and_grad(objective))
    weights = [jax.numpy.asarray(p.detach().numpy()) for p in model.parameters()]
    parts = (batch.support_x, batch.support_y, batch.query_x, batch.query_y)
    arrays = [jax.numpy.asarray(part.numpy()) for part in parts]
    return lambda: jax.block_until_ready(step(weights, *arrays)), f"JAX {jax.__version__}, jit, one thread."


def check_step(step: Step, loss: torch.Tensor, model: nn.Module) -> None:
    """Make sure that JAX's loss and gradients are those in ``.grad``."""
    value, grads = step()
    torch.testing.assert_close(torch.tensor(float(value)), loss.cpu(), rtol=1e-4, atol=1e-6)
    for grad, p in zip(grads, model.parameters(), strict=True):
        torch.testing.assert_close(torch.tensor(grad.tolist()), p.grad, rtol=1e-4, atol=1e-6)
