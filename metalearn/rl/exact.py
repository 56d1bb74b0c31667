"""What a player of Bernoulli arms gets on average, exactly: all ways that its pulls can end, each with its chance."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Self

import torch
from torch import Tensor
from torch.nn import functional as F

from metalearn._given import at_least_one
from metalearn.rl.trials import Player, Step, Trials, play


@dataclass(frozen=True, eq=False)
class Script(Trials):
    """Trials whose rewards are fixed, whatever arm is pulled.

    Args:
        rewards: Of each pull ``[n, n_pulls]``.
        n_actions: Number of arms.

    Example:
        >>> import torch
        >>> from metalearn.rl import Greedy, play
        >>> from metalearn.rl.exact import Script
        >>> play(Greedy(), Script(torch.tensor([[0.0, 1.0]]), n_actions=2)).actions
        tensor([[0, 1]])
    """

    rewards: Tensor
    n_actions: int
    n_features: int = field(default=0, init=False)

    @property
    def n_steps(self) -> int:  # type: ignore[override]
        """Number of pulls."""
        return self.rewards.shape[1]

    def __len__(self) -> int:
        """Return the number of trials."""
        return len(self.rewards)

    def __getitem__(self, index: slice | Tensor) -> Self:
        """Return some of the trials."""
        return type(self)(self.rewards[index], self.n_actions)

    def to(self, device: torch.device | str) -> Self:
        """Return the trials on a device."""
        return type(self)(self.rewards.to(device), self.n_actions)

    def begin(self, generator: torch.Generator | None) -> tuple[int, Tensor]:
        """Return the number of pulls made."""
        return 0, self.rewards.new_zeros(len(self), 0)

    def step(self, state: int, actions: Tensor, generator: torch.Generator | None) -> Step:
        """Return the next reward."""
        done = torch.ones(len(self), dtype=torch.bool, device=actions.device)
        over = done & (state + 1 >= self.n_steps)
        return Step(state + 1, self.rewards.new_zeros(len(self), 0), self.rewards[:, state], done, over)


def expected_reward(player: Player, n_arms: int, n_pulls: int) -> float:
    r"""Return how much a player gets in all on average over arms with uniform priors, by listing what can happen.

    A player that draws nothing is decided by the rewards that it sees, of which there are :math:`2^n` sequences. Each
    has the probability :math:`\prod_t p_t` or :math:`1 - p_t`, with the posterior mean :math:`p_t` of the arm that the
    player pulls there. Where a player breaks ties by chance, between arms of one record, the result is exact, too.

    Args:
        player: One that draws nothing, such as :class:`Greedy`, :class:`Gittins`, or :class:`RL2` in ``eval`` mode.
        n_arms: Number of arms, at least 1.
        n_pulls: Pulls in all, 1 to 16.

    Raises:
        ValueError: If a number is out of its range.

    Taught in:
        Meta-reinforcement learning.

    Example:
        >>> from metalearn.rl import Greedy, bayes_optimal_value, expected_reward
        >>> round(expected_reward(Greedy(), 5, 10), 3), round(bayes_optimal_value(5, 10), 3)
        (6.569, 6.66)
    """
    at_least_one(n_arms=n_arms, n_pulls=n_pulls)
    if n_pulls > 16:
        raise ValueError(f"there are 2 ** n_pulls sequences to list, got n_pulls={n_pulls}: take at most 16, or play")
    numbers = torch.arange(2**n_pulls).unsqueeze(1)
    rewards = (numbers >> torch.arange(n_pulls) & 1).to(torch.get_default_dtype())  # [2 ** n_pulls, n_pulls]
    actions = play(player, Script(rewards, n_arms), torch.Generator().manual_seed(0)).actions
    pulled = F.one_hot(actions, n_arms).double()  # [2 ** n_pulls, n_pulls, n_arms]
    before = pulled.cumsum(1) - pulled
    won = pulled * rewards.unsqueeze(2).double()
    wins = ((won.cumsum(1) - won) * pulled).sum(2)
    p = (wins + 1) / ((before * pulled).sum(2) + 2)  # posterior mean of the arm that is pulled
    chance = torch.where(rewards.bool(), p, 1 - p).prod(1)
    return (chance * rewards.sum(1)).sum().item()
