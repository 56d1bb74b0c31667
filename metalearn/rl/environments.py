"""Families of environments as pure functions over states: thousands of episodes run at once."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor

from metalearn._given import at_least_one, check_finite

State = Any  # a pytree of tensors [n_tasks, n_episodes, ...]


def device_of(generator: torch.Generator | None) -> torch.device:
    """Return where a generator draws; ``None``: on the CPU.

    Example:
        >>> import torch
        >>> from metalearn.rl.environments import device_of
        >>> device_of(torch.Generator()), device_of(None)
        (device(type='cpu'), device(type='cpu'))
    """
    return torch.device("cpu") if generator is None else generator.device


class Environment(ABC):
    """A family of Markov decision processes with the same observations and actions; a task is one of them.

    The episodes of a task are independent, and any number of them run side by side; what a policy learns from one it
    can use only in a later call. Where one player is to remember across episodes, tasks are played as :class:`Trials`.

    What tells one task from another is its context, a tensor: a goal, a maze, the length of a pole. The methods are
    pure: all that changes in an episode is in the state that they take and return. Two axes lead every tensor of an
    episode, ``[n_tasks, n_episodes, ...]``.

    Attributes:
        n_observations: Size of an observation.
        n_actions: Size of an action; where actions are discrete, their number.
        discrete: Whether an action is a number 0…n_actions-1 ``[n_tasks, n_episodes]``, or a vector
            ``[n_tasks, n_episodes, n_actions]``.
        horizon: Steps of an episode at most.

    Example:
        >>> import torch
        >>> from metalearn.rl import Environment
        >>> class Guess(Environment):
        ...     n_observations, n_actions, discrete, horizon = 1, 3, True, 5
        ...     def draw(self, n_tasks, generator=None):
        ...         return torch.randint(3, (n_tasks,), generator=generator).float()
        ...     def reset(self, context, n_episodes, generator=None):
        ...         return context.new_zeros(len(context), n_episodes)
        ...     def observe(self, context, state):
        ...         return state.unsqueeze(-1)
        ...     def step(self, context, state, action, generator=None):
        ...         reward = (action == context.unsqueeze(1)).to(context.dtype)
        ...         return state + reward, reward, torch.zeros_like(reward, dtype=torch.bool)
        >>> len(Guess().sample(4))
        4
    """

    n_observations: int
    n_actions: int
    discrete: ClassVar[bool]
    horizon: int

    @abstractmethod
    def draw(self, n_tasks: int, generator: torch.Generator | None = None) -> Tensor:
        """Draw the contexts of tasks ``[n_tasks, ...]``."""

    @abstractmethod
    def reset(self, context: Tensor, n_episodes: int, generator: torch.Generator | None = None) -> State:
        """Return the states in which episodes begin ``[n_tasks, n_episodes, ...]``."""

    @abstractmethod
    def observe(self, context: Tensor, state: State) -> Tensor:
        """Return what the policy sees ``[n_tasks, n_episodes, n_observations]``."""

    @abstractmethod
    def step(
        self, context: Tensor, state: State, action: Tensor, generator: torch.Generator | None = None
    ) -> tuple[State, Tensor, Tensor]:
        """Return the next states, the rewards ``[n_tasks, n_episodes]``, and whether episodes end, bool."""

    def sample(self, n_tasks: int, generator: torch.Generator | None = None) -> Tasks:
        """Draw a batch of tasks.

        Raises:
            ValueError: If ``n_tasks`` is no int, or below 1.
        """
        at_least_one(n_tasks=n_tasks)
        return Tasks(self, self.draw(n_tasks, generator))

    def tasks(self, *, n_tasks: int, device: torch.device | str = "cpu") -> TaskSampler:
        """Return a sampler of batches of tasks, for :func:`metalearn.fit` and :func:`metalearn.evaluate`.

        Args:
            n_tasks: Number of tasks of a batch, at least 1.
            device: Where to draw: the device of the generators that the sampler is called with.

        Raises:
            ValueError: If ``n_tasks`` is no int, or below 1.
        """
        return TaskSampler(self, n_tasks, torch.device(device))


@dataclass(frozen=True, eq=False)
class Tasks:
    """A batch of tasks: an environment, and the context of each.

    Args:
        env: What all of them share.
        context: What tells one from another ``[n_tasks, ...]``.

    Attributes:
        n_way: ``None``: tasks of reinforcement learning have no classes.

    Example:
        >>> import torch
        >>> from metalearn.rl import Navigation, Tasks
        >>> tasks = Tasks(Navigation(), torch.tensor([[0.3, 0.1], [-0.2, 0.4]]))
        >>> len(tasks), len(tasks[:1])
        (2, 1)
    """

    env: Environment
    context: Tensor
    n_way: ClassVar[None] = None

    def __len__(self) -> int:
        return len(self.context)

    def __getitem__(self, index: slice | int) -> Tasks:
        """Return some of the tasks, always as a batch."""
        if isinstance(index, int):
            index = slice(index, index + 1 or None)
        return replace(self, context=self.context[index])

    def map(self, fn: Callable[[Tensor], Tensor]) -> Tasks:
        """Return the tasks with ``fn`` applied to the context."""
        return replace(self, context=fn(self.context))

    def to(self, device: torch.device | str) -> Tasks:
        """Return the tasks on a device."""
        return self.map(lambda context: context.to(device))

    def check(self) -> None:
        """Refuse an empty batch, and contexts that are not finite.

        Raises:
            ValueError: Saying what was found.
        """
        if self.context.ndim == 0 or len(self.context) == 0:
            raise ValueError(f"expected contexts [n_tasks, ...] of at least one task, got {list(self.context.shape)}")
        check_finite({"context": self.context}, "tasks")


class Family(Protocol):
    """Where tasks are drawn from: an :class:`Environment` or a :class:`TrialFamily`."""

    def sample(self, n_tasks: int, generator: torch.Generator | None = None) -> Any:
        """Draw a batch of tasks."""


@dataclass(frozen=True)
class TaskSampler:
    """Batches of tasks of an environment, or of trials of a family; made by their method ``tasks``.

    Attributes:
        device: Where to draw: the device of the generators that the sampler is called with.

    Example:
        >>> import torch
        >>> from metalearn.rl import Navigation
        >>> sampler = Navigation().tasks(n_tasks=20)
        >>> sampler(torch.Generator().manual_seed(0)).context.shape
        torch.Size([20, 2])
    """

    family: Family
    n_tasks: int
    device: torch.device = field(default=torch.device("cpu"), repr=False)

    def __post_init__(self) -> None:
        at_least_one(n_tasks=self.n_tasks)

    def __call__(self, generator: torch.Generator | None = None) -> Any:
        """Draw a batch of tasks."""
        return self.family.sample(self.n_tasks, generator)
