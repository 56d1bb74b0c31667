"""Gymnasium's pendulum with mass, length, friction and delay that change from system to system."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from metalearn.control.systems import Parameters, System, acting, uniform

GRAVITY, MAX_TORQUE, MAX_SPEED, UNIT = 10.0, 2.0, 8.0, 15.0  # m/s², N m, rad/s, and rad/s² of one unit of the target


@dataclass(frozen=True)
class Pendulum(System):
    r"""A rod that hangs from one end, to be swung up and held by a torque of at most 2 N m.

    A state is the angle from upright in rad, the angular speed in rad/s and the last action. With the mean torque
    :math:`u` of a step, mass :math:`m`, length :math:`l` and friction :math:`f` at the axis, the speed changes by

    .. math:: \ddot\varphi = \frac{3 g}{2 l} \sin\varphi + \frac{3}{m l^2} (u - f \dot\varphi),

    where :math:`m` and :math:`l^2` divide torque and friction alike: a motor of half the torque, with half the
    friction, is the same as twice the mass.

    Args:
        dt: Seconds between two actions, above 0; gymnasium's 0.05.

    Reference:
        Towers and others: Gymnasium: A Standard Interface for Reinforcement Learning Environments, 2024,
        arXiv 2407.17032; environment ``Pendulum-v1``, to which a usual pendulum is equal.

    Taught in:
        Robots, roads, users.

    Example:
        >>> import torch
        >>> from metalearn.control import Pendulum
        >>> system = Pendulum()
        >>> hanging = torch.tensor([torch.pi, 0.0, 0.0])
        >>> [round(x, 3) for x in system.step(system.usual(), hanging, torch.tensor([1.0])).tolist()]
        [3.157, 0.3, 1.0]
    """

    dt: float = 0.05

    parameters: ClassVar[Parameters] = {
        "mass": (0.5, 1.0, 2.0),
        "length": (0.6, 1.0, 1.2),
        "friction": (0.0, 0.0, 0.5),
        "delay": (0.0, 0.0, 1.0),
    }
    n_states: ClassVar[int] = 3
    n_inputs: ClassVar[int] = 5
    n_targets: ClassVar[int] = 1

    def start(self, n_systems: int, generator: torch.Generator | None = None) -> Tensor:
        """Draw states as gymnasium does: any angle, speeds in [-1, 1] rad/s."""
        return uniform((n_systems, 3), generator, [-math.pi, -1.0, 0.0], [math.pi, 1.0, 0.0])

    def anywhere(self, shape: tuple[int, ...], generator: torch.Generator | None = None) -> Tensor:
        """Draw any angle, speeds in [-6, 6] rad/s and any last action."""
        return uniform((*shape, 3), generator, [-math.pi, -6.0, -1.0], [math.pi, 6.0, 1.0])

    def step(self, context: Tensor, state: Tensor, action: Tensor) -> Tensor:
        """Return the states that follow; gymnasium's order: the new speed moves the angle."""
        mass, length, friction, delay = context.unbind(-1)
        angle, speed, last = state.unbind(-1)
        torque = MAX_TORQUE * acting(action, last, delay)
        change = 3 * GRAVITY / (2 * length) * angle.sin() + 3 / (mass * length**2) * (torque - friction * speed)
        return self._moved(state, action, speed + change * self.dt)

    def cost(self, state: Tensor, action: Tensor) -> Tensor:
        """Return gymnasium's cost: squared angle from upright, 0.1 times squared speed, 0.001 times squared torque."""
        angle = torch.remainder(state[..., 0] + math.pi, 2 * math.pi) - math.pi
        torque = MAX_TORQUE * action.clamp(-1, 1).squeeze(-1)
        return angle.square() + 0.1 * state[..., 1].square() + 0.001 * torque.square()

    def inputs(self, state: Tensor, action: Tensor) -> Tensor:
        """Return cosine and sine of the angle, speed over 4 rad/s, the last action and the action."""
        angle, speed, last = state.unbind(-1)
        return torch.stack([angle.cos(), angle.sin(), speed / 4, last, action.clamp(-1, 1).squeeze(-1)], -1)

    def targets(self, state: Tensor, following: Tensor) -> Tensor:
        """Return the angular acceleration in units of 15 rad/s²."""
        return (following[..., 1:2] - state[..., 1:2]) / (self.dt * UNIT)

    def advance(self, state: Tensor, action: Tensor, targets: Tensor) -> Tensor:
        """Return the states that follow by these accelerations."""
        return self._moved(state, action, state[..., 1] + targets[..., 0] * self.dt * UNIT)

    def _moved(self, state: Tensor, action: Tensor, speed: Tensor) -> Tensor:
        speed = speed.clamp(-MAX_SPEED, MAX_SPEED)
        last = action.clamp(-1, 1).squeeze(-1).expand_as(speed)
        return torch.stack([state[..., 0] + speed * self.dt, speed, last], -1)
