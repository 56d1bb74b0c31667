"""Trials of games whose rules change: a player meets an opponent several times, by rules that it is not told."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from itertools import combinations
from typing import NamedTuple, Self

import torch
from torch import Tensor
from torch.nn import functional as F

from metalearn._given import at_least_one
from metalearn.rl.environments import device_of
from metalearn.rl.subtraction import LARGEST_HEAP, LARGEST_MOVE, Rules, Tables, tables
from metalearn.rl.trials import Step, TrialFamily, Trials


class GameState(NamedTuple):
    """Where each of many trials stands.

    Args:
        heap: Stones ``[n]``.
        n_played: Games that have ended ``[n]``.

    Example:
        >>> from metalearn.rl.games import GameState
        >>> GameState._fields
        ('heap', 'n_played')
    """

    heap: Tensor
    n_played: Tensor


@dataclass(frozen=True, eq=False)
class Games(Trials):
    """Many trials of several games against an opponent, each trial by rules of its own, which the player is not told.

    The player begins, with a heap from which it could win. A win pays 1. An illegal move loses the game. The player
    sees the heap, the opponent's last move, and whether its own last move was illegal.

    Args:
        rules: Rules that there are.
        which: Number of the rules of each trial ``[n]``.
        n_games: Games of a trial, at least 1.
        skill: Probability that the opponent moves as a perfect player would, and not at random: 1 is minimax.

    Raises:
        ValueError: If a number is out of its range.

    Taught in:
        Meta-reinforcement learning.

    Example:
        >>> import torch
        >>> from metalearn.rl import Games, Minimax, Rules, play
        >>> games = Games((Rules((1, 2)), Rules((1, 3), misere=True)), torch.tensor([0, 1, 1]), n_games=4)
        >>> play(Minimax(), games).total
        tensor([4., 4., 4.])
    """

    rules: tuple[Rules, ...]
    which: Tensor
    n_games: int = 8
    skill: float = 1.0
    n_actions: int = field(default=LARGEST_MOVE, init=False)
    n_features: int = field(default=LARGEST_HEAP + LARGEST_MOVE + 3, init=False)

    def __post_init__(self) -> None:
        at_least_one(n_games=self.n_games)
        if not 0 <= self.skill <= 1:
            raise ValueError(f"skill is a probability in [0, 1], got {self.skill}")
        self.check()

    @property
    def n_steps(self) -> int:  # type: ignore[override]
        """Moves of the player in a trial at most."""
        return self.n_games * (LARGEST_HEAP // 2 + 1)

    def __len__(self) -> int:
        """Return the number of trials."""
        return len(self.which)

    def __getitem__(self, index: slice | Tensor) -> Self:
        """Return some of the trials."""
        return type(self)(self.rules, self.which[index], self.n_games, self.skill)

    def to(self, device: torch.device | str) -> Self:
        """Return the trials on a device."""
        return type(self)(self.rules, self.which.to(device), self.n_games, self.skill)

    def check(self) -> None:
        """Refuse numbers of rules that there are not."""
        if not len(self.which) or not bool(((self.which >= 0) & (self.which < len(self.rules))).all()):
            raise ValueError(f"which must be numbers of 0 to {len(self.rules) - 1} [n], got {self.which.tolist()[:5]}")

    @cached_property
    def tables(self) -> Tables:
        """What the rules of each trial say: :class:`metalearn.rl.subtraction.Tables` with one entry for each trial."""
        return Tables(*(part.to(self.which.device)[self.which] for part in tables(self.rules)))

    def begin(self, generator: torch.Generator | None) -> tuple[GameState, Tensor]:
        """Set up the first games."""
        heap = _draw(self.tables.start, generator)
        nothing = torch.zeros_like(heap)
        return GameState(heap, nothing), observation(heap, nothing, nothing)

    def step(self, state: GameState, actions: Tensor, generator: torch.Generator | None) -> Step:
        """Make the player's moves and the opponent's; a game that has ended is followed by the next."""
        rules, rows, heap = self.tables, torch.arange(len(self), device=actions.device), state.heap
        legal = rules.legal[rows, heap, actions]
        left = torch.where(legal, heap - actions - 1, heap)
        stuck = rules.stuck[rows, left]  # the opponent cannot move
        at_random = rules.legal[rows, left].float()
        best = torch.rand(len(self), 1, generator=generator, device=heap.device) < self.skill
        chances = torch.where(best, rules.reply[rows, left], at_random / at_random.sum(1, keepdim=True).clamp(min=1))
        replies = legal & ~stuck
        reply = torch.where(replies, _draw(torch.where(stuck.unsqueeze(1), 1.0, chances), generator) + 1, 0)
        left = left - reply
        lost_for_moves = replies & rules.stuck[rows, left]  # the player cannot move
        won = legal & torch.where(stuck, ~rules.misere, lost_for_moves & rules.misere)
        done = ~legal | stuck | lost_for_moves
        heap = torch.where(done, _draw(rules.start, generator), left)
        state = GameState(heap, state.n_played + done.long())
        return Step(state, observation(heap, reply, ~legal), won.float(), done, state.n_played >= self.n_games)

    def best(self, state: GameState) -> Tensor:
        """Return the moves that keep a won game won ``[n, n_actions]``; none, if the game is lost."""
        return self.tables.best[torch.arange(len(self), device=state.heap.device), state.heap]


def observation(heap: Tensor, reply: Tensor, illegal: Tensor) -> Tensor:
    """Return what the player sees ``[n, n_features]``: heap and last reply (0: none), one-hot, and whether it erred."""
    parts = (F.one_hot(heap, LARGEST_HEAP + 1), F.one_hot(reply, LARGEST_MOVE + 1), illegal.long().unsqueeze(1))
    return torch.cat(parts, 1).float()


def _draw(weights: Tensor, generator: torch.Generator | None) -> Tensor:
    return torch.multinomial(weights, 1, generator=generator).squeeze(1)


@dataclass(frozen=True)
class GameFamily(TrialFamily):
    """Trials by rules drawn from a list.

    Args:
        rules: The list.
        n_games: Games of a trial, at least 1.
        skill: Of the opponent, as in :class:`Games`.

    Example:
        >>> from metalearn.rl import GameFamily, Rules
        >>> len(GameFamily((Rules((1, 2)), Rules((1, 3)))).sample(100))
        100
    """

    rules: tuple[Rules, ...]
    n_games: int = 8
    skill: float = 1.0

    def sample(self, n_tasks: int, generator: torch.Generator | None = None) -> Games:
        """Draw rules for each trial."""
        which = torch.randint(len(self.rules), (n_tasks,), generator=generator, device=device_of(generator))
        return Games(self.rules, which, self.n_games, self.skill)


class GameSplits(NamedTuple):
    """Trials by rules for training, for choosing, and by rules that were never met.

    Args:
        train: Most rules.
        validation: Others.
        test: Others again.

    Example:
        >>> from metalearn.rl import subtraction_games
        >>> [len(part.rules) for part in subtraction_games()]
        [74, 8, 18]
    """

    train: GameFamily
    validation: GameFamily
    test: GameFamily


def subtraction_games(n_games: int = 8, skill: float = 1.0) -> GameSplits:
    """Return the rules with two to four moves of 1…6, ordinary and misère, split by their moves.

    Args:
        n_games: Games of a trial, at least 1.
        skill: Of the opponent, as in :class:`Games`.

    Taught in:
        Meta-reinforcement learning.

    Example:
        >>> from metalearn.rl import subtraction_games
        >>> [rules.moves for rules in subtraction_games().test.rules[::4]]
        [(1, 3), (4, 6), (2, 3, 4), (1, 2, 3, 6), (3, 4, 5, 6)]
    """
    groups: dict[str, list[Rules]] = {name: [] for name in GameSplits._fields}
    sets = (moves for size in (2, 3, 4) for moves in combinations(range(1, LARGEST_MOVE + 1), size))
    for i, moves in enumerate(sets):
        name = "test" if i % 6 == 1 else "validation" if i % 12 == 4 else "train"
        groups[name] += [Rules(moves), Rules(moves, misere=True)]
    return GameSplits(*(GameFamily(tuple(rules), n_games, skill) for rules in groups.values()))
