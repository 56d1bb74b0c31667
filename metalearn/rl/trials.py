"""Trials: tasks in which a player acts, sees rewards and remembers; thousands are played at once."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, NamedTuple, Self

import torch
from torch import Tensor

from metalearn.evaluation import Score
from metalearn.rl.environments import TaskSampler


class Step(NamedTuple):
    """What a step of a batch of trials returns.

    Args:
        state: What the next step takes.
        observation: What the player sees now ``[n, n_features]``.
        reward: Of the action ``[n]``.
        done: Whether an episode of the trial has just ended ``[n]``; the next one begins by itself.
        over: Whether the whole trial has ended ``[n]``; what follows does not count.

    Example:
        >>> import torch
        >>> from metalearn.rl import Bandits
        >>> bandits = Bandits(torch.tensor([[0.0, 1.0]]), n_pulls=3)
        >>> state, observation = bandits.begin(torch.Generator())
        >>> bandits.step(state, torch.tensor([1]), torch.Generator()).reward
        tensor([1.])
    """

    state: Any
    observation: Tensor
    reward: Tensor
    done: Tensor
    over: Tensor


class Trials(ABC):
    """A batch of tasks, each played for one trial: a number of steps in which the player keeps its memory.

    Where a trial has several episodes they follow one another, and a player remembers the earlier ones: there is one
    axis of tasks, and none of episodes as in :class:`Tasks`, whose episodes are independent and run side by side.

    The object holds the tasks only; what changes while they are played is in the state that :meth:`begin` and
    :meth:`step` return, so that one batch can be played again.

    Attributes:
        n_actions: Actions 0…n_actions-1.
        n_features: Size of an observation; 0: there is none.
        n_steps: Steps of a trial at most.

    Example:
        >>> from metalearn.rl import Bandits, Trials
        >>> issubclass(Bandits, Trials)
        True
    """

    n_actions: int
    n_features: int
    n_steps: int

    @abstractmethod
    def __len__(self) -> int:
        """Return the number of tasks."""

    @abstractmethod
    def begin(self, generator: torch.Generator | None) -> tuple[Any, Tensor]:
        """Return the first state and the first observation ``[n, n_features]``."""

    @abstractmethod
    def step(self, state: Any, actions: Tensor, generator: torch.Generator | None) -> Step:
        """Return what follows on actions ``[n]``."""

    @abstractmethod
    def to(self, device: torch.device | str) -> Self:
        """Return the tasks on a device."""

    @abstractmethod
    def __getitem__(self, index: slice | Tensor) -> Self:
        """Return some of the tasks."""

    def best(self, state: Any) -> Tensor:
        """Return which actions are best in a state ``[n, n_actions]``, bool, where the task's author knows them.

        Raises:
            ValueError: If nobody knows.
        """
        raise ValueError(f"{type(self).__name__} do not tell the best actions: train without a teacher")

    def check(self) -> None:  # noqa: B027 - a family with nothing to check need not say so
        """Refuse tasks whose values make no sense."""


class TrialFamily(ABC):
    """Where trials are drawn from; a class that derives from it and defines ``sample`` gets ``tasks``.

    Example:
        >>> from metalearn.rl import BanditFamily
        >>> BanditFamily(n_arms=2, n_pulls=5).tasks(n_tasks=8)
        TaskSampler(family=BanditFamily(n_arms=2, n_pulls=5), n_tasks=8)
    """

    @abstractmethod
    def sample(self, n_tasks: int, generator: torch.Generator | None = None) -> Trials:
        """Draw tasks."""

    def tasks(self, *, n_tasks: int, device: torch.device | str = "cpu") -> TaskSampler:
        """Return a sampler of batches of tasks, for :func:`metalearn.fit` and :func:`metalearn.evaluate`.

        Args:
            n_tasks: Number of tasks of a batch, at least 1.
            device: Where to draw: the device of the generators that the sampler is called with.

        Raises:
            ValueError: If ``n_tasks`` is no int, or below 1.
        """
        return TaskSampler(self, n_tasks, torch.device(device))


class Player(ABC):
    """Something that plays trials: it acts, is told what came of it, and remembers.

    A memory is whatever the player makes of what it has seen, for all trials of a batch at once; it is passed along,
    never stored on the player.

    Example:
        >>> from metalearn.rl import Player, Thompson
        >>> issubclass(Thompson, Player)
        True
    """

    @abstractmethod
    def begin(self, trials: Trials) -> Any:
        """Return the memory before the first step."""

    @abstractmethod
    def act(self, memory: Any, observation: Tensor, generator: torch.Generator | None) -> tuple[Tensor, Any]:
        """Return the actions ``[n]``, and the memory."""

    @abstractmethod
    def learn(self, memory: Any, actions: Tensor, reward: Tensor, done: Tensor) -> Any:
        """Return the memory after the reward ``[n]`` of the actions ``[n]``."""


@dataclass(frozen=True, eq=False)
class Play:
    """What happened while a batch of trials was played.

    Args:
        actions: Of each trial at each step ``[n, n_steps]``; without meaning after a trial's end.
        rewards: Theirs ``[n, n_steps]``; 0 after a trial's end.
        dones: Whether an episode ended with the step ``[n, n_steps]``.
        alive: Whether the trial was still going on before the step ``[n, n_steps]``.

    Example:
        >>> import torch
        >>> from metalearn.rl import Bandits, Greedy, play
        >>> played = play(Greedy(), Bandits(torch.tensor([[0.0, 1.0], [1.0, 0.0]]), n_pulls=4))
        >>> played.actions.tolist(), played.total.tolist()
        ([[0, 1, 1, 1], [0, 0, 0, 0]], [3.0, 4.0])
    """

    actions: Tensor
    rewards: Tensor
    dones: Tensor
    alive: Tensor

    @property
    def total(self) -> Tensor:
        """Total reward of each trial ``[n]``."""
        return self.rewards.sum(1)

    @property
    def score(self) -> Score:
        """Mean total reward of a trial, with its 95 % interval."""
        return Score.of(self.total)

    def by_episode(self, n_episodes: int) -> Tensor:
        """Return the total reward of each of a trial's first episodes ``[n, n_episodes]``; NaN if it was not played."""
        which = (self.dones.long().cumsum(1) - self.dones.long()).clamp(max=n_episodes)  # [n, n_steps]
        sums = self.rewards.new_zeros(len(self.rewards), n_episodes + 1).scatter_add(1, which, self.rewards)
        played = self.dones.long().sum(1, keepdim=True) > torch.arange(n_episodes, device=which.device)
        return sums[:, :n_episodes].masked_fill(~played, torch.nan)


@torch.no_grad()
def play(player: Player, trials: Trials, generator: torch.Generator | None = None) -> Play:
    """Play a batch of trials from their first step to their last.

    Args:
        player: Who plays; :class:`RL2` is one, too.
        trials: The tasks.
        generator: Of all chance; ``None``: torch's global one. It may be the one that drew the tasks, but not another
            one of the same seed, whose numbers would be those of the tasks again.

    Example:
        >>> import torch
        >>> from metalearn.rl import Bandits, Thompson, play
        >>> bandits = Bandits(torch.rand(1_000, 5), n_pulls=10)
        >>> play(Thompson(), bandits).actions.shape
        torch.Size([1000, 10])
    """
    memory = player.begin(trials)
    state, observation = trials.begin(generator)
    alive = torch.ones(len(trials), dtype=torch.bool, device=observation.device)
    columns = []
    for _ in range(trials.n_steps):
        actions, memory = player.act(memory, observation, generator)
        state, observation, reward, done, over = trials.step(state, actions, generator)
        memory = player.learn(memory, actions, reward, done)
        columns.append((actions, reward * alive, done & alive, alive))
        alive = alive & ~over
        if not alive.any():
            break
    return Play(*(torch.stack(part, 1) for part in zip(*columns, strict=True)))
