"""Almost no inner loop: learn features as MAML does, and adapt the head only."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn
from torch.nn import functional as F

from metalearn import inner_loop
from metalearn._torch import wants_gradient
from metalearn.episodes import Inputs
from metalearn.learners._base import Adapted, TaskLoss
from metalearn.learners._encoder import EncoderLearner
from metalearn.learners._steps import constant, on_device


class ANIL(EncoderLearner):
    r"""Adapt the head of a model by gradient steps on the features of an encoder that stays as it is in a task.

    The outer objective is MAML's. It trains the encoder and the head's initialisation; gradients reach the encoder
    through the features of support and query. Features are computed once, so that inner steps cost next to nothing.

    Args:
        encoder: Any module from inputs ``[n, ...]`` to vectors ``[n, n_features]``.
        head: Module from vectors to logits or values: ``MLP([64, 5])`` is one linear layer.
        inner_lr: Step size of the inner loop, in any form that :func:`metalearn.inner_loop.adapt` takes; constant.
            Names in a mapping are those in the learner: ``"head.0.weight"``.
        n_inner_steps: Steps in training, and at test time unless told otherwise; at least 0.
        first_order: Leave the second derivatives out.
        loss_fn: Task loss, for the inner and the outer objective.

    Raises:
        ValueError: If ``n_inner_steps`` is negative, or the encoder returns no vectors.

    Reference:
        Raghu, Raghu, Bengio, Vinyals: Rapid Learning or Feature Reuse? Towards Understanding the Effectiveness of
        MAML, 2019, arXiv 1909.09157, section 4.

    Taught in:
        The MAML family.

    Example:
        >>> import torch
        >>> from metalearn.learners import ANIL
        >>> from metalearn.networks import MLP
        >>> learner = ANIL(MLP([1, 40, 40]), MLP([40, 1]), inner_lr=0.01, loss_fn=torch.nn.functional.mse_loss)
        >>> adapted = learner.adapt(torch.zeros(5, 1), torch.zeros(5, 1))
        >>> sorted(adapted)
        ['head.0.bias', 'head.0.weight']
    """

    continues = True
    steps_on = "head"
    n_inner_steps: int

    def __init__(
        self,
        encoder: nn.Module,
        head: nn.Module,
        inner_lr: inner_loop.InnerLR,
        n_inner_steps: int = 1,
        *,
        first_order: bool = False,
        loss_fn: TaskLoss = F.cross_entropy,
    ) -> None:
        super().__init__(encoder, loss_fn)
        if n_inner_steps < 0:
            raise ValueError(f"n_inner_steps must be at least 0, got {n_inner_steps}")
        self.head = head
        self.inner_lr = constant(inner_lr)
        self.n_inner_steps = n_inner_steps
        self.first_order = first_order
        self.train()

    def adapt(
        self,
        support_x: Inputs,
        support_y: Tensor,
        *,
        n_way: int | None = None,
        n_steps: int | None = None,
        start: Mapping[str, Tensor] | None = None,
    ) -> Adapted:
        """Return the head's weights after ``n_steps`` gradient steps, named ``"head.…"``, and the support's statistics.

        Args:
            support_x: Inputs ``[n_support, ...]``.
            support_y: Labels ``[n_support]`` or targets ``[n_support, n_outputs]``.
            n_way: Not needed: the head's outputs are fixed.
            n_steps: Number of steps, at least 0; ``None``: ``n_inner_steps``.
            start: An earlier result to go on from; ``None``: the learned start.
        """
        own: inner_loop.Params = {
            f"head.{name}": param for name, param in self.head.named_parameters() if wants_gradient(param)
        }
        head = inner_loop.adapt(
            own if start is None else {name: start[name] for name in own},
            self._head_loss,
            self.encode({}, support_x),
            support_y,
            n_steps=self.n_inner_steps if n_steps is None else n_steps,
            inner_lr=on_device(self.inner_lr, own),
            first_order=self.first_order,
        )
        return self.with_statistics(head, support_x)

    def predict(self, adapted: Adapted, x: Inputs) -> Tensor:
        """Run the adapted head on the features: logits or values ``[n, n_outputs]``."""
        return self.run("head", adapted, self.encode(adapted, x))

    def _head_loss(self, head: inner_loop.Params, features: Inputs, y: Tensor) -> Tensor:
        return self.loss_fn(self.run("head", head, features), y)
