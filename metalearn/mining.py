"""Mining: triplets whose negatives are near, chosen among the examples of the same batch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from metalearn._torch import tree_map
from metalearn.episodes import Batch, Inputs
from metalearn.samplers import TripletSampler


@dataclass(frozen=True)
class MinedTriplets:
    """Triplets whose negative is the nearest wrong positive of the batch, by the distances of an encoder.

    Args:
        encoder: From inputs ``[n, ...]`` to vectors ``[n, n_features]``; the one that is being trained.
        draw: Where anchors and positives come from, ``pool.triplets(...)``.
        semi_hard: Take the nearest that is farther away than the anchor's own positive, and where there is none the
            farthest; otherwise the nearest of all.

    Attributes:
        device: Where the pool lies: a generator of that device draws there.

    Reference:
        Schroff, Kalenichenko, Philbin: FaceNet, 2015, arXiv 1503.03832, section 3.2.

    Taught in:
        Siamese networks.

    Example:
        >>> import torch
        >>> from metalearn import Pool
        >>> from metalearn.mining import MinedTriplets
        >>> pool = Pool(torch.randn(40, 2), torch.arange(40) // 4)
        >>> MinedTriplets(torch.nn.Identity(), pool.triplets(8))(torch.Generator().manual_seed(0))
        Batch(x=([8, 2], [8, 2], [8, 2]), y=[8], kind='triplets')
    """

    encoder: Callable[[Inputs], Tensor]
    draw: TripletSampler
    semi_hard: bool = True

    @property
    def device(self) -> torch.device:
        """Where the pool lies."""
        return self.draw.device

    def __call__(self, generator: torch.Generator | None = None) -> Batch:
        """Draw a batch of triplets and put other negatives in it."""
        (anchor, positive, drawn), y = self.draw(generator)
        with torch.no_grad():
            distance = torch.cdist(self.encoder(anchor), self.encoder(positive))  # [n_triplets, n_triplets]
        wrong = y[:, None] != y
        allowed = wrong & (distance > distance.diagonal()[:, None]) if self.semi_hard else wrong
        index = distance.masked_fill(~allowed, torch.inf).argmin(1)
        farthest = distance.masked_fill(~wrong, -torch.inf).argmax(1)
        index = torch.where(allowed.any(1), index, farthest)
        there = wrong.any(1)  # a batch of one class keeps the negatives drawn

        def chosen(own: Tensor, others: Tensor) -> Tensor:
            return torch.where(there.reshape(-1, *[1] * (own.ndim - 1)), others[index], own)

        return Batch((anchor, positive, tree_map(chosen, drawn, positive)), y, "triplets")
