"""Models of the dynamics of many systems at once: the true ones, and those of any learner that adapted."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from metalearn.control.systems import System
from metalearn.control.transitions import Transitions
from metalearn.episodes import Episode
from metalearn.learners import Learner
from metalearn.learners._base import Adapted
from metalearn.vectorize import over_tasks

Dynamics = Callable[[Tensor, Tensor], Tensor]  # states and actions [n_systems, n, ...] to the states that follow


def true_dynamics(system: System, context: Tensor) -> Dynamics:
    """Return the physics of systems as a model ``[n_systems, n, n_states]``, actions → states that follow.

    Args:
        system: The kind of system.
        context: Parameters ``[n_systems, n_parameters]``, one for each system.

    Example:
        >>> import torch
        >>> from metalearn.control import Pendulum, true_dynamics
        >>> dynamics = true_dynamics(Pendulum(), Pendulum().draw(4))
        >>> dynamics(torch.zeros(4, 7, 3), torch.zeros(4, 7, 1)).shape
        torch.Size([4, 7, 3])
    """
    return lambda state, action: system.step(context.unsqueeze(1), state, action)


def adapt_all(learner: Learner, system: System, known: Transitions, n_steps: int | None = None) -> Adapted:
    """Adapt a learner to each of several systems by what was seen of it.

    Args:
        learner: Any learner for regression.
        system: The kind of system.
        known: Steps of each system.
        n_steps: Number of inner steps; ``None``: as trained.

    Returns:
        What ``learner.adapt`` returns, each tensor with a leading axis ``n_systems``.

    Example:
        >>> import torch
        >>> from metalearn.control import Pendulum, adapt_all, wander
        >>> from metalearn.learners import MAML
        >>> from metalearn.networks import MLP
        >>> learner = MAML(MLP([5, 16, 1]), inner_lr=0.1, loss_fn=torch.nn.functional.mse_loss)
        >>> adapted = adapt_all(learner, Pendulum(), wander(Pendulum(), Pendulum().draw(3), 10))
        >>> adapted["model.0.weight"].shape
        torch.Size([3, 16, 5])
    """
    x, y = known.inputs(system), known.targets(system)

    def adapt(episode: Episode) -> Adapted:
        adapted = learner.adapt(episode.support_x, episode.support_y, n_steps=n_steps)
        return {name: tensor.detach() for name, tensor in adapted.items()}

    batch = learner.take(Episode(x, y, x, y))
    with torch.no_grad():
        adapted: Adapted = over_tasks(adapt, batch, learner.how, module=learner)
    return adapted


def learned_dynamics(system: System, learner: Learner, adapted: Adapted) -> Dynamics:
    """Return what a learner predicts for systems as a model, like :func:`true_dynamics`.

    Args:
        system: The kind of system.
        learner: The learner that adapted.
        adapted: What :func:`adapt_all` returned, with a leading axis ``n_systems``.

    Example:
        >>> import torch
        >>> from metalearn.control import Pendulum, adapt_all, learned_dynamics, wander
        >>> from metalearn.learners import MAML
        >>> from metalearn.networks import MLP
        >>> learner = MAML(MLP([5, 16, 1]), inner_lr=0.1, loss_fn=torch.nn.functional.mse_loss)
        >>> adapted = adapt_all(learner, Pendulum(), wander(Pendulum(), Pendulum().draw(3), 10))
        >>> learned_dynamics(Pendulum(), learner, adapted)(torch.zeros(3, 7, 3), torch.zeros(3, 7, 1)).shape
        torch.Size([3, 7, 3])
    """
    predict = torch.func.vmap(learner.predict)

    @torch.no_grad()
    def dynamics(state: Tensor, action: Tensor) -> Tensor:
        return system.advance(state, action, predict(adapted, system.inputs(state, action)))

    return dynamics
