"""Players that nobody trains, as learners, so that a study can set them beside one that was."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from metalearn import rl
from metalearn.learners._base import Adapted, Learner

PLAYERS: dict[str, Callable[[Any, float | None], rl.Player]] = {  # of trials and a setting
    "random": lambda trials, setting: rl.RandomArm(),
    "greedy": lambda trials, setting: rl.Greedy(),
    "epsilon-greedy": lambda trials, setting: rl.EpsilonGreedy(setting or 0.0),
    "UCB1": lambda trials, setting: rl.UCB1(setting or 1.0),
    "Thompson": lambda trials, setting: rl.Thompson(),
    "Gittins": lambda trials, setting: rl.Gittins(setting or 0.99, trials.n_steps),
    "Bayes-optimal": lambda trials, setting: rl.BayesOptimal(trials.n_steps),
    "minimax": lambda trials, setting: rl.Minimax(),
    "belief": lambda trials, setting: rl.Belief(rules_of_all()),
    "belief in the rules of training": lambda trials, setting: rl.Belief(rl.subtraction_games().train.rules),
    "ignorant": lambda trials, setting: rl.Belief(rules_of_all(), learns=False),
}


def rules_of_all() -> tuple[rl.Rules, ...]:
    """Return the rules of all subtraction games.

    Example:
        >>> from metalearn.experiments._players import rules_of_all
        >>> len(rules_of_all())
        50
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

    def __init__(self, player: str, setting: float | None = None) -> None:
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
        total = rl.play(PLAYERS[self.player](batch, self.setting), batch, generator).total
        return total.unsqueeze(1).expand(-1, len(steps))

    def adapt(
        self, support_x: Any, support_y: Tensor, *, n_way: int | None = None, n_steps: int | None = None
    ) -> Adapted:
        """Refuse: the player is told what happens while it plays."""
        raise ValueError("a player adapts while it plays: use evaluate, or metalearn.rl.play")

    def predict(self, adapted: Adapted, x: Any) -> Tensor:
        """Refuse, too."""
        raise ValueError("a player acts and does not predict: use evaluate, or metalearn.rl.play")
