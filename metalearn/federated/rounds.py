"""Rounds: who is asked, who reports, and what weight each report gets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Self, get_args

import torch
from torch import Tensor

from metalearn.episodes import Episode
from metalearn.federated.clients import Client

Aggregate = Literal["reporting", "fixed", "inverse"]


@dataclass(frozen=True, eq=False)
class Round:
    """What one round is about.

    Attributes:
        clients: Those that report.
        weights: Of their updates in the sum ``[n_reported]``.
        n_asked: Number of clients that were sent the weights, drop-outs included.

    Example:
        >>> import torch
        >>> from metalearn.federated import Round
        >>> Round((), torch.zeros(0), 3)
        Round(0 of 3 report)
    """

    clients: tuple[Client, ...]
    weights: Tensor
    n_asked: int

    def __len__(self) -> int:
        """Return the number of clients that report."""
        return len(self.clients)

    def __getitem__(self, i: int) -> Episode:
        """Return a client's task, as it is tested."""
        return self.clients[i].task

    def to(self, device: torch.device | str) -> Self:
        """Return the round: clients move their own batches."""
        return self

    def check(self) -> None:
        """Check the data of all clients that report."""
        for client in self.clients:
            try:
                client.task.check()
            except ValueError as error:
                raise ValueError(f"client {client.name}: {error}") from error

    def __repr__(self) -> str:
        """Show the numbers of clients."""
        return f"Round({len(self)} of {self.n_asked} report)"


class Rounds:
    r"""Draw rounds for :func:`metalearn.fit`: some clients are asked, some of these drop out before they report.

    With :math:`w_k` the number of a client's examples (or 1), the weight of the update of a client that reports is

    - ``"reporting"``: :math:`w_k` over the sum of those that report. The step keeps its length, but clients that often
      drop out count less: in the mean over rounds the average is not that over all clients.
    - ``"fixed"``: :math:`w_k` over the sum that is expected to be asked. A drop-out counts as "no change": the step is
      shorter, and clients that often drop out count less here, too. The divisor is a constant, as differential privacy
      needs it.
    - ``"inverse"``: :math:`w_k` over :math:`\pi_k \sum_j w_j`, with :math:`\pi_k` the probability that the client is
      asked and reports. In the mean over rounds this is the update of all clients exactly, at a higher variance; the
      probabilities must be known.

    Args:
        clients: All clients.
        n_participants: Clients asked in a round, drawn without replacement; ``None``: all.
        dropout: Probability that a client that was asked does not report: one number, or one for each client.
        aggregate: ``"reporting"``, ``"fixed"`` or ``"inverse"``.
        weighted: Whether clients count by their numbers of examples; ``False``: each counts the same.

    Raises:
        ValueError: If there is no client, or an option is unknown or out of its range.

    Reference:
        Weights by the number of examples: McMahan, Moore, Ramage, Hampson, Agüera y Arcas: Communication-Efficient
        Learning of Deep Networks from Decentralized Data, 2017, arXiv 1602.05629, algorithm 1. The fixed divisor:
        McMahan, Ramage, Talwar, Zhang: Learning Differentially Private Recurrent Language Models, 2018,
        arXiv 1710.06963. Inverse probabilities: Horvitz, Thompson: A Generalization of Sampling Without Replacement
        from a Finite Universe, 1952, doi 10.1080/01621459.1952.10483446.

    Taught in:
        Trust.

    Example:
        >>> import torch
        >>> from metalearn.federated import Rounds, clients_of, styled_digits
        >>> rounds = Rounds(clients_of(styled_digits(10)), 4)
        >>> drawn = rounds(torch.Generator().manual_seed(0))
        >>> drawn, round(drawn.weights.sum().item(), 6)
        (Round(4 of 4 report), 1.0)
    """

    def __init__(
        self,
        clients: Sequence[Client],
        n_participants: int | None = None,
        *,
        dropout: float | Sequence[float] = 0.0,
        aggregate: Aggregate = "reporting",
        weighted: bool = True,
    ) -> None:
        self.clients = tuple(clients)
        n = len(self.clients)
        if not n:
            raise ValueError("expected at least one client, got none")
        self.n_participants = n if n_participants is None else n_participants
        if not 1 <= self.n_participants <= n:
            raise ValueError(f"n_participants must be in 1...{n}, the number of clients, got {n_participants}")
        rates = [dropout] * n if isinstance(dropout, float | int) else list(dropout)
        if len(rates) != n or not all(0 <= rate < 1 for rate in rates):
            raise ValueError(f"dropout must be in [0, 1), one number or one for each of {n} clients, got {dropout}")
        if aggregate not in get_args(Aggregate):
            raise ValueError(f"aggregate must be one of {list(get_args(Aggregate))}, got {aggregate!r}")
        self.dropout = torch.tensor(rates, dtype=torch.float64)
        self.aggregate = aggregate
        self.sizes = torch.tensor([c.n_examples if weighted else 1 for c in self.clients], dtype=torch.float64)

    def __call__(self, generator: torch.Generator | None = None) -> Round:
        """Draw a round."""
        asked = torch.randperm(len(self.clients), generator=generator)[: self.n_participants]
        stays = torch.rand(len(asked), generator=generator, dtype=torch.float64) >= self.dropout[asked]
        rows = asked[stays]
        return Round(tuple(self.clients[i] for i in rows.tolist()), self._weights(rows), len(asked))

    def _weights(self, rows: Tensor) -> Tensor:
        sizes, total, share = self.sizes[rows], self.sizes.sum(), self.n_participants / len(self.clients)
        if self.aggregate == "reporting":
            return sizes / sizes.sum()
        if self.aggregate == "fixed":
            return sizes / (share * total)
        return sizes / (total * share * (1 - self.dropout[rows]))
