"""Reptile: move the initialisation towards where a few ordinary gradient steps lead."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from metalearn import inner_loop
from metalearn._torch import tree_map
from metalearn.episodes import Episode, Inputs
from metalearn.learners._base import TaskLoss
from metalearn.learners._checks import at_least_one
from metalearn.learners._steps import DescentLearner


class Reptile(DescentLearner):
    r"""Adapt all weights as MAML does, and learn the start without differentiating through the steps.

    The update of the outer loop is the mean over tasks of :math:`(\theta - \theta') / \alpha`, the sum of the
    gradients of the inner steps. Training needs no query: support and query together are the data of a task. Tests
    adapt to the support alone, as for any learner.

    Args:
        model: Any module whose forward pass is pure. Its parameters are the initialisation that is learned.
        inner_lr: Step size of the inner loop, above 0.
        n_inner_steps: Steps in training, at least 1, and at test time unless told otherwise. With 1 and no
            ``batch_size`` the update is joint training; the method needs more.
        batch_size: Examples of each inner step: consecutive ones of the task's data, starting over at the end;
            ``None``: all. At test time at most the whole support.
        loss_fn: Task loss.

    Raises:
        ValueError: If a number is out of its range.

    Reference:
        Nichol, Achiam, Schulman: On First-Order Meta-Learning Algorithms, 2018, arXiv 1803.02999, algorithm 2.

    Differs from the paper:
        Inner steps are plain gradient steps, where the authors use Adam without momentum for images.

    Taught in:
        The MAML family.

    Example:
        >>> import torch
        >>> from metalearn.data import sinusoids
        >>> from metalearn.learners import Reptile
        >>> from metalearn.networks import MLP
        >>> learner = Reptile(MLP([1, 40, 1]), inner_lr=0.02, n_inner_steps=5, loss_fn=torch.nn.functional.mse_loss)
        >>> loss = learner.backward(sinusoids().sample(8, 5, 5))
        >>> learner.model[0].weight.grad.shape
        torch.Size([40, 1])
    """

    def __init__(
        self,
        model: nn.Module,
        inner_lr: float,
        n_inner_steps: int = 5,
        *,
        batch_size: int | None = None,
        loss_fn: TaskLoss = F.cross_entropy,
    ) -> None:
        super().__init__(model, n_inner_steps, loss_fn=loss_fn)
        if not isinstance(inner_lr, float | int) or inner_lr <= 0 or n_inner_steps < 1:
            raise ValueError(
                "expected inner_lr, one number above 0 (the update is divided by it), and n_inner_steps >= 1, got"
                f" {inner_lr} and {n_inner_steps}"
            )
        at_least_one(batch_size=batch_size)
        self.inner_lr: float = inner_lr
        self.batch_size = batch_size

    def backward(self, batch: Any) -> Tensor:
        """Add the mean of ``(start - adapted) / inner_lr`` over tasks to ``.grad``.

        Returns:
            The mean loss of the tasks' data, support and query, at the adapted weights.
        """
        return self._add_gradients(self._descend, batch)

    def _descend(self, episode: Episode) -> tuple[inner_loop.Params, Tensor]:
        """Return the sum of the inner gradients on all data of a task, and the loss where they led."""
        x = tree_map(lambda *parts: torch.cat(parts), episode.support_x, episode.query_x)
        y = torch.cat([episode.support_y, episode.query_y])
        start = self._start()
        adapted = deque(self._path(start, x, y, self.n_inner_steps), maxlen=1)[0]
        steps = {name: (start[name] - adapted[name]) / self.inner_lr for name in start}
        return steps, self._support_loss(adapted, x, y)

    def _path(self, start: inner_loop.Params, x: Inputs, y: Tensor, n_steps: int) -> Iterator[inner_loop.Params]:
        return inner_loop.trajectory(
            start,
            self._support_loss,
            x,
            y,
            n_steps=n_steps,
            inner_lr=self.inner_lr,
            first_order=True,
            batch_size=self.batch_size,
        )
