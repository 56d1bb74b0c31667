"""Gymnasium's environments with physics or goals that change from task to task."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal, get_args

import torch
from torch import Tensor

from metalearn._given import at_least_one
from metalearn.rl.environments import Environment, device_of

Goal = Literal["direction", "velocity"]


@dataclass(frozen=True, eq=False)
class Running:
    """Simulators in the midst of their episodes, and what they showed last.

    Args:
        simulators: One for each episode of each task, in order.
        shown: Observations ``[n_tasks, n_episodes, n_observations]``.
    """

    simulators: Any
    shown: Tensor


class Simulated(Environment):
    """Tasks in a simulator of gymnasium, one simulator for each episode of each task.

    The state of an episode lies in its simulator, so that, unlike elsewhere, ``step`` is not pure: a new
    ``reset`` ends the episodes of an earlier one. Simulators run on the CPU, one after another.

    Args:
        horizon: Steps of an episode at most, at least 1.

    Raises:
        ImportError: If gymnasium, or what the simulator needs, is not installed.

    Example:
        >>> import torch
        >>> from metalearn.rl import CategoricalPolicy, Simulated, rollout
        >>> class Cars(Simulated):
        ...     name, discrete, n_observations, n_actions = "MountainCar-v0", True, 2, 3
        ...     def draw(self, n_tasks, generator=None):
        ...         return 0.001 + 0.002 * torch.rand(n_tasks, generator=generator)
        ...     def physics(self, context):
        ...         return {"gravity": context.double()}
        >>> rollout(CategoricalPolicy([2, 3]), None, Cars(horizon=10).sample(2), 3).returns.shape
        torch.Size([2, 3])
    """

    name: ClassVar[str]
    needs: ClassVar[str] = "chapters"  # the extra of this package that brings it

    def __init__(self, horizon: int) -> None:
        at_least_one(horizon=horizon)
        self.horizon = horizon
        self._kept: dict[int, Any] = {}  # simulators that were made, by their number

    def __repr__(self) -> str:
        return f"{type(self).__name__}(horizon={self.horizon})"

    def physics(self, context: Tensor) -> dict[str, Tensor]:
        """Return what to set in the simulators: for each name a value for each task ``[n_tasks]``."""
        return {}

    def reward(self, context: Tensor, action: Tensor, reward: Tensor, info: dict[str, Any]) -> Tensor:
        """Return the rewards ``[n_tasks, n_episodes]``, here the simulator's own; ``info`` is what else it says."""
        return reward

    def reset(self, context: Tensor, n_episodes: int, generator: torch.Generator | None = None) -> Running:
        """Start episodes in new states, drawn by the simulators from a seed of the generator."""
        simulators = self._simulators(len(context) * n_episodes)
        for name, values in self.physics(context).items():
            simulators.set_attr(name, values.repeat_interleave(n_episodes).tolist())
        seed = torch.randint(2**31 - 1, (), generator=generator, device=device_of(generator))
        shown, _ = simulators.reset(seed=int(seed))
        return Running(simulators, self._table(shown, context, n_episodes))

    def observe(self, context: Tensor, state: Running) -> Tensor:
        """Return what the simulators showed last."""
        return state.shown

    def step(
        self, context: Tensor, state: Running, action: Tensor, generator: torch.Generator | None = None
    ) -> tuple[Running, Tensor, Tensor]:
        """Let all simulators take a step."""
        n_episodes = state.shown.shape[1]
        shown, reward, done, _, info = state.simulators.step(self.command(action).flatten(0, 1).cpu().numpy())
        own = self._table(reward, context, n_episodes)
        ended = torch.as_tensor(done).reshape(len(context), n_episodes).to(context.device)
        following = Running(state.simulators, self._table(shown, context, n_episodes))
        return following, self.reward(context, action, own, info), ended

    def command(self, action: Tensor) -> Tensor:
        """Return a policy's actions as the simulator takes them."""
        return action if self.discrete else action.clamp(-1, 1)

    def _table(self, values: Any, context: Tensor, n_episodes: int) -> Tensor:
        found = torch.as_tensor(values).to(context.device, context.dtype)
        return found.reshape(len(context), n_episodes, *found.shape[1:])

    def _simulators(self, number: int) -> Any:
        if number in self._kept:
            return self._kept[number]
        wanted = f'{type(self).__name__} needs gymnasium\'s {self.name}: pip install "metalearn-book[{self.needs}]"'
        try:
            import gymnasium
        except ImportError as err:
            raise ImportError(wanted) from err

        def make() -> Any:
            return gymnasium.make(self.name, disable_env_checker=True).unwrapped  # without its own limit of time

        try:
            self._kept[number] = gymnasium.vector.SyncVectorEnv([make] * number)
        except gymnasium.error.DependencyNotInstalled as err:
            raise ImportError(wanted) from err
        return self._kept[number]


class CartPoles(Simulated):
    """Poles on carts to be balanced by pushes left and right; how hard a push is, and which way it goes, varies.

    The force of action 1 is uniform in [5, 15] N to the right or, as likely, to the left; action 0 has the opposite.
    The pole's half length is uniform in [0.25, 1] m. Neither is seen. Each step until the pole falls pays 1.

    Args:
        horizon: Steps of an episode at most, at least 1.

    Taught in:
        Meta-reinforcement learning.

    Example:
        >>> import torch
        >>> from metalearn.rl import CartPoles, CategoricalPolicy, rollout
        >>> tasks = CartPoles(horizon=20).sample(2, torch.Generator().manual_seed(0))
        >>> rollout(CategoricalPolicy([4, 2]), None, tasks, 3, torch.Generator().manual_seed(0)).observations.shape
        torch.Size([2, 3, 20, 4])
    """

    name = "CartPole-v1"
    discrete: ClassVar[bool] = True
    n_observations, n_actions = 4, 2

    def __init__(self, horizon: int = 100) -> None:
        super().__init__(horizon)

    def draw(self, n_tasks: int, generator: torch.Generator | None = None) -> Tensor:
        """Draw force in N, with its sign, and half length in m ``[n_tasks, 2]``."""
        share = torch.rand(n_tasks, 2, generator=generator, device=device_of(generator))
        side = _sides(n_tasks, generator)
        return torch.stack([side * (5 + 10 * share[:, 0]), 0.25 + 0.75 * share[:, 1]], 1)

    def physics(self, context: Tensor) -> dict[str, Tensor]:
        """Return the force and the pole's half length, with the moment that the simulator derives from it."""
        force, length = context.double().unbind(1)
        return {"force_mag": force, "length": length, "polemass_length": 0.1 * length}


class Pendulums(Simulated):
    """Pendulums to be swung up and held; their mass and length vary.

    Mass is uniform in [0.5, 1.5] kg, length in [0.5, 1.5] m; neither is seen. An action in [-1, 1] is a torque of up to
    2 N m, larger ones are clipped.

    Args:
        horizon: Steps of an episode at most, at least 1.

    Example:
        >>> import torch
        >>> from metalearn.rl import GaussianPolicy, Pendulums, rollout
        >>> tasks = Pendulums(horizon=20).sample(2, torch.Generator().manual_seed(0))
        >>> rollout(GaussianPolicy([3, 1]), None, tasks, 3, torch.Generator().manual_seed(0)).observations.shape
        torch.Size([2, 3, 20, 3])
    """

    name = "Pendulum-v1"
    discrete: ClassVar[bool] = False
    n_observations, n_actions = 3, 1

    def __init__(self, horizon: int = 200) -> None:
        super().__init__(horizon)

    def draw(self, n_tasks: int, generator: torch.Generator | None = None) -> Tensor:
        """Draw mass in kg and length in m ``[n_tasks, 2]``."""
        return 0.5 + torch.rand(n_tasks, 2, generator=generator, device=device_of(generator))

    def physics(self, context: Tensor) -> dict[str, Tensor]:
        """Return mass and length."""
        return dict(zip(("m", "l"), context.double().unbind(1), strict=True))

    def command(self, action: Tensor) -> Tensor:
        """Return torques in N m."""
        return 2 * action.clamp(-1, 1)


class Cheetahs(Simulated):
    """MuJoCo's half-cheetah, which is to run to one side, or at a speed, that differs from task to task.

    The context is the side, 1 or -1, or a speed uniform in [0, 2] m/s; it is not seen. The reward is the speed to that
    side, or minus the distance of the speed from the goal, less 0.05 times the squared length of the action.
    MuJoCo writes its own warnings to a file in the working folder.

    Args:
        goal: ``"direction"`` or ``"velocity"``.
        horizon: Steps of an episode, at least 1.

    Raises:
        ValueError: If ``goal`` is unknown.

    Reference:
        Finn, Abbeel, Levine: Model-Agnostic Meta-Learning for Fast Adaptation of Deep Networks, 2017,
        arXiv 1703.03400, section 5.3.

    Example:
        >>> from metalearn.rl import Cheetahs
        >>> Cheetahs("velocity").sample(4).context.shape
        torch.Size([4])
    """

    name, needs = "HalfCheetah-v5", "mujoco"
    discrete: ClassVar[bool] = False
    n_observations, n_actions = 17, 6

    def __init__(self, goal: Goal = "direction", horizon: int = 200) -> None:
        if goal not in get_args(Goal):
            raise ValueError(f"goal must be one of {list(get_args(Goal))}, got {goal!r}")
        super().__init__(horizon)
        self.goal = goal

    def __repr__(self) -> str:
        return f"Cheetahs(goal={self.goal!r}, horizon={self.horizon})"

    def draw(self, n_tasks: int, generator: torch.Generator | None = None) -> Tensor:
        """Draw sides or speeds ``[n_tasks]``."""
        if self.goal == "direction":
            return _sides(n_tasks, generator)
        return 2 * torch.rand(n_tasks, generator=generator, device=device_of(generator))

    def reward(self, context: Tensor, action: Tensor, reward: Tensor, info: dict[str, Any]) -> Tensor:
        """Return what the goal pays, less the cost of the action."""
        speed, goal = self._table(info["x_velocity"], context, reward.shape[1]), context.unsqueeze(1)
        pays = speed * goal if self.goal == "direction" else -(speed - goal).abs()
        return pays - 0.05 * action.clamp(-1, 1).square().sum(-1)


def _sides(n_tasks: int, generator: torch.Generator | None) -> Tensor:
    """Draw 1 or -1, as likely ``[n_tasks]``."""
    return torch.randint(2, (n_tasks,), generator=generator, device=device_of(generator)) * 2.0 - 1
