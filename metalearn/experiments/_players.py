"""Players that nobody trains, as learners, so that a study can set them beside one that was."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor

from metalearn import rl
from metalearn.learners._base import Adapted, Learner

PLAYERS: dict[str, Callable[[float, int], rl.Player]] = {  # of a setting and the number of steps
    "random": lambda setting, n_steps: rl.RandomArm(),
    "greedy": lambda setting, n_steps: rl.Greedy(),
    "epsilon-greedy": lambda setting, n_steps: rl.EpsilonGreedy(setting),
    "UCB1": lambda setting, n_steps: rl.UCB1(setting),
    "Thompson": lambda setting, n_steps: rl.Thompson(),
    "Gittins": lambda setting, n_steps: rl.Gittins(setting, n_steps),
    "Bayes-optimal": lambda setting, n_steps: rl.BayesOptimal(n_steps),
    "minimax": lambda setting, n_steps: rl.Minimax(),
    "belief": lambda setting, n_steps: rl.Belief(rules_of_all()),
    "belief in the rules of training": lambda setting, n_steps: rl.Belief(rl.subtraction_games().train.rules),
    "ignorant": lambda setting, n_steps: rl.Belief(rules_of_all(), learns=False),
}


@cache
def player_of(name: str, setting: float, n_steps: int) -> rl.Player:
    """Return a player by its name; the same one again, whose tables are computed once.

    Example:
        >>> from metalearn.experiments._players import player_of
        >>> player_of("UCB1", 0.2, 10).scale
        0.2
    """
    return PLAYERS[name](setting, n_steps)


def rules_of_all() -> tuple[rl.Rules, ...]:
    """Return the rules of all subtraction games.

    Example:
        >>> from metalearn.experiments._players import rules_of_all
        >>> len(rules_of_all())
        100
    """
    return tuple(rules for family in rl.subtraction_games() for rules in family.rules)


class Untrained(Learner):
    """Play as one of the players that need no training; a learner for studies only, which plays and does not predict.

    Args:
        player: Its name.
        setting: Its number, where it has one: the probability to explore, the factor of the bound, the discount.

    Example:
        >>> import torch
        >>> from metalearn.experiments._players import Untrained
        >>> from metalearn.rl import BanditFamily
        >>> Untrained("greedy").returns(BanditFamily(2, 5).sample(3), [None], torch.Generator()).shape
        torch.Size([3, 1])
    """

    plays = True

    def __init__(self, player: str, setting: float = 1.0) -> None:
        super().__init__()
        if player not in PLAYERS:
            raise ValueError(f"player must be one of {list(PLAYERS)}, got {player!r}")
        self.player = player
        self.setting = setting

    def check(self, batch: Any) -> None:
        """Check the trials alone."""
        batch.check()

    def returns(self, batch: Any, steps: Sequence[int | None], generator: torch.Generator | None = None) -> Tensor:
        """Return the total reward of each trial ``[n_tasks, n]``."""
        total = rl.play(player_of(self.player, self.setting, batch.n_steps), batch, generator).total
        return total.unsqueeze(1).expand(-1, len(steps))

    def adapt(
        self, support_x: Any, support_y: Tensor, *, n_way: int | None = None, n_steps: int | None = None
    ) -> Adapted:
        """Refuse: the player is told what happens while it plays."""
        raise ValueError("a player adapts while it plays: use evaluate, or metalearn.rl.play")

    def predict(self, adapted: Adapted, x: Any) -> Tensor:
        """Refuse, too."""
        raise ValueError("a player acts and does not predict: use evaluate, or metalearn.rl.play")
