"""Model-agnostic meta-learning: learn the weights from which a few gradient steps lead far."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from torch import Tensor, nn
from torch.nn import functional as F

from metalearn import inner_loop
from metalearn.episodes import Inputs
from metalearn.learners._base import TaskLoss
from metalearn.learners._steps import DescentLearner, constant, on_device


class MAML(DescentLearner):
    r"""Adapt all weights of a model by gradient steps, and learn where the steps start.

    The outer objective of a task is :math:`\mathcal{L}_\mathcal{Q}(\theta')` with
    :math:`\theta'_{k+1} = \theta'_k - \alpha \nabla\mathcal{L}_\mathcal{S}(\theta'_k)` and
    :math:`\theta'_0 = \theta`, differentiated through the steps.

    Args:
        model: Any module whose forward pass is pure. Its parameters are the initialisation that is learned.
        inner_lr: Step size of the inner loop, in any form that :func:`metalearn.inner_loop.adapt` takes; constant, also
            where it is given as a parameter. Names in a mapping are those in the learner: ``"model.0.weight"``.
        n_inner_steps: Steps in training, and at test time unless told otherwise. With 0 the outer objective has no
            adaptation in it: joint training on all tasks, the baseline that MAML must beat.
        first_order: Leave the second derivatives out.
        recompute: Trade time for memory; see :func:`metalearn.inner_loop.adapt`.
        step_weights: Weights of the query losses after 1, 2, … ``n_inner_steps`` steps in the outer objective, the
            multi-step loss of MAML++; ``None``: only the last one counts.
        loss_fn: Task loss, for the inner and the outer objective.

    Raises:
        ValueError: If ``n_inner_steps`` is negative, or there is not one weight for each step.

    Reference:
        Finn, Abbeel, Levine: Model-Agnostic Meta-Learning for Fast Adaptation of Deep Networks, 2017,
        arXiv 1703.03400, algorithms 1 and 2. The multi-step loss: Antoniou, Edwards, Storkey: How to train your MAML,
        2018, arXiv 1810.09502, section 4.

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
        step_weights: Sequence[float] | None = None,
        loss_fn: TaskLoss = F.cross_entropy,
    ) -> None:
        super().__init__(model, n_inner_steps, step_weights=step_weights, loss_fn=loss_fn)
        self.inner_lr = constant(inner_lr)
        self.first_order = first_order
        self.recompute = recompute

    def _path(self, start: inner_loop.Params, x: Inputs, y: Tensor, n_steps: int) -> Iterator[inner_loop.Params]:
        return inner_loop.trajectory(
            start,
            self._support_loss,
            x,
            y,
            n_steps=n_steps,
            inner_lr=on_device(self.inner_lr, start),
            first_order=self.first_order,
            recompute=self.recompute,
        )
