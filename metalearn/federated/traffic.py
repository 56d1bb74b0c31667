"""What a federation sends: bytes down to the clients and up from them."""

from __future__ import annotations

from dataclasses import dataclass

from metalearn.learners import Learner


@dataclass
class Traffic:
    """Bytes that were sent, counted as the weights' own size, without headers, encryption or compression.

    Attributes:
        message: Bytes of one copy of the weights.
        n_rounds: Rounds so far.
        n_down: Copies sent to clients; those that drop out get one, too.
        n_up: Copies that came back.

    Example:
        >>> from metalearn.federated import Traffic
        >>> Traffic(message=1000, n_rounds=1, n_down=10, n_up=8)
        Traffic(1 round: 10,000 bytes down, 8,000 bytes up)
    """

    message: int
    n_rounds: int = 0
    n_down: int = 0
    n_up: int = 0

    @property
    def down(self) -> int:
        """Bytes from the server to clients."""
        return self.message * self.n_down

    @property
    def up(self) -> int:
        """Bytes from clients to the server."""
        return self.message * self.n_up

    def count(self, n_asked: int, n_reported: int) -> None:
        """Add a round."""
        self.n_rounds += 1
        self.n_down += n_asked
        self.n_up += n_reported

    def __repr__(self) -> str:
        """Show both directions."""
        rounds = "1 round" if self.n_rounds == 1 else f"{self.n_rounds:,} rounds"
        return f"Traffic({rounds}: {self.down:,} bytes down, {self.up:,} bytes up)"


def message_bytes(learner: Learner) -> int:
    """Return the size of a learner's trained weights in bytes, which travels each way.

    Example:
        >>> from metalearn.federated import message_bytes
        >>> from metalearn.learners import MAML
        >>> from metalearn.networks import MLP
        >>> message_bytes(MAML(MLP([1, 40, 1]), 0.01))
        484
    """
    return sum(p.numel() * p.element_size() for p in learner.parameters() if p.requires_grad)
