"""Episodes of many tasks at once: what a policy saw, did and got."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from metalearn._given import at_least_one
from metalearn.rl.environments import Tasks
from metalearn.rl.policies import Policy


@dataclass(frozen=True, eq=False)
class Trajectories:
    """Episodes of a batch of tasks, all padded to the horizon.

    Args:
        observations: ``[n_tasks, n_episodes, horizon, n_observations]``.
        actions: ``[n_tasks, n_episodes, horizon, n_actions]``; discrete ones int64 ``[n_tasks, n_episodes, horizon]``.
        rewards: ``[n_tasks, n_episodes, horizon]``, 0 after the end of an episode.
        mask: 1 while the episode runs, 0 after its end ``[n_tasks, n_episodes, horizon]``; the step that ends it
            counts.

    Example:
        >>> import torch
        >>> from metalearn.rl import GaussianPolicy, Navigation, rollout
        >>> episodes = rollout(GaussianPolicy([2, 8, 2]), None, Navigation(horizon=10).sample(3), 5)
        >>> episodes.observations.shape, episodes.returns.shape, len(episodes[:2])
        (torch.Size([3, 5, 10, 2]), torch.Size([3, 5]), 2)
    """

    observations: Tensor
    actions: Tensor
    rewards: Tensor
    mask: Tensor

    @property
    def returns(self) -> Tensor:
        """Sum of the rewards of each episode, not discounted ``[n_tasks, n_episodes]``."""
        return self.rewards.sum(-1)

    def __len__(self) -> int:
        return len(self.rewards)

    def __getitem__(self, index: slice) -> Trajectories:
        """Return the episodes of some tasks."""
        return Trajectories(*(getattr(self, part.name)[index] for part in fields(self)))


@torch.no_grad()
def rollout(
    policy: Policy,
    params: Mapping[str, Tensor] | None,
    tasks: Tasks,
    n_episodes: int,
    generator: torch.Generator | None = None,
) -> Trajectories:
    """Let a policy act in ``n_episodes`` of each task, all at once.

    Args:
        policy: What acts.
        params: Its parameters by name, as they are or with a leading task axis; ``None``: its own.
        tasks: A batch of tasks.
        n_episodes: Episodes of each task, at least 1.
        generator: Source of randomness, of actions and environment; it lies where the tasks do.

    Raises:
        ValueError: If ``n_episodes`` is no int, or below 1.

    Example:
        >>> import torch
        >>> from metalearn.rl import GaussianPolicy, Navigation, rollout
        >>> tasks = Navigation().sample(1000, torch.Generator().manual_seed(0))
        >>> rollout(GaussianPolicy([2, 8, 2]), None, tasks, 2, torch.Generator().manual_seed(1)).rewards.shape
        torch.Size([1000, 2, 100])
    """
    at_least_one(n_episodes=n_episodes)
    env, context = tasks.env, tasks.context
    params = policy.own() if params is None else params
    state = env.reset(context, n_episodes, generator)
    alive = torch.ones(len(tasks), n_episodes, dtype=torch.bool, device=context.device)
    steps = []
    for _ in range(env.horizon):
        observation = env.observe(context, state)
        action = policy.act(params, observation, generator)
        state, reward, done = env.step(context, state, action, generator)
        steps.append((observation, action, torch.where(alive, reward, 0.0), alive.to(reward.dtype)))
        alive = alive & ~done
    return Trajectories(*(torch.stack(part, 2) for part in zip(*steps, strict=True)))
