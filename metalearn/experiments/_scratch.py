"""The baseline that learns nothing across tasks: Adam from a random start."""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor, nn
from torch.nn import functional as F

from metalearn import inner_loop
from metalearn.episodes import Inputs
from metalearn.learners._base import TaskLoss
from metalearn.learners._steps import StepsLearner
from metalearn.rules import Adam


class AdamFromScratch(StepsLearner):
    """Adam from the model's random start: nothing is learned across tasks but the rate, by trying."""

    def __init__(
        self, model: nn.Module, inner_lr: float, n_inner_steps: int = 10, *, loss_fn: TaskLoss = F.cross_entropy
    ) -> None:
        super().__init__(model, n_inner_steps, loss_fn=loss_fn)
        self.inner_lr = inner_lr

    def _path(self, start: inner_loop.Params, x: Inputs, y: Tensor, n_steps: int) -> Iterator[inner_loop.Params]:
        start = {name: param.detach() for name, param in start.items()}
        yield start
        rule, data = Adam(self.inner_lr), inner_loop.batches(x, y, n_steps)
        for params, _ in inner_loop.unroll(start, rule, rule.start(start), self._support_loss, data, first_order=True):
            yield params
