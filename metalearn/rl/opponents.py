"""Players of games whose rules change: one who knows the rules, one who does not care, and one who infers them."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from metalearn.rl.players import largest
from metalearn.rl.subtraction import LARGEST_HEAP, Rules, Tables, tables
from metalearn.rl.trials import Player, Trials


class Minimax(Player):
    """Play perfectly, by the rules of each trial, which this player is told.

    Taught in:
        Meta-reinforcement learning.

    Example:
        >>> from metalearn.rl import Minimax, play, subtraction_games
        >>> play(Minimax(), subtraction_games(n_games=4).test.sample(50)).score.mean
        4.0
    """

    def begin(self, trials: Trials) -> Tensor:
        """Return the best moves by heap ``[n, n_heaps, n_moves]``."""
        best: Tensor = trials.tables.best.float()  # type: ignore[attr-defined]
        return best

    def act(self, memory: Tensor, observation: Tensor, generator: torch.Generator | None) -> tuple[Tensor, Tensor]:
        """Return any of the best moves ``[n]``."""
        heap = heap_of(observation)
        return largest(memory[torch.arange(len(heap)), heap], generator), memory

    def learn(self, memory: Tensor, actions: Tensor, reward: Tensor, done: Tensor) -> Tensor:
        """Return the same: there is nothing to learn."""
        return memory


class Seen(NamedTuple):
    """What :class:`Belief` remembers.

    Args:
        log_p: Log posterior of all rules, up to a constant ``[n, n_rules]``.
        heap: The heap before the last move ``[n]``.
        actions: The last move, reward and end of a game, each ``[n]``; ``None`` before the first.

    Example:
        >>> from metalearn.rl.opponents import Seen
        >>> Seen._fields
        ('log_p', 'heap', 'actions', 'reward', 'done')
    """

    log_p: Tensor
    heap: Tensor
    actions: Tensor | None = None
    reward: Tensor | None = None
    done: Tensor | None = None


class Belief(Player):
    """Keep the probability of all rules that there might be, by Bayes' rule, and make the move that most likely wins.

    It assumes that the opponent plays perfectly, and does not explore for the sake of later games.

    Args:
        rules: All rules that it thinks possible.
        learns: Whether it learns; ``False``: it plays by what it thinks before the first game.

    Taught in:
        Meta-reinforcement learning.

    Example:
        >>> from metalearn.rl import Belief, Rules, play, subtraction_games
        >>> family = subtraction_games(n_games=8).test
        >>> wins = play(Belief(family.rules), family.sample(500)).by_episode(8).mean(0)
        >>> bool(wins[-1] > wins[0])
        True
    """

    def __init__(self, rules: tuple[Rules, ...], learns: bool = True) -> None:
        self.rules = rules
        self.learns = learns

    def begin(self, trials: Trials) -> Seen:
        """Return an even belief."""
        return Seen(torch.zeros(len(trials), len(self.rules)), torch.zeros(len(trials), dtype=torch.int64))

    def act(self, memory: Seen, observation: Tensor, generator: torch.Generator | None) -> tuple[Tensor, Seen]:
        """Return the moves ``[n]``, and the belief after what is seen."""
        rules = Tables(*(part.to(observation.device) for part in tables(self.rules)))
        heap, log_p = heap_of(observation), memory.log_p.to(observation.device)
        if self.learns:
            log_p = log_p + self._evidence(rules, memory, observation)
            log_p = log_p - log_p.amax(1, keepdim=True)
        wins = torch.einsum("nr,rnm->nm", log_p.softmax(1), rules.best[:, heap].float())
        return largest(wins, generator), Seen(log_p, heap)

    def learn(self, memory: Seen, actions: Tensor, reward: Tensor, done: Tensor) -> Seen:
        """Note the move and what came of it; the opponent's reply is seen with the next observation."""
        return memory._replace(actions=actions, reward=reward, done=done)

    def _evidence(self, rules: Tables, memory: Seen, observation: Tensor) -> Tensor:
        """Return the log probability of what was seen since the last move ``[n, n_rules]``, under all rules."""
        heap = heap_of(observation)
        begun = rules.start[:, heap].T.log().clamp(min=-60)  # a game begins with a heap that can be won
        if memory.actions is None or memory.done is None or memory.reward is None:
            return begun
        before, action = memory.heap, memory.actions
        reply = observation[:, LARGEST_HEAP + 1 : -1].argmax(1)  # [n], 0: none
        legal = rules.legal[:, before, action].T  # [n, n_rules]
        left = torch.where(observation[:, -1].bool(), before, before - action - 1).clamp(min=0)
        replied = (reply > 0).unsqueeze(1)
        chance = rules.reply[:, left, (reply - 1).clamp(min=0)].T
        stuck = rules.stuck[:, left].T
        ends = rules.stuck[:, (left - reply).clamp(min=0)].T
        done, won = memory.done.unsqueeze(1), memory.reward.bool().unsqueeze(1)
        without = stuck & (won == ~rules.misere)  # the opponent could not move
        within = chance * (ends == done) * (~done | (won == rules.misere))
        lawful = torch.where(replied, within, without.float())
        p = torch.where(observation[:, -1:].bool(), (~legal).float(), lawful * legal)
        return p.log().clamp(min=-60) + torch.where(done, begun, 0.0)


def heap_of(observation: Tensor) -> Tensor:
    """Return the heap that is seen ``[n]``.

    Example:
        >>> import torch
        >>> from metalearn.rl.games import observation
        >>> from metalearn.rl.opponents import heap_of
        >>> heap_of(observation(torch.tensor([7]), torch.tensor([2]), torch.tensor([0])))
        tensor([7])
    """
    return observation[:, : LARGEST_HEAP + 1].argmax(1)
