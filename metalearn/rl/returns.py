"""Returns, advantages, and the linear baseline that both are measured against."""

from __future__ import annotations

import torch
from torch import Tensor

from metalearn.rl.rollouts import Trajectories


def check_shares(**numbers: float) -> None:
    """Refuse a number that is not in [0, 1].

    Raises:
        ValueError: Naming the number.

    Example:
        >>> from metalearn.rl.returns import check_shares
        >>> check_shares(discount=0.9, gae_lambda=1.5)
        Traceback (most recent call last):
        ValueError: gae_lambda must lie in [0, 1], got 1.5
    """
    for name, number in numbers.items():
        if not 0 <= number <= 1:
            raise ValueError(f"{name} must lie in [0, 1], got {number}")


def returns(rewards: Tensor, discount: float = 0.99) -> Tensor:
    r"""Return the discounted sum of the rewards to come, :math:`\sum_{k \ge t} \gamma^{k - t} r_k`.

    Args:
        rewards: ``[..., horizon]``, 0 after the end of an episode.
        discount: Discount of a step, in [0, 1].

    Returns:
        ``[..., horizon]``.

    Raises:
        ValueError: If the discount is out of its range.

    Example:
        >>> import torch
        >>> from metalearn.rl import returns
        >>> returns(torch.tensor([1.0, 2.0, 4.0]), 0.5)
        tensor([3., 4., 4.])
    """
    check_shares(discount=discount)
    steps = torch.arange(rewards.shape[-1], device=rewards.device)
    ahead = steps.unsqueeze(1) - steps  # [k, t]: how far k lies after t
    weights = torch.where(ahead >= 0, discount ** ahead.clamp(min=0).to(rewards.dtype), 0.0)
    return rewards @ weights


def advantages(rewards: Tensor, values: Tensor, discount: float = 0.99, gae_lambda: float = 1.0) -> Tensor:
    r"""Return the generalised advantage estimates of episodes whose value after the last step is 0.

    With :math:`\delta_t = r_t + \gamma V_{t+1} - V_t` it is
    :math:`\sum_{k \ge t} (\gamma\lambda)^{k - t} \delta_k`: for :math:`\lambda = 1` the return to come less the value.

    Args:
        rewards: ``[..., horizon]``, 0 after the end of an episode.
        values: What is expected of the rewards to come ``[..., horizon]``, 0 after the end of an episode.
        discount: Discount of a step, in [0, 1].
        gae_lambda: Weight of later steps, in [0, 1]: 1 has no bias, 0 the least variance.

    Raises:
        ValueError: If a number is out of its range.

    Reference:
        Schulman, Moritz, Levine, Jordan, Abbeel: High-Dimensional Continuous Control Using Generalized Advantage
        Estimation, 2015, arXiv 1506.02438, equation 16.

    Example:
        >>> import torch
        >>> from metalearn.rl import advantages
        >>> advantages(torch.tensor([1.0, 2.0]), torch.tensor([0.5, 1.0]), discount=1.0)
        tensor([2.5000, 1.0000])
    """
    check_shares(discount=discount, gae_lambda=gae_lambda)
    following = torch.cat([values[..., 1:], torch.zeros_like(values[..., :1])], -1)
    return returns(rewards + discount * following - values, discount * gae_lambda)


def linear_baseline(episodes: Trajectories, discount: float = 0.99, penalty: float = 1e-5) -> Tensor:
    """Fit the returns to come by a linear model of observation and time, one for each task, and return its values.

    The features are the observation, clipped to [-10, 10], its square, the step number over 100 with its square and
    cube, and 1. The fit is to the same episodes that it then serves.

    Args:
        episodes: Episodes of each task.
        discount: Discount of a step, in [0, 1].
        penalty: Of the ridge regression, above 0.

    Returns:
        Values ``[n_tasks, n_episodes, horizon]``, 0 after the end of an episode.

    Reference:
        Duan, Chen, Houthooft, Schulman, Abbeel: Benchmarking Deep Reinforcement Learning for Continuous Control, 2016,
        arXiv 1604.06778, section 4 of the supplement; used by MAML's authors.

    Example:
        >>> import torch
        >>> from metalearn.rl import Trajectories, linear_baseline
        >>> observations = torch.zeros(1, 2, 3, 1)
        >>> rewards = torch.tensor([[[1.0, 1.0, 1.0], [1.0, 1.0, 1.0]]])
        >>> linear_baseline(Trajectories(observations, observations, rewards, torch.ones(1, 2, 3)), 1.0).round()
        tensor([[[3., 2., 1.],
                 [3., 2., 1.]]])
    """
    observations, horizon = episodes.observations.double().clamp(-10, 10), episodes.rewards.shape[-1]
    time = torch.arange(horizon, device=observations.device, dtype=observations.dtype).div(100).unsqueeze(1)
    clock = torch.cat([time, time**2, time**3, torch.ones_like(time)], 1).expand(*episodes.rewards.shape, 4)
    mask = episodes.mask.double().unsqueeze(-1)
    features = (torch.cat([observations, observations**2, clock], -1) * mask).flatten(1, 2)  # [n_tasks, n, n_features]
    target = (returns(episodes.rewards.double(), discount).unsqueeze(-1) * mask).flatten(1, 2)
    gram = features.mT @ features + penalty * torch.eye(features.shape[-1], device=features.device).double()
    values: Tensor = features @ torch.linalg.solve(gram, features.mT @ target)
    return values.reshape(episodes.rewards.shape).to(episodes.rewards.dtype)


def standardised(values: Tensor, mask: Tensor) -> Tensor:
    """Return values of each task with mean 0 and deviation 1 over the steps that count, and 0 elsewhere.

    Args:
        values: ``[n_tasks, n_episodes, horizon]``.
        mask: 1 for the steps that count, 0 elsewhere; of the same shape.

    Example:
        >>> import torch
        >>> from metalearn.rl import standardised
        >>> standardised(torch.tensor([[[1.0, 3.0, 7.0]]]), torch.tensor([[[1.0, 1.0, 0.0]]]))
        tensor([[[-1.,  1.,  0.]]])
    """
    count = mask.sum((1, 2), keepdim=True).clamp(min=1)
    centred = (values - (values * mask).sum((1, 2), keepdim=True) / count) * mask
    deviation = (centred.square().sum((1, 2), keepdim=True) / count).sqrt()
    return centred / (deviation + 1e-8)
