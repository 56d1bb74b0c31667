"""Policies as functions of their parameters, so that each task of a batch can have its own."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions import Categorical, Distribution, Independent, Normal
from torch.nn import functional as F

from metalearn.networks import MLP

Params = Mapping[str, Tensor]
MIN_LOG_STD = math.log(1e-6)


class Policy(nn.Module, ABC):
    """A distribution over actions, given an observation.

    Parameters are passed by name: as the policy has them, or with a leading task axis, for observations
    ``[n_tasks, ..., n_observations]`` of as many tasks.

    Attributes:
        config: The constructor's arguments, from which a saved policy is built again.
        sizes: Size of an observation, and size or number of the actions.

    Example:
        >>> import torch
        >>> from metalearn.rl import TabularPolicy
        >>> policy = TabularPolicy(n_states=2, n_actions=3)
        >>> policy(policy.own(), torch.eye(2)).probs[0].sum().item()
        1.0
    """

    config: dict[str, Any]
    sizes: tuple[int, int]

    @abstractmethod
    def forward(self, params: Params, observations: Tensor) -> Distribution:
        """Return the distributions of actions for observations ``[..., n_observations]``."""

    @abstractmethod
    def act(self, params: Params, observations: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Draw an action for each observation, without a gradient."""

    def own(self) -> dict[str, Tensor]:
        """Return the policy's own parameters by name."""
        return dict(self.named_parameters())

    def log_prob(self, params: Params, observations: Tensor, actions: Tensor) -> Tensor:
        """Return the log-probability, or log-density, of each action ``[...]``."""
        found: Tensor = self(params, observations).log_prob(actions)
        return found


class GaussianPolicy(Policy):
    """A normal distribution whose mean is a multilayer perceptron; its standard deviation is learned, too.

    The deviation does not depend on the observation, and stays above 1e-6.

    Args:
        sizes: Numbers of units from observation to action: ``[2, 100, 100, 2]`` is MAML's for the navigation tasks.
        init_std: Standard deviation at the start, above 0.

    Raises:
        ValueError: If there are fewer than two sizes, or ``init_std`` is not above 0.

    Example:
        >>> import torch
        >>> from metalearn.rl import GaussianPolicy
        >>> policy = GaussianPolicy([2, 100, 100, 2])
        >>> per_task = {name: p.detach().expand(5, *p.shape) for name, p in policy.own().items()}
        >>> policy(per_task, torch.zeros(5, 20, 2)).mean.shape
        torch.Size([5, 20, 2])
    """

    def __init__(self, sizes: Sequence[int], init_std: float = 1.0) -> None:
        super().__init__()
        if not init_std > 0:
            raise ValueError(f"init_std must be above 0, got {init_std}")
        self.config = {"sizes": list(sizes), "init_std": init_std}
        self.mean = _glorot(MLP(sizes))
        self.sizes = (sizes[0], sizes[-1])
        self.log_std = nn.Parameter(torch.full((sizes[-1],), math.log(init_std)))

    def forward(self, params: Params, observations: Tensor) -> Distribution:
        """Return independent normal distributions of the parts of an action."""
        mean = _perceptron(params, "mean.", observations)
        log_std = params["log_std"].clamp(min=MIN_LOG_STD)
        if log_std.ndim == 2:
            log_std = log_std.reshape(len(log_std), *[1] * (mean.ndim - 2), -1)  # [n_tasks, 1, ..., n_actions]
        return Independent(Normal(mean, log_std.exp().expand_as(mean), validate_args=False), 1, validate_args=False)

    @torch.no_grad()
    def act(self, params: Params, observations: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Draw an action ``[..., n_actions]`` for each observation."""
        found = self(params, observations)
        noise = torch.randn(found.mean.shape, generator=generator, device=observations.device, dtype=observations.dtype)
        actions: Tensor = found.mean + found.base_dist.scale * noise
        return actions


class CategoricalPolicy(Policy):
    """A distribution over discrete actions whose logits are given by a multilayer perceptron.

    Args:
        sizes: Numbers of units from observation to the number of actions.

    Raises:
        ValueError: If there are fewer than two sizes.

    Example:
        >>> import torch
        >>> from metalearn.rl import CategoricalPolicy
        >>> policy = CategoricalPolicy([4, 32, 2])
        >>> policy.act(policy.own(), torch.zeros(5, 20, 4)).shape
        torch.Size([5, 20])
    """

    def __init__(self, sizes: Sequence[int]) -> None:
        super().__init__()
        self.config = {"sizes": list(sizes)}
        self.logits = _glorot(MLP(sizes))
        self.sizes = (sizes[0], sizes[-1])

    def forward(self, params: Params, observations: Tensor) -> Distribution:
        """Return categorical distributions over the actions."""
        return Categorical(logits=_perceptron(params, "logits.", observations), validate_args=False)

    @torch.no_grad()
    def act(self, params: Params, observations: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Draw an action ``[...]``, int64, for each observation."""
        return draw_index(self(params, observations).logits, generator)


class TabularPolicy(CategoricalPolicy):
    """A distribution over discrete actions with a logit of its own for each state and action; zero at the start.

    Args:
        n_states: Number of states; an observation is a state's one-hot vector.
        n_actions: Number of actions.

    Example:
        >>> import torch
        >>> from metalearn.rl import TabularPolicy
        >>> TabularPolicy(3, 2).own()["table"].shape
        torch.Size([3, 2])
    """

    def __init__(self, n_states: int, n_actions: int) -> None:
        Policy.__init__(self)
        self.config = {"n_states": n_states, "n_actions": n_actions}
        self.sizes = (n_states, n_actions)
        self.table = nn.Parameter(torch.zeros(n_states, n_actions))

    def forward(self, params: Params, observations: Tensor) -> Distribution:
        """Return categorical distributions over the actions."""
        table = params["table"]
        flat = observations if table.ndim == 2 else observations.flatten(1, -2)
        logits = (flat @ table).reshape(*observations.shape[:-1], -1)
        return Categorical(logits=logits, validate_args=False)


def draw_index(logits: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """Draw from categorical distributions with logits ``[..., n]``; returns int64 ``[...]``.

    Example:
        >>> import torch
        >>> from metalearn.rl.policies import draw_index
        >>> draw_index(torch.tensor([[0.0, -1e9], [-1e9, 0.0]]))
        tensor([0, 1])
    """
    flat = logits.softmax(-1).reshape(-1, logits.shape[-1])
    return torch.multinomial(flat, 1, generator=generator).reshape(logits.shape[:-1])


def _glorot(network: MLP) -> MLP:
    """Draw the weights as Glorot and Bengio do, biases zero: for inputs near 0, the mean starts near 0."""
    for layer in network:
        if isinstance(layer, nn.Linear):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)
    return network


def _perceptron(params: Params, start: str, x: Tensor) -> Tensor:
    """Run a multilayer perceptron with ReLU on ``[..., n_in]``, for all tasks at once."""
    weights = [name for name in params if name.startswith(start) and name.endswith(".weight")]
    leading = x.shape[:-1]
    if params[weights[0]].ndim == 3:
        x = x.flatten(1, -2)  # [n_tasks, n, n_in]
    for k, name in enumerate(weights):
        bias = params[name.removesuffix("weight") + "bias"].unsqueeze(-2)
        x = (F.relu(x) if k else x) @ params[name].mT + bias
    return x.reshape(*leading, -1)
