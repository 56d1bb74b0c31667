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
    prior: float = 0.0,
) -> Tensor:
    r"""Estimate the parameters of systems from steps of theirs, by damped Gauss-Newton through the simulator.

    The squared error of the targets is made small over parameters :math:`z \in [0, 1]` in units of their ranges:
    :math:`z \leftarrow z - (J^\top J + \lambda I)^{-1} J^\top r`, clipped to the ranges, where the residuals :math:`r`
    are predicted less measured targets, and then :math:`\sqrt p\, (z - z_0)`, and :math:`J` is their derivative. With
    noise of standard deviation :math:`\sigma`, :math:`p = \sigma^2 / \tau^2` makes the result the most probable
    parameters under a normal prior of deviation :math:`\tau` about the start :math:`z_0`. A step that does not help is
    not taken, and the damping :math:`\lambda` grows. What the steps do not tell stays where it began.

    Args:
        system: The kind of system.
        known: Steps of each system, at least one.
        start: Where to begin ``[n_systems, n_parameters]``; ``None``: in the middle of the ranges.
        n_rounds: Number of steps that are tried, at least 1.
        free: Names of the parameters that are estimated; the others are taken to be as usual, or as ``start`` has
            them. ``None``: all.
        prior: Weight :math:`p` of the squared distance from the start, at least 0.

    Returns:
        Parameters ``[n_systems, n_parameters]``, in their ranges where they are free.

    Raises:
        ValueError: If a name is no parameter, ``prior`` is negative, or what was seen is not finite.

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
    if not prior >= 0:
        raise ValueError(f"prior must be at least 0, got {prior}")
    state, action, y = (t.double() for t in (known.state, known.action, known.targets(system)))
    if not all(part.isfinite().all() for part in (state, action, y)):
        raise ValueError("states and actions must be finite: leave out the steps that are not")
    low, high = system.bounds(state)
    moving = _moving(system, free, state)
    base = _base(system, start, moving, len(state), low, high)
    z = (base - low) / (high - low)

    def residuals(z: Tensor, z_0: Tensor, state: Tensor, action: Tensor, y: Tensor) -> Tensor:
        predicted = system.targets(state, system.step(low + (high - low) * z, state, action))
        return torch.cat([(predicted - y).flatten(), prior**0.5 * (z - z_0)])

    seen = (z, state, action, y)
    derivative = vmap(jacrev(residuals))
    error = vmap(residuals)(z, *seen)
    damping = torch.full((len(z), 1, 1), DAMPING, dtype=z.dtype, device=z.device)
    for _ in range(n_rounds):
        slope = derivative(z, *seen) * moving  # [n_systems, n_residuals, n_parameters]
        normal = slope.mT @ slope + damping * torch.eye(z.shape[1], dtype=z.dtype, device=z.device)
        step = torch.linalg.solve(normal, slope.mT @ error.unsqueeze(2)).squeeze(2)
        tried = torch.where(moving, (z - step).clamp(0, 1), z)
        tried_error = vmap(residuals)(tried, *seen)
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
