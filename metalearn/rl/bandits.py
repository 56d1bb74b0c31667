"""Bernoulli bandits: each arm pays 1 with a probability of its own, which the player does not know."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Self

import torch
from torch import Tensor

from metalearn._given import at_least_one
from metalearn.rl.environments import device_of
from metalearn.rl.trials import Play, Step, TrialFamily, Trials

BanditState = tuple[Tensor, Tensor]  # outcomes [n, n_arms, n_pulls], and pulls so far [n, n_arms]


@dataclass(frozen=True, eq=False)
class Bandits(Trials):
    """Many bandits at once, each played for ``n_pulls`` pulls.

    Args:
        means: Probability that an arm pays ``[n, n_arms]``, in [0, 1].
        n_pulls: Pulls of each bandit, at least 1.
        outcomes: What the j-th pull of each arm will pay, 0 or 1 ``[n, n_arms, n_pulls]``, so that all players meet the
            same chance; ``None``: drawn anew for each play.

    Raises:
        ValueError: If the means are no probabilities, or the outcomes are of another size.

    Example:
        >>> import torch
        >>> from metalearn.rl import Bandits
        >>> bandits = Bandits(torch.rand(1_000, 5), n_pulls=10)
        >>> len(bandits), bandits.n_actions, bandits.n_steps
        (1000, 5, 10)
    """

    means: Tensor
    n_pulls: int
    outcomes: Tensor | None = None
    n_features: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        at_least_one(n_pulls=self.n_pulls)
        if self.means.ndim != 2 or not len(self.means):
            raise ValueError(f"means must be [n, n_arms] of at least one bandit, got {list(self.means.shape)}")
        if self.outcomes is not None and self.outcomes.shape != (*self.means.shape, self.n_pulls):
            wanted = [*self.means.shape, self.n_pulls]
            raise ValueError(f"outcomes must be [n, n_arms, n_pulls] = {wanted}, got {list(self.outcomes.shape)}")
        self.check()

    @property
    def n_actions(self) -> int:  # type: ignore[override]
        """Number of arms."""
        return self.means.shape[1]

    @property
    def n_steps(self) -> int:  # type: ignore[override]
        """Number of pulls."""
        return self.n_pulls

    def __len__(self) -> int:
        """Return the number of bandits."""
        return len(self.means)

    def __getitem__(self, index: slice | Tensor) -> Self:
        """Return some of the bandits."""
        return type(self)(self.means[index], self.n_pulls, None if self.outcomes is None else self.outcomes[index])

    def to(self, device: torch.device | str) -> Self:
        """Return the bandits on a device."""
        outcomes = None if self.outcomes is None else self.outcomes.to(device)
        return type(self)(self.means.to(device), self.n_pulls, outcomes)

    def check(self) -> None:
        """Refuse means that are no probabilities."""
        if not bool(((self.means >= 0) & (self.means <= 1)).all()):
            raise ValueError("means are probabilities in [0, 1], got others or NaN")

    def begin(self, generator: torch.Generator | None) -> tuple[BanditState, Tensor]:
        """Draw the outcomes of all pulls, where they are not given; there is nothing to see."""
        outcomes = draw(self.means, self.n_pulls, generator) if self.outcomes is None else self.outcomes
        return (outcomes, torch.zeros_like(self.means, dtype=torch.int64)), self.means.new_zeros(len(self), 0)

    def step(self, state: BanditState, actions: Tensor, generator: torch.Generator | None) -> Step:
        """Return the reward of a pull of each bandit; every pull is an episode."""
        outcomes, pulls = state
        rows = torch.arange(len(self), device=actions.device)
        reward = outcomes[rows, actions, pulls[rows, actions]].to(self.means.dtype)
        pulls = pulls.clone()
        pulls[rows, actions] += 1
        over = pulls.sum(1) >= self.n_pulls
        return Step((outcomes, pulls), self.means.new_zeros(len(self), 0), reward, torch.ones_like(over), over)

    def regret(self, played: Play) -> Tensor:
        r"""Return the expected reward that was missed up to each pull ``[n, n_pulls]``.

        It is :math:`\sum_t (\max_k p_k - p_{a_t})`, of the arms' means and not of the rewards that happened to fall.
        """
        best = self.means.amax(1, keepdim=True)
        return (best - self.means.gather(1, played.actions)).cumsum(1)

    def on_best(self, played: Play) -> Tensor:
        """Return the share of bandits whose best arm was pulled, at each pull ``[n_pulls]``."""
        return (played.actions == self.means.argmax(1, keepdim=True)).double().mean(0)


def draw(means: Tensor, n_pulls: int, generator: torch.Generator | None) -> Tensor:
    """Return what pulls of arms pay ``[n, n_arms, n_pulls]``, true with the arms' probabilities ``[n, n_arms]``.

    Example:
        >>> import torch
        >>> from metalearn.rl.bandits import draw
        >>> draw(torch.tensor([[0.0, 1.0]]), 2, None).tolist()
        [[[False, False], [True, True]]]
    """
    chance = torch.rand((*means.shape, n_pulls), generator=generator, device=means.device)
    return chance < means.unsqueeze(2)


@dataclass(frozen=True)
class BanditFamily(TrialFamily):
    """Bandits whose arms pay with probabilities drawn evenly from [0, 1], each by itself.

    The outcomes of all pulls are drawn with the arms, so that every player who meets a bandit meets the same chance.

    Args:
        n_arms: Number of arms, at least 2.
        n_pulls: Pulls of each bandit, at least 1.

    Raises:
        ValueError: If a number is too small.

    Reference:
        The tasks of Duan, Schulman, Chen, Bartlett, Sutskever, Abbeel: RL²: Fast Reinforcement Learning via Slow
        Reinforcement Learning, 2016, arXiv 1611.02779, section 3.1.

    Taught in:
        Meta-reinforcement learning.

    Example:
        >>> import torch
        >>> from metalearn.rl import BanditFamily
        >>> sampler = BanditFamily(n_arms=5, n_pulls=10).tasks(n_tasks=64)
        >>> sampler(torch.Generator().manual_seed(0)).means.shape
        torch.Size([64, 5])
    """

    n_arms: int
    n_pulls: int

    def __post_init__(self) -> None:
        at_least_one(n_arms=self.n_arms, n_pulls=self.n_pulls)
        if self.n_arms < 2:
            raise ValueError(f"with one arm there is nothing to choose, got n_arms={self.n_arms}: take at least 2")

    def sample(self, n_tasks: int, generator: torch.Generator | None = None) -> Bandits:
        """Draw bandits and the outcomes of their pulls."""
        means = torch.rand(n_tasks, self.n_arms, generator=generator, device=device_of(generator))
        return Bandits(means, self.n_pulls, draw(means, self.n_pulls, generator))
