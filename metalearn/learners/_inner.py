"""What learners share that take steps on a model's weights in the inner loop."""

from __future__ import annotations

from abc import abstractmethod
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Self

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from metalearn import inner_loop
from metalearn.episodes import Batch, Episode, Inputs
from metalearn.learners._base import Learner, TaskLoss, episodes_only
from metalearn.networks import BatchStatistics, support_statistics
from metalearn.vectorize import over_tasks


class InnerLoopLearner(Learner):
    """A learner whose ``adapted`` are a model's weights after some steps; a subclass says which steps."""

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
        self._keep_frozen()

    @abstractmethod
    def _path(self, x: Inputs, y: Tensor, n_steps: int) -> Iterator[inner_loop.Params]:
        """Yield the weights before the first inner step and after each one."""

    def adapt(
        self, support_x: Inputs, support_y: Tensor, *, n_way: int | None = None, n_steps: int | None = None
    ) -> dict[str, Tensor]:
        """Return the weights after ``n_steps`` inner steps, by name, with the support's statistics where needed.

        Args:
            support_x: Inputs ``[n_support, ...]``.
            support_y: Labels ``[n_support]`` or targets ``[n_support, n_outputs]``.
            n_way: Not needed: the model's outputs are fixed.
            n_steps: Number of steps, at least 0; ``None``: ``n_inner_steps``.
        """
        path = self._path(support_x, support_y, self.n_inner_steps if n_steps is None else n_steps)
        return self._with_statistics(deque(path, maxlen=1)[0], support_x)

    def predict(self, adapted: dict[str, Tensor], x: Inputs) -> Tensor:
        """Run the model with the adapted weights: logits or values ``[n, n_outputs]``."""
        prediction: Tensor = functional_call(self.model, adapted, (x,))
        return prediction

    def loss(self, episode: Episode) -> Tensor:
        """Return the query loss after the inner loop, or the weighted sum of the query losses after each step."""
        if self.step_weights is None:
            return super().loss(episode)
        total = episode.query_y.new_zeros((), dtype=torch.get_default_dtype())
        path = self._path(episode.support_x, episode.support_y, self.n_inner_steps)
        for weight, params in zip((0.0, *self.step_weights), path, strict=True):
            if weight:
                adapted = self._with_statistics(params, episode.support_x)
                total = total + weight * self.loss_fn(self.predict(adapted, episode.query_x), episode.query_y)
        return total

    def train(self, mode: bool = True) -> Self:
        """Set the mode; ``"frozen"`` layers stay with their stored statistics, which inner steps must not replace."""
        super().train(mode)
        self._keep_frozen()
        return self

    def _keep_frozen(self) -> None:
        for layer in self.model.modules():
            if isinstance(layer, BatchStatistics) and layer.policy == "frozen":
                layer.eval()

    def _add_gradients(
        self, of_task: Callable[[Episode], tuple[inner_loop.Params, Tensor]], batch: Episode | Batch
    ) -> Tensor:
        """Add the mean over tasks of the gradients that ``of_task`` returns to ``.grad``; return its mean loss."""
        batch = episodes_only(self, batch)
        with torch.no_grad():
            grads, losses = over_tasks(of_task, batch, self.how, chunk_size=self.chunk_size, module=self)
        for name, param in self.model.named_parameters():
            grad = grads[name].mean(0)
            param.grad = grad if param.grad is None else param.grad + grad
        mean: Tensor = losses.mean()
        return mean

    def _start(self) -> inner_loop.Params:
        return dict(self.model.named_parameters())

    def _support_loss(self, params: inner_loop.Params, x: Inputs, y: Tensor) -> Tensor:
        return self.loss_fn(functional_call(self.model, params, (x,)), y)

    def _with_statistics(self, params: inner_loop.Params, support_x: Inputs) -> inner_loop.Params:
        return params | support_statistics(self.model, params, support_x)
