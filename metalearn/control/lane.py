"""A car that is to keep its lane on a curved road, where grip, load and wind change from car to car."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from metalearn.control.systems import Parameters, System, stacked, uniform

GRAVITY, WHEELBASE, UNDERSTEER, LAG, MAX_STEERING = 9.81, 2.7, 0.003, 0.2, 0.25  # m/s², m, s²/m², s, rad
UNITS = (2.0, 0.3)  # m/s and rad/s of one unit of the targets


@dataclass(frozen=True)
class Lane(System):
    r"""A kinematic bicycle at constant speed on a curved road.

    A state is the offset from the lane's middle in m (left is positive), the heading relative to the road in rad, the
    angle of the front wheels in rad, the speed in m/s and the position along the road in m. The action is the wanted
    angle of the wheels over 0.25 rad; they follow with a lag of 0.2 s. With wheels at :math:`\delta`, a bicycle of
    wheelbase :math:`b` at speed :math:`v` wants the lateral acceleration :math:`a = v^2 \tan\delta / b / (1 + \kappa l
    v^2)`, where the load :math:`l` (1: the empty car) makes the tyres slip; the road gives :math:`\mu g \tanh(a / \mu
    g)`, of which it never gives more than :math:`\mu g`, where :math:`\mu` is the grip. The car turns by that over
    :math:`v`. Side wind moves it by ``wind / load`` m/s, to the left where it is positive.

    Args:
        dt: Seconds between two actions, above 0.
        bends: The road's curvature in 1/m is a sum of sine waves: for each its size in 1/m, its length in m and where
            it starts in m. ``()`` is a straight road.

    Reference:
        The kinematic bicycle: Kong, Pfeiffer, Schildbach, Borrelli: Kinematic and Dynamic Vehicle Models for Autonomous
        Driving Control Design, 2015, doi 10.1109/IVS.2015.7225830.

    Differs from the paper:
        The reference point is the rear axle, and slip is the two simple factors above, not a model of tyres.

    Taught in:
        Robots, roads, users.

    Example:
        >>> import torch
        >>> from metalearn.control import Lane
        >>> system = Lane(bends=())
        >>> car = torch.tensor([0.0, 0.0, 0.1, 10.0, 0.0])
        >>> round(float(system.yaw_rate(torch.tensor([1e6, 0.0, 0.0]), car)), 4)  # 10 tan(0.1) / 2.7
        0.3716
    """

    dt: float = 0.1
    bends: tuple[tuple[float, float, float], ...] = ((0.005, 150.0, 0.0), (0.003, 67.0, 20.0))

    parameters: ClassVar[Parameters] = {
        "grip": (0.3, 0.9, 1.0),
        "load": (1.0, 1.0, 2.0),
        "wind": (-1.0, 0.0, 1.0),
    }
    n_states: ClassVar[int] = 5
    n_inputs: ClassVar[int] = 3
    n_targets: ClassVar[int] = 2
    wiggle: ClassVar[float] = 0.3

    def start(self, n_systems: int, generator: torch.Generator | None = None) -> Tensor:
        """Draw cars in the middle of the lane, at 12 to 20 m/s, somewhere on the road."""
        return uniform((n_systems, 5), generator, [0.0, 0.0, 0.0, 12.0, 0.0], [0.0, 0.0, 0.0, 20.0, 1000.0])

    def anywhere(self, shape: tuple[int, ...], generator: torch.Generator | None = None) -> Tensor:
        """Draw offsets in [-2, 2] m, headings and wheels in [-0.2, 0.2] rad, and speeds in [12, 20] m/s."""
        return uniform((*shape, 5), generator, [-2.0, -0.2, -0.2, 12.0, 0.0], [2.0, 0.2, 0.2, 20.0, 1000.0])

    def curvature(self, position: Tensor) -> Tensor:
        """Return the road's curvature in 1/m at positions in m; positive bends to the left."""
        waves = (size * torch.sin(2 * math.pi * (position - at) / length) for size, length, at in self.bends)
        return sum(waves, torch.zeros_like(position))

    def yaw_rate(self, context: Tensor, state: Tensor) -> Tensor:
        """Return how fast the car turns in rad/s ``[...]``."""
        grip, load, _ = context.unbind(-1)
        _, _, wheels, speed, _ = state.unbind(-1)
        wanted = speed.square() * wheels.tan() / WHEELBASE / (1 + UNDERSTEER * load * speed.square())
        most = grip * GRAVITY
        return most * torch.tanh(wanted / most) / speed

    def step(self, context: Tensor, state: Tensor, action: Tensor) -> Tensor:
        """Return the states that follow: the wheels move first, then the car by Euler's method."""
        state = self._steered(state, action)
        _, heading, _, speed, _ = state.unbind(-1)
        side = speed * heading.sin() + context[..., 2] / context[..., 1]
        return self._moved(state, side, self.yaw_rate(context, state))

    def cost(self, state: Tensor, action: Tensor) -> Tensor:
        """Return the squared offset in m², plus the squared heading in units of 0.3 rad and a little of the action."""
        offset, heading, _, _, _ = state.unbind(-1)
        return offset.square() + (heading / 0.3).square() + 0.01 * action.clamp(-1, 1).squeeze(-1).square()

    def inputs(self, state: Tensor, action: Tensor) -> Tensor:
        """Return heading over 0.2, the wheels' angle after the lag over 0.1, and speed beyond 16 m/s over 4."""
        _, heading, wheels, speed, _ = self._steered(state, action).unbind(-1)
        return torch.stack([heading / 0.2, wheels / 0.1, (speed - 16) / 4], -1)

    def targets(self, state: Tensor, following: Tensor) -> Tensor:
        """Return the speed to the side in units of 2 m/s, and the yaw rate in units of 0.3 rad/s."""
        offset, heading, _, speed, position = state.unbind(-1)
        side = (following[..., 0] - offset) / self.dt
        turn = (following[..., 1] - heading) / self.dt + speed * self.curvature(position)
        return torch.stack([side / UNITS[0], turn / UNITS[1]], -1)

    def advance(self, state: Tensor, action: Tensor, targets: Tensor) -> Tensor:
        """Return the states that follow at these speeds."""
        return self._moved(self._steered(state, action), targets[..., 0] * UNITS[0], targets[..., 1] * UNITS[1])

    def _steered(self, state: Tensor, action: Tensor) -> Tensor:
        """Return states with the wheels moved towards the action."""
        offset, heading, wheels, speed, position = state.unbind(-1)
        wanted = MAX_STEERING * action.clamp(-1, 1).squeeze(-1)
        wheels = wheels + (1 - math.exp(-self.dt / LAG)) * (wanted - wheels)
        return stacked(offset, heading, wheels, speed, position)

    def _moved(self, state: Tensor, side: Tensor, turn: Tensor) -> Tensor:
        offset, heading, wheels, speed, position = state.unbind(-1)
        heading_after = heading + self.dt * (turn - speed * self.curvature(position))
        moved = [offset + self.dt * side, heading_after, wheels, speed, position + self.dt * speed * heading.cos()]
        return stacked(*moved)
