"""What was seen of systems, step by step, and the family of tasks that is made of it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from metalearn._given import at_least_one, dims
from metalearn.control.systems import System
from metalearn.episodes import Episode
from metalearn.samplers import TaskFamily

KEPT = 0.7  # of an action from step to step, where actions are random


@dataclass(frozen=True, eq=False)
class Transitions:
    """Steps of several systems, as many of each.

    Args:
        state: States ``[n_systems, n, n_states]``.
        action: Actions ``[n_systems, n, n_actions]``.
        following: The states that followed, as they were measured ``[n_systems, n, n_states]``.

    Raises:
        ValueError: If the numbers of systems or steps differ.

    Example:
        >>> import torch
        >>> from metalearn.control import Pendulum, wander
        >>> system, generator = Pendulum(), torch.Generator().manual_seed(0)
        >>> known = wander(system, system.draw(4, generator), 10, generator)
        >>> known.last(3).inputs(system).shape, known.targets(system).shape
        (torch.Size([4, 3, 5]), torch.Size([4, 10, 1]))
    """

    state: Tensor
    action: Tensor
    following: Tensor

    def __post_init__(self) -> None:
        if not self.state.shape[:2] == self.action.shape[:2] == self.following.shape[:2]:
            shapes = [dims(x) for x in (self.state, self.action, self.following)]
            raise ValueError(f"state, action and following must share [n_systems, n], got {shapes}")

    def __len__(self) -> int:
        """Return the number of steps of each system."""
        return self.state.shape[1]

    def last(self, n: int) -> Transitions:
        """Return the last ``n`` steps, or all there are."""
        at_least_one(n=n)
        return Transitions(self.state[:, -n:], self.action[:, -n:], self.following[:, -n:])

    def then(self, state: Tensor, action: Tensor, following: Tensor) -> Transitions:
        """Return these steps and one more of each system, whose tensors have no axis of steps."""
        pairs = zip((self.state, self.action, self.following), (state, action, following), strict=True)
        return Transitions(*(torch.cat([old, new.unsqueeze(1)], 1) for old, new in pairs))

    def inputs(self, system: System) -> Tensor:
        """Return what a model sees ``[n_systems, n, n_inputs]``."""
        return system.inputs(self.state, self.action)

    def targets(self, system: System) -> Tensor:
        """Return what a model is to predict ``[n_systems, n, n_targets]``."""
        return system.targets(self.state, self.following)


def measured(
    system: System, state: Tensor, action: Tensor, following: Tensor, noise: float, generator: torch.Generator | None
) -> Tensor:
    """Return states as sensors tell them: the targets of the step have normal noise of this standard deviation.

    Args:
        system: The kind of system.
        state: States before the step ``[..., n_states]``.
        action: Actions ``[..., n_actions]``.
        following: States after it ``[..., n_states]``.
        noise: Standard deviation in units of the targets, at least 0; with 0 nothing is drawn.
        generator: Source of randomness.
    """
    if noise == 0:
        return following
    targets = system.targets(state, following)
    drawn = torch.randn(targets.shape, generator=generator, device=targets.device, dtype=targets.dtype)
    return system.advance(state, action, targets + noise * drawn)


def wander(
    system: System,
    context: Tensor,
    n: int,
    generator: torch.Generator | None = None,
    *,
    noise: float = 0.0,
    start: Tensor | None = None,
) -> Transitions:
    """Let systems take consecutive steps under random actions, each of which keeps 0.7 of the last one.

    Args:
        system: The kind of system.
        context: Parameters ``[n_systems, n_parameters]``.
        n: Number of steps, at least 1.
        generator: Source of randomness.
        noise: Standard deviation of the noise in what is measured, in units of the targets.
        start: First states ``[n_systems, n_states]``; ``None``: drawn from anywhere.

    Example:
        >>> import torch
        >>> from metalearn.control import CartPole, wander
        >>> system, generator = CartPole(), torch.Generator().manual_seed(0)
        >>> known = wander(system, system.draw(2, generator), 5, generator)
        >>> torch.equal(known.state[:, 1], known.following[:, 0])
        True
    """
    at_least_one(n=n)
    state = system.anywhere((len(context),), generator) if start is None else start
    action, steps = state.new_zeros(len(context), system.n_actions), []
    for _ in range(n):
        drawn = torch.randn(action.shape, generator=generator, device=action.device)
        action = (KEPT * action + system.wiggle * (1 - KEPT**2) ** 0.5 * drawn).clamp(-1, 1)
        following = system.step(context, state, action)
        steps.append((state, action, measured(system, state, action, following, noise, generator)))
        state = following
    return Transitions(*(torch.stack(parts, 1) for parts in zip(*steps, strict=True)))


@dataclass(frozen=True)
class DynamicsTasks(TaskFamily):
    """A distribution over regression tasks: from a few steps of one system, predict what its other steps do.

    The support are consecutive steps of a system under random actions, from a state anywhere, measured with noise. The
    query are steps from states anywhere, by any actions, without noise. Inputs and targets are the system's.

    Args:
        system: The kind of system.
        noise: Standard deviation of the noise in the support's targets, in their units; at least 0.

    Raises:
        ValueError: If ``noise`` is negative.

    Reference:
        The tasks: Nagabandi, Clavera, Liu, Fearing, Abbeel, Levine, Finn: Learning to Adapt in Dynamic, Real-World
        Environments through Meta-Reinforcement Learning, 2018, arXiv 1803.11347, section 4.

    Differs from the paper:
        Queries are not the steps that come next, but steps from anywhere; the parameters of a task stay.

    Taught in:
        Robots, roads, users.

    Example:
        >>> from metalearn.control import DynamicsTasks, Pendulum
        >>> DynamicsTasks(Pendulum()).sample(n_tasks=16, n_shot=10, n_query=20)
        Episode(support_x=[16, 10, 5], support_y=[16, 10, 1], query_x=[16, 20, 5], query_y=[16, 20, 1], n_way=None)
    """

    system: System
    noise: float = 0.0

    def __post_init__(self) -> None:
        if not self.noise >= 0:
            raise ValueError(f"noise must be at least 0, got {self.noise}")

    def sample(self, n_tasks: int, n_shot: int, n_query: int, generator: torch.Generator | None = None) -> Episode:
        """Draw a batch of tasks.

        Args:
            n_tasks: Number of systems.
            n_shot: Support steps of each system.
            n_query: Query steps of each system.
            generator: Source of randomness; the tensors lie on its device.

        Returns:
            A batch of episodes; inputs are ``[n_tasks, n, n_inputs]``, targets ``[n_tasks, n, n_targets]``.

        Raises:
            ValueError: If a number is no int, or below 1.
        """
        at_least_one(n_tasks=n_tasks, n_shot=n_shot, n_query=n_query)
        context = self.system.draw(n_tasks, generator)
        support = wander(self.system, context, n_shot, generator, noise=self.noise)
        query = scattered(self.system, context, n_query, generator)
        return Episode(
            support.inputs(self.system),
            support.targets(self.system),
            query.inputs(self.system),
            query.targets(self.system),
        )


def scattered(system: System, context: Tensor, n: int, generator: torch.Generator | None = None) -> Transitions:
    """Draw single steps of systems, from states anywhere by any actions, without noise.

    Args:
        system: The kind of system.
        context: Parameters ``[n_systems, n_parameters]``.
        n: Number of steps of each system, at least 1.
        generator: Source of randomness.

    Example:
        >>> import torch
        >>> from metalearn.control import Lane, scattered
        >>> len(scattered(Lane(), Lane().draw(3), 20))
        20
    """
    at_least_one(n=n)
    state = system.anywhere((len(context), n), generator)
    share = torch.rand(len(context), n, system.n_actions, generator=generator, device=state.device)
    action = 2 * share - 1
    return Transitions(state, action, system.step(context.unsqueeze(1), state, action))
