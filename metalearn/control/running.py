"""Systems under control, with a model that is made anew at each step from the last steps that were seen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from metalearn._given import at_least_one
from metalearn.control.identification import identify
from metalearn.control.models import Dynamics, adapt_all, learned_dynamics, true_dynamics
from metalearn.control.planning import CEM, rest_of
from metalearn.control.systems import System
from metalearn.control.transitions import Transitions, measured
from metalearn.learners import Learner


class Model(Protocol):
    """What a controller believes about systems: a model of their dynamics, from what was seen of them.

    Example:
        >>> from metalearn.control import Model, Usual
        >>> def what(model: Model) -> str:  # anything with the method ``dynamics`` is one
        ...     return type(model).__name__
        >>> what(Usual())
        'Usual'
    """

    def dynamics(self, system: System, context: Tensor, known: Transitions) -> Dynamics:
        """Return the model; only :class:`Told` may look at the context ``[n_systems, n_parameters]``."""
        ...


@dataclass(frozen=True)
class Told:
    """The truth: a controller that is told the parameters at each step; no other can know more.

    Example:
        >>> from metalearn.control import Told
        >>> Told()
        Told()
    """

    def dynamics(self, system: System, context: Tensor, known: Transitions) -> Dynamics:
        """Return the physics themselves."""
        return true_dynamics(system, context)


@dataclass(frozen=True)
class Usual:
    """The physics with parameters that stay: a controller that takes each system to be the usual one.

    Example:
        >>> from metalearn.control import Usual
        >>> Usual()
        Usual()
    """

    def dynamics(self, system: System, context: Tensor, known: Transitions) -> Dynamics:
        """Return the physics of usual systems."""
        return true_dynamics(system, system.usual().to(context).expand_as(context))


@dataclass(frozen=True)
class Identified:
    """The physics with parameters that least squares find: :func:`identify`.

    Args:
        free: Names of the parameters that are estimated; the others are taken to be as usual. ``None``: all.
        n_rounds: Steps of the search.
        prior: Weight of the squared distance from the middle of the ranges.

    Example:
        >>> from metalearn.control import Identified
        >>> Identified(free=("mass", "length"))
        Identified(free=('mass', 'length'), n_rounds=8, prior=0.0)
    """

    free: Sequence[str] | None = None
    n_rounds: int = 8
    prior: float = 0.0

    def dynamics(self, system: System, context: Tensor, known: Transitions) -> Dynamics:
        """Return the physics of the parameters that fit what was seen."""
        found = identify(system, known, n_rounds=self.n_rounds, free=self.free, prior=self.prior)
        return true_dynamics(system, found)


@dataclass(frozen=True, eq=False)
class Learned:
    """What a learner predicts after adapting to what was seen.

    Args:
        learner: Any learner for regression, trained on tasks of :class:`metalearn.control.DynamicsTasks`.
        n_steps: Number of inner steps; ``None``: as trained; 0: the model that all systems share.

    Example:
        >>> import torch
        >>> from metalearn.control import Learned
        >>> from metalearn.learners import MAML
        >>> from metalearn.networks import MLP
        >>> Learned(MAML(MLP([5, 1]), inner_lr=0.1, loss_fn=torch.nn.functional.mse_loss), n_steps=0).n_steps
        0
    """

    learner: Learner
    n_steps: int | None = None

    def dynamics(self, system: System, context: Tensor, known: Transitions) -> Dynamics:
        """Return the learner's model after adaptation."""
        return learned_dynamics(system, self.learner, adapt_all(self.learner, system, known, self.n_steps))


@dataclass(frozen=True, eq=False)
class Run:
    """What happened under control.

    Args:
        states: Before each step, and at the end ``[n_systems, n_steps + 1, n_states]``.
        actions: That were taken ``[n_systems, n_steps, n_actions]``.
        costs: Of each step ``[n_systems, n_steps]``: of the state that it led to, with its action.

    Example:
        >>> import torch
        >>> from metalearn.control import Run
        >>> Run(torch.zeros(2, 4, 3), torch.zeros(2, 3, 1), torch.ones(2, 3)).costs.sum(1)
        tensor([3., 3.])
    """

    states: Tensor
    actions: Tensor
    costs: Tensor


@torch.no_grad()
def control(
    system: System,
    context: Tensor,
    model: Model,
    planner: CEM,
    known: Transitions,
    *,
    n_steps: int,
    n_window: int = 10,
    start: Tensor | None = None,
    changes: Mapping[int, Tensor] | None = None,
    knocks: Mapping[int, Tensor] | None = None,
    noise: float = 0.0,
    generator: torch.Generator | None = None,
) -> Run:
    """Control systems by planning with a model that is made anew at each step from a sliding window.

    Args:
        system: The kind of system.
        context: The true parameters ``[n_systems, n_parameters]``.
        model: What the controller believes.
        planner: How it plans.
        known: Steps that were seen before the run; at least one. The window slides on from them.
        n_steps: Steps of the run, at least 1.
        n_window: Number of the last steps that the model is made from, at least 1.
        start: States ``[n_systems, n_states]`` at the start; ``None``: drawn as the system says.
        changes: New parameters ``[n_systems, n_parameters]`` from a step on, by its number from 0: a failure.
        knocks: What is added to the states ``[n_systems, n_states]`` before a step, by its number: no model sees it.
        noise: Standard deviation of the noise in measured targets, which only models see.
        generator: Source of randomness.

    Example:
        >>> import torch
        >>> from metalearn.control import CEM, Pendulum, Told, control, wander
        >>> system, generator = Pendulum(), torch.Generator().manual_seed(0)
        >>> context = system.draw(4, generator)
        >>> known = wander(system, context, 10, generator)
        >>> control(system, context, Told(), CEM(5), known, n_steps=3, generator=generator).costs.shape
        torch.Size([4, 3])
    """
    at_least_one(n_steps=n_steps, n_window=n_window)
    state = system.start(len(context), generator) if start is None else start
    plan, states, actions, costs = None, [state], [], []
    for step in range(n_steps):
        context = (changes or {}).get(step, context)
        state = state + (knocks or {}).get(step, 0.0)
        dynamics = model.dynamics(system, context, known.last(n_window))
        plan = planner.plan(dynamics, system.cost, state, plan, generator, system.n_actions)
        action = plan[:, 0]
        following = system.step(context, state, action)
        seen = measured(system, state, action, following, noise, generator)
        known = known.last(n_window).then(state, action, seen)
        costs.append(system.cost(following, action))
        state, plan = following, rest_of(plan)
        states.append(state)
        actions.append(action)
    return Run(torch.stack(states, 1), torch.stack(actions, 1), torch.stack(costs, 1))
