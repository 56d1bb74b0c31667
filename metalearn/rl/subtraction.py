"""Rules of a game for two: take stones from a heap, by moves that are allowed; who wins, and by which moves."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

import torch
from torch import Tensor

LARGEST_MOVE, LARGEST_HEAP = 6, 12
HEAPS = range(3, LARGEST_HEAP + 1)  # with which games begin


@dataclass(frozen=True)
class Rules:
    """Rules of a subtraction game: two players in turn take stones from one heap; who cannot move has lost.

    Args:
        moves: Numbers of stones that may be taken, each of 1…6.
        misere: Whether who cannot move has won instead.

    Raises:
        ValueError: If there is no move, or one is out of its range.

    Taught in:
        Meta-reinforcement learning.

    Example:
        >>> from metalearn.rl import Rules
        >>> [heap for heap in range(13) if not Rules((1, 2, 3)).wins(heap)]
        [0, 4, 8, 12]
        >>> Rules((1, 2, 3)).best(7)
        [3]
    """

    moves: tuple[int, ...]
    misere: bool = False

    def __post_init__(self) -> None:
        if not self.moves or not set(self.moves) <= set(range(1, LARGEST_MOVE + 1)):
            raise ValueError(f"moves must be some of 1 to {LARGEST_MOVE}, got {self.moves}")

    def legal(self, heap: int) -> list[int]:
        """Return the moves that can be made."""
        return [move for move in self.moves if move <= heap]

    def wins(self, heap: int) -> bool:
        """Return whether who is to move wins, if both play as well as possible."""
        return _wins(self, heap)

    def best(self, heap: int) -> list[int]:
        """Return the moves that keep a won game won."""
        return [move for move in self.legal(heap) if not self.wins(heap - move)]


@cache
def _wins(rules: Rules, heap: int) -> bool:
    legal = rules.legal(heap)
    return any(not _wins(rules, heap - move) for move in legal) if legal else rules.misere


class Tables(NamedTuple):
    """What several rules say about all heaps and moves; a move's number is one less than the stones it takes.

    Args:
        legal: Whether a move can be made ``[n_rules, n_heaps, n_moves]``.
        best: Whether it wins ``[n_rules, n_heaps, n_moves]``.
        reply: Probability of a move of a perfect player ``[n_rules, n_heaps, n_moves]``: any of the best, else any
            that is legal.
        stuck: Whether there is no move ``[n_rules, n_heaps]``.
        misere: Whether who is stuck wins ``[n_rules]``.
        start: Probability that a game begins with a heap ``[n_rules, n_heaps]``: any with which who begins can win.

    Example:
        >>> from metalearn.rl import Rules
        >>> from metalearn.rl.subtraction import tables
        >>> tables((Rules((1, 2)),)).reply[0, 4].tolist()
        [1.0, 0.0, 0.0, 0.0, 0.0, 0.0]
    """

    legal: Tensor
    best: Tensor
    reply: Tensor
    stuck: Tensor
    misere: Tensor
    start: Tensor


@cache
def tables(rules: tuple[Rules, ...]) -> Tables:
    """Return what rules say about all heaps and moves, as tensors.

    Example:
        >>> from metalearn.rl import Rules
        >>> from metalearn.rl.subtraction import tables
        >>> tables((Rules((1, 2)), Rules((2, 3), misere=True))).legal.shape
        torch.Size([2, 13, 6])
    """
    heaps, moves = range(LARGEST_HEAP + 1), range(1, LARGEST_MOVE + 1)
    legal = torch.tensor([[[m in rule.legal(heap) for m in moves] for heap in heaps] for rule in rules])
    best = torch.tensor([[[m in rule.best(heap) for m in moves] for heap in heaps] for rule in rules])
    reply = torch.where(best.any(2, keepdim=True), best, legal).float()
    start = torch.tensor([[heap in HEAPS and bool(rule.best(heap)) for heap in heaps] for rule in rules]).float()
    return Tables(
        legal,
        best,
        reply / reply.sum(2, keepdim=True).clamp(min=1),
        ~legal.any(2),
        torch.tensor([rule.misere for rule in rules]),
        start / start.sum(1, keepdim=True),
    )
