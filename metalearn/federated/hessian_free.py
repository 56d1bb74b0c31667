"""Per-FedAvg without second derivatives: the Hessian's product with a gradient as a difference of two gradients."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from metalearn import inner_loop
from metalearn.episodes import Episode
from metalearn.learners import MAML


def hessian_free_backward(learner: MAML, delta: float = 1e-3) -> Callable[[Any], Tensor]:
    r"""Return a ``backward(batch)`` with the meta-gradient of one inner step, by first derivatives alone.

    The meta-gradient is :math:`g - \alpha H g`, with :math:`g` the query's gradient at the adapted weights and
    :math:`H` the Hessian of the support's loss at the start; here
    :math:`H g \approx (\nabla\mathcal{L}_\mathcal{S}(\theta + \delta g) - \nabla\mathcal{L}_\mathcal{S}(\theta - \delta
    g)) / 2\delta`. For a quadratic loss that is exact. Take a smooth network: where a ReLU switches between the two
    points, the gradient jumps, and the estimate is off by that jump over :math:`2\delta`, which may be many times the
    gradient.

    Args:
        learner: MAML with one inner step and one rate for all weights.
        delta: Length of the step to either side, in units of :math:`g`; above 0.

    Returns:
        A function that adds to ``.grad`` and returns the mean loss.

    Raises:
        ValueError: If there is not one inner step, the rate is not a number, or ``delta`` is not above 0.

    Reference:
        Fallah, Mokhtari, Ozdaglar: Personalized Federated Learning: A Meta-Learning Approach, 2020, arXiv 2002.07948:
        its variant without Hessians.

    Taught in:
        Trust.

    Example:
        >>> import torch
        >>> from metalearn.data import sinusoids
        >>> from metalearn.federated import hessian_free_backward
        >>> from metalearn.learners import MAML
        >>> from metalearn.networks import MLP
        >>> learner = MAML(MLP([1, 40, 1]), inner_lr=0.01, loss_fn=torch.nn.functional.mse_loss)
        >>> hessian_free_backward(learner)(sinusoids().sample(3, 5, 5)).shape
        torch.Size([])
    """
    rate = learner.inner_lr
    if learner.n_inner_steps != 1 or not isinstance(rate, float | int) or not delta > 0:
        raise ValueError(
            "expected MAML with n_inner_steps=1 and one number as inner_lr, and delta above 0, got"
            f" {learner.n_inner_steps} steps, {type(rate).__name__} and {delta}"
        )

    def of_task(task: Episode) -> tuple[inner_loop.Params, Tensor]:
        start = {name: param.detach() for name, param in learner._start().items()}
        slope = torch.func.grad(learner._support_loss)
        first = slope(start, task.support_x, task.support_y)
        moved = {name: start[name] - rate * first[name] for name in start}
        at_query = torch.func.grad_and_value(learner._support_loss)
        g, loss = at_query(moved, task.query_x, task.query_y)
        ends = [
            slope({name: start[name] + sign * delta * g[name] for name in start}, task.support_x, task.support_y)
            for sign in (1, -1)
        ]
        return {name: g[name] - rate * (ends[0][name] - ends[1][name]) / (2 * delta) for name in start}, loss

    return lambda batch: learner._add_gradients(of_task, batch)
