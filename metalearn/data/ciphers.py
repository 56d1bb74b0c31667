"""The family of substitution ciphers: each task is a secret alphabet, to be read from pairs of letters."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch.nn import functional as F

from metalearn._given import at_least_one
from metalearn.episodes import Episode
from metalearn.samplers import TaskFamily


@dataclass(frozen=True)
class Ciphers(TaskFamily):
    """A distribution over tasks that replace each letter of an alphabet by another, one by one.

    A task is a random permutation of the letters, its key. Inputs are letters, drawn uniformly and with replacement;
    targets are the letters that stand for them. Both are one-hot vectors, targets too: a prompt may lack letters, so
    that this is no classification task of the package, each class of which needs a support example.

    Args:
        n_letters: Size of the alphabet, at least 2.

    Raises:
        ValueError: If there are fewer than two letters.

    Example:
        >>> from metalearn.data import Ciphers
        >>> Ciphers(10).sample(n_tasks=64, n_shot=12, n_query=20)
        Episode(support_x=[64, 12, 10], support_y=[64, 12, 10], query_x=[64, 20, 10], query_y=[64, 20, 10], n_way=None)
    """

    n_letters: int = 10

    def __post_init__(self) -> None:
        at_least_one(n_letters=self.n_letters)
        if self.n_letters < 2:
            raise ValueError(f"n_letters must be at least 2, got {self.n_letters}: one letter has one cipher only")

    def sample(self, n_tasks: int, n_shot: int, n_query: int, generator: torch.Generator | None = None) -> Episode:
        """Draw a batch of ciphers, each with its own key.

        Args:
            n_tasks: Number of keys.
            n_shot: Pairs of letters in each prompt.
            n_query: Letters to encipher.
            generator: Source of randomness; the tensors lie on its device.

        Returns:
            A batch of episodes; all tensors are ``[n_tasks, n_shot or n_query, n_letters]``.

        Raises:
            ValueError: If a number is no int, or below 1.
        """
        at_least_one(n_tasks=n_tasks, n_shot=n_shot, n_query=n_query)
        device = None if generator is None else generator.device
        key = torch.rand(n_tasks, self.n_letters, generator=generator, device=device).argsort(1)
        plain = torch.randint(self.n_letters, (n_tasks, n_shot + n_query), generator=generator, device=device)
        x, y = (F.one_hot(letters, self.n_letters).float() for letters in (plain, key.gather(1, plain)))
        return Episode(x[:, :n_shot], y[:, :n_shot], x[:, n_shot:], y[:, n_shot:])


def ciphers() -> Ciphers:
    """Return the ciphers of the package's study: an alphabet of 10 letters.

    Example:
        >>> from metalearn.data import ciphers
        >>> ciphers()
        Ciphers(n_letters=10)
    """
    return Ciphers()
