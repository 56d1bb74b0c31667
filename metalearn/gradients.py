"""The gradient that an outer loop follows, as one vector, and a check of it by finite differences."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from metalearn.learners._base import Learner
from metalearn.vectorize import over_tasks


def outer_gradient(learner: Learner, batch: Any) -> Tensor:
    """Return what ``learner.backward(batch)`` leaves in ``.grad``, as one vector ``[n_parameters]``.

    Parameters without a gradient count as zeros; frozen ones are left out. Earlier gradients are lost.

    Args:
        learner: Any learner.
        batch: What its ``backward`` takes.

    Example:
        >>> import torch
        >>> from metalearn.data import sinusoids
        >>> from metalearn.gradients import outer_gradient
        >>> from metalearn.learners import MAML
        >>> from metalearn.networks import MLP
        >>> learner = MAML(MLP([1, 40, 1]), 0.01, loss_fn=torch.nn.functional.mse_loss)
        >>> outer_gradient(learner, sinusoids().sample(4, 5, 5)).shape
        torch.Size([121])
    """
    learner.zero_grad()
    learner.backward(batch)
    own = [param for param in learner.parameters() if param.requires_grad]
    return torch.cat([(torch.zeros_like(p) if p.grad is None else p.grad).flatten() for p in own])


def finite_difference_error(
    learner: Learner, batch: Any, epsilon: float = 1e-5, generator: torch.Generator | None = None
) -> float:
    r"""Return by how much ``backward`` is off the slope of ``loss`` along one random direction, relative to the slope.

    The slope is measured by central differences, :math:`(\mathcal{L}(\theta + \epsilon d) - \mathcal{L}(\theta -
    \epsilon d)) / 2\epsilon`. In double precision and with a smooth network (tanh, average pooling; not ReLU, whose
    kinks disturb differences) a right gradient is off by 1e-6 or less. Where the loss does not change at all, the
    result is 0 for a gradient of zero and infinite for another. For a learner whose ``backward`` is by design no
    gradient of its ``loss``, such as Reptile, the result means nothing.

    Args:
        learner: With parameters in double precision; they are the same afterwards.
        batch: Tasks in double precision.
        epsilon: Length of the step to either side, in units of a standard normal direction.
        generator: For the direction; ``None``: one with a fixed seed.

    Raises:
        ValueError: If a parameter is not in double precision.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> from metalearn import Episode
        >>> from metalearn.gradients import finite_difference_error
        >>> from metalearn.learners import MAML
        >>> x = torch.linspace(-1, 1, 8).double().reshape(1, 8, 1)
        >>> tasks = Episode(x, x.sin(), x, x.sin())
        >>> net = nn.Sequential(nn.Linear(1, 5), nn.Tanh(), nn.Linear(5, 1)).double()
        >>> how = {"loss_fn": nn.functional.mse_loss}
        >>> finite_difference_error(MAML(net, 0.1, **how), tasks) < 1e-5
        True
        >>> finite_difference_error(MAML(net, 0.1, first_order=True, **how), tasks) < 1e-5
        False
    """
    own = [param for param in learner.parameters() if param.requires_grad]
    if any(param.dtype != torch.float64 for param in own):
        raise ValueError("expected parameters in double precision: call learner.double(), and give the batch so too")
    here = nn.utils.parameters_to_vector(own).detach()
    generator = generator or torch.Generator(here.device).manual_seed(0)
    direction = torch.randn(here.shape, generator=generator, dtype=here.dtype, device=here.device)
    predicted = float((outer_gradient(learner, batch) @ direction).item())
    values: list[float] = []
    for sign in (1, -1, 0):  # the last one puts the weights back
        nn.utils.vector_to_parameters(here + sign * epsilon * direction, own)
        values.append(float(over_tasks(learner.loss, batch).mean().item()))
    measured = (values[0] - values[1]) / (2 * epsilon)
    off = abs(predicted - measured)
    return off / abs(measured) if measured else math.inf if off else 0.0
