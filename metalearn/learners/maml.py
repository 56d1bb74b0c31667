"""Model-agnostic meta-learning: learn the weights from which a few gradient steps lead far."""

from __future__ import annotations

from typing import Self

from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from metalearn import inner_loop
from metalearn.episodes import Batch, Episode, Inputs
from metalearn.learners._base import Learner, TaskLoss, inputs_of
from metalearn.networks import BatchStatistics, set_statistics, support_statistics


class MAML(Learner):
    r"""Adapt all weights of a model by gradient steps, and learn where the steps start.

    The outer objective of a task is :math:`\mathcal{L}_\mathcal{Q}(\theta')` with
    :math:`\theta'_{k+1} = \theta'_k - \alpha \nabla\mathcal{L}_\mathcal{S}(\theta'_k)` and
    :math:`\theta'_0 = \theta`, differentiated through the steps.

    Args:
        model: Any module whose forward pass is pure. Its parameters are the initialisation that is learned.
        inner_lr: Step size of the inner loop, in any form that :func:`metalearn.inner_loop.adapt` takes; constant.
        n_inner_steps: Steps in training, and at test time unless told otherwise. With 0 the outer objective has no
            adaptation in it: joint training on all tasks, the baseline that MAML must beat.
        first_order: Leave the second derivatives out.
        recompute: Trade time for memory; see :func:`metalearn.inner_loop.adapt`.
        loss_fn: Task loss, for the inner and the outer objective.

    Raises:
        ValueError: If ``n_inner_steps`` is negative.

    Reference:
        Finn, Abbeel, Levine: Model-Agnostic Meta-Learning for Fast Adaptation of Deep Networks, 2017,
        arXiv 1703.03400, algorithms 1 and 2.

    Differs from the paper:
        The norm policy is the model's: ``"batch"`` is the authors' protocol, where queries share their statistics.
        Affine parameters of normalisation layers adapt like all others. The mean over tasks replaces the sum.

    Taught in:
        Learning an initialisation: MAML.

    Example:
        >>> import torch
        >>> from metalearn.learners import MAML
        >>> from metalearn.networks import MLP
        >>> learner = MAML(MLP([1, 40, 1]), inner_lr=0.01, loss_fn=torch.nn.functional.mse_loss)
        >>> adapted = learner.adapt(torch.zeros(5, 1), torch.zeros(5, 1))
        >>> learner.predict(adapted, torch.zeros(3, 1)).shape
        torch.Size([3, 1])
    """

    def __init__(
        self,
        model: nn.Module,
        inner_lr: inner_loop.InnerLR,
        n_inner_steps: int = 1,
        *,
        first_order: bool = False,
        recompute: bool = False,
        loss_fn: TaskLoss = F.cross_entropy,
    ) -> None:
        super().__init__(loss_fn)
        if n_inner_steps < 0:
            raise ValueError(f"n_inner_steps must be at least 0, got {n_inner_steps}")
        self.model = model
        self.inner_lr = inner_lr
        self.n_inner_steps = n_inner_steps
        self.first_order = first_order
        self.recompute = recompute
        self._keep_frozen()

    def adapt(
        self, support_x: Inputs, support_y: Tensor, *, n_way: int | None = None, n_steps: int | None = None
    ) -> dict[str, Tensor]:
        """Return the weights after ``n_steps`` gradient steps, by name, with the support's statistics where needed.

        Args:
            support_x: Inputs ``[n_support, ...]``.
            support_y: Labels ``[n_support]`` or targets ``[n_support, n_outputs]``.
            n_way: Not needed: the model's outputs are fixed.
            n_steps: Number of steps, at least 0; ``None``: ``n_inner_steps``.
        """
        params = inner_loop.adapt(
            dict(self.model.named_parameters()),
            self._support_loss,
            support_x,
            support_y,
            n_steps=self.n_inner_steps if n_steps is None else n_steps,
            inner_lr=self.inner_lr,
            first_order=self.first_order,
            recompute=self.recompute,
        )
        return params | support_statistics(self.model, params, support_x)

    def predict(self, adapted: dict[str, Tensor], x: Inputs) -> Tensor:
        """Run the model with the adapted weights: logits or values ``[n, n_outputs]``."""
        prediction: Tensor = functional_call(self.model, adapted, (x,))
        return prediction

    def update_statistics(self, batch: Episode | Batch) -> None:
        """Estimate the statistics of ``"frozen"`` layers at the initial weights."""
        set_statistics(self.model, inputs_of(batch))

    def train(self, mode: bool = True) -> Self:
        """Set the mode; ``"frozen"`` layers stay with their stored statistics, which inner steps must not replace."""
        super().train(mode)
        self._keep_frozen()
        return self

    def _keep_frozen(self) -> None:
        for layer in self.model.modules():
            if isinstance(layer, BatchStatistics) and layer.policy == "frozen":
                layer.eval()

    def _support_loss(self, params: dict[str, Tensor], x: Inputs, y: Tensor) -> Tensor:
        return self.loss_fn(functional_call(self.model, params, (x,)), y)
