"""Meta-SGD: learn the step sizes of the inner loop together with where it starts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from metalearn import inner_loop
from metalearn.episodes import Inputs
from metalearn.learners._base import TaskLoss
from metalearn.learners._checks import at_least_one
from metalearn.learners._steps import DescentLearner

RatePer = Literal["weight", "tensor"]


class MetaSGD(DescentLearner):
    r"""Adapt all weights by gradient steps with learned rates: :math:`\theta' = \theta - \alpha \odot \nabla`.

    Args:
        model: Any module whose forward pass is pure. Its parameters are the initialisation that is learned.
        initial_lr: The value from which all rates start. They may become negative: then a step moves a weight up the
            gradient.
        n_inner_steps: Steps in training, and at test time unless told otherwise.
        rate_per: ``"weight"``: a rate for each weight; ``"tensor"``: one for each parameter tensor.
        per_step: Rates of its own for each inner step; later steps at test time use the last. Together with
            ``rate_per="tensor"`` these are MAML++'s learned rates.
        first_order: Leave the second derivatives out. Rates are learned all the same.
        recompute: Trade time for memory; see :func:`metalearn.inner_loop.adapt`.
        loss_fn: Task loss, for the inner and the outer objective.

    Attributes:
        rates: The rates, one tensor for each parameter of the model in its order, ``[n_inner_steps, ...]`` with
            ``per_step``.

    Raises:
        ValueError: If ``n_inner_steps`` is below 1 or ``rate_per`` unknown.

    Reference:
        Li, Zhou, Chen, Li: Meta-SGD: Learning to Learn Quickly for Few-Shot Learning, 2017, arXiv 1707.09835,
        algorithm 1. Rates for each tensor and step: Antoniou, Edwards, Storkey: How to train your MAML, 2018,
        arXiv 1810.09502, section 4.

    Differs from the paper:
        All rates start at one value, where the paper draws it at random from 0.005 to 0.1.

    Taught in:
        Learning the rule of gradient descent.

    Example:
        >>> import torch
        >>> from metalearn.learners import MetaSGD
        >>> from metalearn.networks import MLP
        >>> learner = MetaSGD(MLP([1, 40, 1]), initial_lr=0.01, loss_fn=torch.nn.functional.mse_loss)
        >>> learner.rates[0].shape, learner.model[0].weight.shape
        (torch.Size([40, 1]), torch.Size([40, 1]))
    """

    def __init__(
        self,
        model: nn.Module,
        initial_lr: float = 0.01,
        n_inner_steps: int = 1,
        *,
        rate_per: RatePer = "weight",
        per_step: bool = False,
        first_order: bool = False,
        recompute: bool = False,
        loss_fn: TaskLoss = F.cross_entropy,
    ) -> None:
        super().__init__(model, n_inner_steps, loss_fn=loss_fn)
        if rate_per not in get_args(RatePer):
            raise ValueError(f"rate_per must be one of {list(get_args(RatePer))}, got {rate_per!r}")
        at_least_one(n_inner_steps=n_inner_steps)
        self.initial_lr = initial_lr
        self.rate_per = rate_per
        self.per_step = per_step
        self.first_order = first_order
        self.recompute = recompute
        self.rates = nn.ParameterList()
        for param in model.parameters():
            shape = list(param.shape) if rate_per == "weight" else []
            shape = [n_inner_steps, *shape] if per_step else shape
            self.rates.append(torch.full(shape, initial_lr, dtype=param.dtype, device=param.device))

    def _path(self, start: inner_loop.Params, x: Inputs, y: Tensor, n_steps: int) -> Iterator[inner_loop.Params]:
        return inner_loop.trajectory(
            start,
            self._support_loss,
            x,
            y,
            n_steps=n_steps,
            inner_lr=self._inner_rates(),
            first_order=self.first_order,
            recompute=self.recompute,
        )

    def _inner_rates(self) -> inner_loop.InnerLR:
        names = [f"model.{name}" for name, _ in self.model.named_parameters()]
        if not self.per_step:
            return dict(zip(names, self.rates, strict=True))
        return [
            {name: rate[k] for name, rate in zip(names, self.rates, strict=True)} for k in range(self.n_inner_steps)
        ]
