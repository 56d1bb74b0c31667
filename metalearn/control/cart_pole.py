"""Gymnasium's cart-pole with mass, length, friction, force and delay that change from system to system."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from metalearn.control.systems import Parameters, System, acting, stacked, uniform

GRAVITY, CART = 9.8, 1.0  # m/s², kg
UNITS = (10.0, 20.0)  # m/s² and rad/s² of one unit of the targets
FALLEN = 0.2095  # rad, 12 degrees: where gymnasium ends an episode


@dataclass(frozen=True)
class CartPole(System):
    """A pole on a cart, to be balanced by pushing the cart; the force may have any size up to its largest.

    A state is the cart's position in m and speed in m/s, the pole's angle from upright in rad, its angular speed in
    rad/s, and the last action. Parameters are the pole's mass in kg, half its length in m, the friction of the cart in
    N s/m, the largest force in N and the delay of the force in steps.

    Args:
        dt: Seconds between two actions, above 0; gymnasium's 0.02.

    Reference:
        Barto, Sutton, Anderson: Neuronlike Adaptive Elements That Can Solve Difficult Learning Control Problems, 1983,
        doi 10.1109/TSMC.1983.6313077; as gymnasium's ``CartPole-v1`` has it, to which a usual cart-pole is equal.

    Differs from the paper:
        Friction brakes the cart in proportion to its speed, and the pole's joint has none. Nothing ends a run.

    Taught in:
        Robots, roads, users.

    Example:
        >>> import torch
        >>> from metalearn.control import CartPole
        >>> system = CartPole()
        >>> following = system.step(system.usual(), torch.zeros(5), torch.tensor([1.0]))
        >>> [round(x, 3) for x in following.tolist()]
        [0.0, 0.195, 0.0, -0.293, 1.0]
    """

    dt: float = 0.02

    parameters: ClassVar[Parameters] = {
        "mass": (0.05, 0.1, 0.5),
        "length": (0.25, 0.5, 1.0),
        "friction": (0.0, 0.0, 2.0),
        "force": (3.0, 10.0, 15.0),
        "delay": (0.0, 0.0, 1.0),
    }
    n_states: ClassVar[int] = 5
    n_inputs: ClassVar[int] = 6
    n_targets: ClassVar[int] = 2

    def start(self, n_systems: int, generator: torch.Generator | None = None) -> Tensor:
        """Draw angles in [-0.3, 0.3] rad, all else at rest in the middle."""
        return uniform((n_systems, 5), generator, [0.0, 0.0, -0.3, 0.0, 0.0], [0.0, 0.0, 0.3, 0.0, 0.0])

    def anywhere(self, shape: tuple[int, ...], generator: torch.Generator | None = None) -> Tensor:
        """Draw positions in [-1, 1] m, speeds in [-2, 2], angles in [-0.5, 0.5] rad, and any last action."""
        high = [1.0, 2.0, 0.5, 2.0, 1.0]
        return uniform((*shape, 5), generator, [-x for x in high], high)

    def step(self, context: Tensor, state: Tensor, action: Tensor) -> Tensor:
        """Return the states that follow by Euler's method: the speeds before the step move positions."""
        mass, length, friction, force, delay = context.unbind(-1)
        _, speed, angle, turning, last = state.unbind(-1)
        total, moment = CART + mass, mass * length
        push = force * acting(action, last, delay) - friction * speed
        shared = (push + moment * turning.square() * angle.sin()) / total
        inertia = length * (4 / 3 - mass * angle.cos().square() / total)
        turn = (GRAVITY * angle.sin() - angle.cos() * shared) / inertia
        return self._moved(state, action, shared - moment * turn * angle.cos() / total, turn)

    def cost(self, state: Tensor, action: Tensor) -> Tensor:
        """Return 10 (1 - cos angle), plus a tenth of the squared distance from the middle, of at most 2.4 m."""
        position, _, angle, turning, _ = state.unbind(-1)
        effort = 0.001 * action.clamp(-1, 1).squeeze(-1).square()
        return 10 * (1 - angle.cos()) + 0.1 * position.clamp(-2.4, 2.4).square() + 0.01 * turning.square() + effort

    def fallen(self, state: Tensor) -> Tensor:
        """Return whether the pole leans by more than gymnasium's 12 degrees ``[...]``."""
        return state[..., 2].abs() > FALLEN

    def inputs(self, state: Tensor, action: Tensor) -> Tensor:
        """Return speed over 2, cosine and sine of the angle, angular speed over 2, the last action and the action."""
        _, speed, angle, turning, last = state.unbind(-1)
        command = action.clamp(-1, 1).squeeze(-1)
        return torch.stack([speed / 2, angle.cos(), angle.sin(), turning / 2, last, command], -1)

    def targets(self, state: Tensor, following: Tensor) -> Tensor:
        """Return the accelerations of cart and pole in units of 10 m/s² and 20 rad/s²."""
        change = (following[..., [1, 3]] - state[..., [1, 3]]) / self.dt
        return change / change.new_tensor(UNITS)

    def advance(self, state: Tensor, action: Tensor, targets: Tensor) -> Tensor:
        """Return the states that follow by these accelerations."""
        return self._moved(state, action, targets[..., 0] * UNITS[0], targets[..., 1] * UNITS[1])

    def _moved(self, state: Tensor, action: Tensor, change: Tensor, turn: Tensor) -> Tensor:
        position, speed, angle, turning, _ = state.unbind(-1)
        last = action.clamp(-1, 1).squeeze(-1).expand_as(change)
        moved = [position + self.dt * speed, speed + self.dt * change, angle + self.dt * turning]
        moved += [turning + self.dt * turn, last]
        return stacked(*moved)
