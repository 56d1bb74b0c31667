"""What learners share that move a model's weights by inner steps."""

from __future__ import annotations

from abc import abstractmethod
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from metalearn import inner_loop
from metalearn._torch import wants_gradient
from metalearn.episodes import Episode, Inputs
from metalearn.learners._base import Adapted, Learner, TaskLoss
from metalearn.vectorize import over_tasks


class StepsLearner(Learner):
    """A learner whose ``adapted`` are a model's weights after some steps; a subclass says which steps.

    Weights with ``requires_grad=False`` stay as they are, in the inner loop and in the outer one.
    """

    steps_on = "model"
    n_inner_steps: int

    def __init__(
        self,
        model: nn.Module,
        n_inner_steps: int,
        *,
        step_weights: Sequence[float] | None = None,
        loss_fn: TaskLoss = F.cross_entropy,
    ) -> None:
        super().__init__(loss_fn)
        if n_inner_steps < 0:
            raise ValueError(f"n_inner_steps must be at least 0, got {n_inner_steps}")
        if step_weights is not None and len(step_weights) != n_inner_steps:
            raise ValueError(f"step_weights needs {n_inner_steps} numbers (n_inner_steps), got {len(step_weights)}")
        self.model = model
        self.n_inner_steps = n_inner_steps
        self.step_weights = step_weights
        self.train()

    @abstractmethod
    def _path(self, start: inner_loop.Params, x: Inputs, y: Tensor, n_steps: int) -> Iterator[inner_loop.Params]:
        """Yield the weights before the first inner step, which are ``start``, and after each one."""

    def adapt(
        self, support_x: Inputs, support_y: Tensor, *, n_way: int | None = None, n_steps: int | None = None
    ) -> Adapted:
        """Return the weights after ``n_steps`` inner steps, by name, with the support's statistics where needed.

        Args:
            support_x: Inputs ``[n_support, ...]``.
            support_y: Labels ``[n_support]`` or targets ``[n_support, n_outputs]``.
            n_way: Not needed: the model's outputs are fixed.
            n_steps: Number of steps, at least 0; ``None``: ``n_inner_steps``.
        """
        return self._adapt_from(self._start(), support_x, support_y, n_steps)

    def predict(self, adapted: Adapted, x: Inputs) -> Tensor:
        """Run the model with the adapted weights: logits or values ``[n, n_outputs]``."""
        return self.run("model", adapted, x)

    def loss(self, episode: Episode) -> Tensor:
        """Return the query loss after the inner loop, or the weighted sum of the query losses after each step."""
        if self.step_weights is None:
            return super().loss(episode)
        total: Tensor | float = 0.0
        path = self._path(self._start(), episode.support_x, episode.support_y, self.n_inner_steps)
        for weight, params in zip((0.0, *self.step_weights), path, strict=True):
            if weight:
                adapted = self.with_statistics(params, episode.support_x)
                total = total + weight * self.loss_fn(self.predict(adapted, episode.query_x), episode.query_y)
        return torch.as_tensor(total)

    def _adapt_from(self, start: inner_loop.Params, x: Inputs, y: Tensor, n_steps: int | None) -> Adapted:
        if n_steps is not None and n_steps < 0:
            raise ValueError(f"n_steps must be at least 0, got {n_steps}")
        path = self._path(start, x, y, self.n_inner_steps if n_steps is None else n_steps)
        return self.with_statistics(deque(path, maxlen=1)[0], x)

    def _start(self) -> inner_loop.Params:
        """Return the weights that inner steps move, by their names in the learner."""
        return {f"model.{name}": param for name, param in self.model.named_parameters() if wants_gradient(param)}

    def _support_loss(self, params: inner_loop.Params, x: Inputs, y: Tensor) -> Tensor:
        return self.loss_fn(self.run("model", params, x), y)

    def _add_gradients(self, of_task: Callable[[Episode], tuple[inner_loop.Params, Tensor]], batch: Any) -> Tensor:
        """Add the mean over tasks of the gradients that ``of_task`` returns to ``.grad``; return its mean loss."""
        with torch.no_grad():
            grads, losses = over_tasks(of_task, batch, self.how, chunk_size=self.chunk_size, module=self)
        for name, param in self._start().items():
            grad = grads[name].mean(0)
            param.grad = grad if param.grad is None else param.grad + grad
        mean: Tensor = losses.mean()
        return mean


class DescentLearner(StepsLearner):
    """A learner whose inner steps are gradient steps, and may go on from an earlier result."""

    continues = True

    def adapt(
        self,
        support_x: Inputs,
        support_y: Tensor,
        *,
        n_way: int | None = None,
        n_steps: int | None = None,
        start: Mapping[str, Tensor] | None = None,
    ) -> Adapted:
        """Return the weights after ``n_steps`` inner steps, by name, with the support's statistics where needed.

        Args:
            support_x: Inputs ``[n_support, ...]``.
            support_y: Labels ``[n_support]`` or targets ``[n_support, n_outputs]``.
            n_way: Not needed: the model's outputs are fixed.
            n_steps: Number of steps, at least 0; ``None``: ``n_inner_steps``.
            start: An earlier result to go on from, such as that of other examples of the task; ``None``: the learned
                start.
        """
        own = self._start()
        return self._adapt_from(
            own if start is None else {name: start[name] for name in own}, support_x, support_y, n_steps
        )


def constant(rate: inner_loop.InnerLR) -> inner_loop.InnerLR:
    """Return a rate, or rates in any form, that no optimiser trains."""
    if isinstance(rate, str):
        raise ValueError(f"inner_lr must be a number, or numbers by step or name, got the text {rate!r}")
    if isinstance(rate, Tensor):
        return rate.detach().clone()
    if isinstance(rate, Mapping):
        return {name: constant(part) for name, part in rate.items()}  # type: ignore[misc]
    if isinstance(rate, Sequence):
        return [constant(part) for part in rate]  # type: ignore[misc]
    return rate


def on_device(rate: inner_loop.InnerLR, params: inner_loop.Params) -> inner_loop.InnerLR:
    """Return rates where the weights are: those of a mapping do not follow ``learner.to``."""
    device = next((param.device for param in params.values()), torch.device("cpu"))
    if isinstance(rate, Tensor):
        return rate.to(device)
    if isinstance(rate, Mapping):
        return {name: part.to(device) if isinstance(part, Tensor) else part for name, part in rate.items()}
    if isinstance(rate, Sequence):
        return [on_device(part, params) for part in rate]  # type: ignore[misc]
    return rate
