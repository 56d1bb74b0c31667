"""Decision processes with few states: small enough to list every episode, and mazes."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from metalearn._given import at_least_one
from metalearn.rl.environments import Environment, device_of
from metalearn.rl.policies import Params, Policy, draw_index
from metalearn.rl.rollouts import Trajectories

MOVES = torch.tensor([[-1, 0], [1, 0], [0, -1], [0, 1]])  # up, down, left, right: of row and column


class TabularMDP(Environment):
    """Tasks with the same few states and transitions, and rewards of their own; episodes begin in state 0.

    The context of a task is its table of rewards ``[n_states, n_actions]``. The observation is the state as a one-hot
    vector.

    Args:
        transitions: Probability of the next state ``[n_states, n_actions, n_states]``.
        rewards: Tables of rewards of which each task has one ``[n_tables, n_states, n_actions]``.
        horizon: Steps of every episode, at least 1.

    Raises:
        ValueError: If shapes do not fit, or probabilities do not sum to 1.

    Example:
        >>> import torch
        >>> from metalearn.rl import TabularMDP, every_episode
        >>> stay_or_move = torch.eye(2)[torch.tensor([[0, 1], [1, 0]])]
        >>> env = TabularMDP(stay_or_move, torch.rand(3, 2, 2), horizon=3)
        >>> every_episode(env, env.sample(1).context)[0].rewards.shape
        torch.Size([1, 8, 3])
    """

    discrete: ClassVar[bool] = True

    def __init__(self, transitions: Tensor, rewards: Tensor, horizon: int) -> None:
        at_least_one(horizon=horizon)
        square = transitions.ndim == 3 and transitions.shape[0] == transitions.shape[2]
        if not square or rewards.shape[1:] != transitions.shape[:2]:
            raise ValueError(
                "expected transitions [n_states, n_actions, n_states] and rewards [n_tables, n_states, n_actions], got"
                f" {list(transitions.shape)} and {list(rewards.shape)}"
            )
        if (transitions < 0).any() or not torch.allclose(transitions.sum(-1), torch.ones_like(transitions[..., 0])):
            raise ValueError("expected transitions to be probabilities that sum to 1 over the next state")
        self.transitions, self.rewards, self.horizon = transitions, rewards, horizon
        self.n_observations, self.n_actions = transitions.shape[:2]

    def draw(self, n_tasks: int, generator: torch.Generator | None = None) -> Tensor:
        """Draw tables of rewards ``[n_tasks, n_states, n_actions]``."""
        device = device_of(generator)
        return self.rewards.to(device)[torch.randint(len(self.rewards), (n_tasks,), generator=generator, device=device)]

    def reset(self, context: Tensor, n_episodes: int, generator: torch.Generator | None = None) -> Tensor:
        """Return state 0 ``[n_tasks, n_episodes]``."""
        return torch.zeros(len(context), n_episodes, dtype=torch.long, device=context.device)

    def observe(self, context: Tensor, state: Tensor) -> Tensor:
        """Return one-hot vectors."""
        return F.one_hot(state, self.n_observations).to(context.dtype)

    def step(
        self, context: Tensor, state: Tensor, action: Tensor, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Pay for state and action, and draw the next state."""
        reward = context[torch.arange(len(context)).unsqueeze(1), state, action]
        following = draw_index(self.transitions.to(context.device)[state, action].log(), generator)
        return following, reward, torch.zeros_like(reward, dtype=torch.bool)


def every_episode(env: TabularMDP, context: Tensor) -> tuple[Trajectories, Tensor]:
    """Return every episode that one task can have, and the logarithm of the environment's part of its probability.

    Args:
        env: The family of tasks; it has few states and a short horizon.
        context: Table of rewards of one task ``[1, n_states, n_actions]``.

    Returns:
        Episodes ``[1, n, horizon, ...]``, and the sum of the log-probabilities of their transitions ``[n]``.

    Example:
        >>> import torch
        >>> from metalearn.rl import TabularMDP, every_episode
        >>> env = TabularMDP(torch.full((2, 1, 2), 0.5), torch.ones(1, 2, 1), horizon=3)
        >>> episodes, log_dynamics = every_episode(env, env.rewards)
        >>> log_dynamics.exp().tolist()
        [0.25, 0.25, 0.25, 0.25]
    """
    paths: list[tuple[list[int], list[int], float]] = [([0], [], 1.0)]  # states, actions, probability
    for t in range(env.horizon):
        longer = []
        for states, actions, probability in paths:
            for action in range(env.n_actions):
                if t == env.horizon - 1:  # where the last action leads does not matter
                    longer.append((states, [*actions, action], probability))
                    continue
                for following, chance in enumerate(env.transitions[states[-1], action].tolist()):
                    if chance > 0:
                        longer.append(([*states, following], [*actions, action], probability * chance))
        paths = longer
    visited, taken = (torch.tensor([path[k] for path in paths]).unsqueeze(0) for k in (0, 1))  # [1, n, horizon]
    rewards = context[0][visited, taken]
    log_dynamics = torch.tensor([path[2] for path in paths], dtype=context.dtype).log()
    return Trajectories(env.observe(context, visited), taken, rewards, torch.ones_like(rewards)), log_dynamics


def probabilities(policy: Policy, params: Params, episodes: Trajectories, log_dynamics: Tensor) -> Tensor:
    r"""Return the probability of every episode ``[n]``; what it weights is an exact expectation, to any derivative.

    ``probabilities(...) @ episodes.returns[0]`` is the expected return :math:`J(\theta)`, whose derivatives are exact.

    Example:
        >>> import torch
        >>> from metalearn.rl import TabularMDP, TabularPolicy, every_episode, probabilities
        >>> env, policy = TabularMDP(torch.ones(1, 2, 1), torch.tensor([[[0.0, 1.0]]]), horizon=3), TabularPolicy(1, 2)
        >>> episodes, log_dynamics = every_episode(env, env.rewards)
        >>> round((probabilities(policy, policy.own(), episodes, log_dynamics) @ episodes.returns[0]).item(), 4)
        1.5
    """
    log_probs = policy.log_prob(params, episodes.observations, episodes.actions)[0]
    return (log_probs.sum(-1) + log_dynamics).exp()


class Mazes(Environment):
    """Square mazes with random walls and a random goal, neither of which is seen; episodes begin in a corner.

    The observation is the cell as a one-hot vector. Actions are up, down, left and right; one that leads into a wall or
    out of the maze changes nothing. Each step costs 1, and the episode ends at the goal. The context of a task is its
    map ``[size, size]``: 0 is free, 1 a wall, 2 the goal. The goal can be reached.

    Args:
        size: Cells of a side, at least 2.
        walls: Share of cells that are walls, in [0, 1), before mazes without a way are drawn anew.
        horizon: Steps of an episode at most; by default four times the number of cells of a side.

    Raises:
        ValueError: If a number is out of its range.

    Taught in:
        Meta-reinforcement learning.

    Example:
        >>> import torch
        >>> from metalearn.rl import Mazes
        >>> tasks = Mazes(3, walls=0.0).sample(2, torch.Generator().manual_seed(0))
        >>> tasks.context.flatten(1).sum(1), tasks.env.shortest(tasks.context)
        (tensor([2., 2.]), tensor([1., 2.]))
    """

    discrete: ClassVar[bool] = True
    n_actions = 4

    def __init__(self, size: int = 5, walls: float = 0.25, horizon: int | None = None) -> None:
        if size < 2 or not 0 <= walls < 1:
            raise ValueError(f"expected size of at least 2 and walls in [0, 1), got {size} and {walls}")
        self.size, self.walls = size, walls
        self.horizon = 4 * size if horizon is None else horizon
        at_least_one(horizon=self.horizon)
        self.n_observations = size**2

    def __repr__(self) -> str:
        return f"Mazes(size={self.size}, walls={self.walls}, horizon={self.horizon})"

    def draw(self, n_tasks: int, generator: torch.Generator | None = None) -> Tensor:
        """Draw maps ``[n_tasks, size, size]``."""
        maps = self._draw(n_tasks, generator)
        while len(closed := self.shortest(maps).isinf().nonzero().flatten()):
            maps[closed] = self._draw(len(closed), generator)
        return maps

    def _draw(self, n_tasks: int, generator: torch.Generator | None) -> Tensor:
        device = device_of(generator)
        maps = (torch.rand(n_tasks, self.size**2, generator=generator, device=device) < self.walls).float()
        maps[:, 0] = 0
        goal = torch.randint(1, self.size**2, (n_tasks, 1), generator=generator, device=device)
        return maps.scatter(1, goal, 2.0).reshape(n_tasks, self.size, self.size)

    def shortest(self, context: Tensor) -> Tensor:
        """Return the least number of steps to the goal ``[n_tasks]``; infinity where there is no way."""
        reached = torch.zeros_like(context)
        reached[:, 0, 0] = 1
        steps = torch.full((len(context),), torch.inf, device=context.device)
        cross = torch.tensor([[0.0, 1.0, 0.0], [1.0, 1.0, 1.0], [0.0, 1.0, 0.0]]).to(context)[None, None]
        for k in range(1, self.size**2):
            reached = ((F.conv2d(reached[:, None], cross, padding=1)[:, 0] > 0) & (context != 1)).to(context.dtype)
            found = (reached * (context == 2)).flatten(1).any(1)
            steps = torch.where(found & steps.isinf(), float(k), steps)
        return steps

    def reset(self, context: Tensor, n_episodes: int, generator: torch.Generator | None = None) -> Tensor:
        """Return the corner: row and column ``[n_tasks, n_episodes, 2]``."""
        return torch.zeros(len(context), n_episodes, 2, dtype=torch.long, device=context.device)

    def observe(self, context: Tensor, state: Tensor) -> Tensor:
        """Return the cells as one-hot vectors."""
        return F.one_hot(state[..., 0] * self.size + state[..., 1], self.n_observations).to(context.dtype)

    def step(
        self, context: Tensor, state: Tensor, action: Tensor, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Move where there is no wall; each step costs 1."""
        aim = (state + MOVES.to(state.device)[action]).clamp(0, self.size - 1)
        task = torch.arange(len(context), device=state.device).unsqueeze(1)
        found = context[task, aim[..., 0], aim[..., 1]]
        state = torch.where((found == 1).unsqueeze(-1), state, aim)
        return state, -torch.ones_like(found), found == 2
