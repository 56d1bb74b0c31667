"""Least squares where the form of the physics is known: parameters by which the simulator fits what was seen."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.func import jacrev, vmap

from metalearn._given import at_least_one
from metalearn.control.systems import System
from metalearn.control.transitions import Transitions

DAMPING, MORE, LESS = 1e-2, 5.0, 0.3  # of a Gauss-Newton step, and what a bad or a good one makes of it


@torch.no_grad()
def identify(
    system: System,
    known: Transitions,
    *,
    start: Tensor | None = None,
    n_rounds: int = 12,
    free: Sequence[str] | None = None,
) -> Tensor:
    r"""Estimate the parameters of systems from steps of theirs, by damped Gauss-Newton through the simulator.

    The squared error of the targets is made small over parameters :math:`z \in [0, 1]` in units of their ranges:
    :math:`z \leftarrow z - (J^\top J + \lambda I)^{-1} J^\top r`, clipped to the ranges, where the residuals :math:`r`
    are predicted less measured targets and :math:`J` is their derivative. A step that does not help is not taken, and
    the damping :math:`\lambda` grows. What the steps do not tell stays where it began.

    Args:
        system: The kind of system.
        known: Steps of each system, at least one.
        start: Where to begin ``[n_systems, n_parameters]``; ``None``: in the middle of the ranges.
        n_rounds: Number of steps that are tried, at least 1.
        free: Names of the parameters that are estimated; the others are taken to be as usual, or as ``start`` has
            them. ``None``: all.

    Returns:
        Parameters ``[n_systems, n_parameters]``, in their ranges where they are free.

    Raises:
        ValueError: If a name is no parameter.

    Reference:
        Levenberg: A Method for the Solution of Certain Non-Linear Problems in Least Squares, 1944,
        doi 10.1090/qam/10666.

    Taught in:
        Robots, roads, users.

    Example:
        >>> import torch
        >>> from metalearn.control import Pendulum, identify, wander
        >>> generator = torch.Generator().manual_seed(0)
        >>> context = Pendulum().draw(4, generator)
        >>> found = identify(Pendulum(), wander(Pendulum(), context, 20, generator))
        >>> bool((found - context).abs().max() < 0.01)
        True
    """
    at_least_one(n_rounds=n_rounds)
    state, action, y = (t.double() for t in (known.state, known.action, known.targets(system)))
    low, high = system.bounds(state)
    moving = _moving(system, free, state)
    base = _base(system, start, moving, len(state), low, high)
    z = (base - low) / (high - low)

    def residuals(z: Tensor, state: Tensor, action: Tensor, y: Tensor) -> Tensor:
        return (system.targets(state, system.step(low + (high - low) * z, state, action)) - y).flatten()

    derivative = vmap(jacrev(residuals))
    error = vmap(residuals)(z, state, action, y)
    damping = torch.full((len(z), 1, 1), DAMPING, dtype=z.dtype, device=z.device)
    for _ in range(n_rounds):
        slope = derivative(z, state, action, y) * moving  # [n_systems, n_residuals, n_parameters]
        normal = slope.mT @ slope + damping * torch.eye(z.shape[1], dtype=z.dtype, device=z.device)
        step = torch.linalg.solve(normal, slope.mT @ error.unsqueeze(2)).squeeze(2)
        tried = torch.where(moving, (z - step).clamp(0, 1), z)
        tried_error = vmap(residuals)(tried, state, action, y)
        better = tried_error.square().sum(1) <= error.square().sum(1)
        z = torch.where(better[:, None], tried, z)
        error = torch.where(better[:, None], tried_error, error)
        damping = damping * torch.where(better, LESS, MORE)[:, None, None]
    return (low + (high - low) * z).to(known.state.dtype)


def _moving(system: System, free: Sequence[str] | None, like: Tensor) -> Tensor:
    """Return which parameters are estimated ``[n_parameters]``."""
    names = system.names if free is None else tuple(free)
    system.known(names)
    return torch.tensor([name in names for name in system.names], device=like.device)


def _base(system: System, start: Tensor | None, moving: Tensor, n_systems: int, low: Tensor, high: Tensor) -> Tensor:
    """Return where the search begins ``[n_systems, n_parameters]``."""
    if start is not None:
        return start.to(low)
    return torch.where(moving, (low + high) / 2, system.usual().to(low)).expand(n_systems, -1)
