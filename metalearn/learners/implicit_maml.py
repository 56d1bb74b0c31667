"""Implicit MAML: the meta-gradient of where the inner loop ends, whichever way it got there."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import grad, vjp
from torch.nn import functional as F

from metalearn import inner_loop
from metalearn.episodes import Episode, Inputs
from metalearn.learners._base import TaskLoss
from metalearn.learners._checks import at_least_one, positive
from metalearn.learners._steps import StepsLearner, constant, on_device
from metalearn.vectorize import plain_attention


class ImplicitMAML(StepsLearner):
    r"""Adapt to the minimum of the support loss plus a pull towards the start, and differentiate that minimum.

    The inner objective is :math:`\mathcal{L}_\mathcal{S}(\phi) + \frac{\lambda}{2} \lVert \phi - \theta \rVert^2`.
    At its minimum :math:`\theta'` the meta-gradient is
    :math:`(I + H / \lambda)^{-1} \nabla \mathcal{L}_\mathcal{Q}(\theta')`, with the Hessian :math:`H` of the support
    loss there. It is solved for by conjugate gradients, so that memory does not grow with the number of inner steps.

    Args:
        model: Any module whose forward pass is pure. Its parameters are the initialisation that is learned.
        inner_lr: Step size of the inner loop, in any form that :func:`metalearn.inner_loop.adapt` takes.
        n_inner_steps: Steps in training, and at test time unless told otherwise. The gradient is that of the minimum,
            so take enough to come near it.
        strength: Strength :math:`\lambda` of the pull, above 0.
        n_cg_steps: Steps of conjugate gradients, at least 1; each costs one Hessian-vector product.
        loss_fn: Task loss, for the inner and the outer objective.

    Raises:
        ValueError: If a number is out of its range.

    Reference:
        Rajeswaran, Finn, Kakade, Levine: Meta-Learning with Implicit Gradients, 2019, arXiv 1909.04630,
        algorithms 1 and 2.

    Differs from the paper:
        Conjugate gradients stop in a direction of negative curvature of :math:`I + H / \lambda`, where the minimum is
        none; the authors add a damping constant to :math:`\lambda` instead.

    Taught in:
        The MAML family.

    Example:
        >>> import torch
        >>> from metalearn.data import sinusoids
        >>> from metalearn.learners import ImplicitMAML
        >>> from metalearn.networks import MLP
        >>> model = MLP([1, 40, 1])
        >>> learner = ImplicitMAML(model, 0.02, 16, strength=0.5, loss_fn=torch.nn.functional.mse_loss)
        >>> loss = learner.backward(sinusoids().sample(8, 10, 10))
        >>> model[0].weight.grad.shape
        torch.Size([40, 1])
    """

    def __init__(
        self,
        model: nn.Module,
        inner_lr: inner_loop.InnerLR,
        n_inner_steps: int = 16,
        *,
        strength: float = 2.0,
        n_cg_steps: int = 5,
        loss_fn: TaskLoss = F.cross_entropy,
    ) -> None:
        super().__init__(model, n_inner_steps, loss_fn=loss_fn)
        self.inner_lr = constant(inner_lr)
        self.strength = positive("strength", strength)
        at_least_one(n_inner_steps=n_inner_steps, n_cg_steps=n_cg_steps)
        self.n_cg_steps = n_cg_steps

    def backward(self, batch: Any) -> Tensor:
        """Add the mean implicit gradient over tasks to ``.grad`` and return the mean query loss."""
        with plain_attention():  # Hessian products need second derivatives
            return self._add_gradients(self._implicit, batch)

    def _implicit(self, episode: Episode) -> tuple[inner_loop.Params, Tensor]:
        """Return the meta-gradient of one task and its query loss."""
        x, y = episode.support_x, episode.support_y
        adapted = self.adapt(x, y)
        names = list(self._start())
        minimum = {name: adapted[name] for name in names}

        def query_loss(params: inner_loop.Params) -> Tensor:
            return self.loss_fn(self.predict(self.with_statistics(params, x), episode.query_x), episode.query_y)

        def support_loss(params: inner_loop.Params) -> Tensor:
            return self._support_loss(params, x, y)

        by_hessian = vjp(grad(support_loss), minimum)[1]  # the Hessian is its own transpose

        def multiply(vector: Tensor) -> Tensor:  # by I + H / strength
            product = by_hessian(inner_loop.from_vector(vector, minimum))[0]
            return vector + inner_loop.to_vector({name: product[name] for name in names}) / self.strength

        slope, loss = torch.func.grad_and_value(query_loss)(minimum)
        solution = conjugate_gradients(
            multiply, inner_loop.to_vector({name: slope[name] for name in names}), self.n_cg_steps
        )
        return inner_loop.from_vector(solution, minimum), loss

    def _path(self, start: inner_loop.Params, x: Inputs, y: Tensor, n_steps: int) -> Iterator[inner_loop.Params]:
        fixed = {name: param.detach() for name, param in start.items()}

        def pulled_loss(params: inner_loop.Params, x: Inputs, y: Tensor) -> Tensor:
            squares = [(params[name] - fixed[name]).square().sum() for name in fixed]
            return self._support_loss(params, x, y) + 0.5 * self.strength * torch.stack(squares).sum()

        return inner_loop.trajectory(
            start, pulled_loss, x, y, n_steps=n_steps, inner_lr=on_device(self.inner_lr, start), first_order=True
        )


def conjugate_gradients(multiply: Callable[[Tensor], Tensor], target: Tensor, n_steps: int) -> Tensor:
    r"""Return an approximate solution :math:`v` of :math:`A v = b` for a symmetric positive definite matrix.

    The steps stop, for good, where the residual is zero or a direction has no positive curvature; if that is the first
    one, the result is the target itself.

    Args:
        multiply: The product of the matrix with a vector ``[n]``.
        target: Right-hand side ``[n]``.
        n_steps: Products to spend, at least 1; n of them are exact up to rounding.

    Reference:
        Hestenes, Stiefel: Methods of Conjugate Gradients for Solving Linear Systems, 1952.

    Example:
        >>> import torch
        >>> from metalearn.learners.implicit_maml import conjugate_gradients
        >>> matrix = torch.tensor([[2.0, 1.0], [1.0, 2.0]])
        >>> conjugate_gradients(lambda v: matrix @ v, torch.tensor([3.0, 3.0]), 2)
        tensor([1., 1.])
    """
    solution, residual, direction = torch.zeros_like(target), target, target
    length = residual @ residual
    going = torch.ones_like(length, dtype=torch.bool)
    for k in range(n_steps):
        product = multiply(direction)
        curvature = direction @ product
        going = going & (curvature > 0)
        step = torch.where(going, length / torch.where(going, curvature, 1.0), 0.0)
        solution, residual = solution + step * direction, residual - step * product
        if k == 0:
            solution = torch.where(going, solution, target)
        new_length = residual @ residual
        direction = residual + torch.where(going, new_length / torch.where(going, length, 1.0), 0.0) * direction
        length = new_length
    return solution
