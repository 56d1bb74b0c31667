"""The baseline that learns nothing across tasks: Adam from a random start."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from metalearn import inner_loop
from metalearn.episodes import Inputs
from metalearn.learners._base import TaskLoss
from metalearn.learners._inner import InnerLoopLearner


class AdamFromScratch(InnerLoopLearner):
    """Adam from the model's random start: nothing is learned across tasks but the rate, by trying.

    Reference:
        Kingma, Ba: Adam: A Method for Stochastic Optimization, 2015, arXiv 1412.6980, algorithm 1.
    """

    def __init__(
        self, model: nn.Module, inner_lr: float, n_inner_steps: int = 10, *, loss_fn: TaskLoss = F.cross_entropy
    ) -> None:
        super().__init__(model, n_inner_steps, loss_fn=loss_fn)
        self.inner_lr = inner_lr

    def _path(self, x: Inputs, y: Tensor, n_steps: int) -> Iterator[inner_loop.Params]:
        start = {name: param.detach() for name, param in self._start().items()}
        yield start
        zero = torch.zeros_like(inner_loop.to_vector(start))
        state = {"mean": zero, "square": zero, "step": zero[0]}
        data = inner_loop.batches(x, y, n_steps)
        for params, _ in inner_loop.unroll(start, self._rule, state, self._support_loss, data, first_order=True):
            yield params

    def _rule(
        self, params: inner_loop.Params, grads: inner_loop.Params, loss: Tensor, state: dict[str, Tensor]
    ) -> tuple[inner_loop.Params, dict[str, Tensor]]:
        gradient, step = inner_loop.to_vector(grads), state["step"] + 1
        mean, square = 0.9 * state["mean"] + 0.1 * gradient, 0.999 * state["square"] + 0.001 * gradient.square()
        direction = mean / (1 - 0.9**step) / ((square / (1 - 0.999**step)).sqrt() + 1e-8)
        moved = inner_loop.to_vector(params) - self.inner_lr * direction
        return inner_loop.from_vector(moved, params), {"mean": mean, "square": square, "step": step}
