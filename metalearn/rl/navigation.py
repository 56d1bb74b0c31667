"""MAML's point on a plane that has to find a goal which it does not see."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from metalearn._given import at_least_one
from metalearn.rl.environments import Environment, device_of


class Navigation(Environment):
    """A point that starts at the origin and is paid for being near a goal, which differs from task to task.

    The goal is uniform in the square [-0.5, 0.5]². An action of 1 moves the point by 0.1 along an axis, and larger ones
    are clipped to that. The reward is minus the distance to the goal after the move. The episode ends where both
    coordinates are within 0.01 of the goal's. The observation is the position.

    Args:
        horizon: Steps of an episode at most, at least 1.
        show_goal: Whether the goal is part of the observation, as for an oracle.

    Raises:
        ValueError: If ``horizon`` is no int, or below 1.

    Reference:
        Finn, Abbeel, Levine: Model-Agnostic Meta-Learning for Fast Adaptation of Deep Networks, 2017,
        arXiv 1703.03400, section 5.3.

    Differs from the paper:
        The text says that the reward is minus the squared distance; the authors' code has the distance, and only that
        fits the returns that they report. The scale of an action is the code's, too.

    Taught in:
        Meta-reinforcement learning.

    Example:
        >>> import torch
        >>> from metalearn.rl import Navigation
        >>> env, goal = Navigation(), torch.tensor([[0.3, 0.0]])
        >>> state = env.reset(goal, n_episodes=1)
        >>> state, reward, done = env.step(goal, state, torch.tensor([[[2.0, 0.0]]]))
        >>> state, reward
        (tensor([[[0.1000, 0.0000]]]), tensor([[-0.2000]]))
    """

    discrete: ClassVar[bool] = False
    n_actions = 2

    def __init__(self, horizon: int = 100, show_goal: bool = False) -> None:
        at_least_one(horizon=horizon)
        self.horizon = horizon
        self.show_goal = show_goal
        self.n_observations = 4 if show_goal else 2

    def __repr__(self) -> str:
        return f"Navigation(horizon={self.horizon}, show_goal={self.show_goal})"

    def draw(self, n_tasks: int, generator: torch.Generator | None = None) -> Tensor:
        """Draw goals ``[n_tasks, 2]``."""
        return torch.rand(n_tasks, 2, generator=generator, device=device_of(generator)) - 0.5

    def reset(self, context: Tensor, n_episodes: int, generator: torch.Generator | None = None) -> Tensor:
        """Return the origin ``[n_tasks, n_episodes, 2]``."""
        return context.new_zeros(len(context), n_episodes, 2)

    def observe(self, context: Tensor, state: Tensor) -> Tensor:
        """Return the position, and the goal where it is shown."""
        return torch.cat([state, context.unsqueeze(1).expand_as(state)], -1) if self.show_goal else state

    def step(
        self, context: Tensor, state: Tensor, action: Tensor, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Move; the reward is minus the distance that is left."""
        state = state + 0.1 * action.clamp(-1, 1)
        away = state - context.unsqueeze(1)
        return state, -away.norm(dim=-1), (away.abs() < 0.01).all(-1)
