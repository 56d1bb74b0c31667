"""Players of bandits that count wins and losses: by index, by chance, by the posterior; all bandits at once."""

from __future__ import annotations

from abc import abstractmethod
from functools import cached_property

import torch
from torch import Tensor

from metalearn._given import at_least_one
from metalearn._torch import draw_gamma
from metalearn.learners._checks import positive
from metalearn.rl.dynamic import bayes_optimal_table, check_discount, gittins_index
from metalearn.rl.trials import Player, Trials

Counts = tuple[Tensor, Tensor]  # wins and losses of each arm, both [n, n_arms]


class CountingPlayer(Player):
    """A player whose memory is how often each arm paid and how often it did not.

    A class that derives from it defines :meth:`choose`.

    Example:
        >>> import torch
        >>> from metalearn.rl import Bandits, CountingPlayer, play
        >>> class WinStay(CountingPlayer):
        ...     def choose(self, wins, losses, generator):
        ...         return (wins - 10 * losses).argmax(1)
        >>> play(WinStay(), Bandits(torch.tensor([[0.0, 1.0]]), n_pulls=3)).actions
        tensor([[0, 1, 1]])
    """

    def begin(self, trials: Trials) -> Counts:
        """Return counts of zero."""
        zero = torch.zeros(len(trials), trials.n_actions)
        return zero, zero

    def act(self, memory: Counts, observation: Tensor, generator: torch.Generator | None) -> tuple[Tensor, Counts]:
        """Return the arms ``[n]``, and the counts as they were."""
        wins, losses = (part.to(observation.device) for part in memory)
        return self.choose(wins, losses, generator), (wins, losses)

    def learn(self, memory: Counts, actions: Tensor, reward: Tensor, done: Tensor) -> Counts:
        """Count the pull of each bandit."""
        wins, losses = memory
        pulled = torch.nn.functional.one_hot(actions, wins.shape[1]).to(wins.dtype)
        return wins + pulled * reward.unsqueeze(1), losses + pulled * (1 - reward).unsqueeze(1)

    @abstractmethod
    def choose(self, wins: Tensor, losses: Tensor, generator: torch.Generator | None) -> Tensor:
        """Return the arms ``[n]`` to pull after wins and losses ``[n, n_arms]``."""


def largest(values: Tensor, generator: torch.Generator | None) -> Tensor:
    """Return where each row is largest ``[n]``, at random among equals.

    Example:
        >>> import torch
        >>> from metalearn.rl.players import largest
        >>> largest(torch.tensor([[0.0, 2.0, 1.0]]), None)
        tensor([1])
    """
    equal = values >= values.amax(1, keepdim=True) - 1e-6
    chance = torch.rand(values.shape, generator=generator, device=values.device)
    return (chance * equal).argmax(1)


def posterior_means(wins: Tensor, losses: Tensor) -> Tensor:
    """Return the mean of each arm's posterior ``[n, n_arms]``, of a uniform prior.

    Example:
        >>> import torch
        >>> from metalearn.rl.players import posterior_means
        >>> posterior_means(torch.tensor([[0.0, 2.0]]), torch.tensor([[0.0, 0.0]]))
        tensor([[0.5000, 0.7500]])
    """
    return (wins + 1) / (wins + losses + 2)


class RandomArm(CountingPlayer):
    """Pull any arm, whatever happened.

    Example:
        >>> import torch
        >>> from metalearn.rl import Bandits, RandomArm, play
        >>> share = play(RandomArm(), Bandits(torch.rand(1_000, 2), 10)).actions.double().mean()
        >>> bool(0.45 < share < 0.55)
        True
    """

    def choose(self, wins: Tensor, losses: Tensor, generator: torch.Generator | None) -> Tensor:
        """Return arms at random ``[n]``."""
        return torch.randint(wins.shape[1], (len(wins),), generator=generator, device=wins.device)


class Greedy(CountingPlayer):
    """Pull the arm whose posterior mean is highest, the first of equals.

    Example:
        >>> import torch
        >>> from metalearn.rl import Greedy
        >>> Greedy().choose(torch.tensor([[1.0, 0.0]]), torch.tensor([[1.0, 0.0]]), None)
        tensor([0])
    """

    def choose(self, wins: Tensor, losses: Tensor, generator: torch.Generator | None) -> Tensor:
        """Return the arms ``[n]``."""
        return posterior_means(wins, losses).argmax(1)


class EpsilonGreedy(CountingPlayer):
    """Pull any arm with probability ``epsilon``, and as :class:`Greedy` otherwise.

    Args:
        epsilon: In [0, 1].

    Raises:
        ValueError: If it is no probability.

    Example:
        >>> import torch
        >>> from metalearn.rl import EpsilonGreedy
        >>> EpsilonGreedy(0.0).choose(torch.tensor([[0.0, 1.0]]), torch.zeros(1, 2), None)
        tensor([1])
    """

    def __init__(self, epsilon: float = 0.1) -> None:
        if not 0 <= epsilon <= 1:
            raise ValueError(f"epsilon is a probability in [0, 1], got {epsilon}")
        self.epsilon = epsilon

    def choose(self, wins: Tensor, losses: Tensor, generator: torch.Generator | None) -> Tensor:
        """Return the arms ``[n]``."""
        best = posterior_means(wins, losses).argmax(1)
        other = torch.randint(wins.shape[1], best.shape, generator=generator, device=wins.device)
        explore = torch.rand(best.shape, generator=generator, device=wins.device) < self.epsilon
        return torch.where(explore, other, best)


class UCB1(CountingPlayer):
    r"""Pull the arm whose upper confidence bound is highest, after each arm once.

    The bound of an arm with mean reward :math:`\bar x` after :math:`m` of :math:`t` pulls is
    :math:`\bar x + c \sqrt{2 \ln t / m}`.

    Args:
        scale: The factor c, above 0; 1 in the paper.

    Raises:
        ValueError: If the factor is not above 0.

    Reference:
        Auer, Cesa-Bianchi, Fischer: Finite-time Analysis of the Multiarmed Bandit Problem, 2002, figure 1.

    Taught in:
        Meta-reinforcement learning.

    Example:
        >>> import torch
        >>> from metalearn.rl import UCB1
        >>> UCB1().choose(torch.tensor([[5.0, 0.0]]), torch.tensor([[0.0, 0.0]]), None)  # the second was never pulled
        tensor([1])
    """

    def __init__(self, scale: float = 1.0) -> None:
        self.scale = positive("scale", scale)

    def choose(self, wins: Tensor, losses: Tensor, generator: torch.Generator | None) -> Tensor:
        """Return the arms ``[n]``."""
        pulls = wins + losses
        total = pulls.sum(1, keepdim=True).clamp(min=1)
        bound = wins / pulls + self.scale * (2 * total.log() / pulls).sqrt()
        return largest(torch.where(pulls == 0, torch.inf, bound).clamp(max=1e6), generator)


class Thompson(CountingPlayer):
    """Draw a mean for each arm from its posterior, and pull the arm whose draw is highest.

    Reference:
        Thompson: On the Likelihood that One Unknown Probability Exceeds Another in View of the Evidence of Two Samples,
        1933.

    Taught in:
        Meta-reinforcement learning.

    Example:
        >>> import torch
        >>> from metalearn.rl import Bandits, Thompson, play
        >>> play(Thompson(), Bandits(torch.tensor([[0.0, 1.0]]), 50)).actions[:, -10:].double().mean() > 0.9
        tensor(True)
    """

    def choose(self, wins: Tensor, losses: Tensor, generator: torch.Generator | None) -> Tensor:
        """Return the arms ``[n]``."""
        gammas = draw_gamma(torch.stack([wins + 1, losses + 1]).double(), generator)
        return (gammas[0] / gammas.sum(0)).argmax(1)


class Gittins(CountingPlayer):
    """Pull the arm whose Gittins index is highest: best of all players if rewards are discounted, without an end.

    Args:
        discount: In (0, 1): what a reward is worth if it comes one pull later.
        n_pulls: Pulls of a bandit that it plays at most, at least 1.

    Raises:
        ValueError: If the discount is not in (0, 1) or ``n_pulls`` below 1; in play, if there are more pulls.

    Reference:
        Gittins: Bandit Processes and Dynamic Allocation Indices, 1979.

    Taught in:
        Meta-reinforcement learning.

    Example:
        >>> import torch
        >>> from metalearn.rl import Gittins
        >>> Gittins(0.9, n_pulls=10).choose(torch.tensor([[3.0, 0.0]]), torch.tensor([[2.0, 0.0]]), None)  # untried
        tensor([1])
    """

    def __init__(self, discount: float, n_pulls: int) -> None:
        check_discount(discount)
        at_least_one(n_pulls=n_pulls)
        self.discount = discount
        self.n_pulls = n_pulls

    @cached_property
    def index(self) -> Tensor:
        """Index of an arm by its wins and losses ``[n_pulls, n_pulls]``."""
        return gittins_index(self.discount, self.n_pulls - 1)

    def choose(self, wins: Tensor, losses: Tensor, generator: torch.Generator | None) -> Tensor:
        """Return the arms ``[n]``."""
        _pulls_made(wins, losses, self.n_pulls)
        return largest(self.index.to(wins.device)[wins.long(), losses.long()], generator)


class BayesOptimal(CountingPlayer):
    """Pull, of two arms, the one that leads to the highest expected total reward, computed from the end backwards.

    Args:
        n_pulls: Pulls in all, at least 1.

    Raises:
        ValueError: If ``n_pulls`` is below 1; in play, if there are more pulls, or not two arms.

    Taught in:
        Meta-reinforcement learning.

    Example:
        >>> import torch
        >>> from metalearn.rl import BayesOptimal
        >>> player = BayesOptimal(n_pulls=2)  # with one pull left, only the means count
        >>> player.choose(torch.tensor([[0.0, 0.0]]), torch.tensor([[1.0, 0.0]]), None)
        tensor([1])
    """

    def __init__(self, n_pulls: int) -> None:
        at_least_one(n_pulls=n_pulls)
        self.n_pulls = n_pulls

    @cached_property
    def gains(self) -> list[Tensor]:
        """What the second arm is worth more than the first, at each pull, by wins and losses of the first, wins of the
        second.
        """
        return bayes_optimal_table(self.n_pulls)[1]

    def choose(self, wins: Tensor, losses: Tensor, generator: torch.Generator | None) -> Tensor:
        """Return the arms ``[n]``."""
        if wins.shape[1] != 2:
            raise ValueError(f"BayesOptimal plays bandits of two arms, got {wins.shape[1]}: take Gittins, or Thompson")
        gains = self.gains[_pulls_made(wins, losses, self.n_pulls)].to(wins.device)
        gain = gains[wins[:, 0].long(), losses[:, 0].long(), wins[:, 1].long()]
        return largest(torch.stack([torch.zeros_like(gain), gain], 1), generator)


def _pulls_made(wins: Tensor, losses: Tensor, n_pulls: int) -> int:
    """Return how many pulls were made, or refuse one more than a player was built for."""
    made = int((wins + losses).sum(1).max())
    if made >= n_pulls:
        raise ValueError(f"this player was built for n_pulls={n_pulls}, and {made} are made: raise it")
    return made
