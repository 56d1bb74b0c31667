"""Siamese networks: one encoder on two inputs, trained to tell whether they are of one class."""

from __future__ import annotations

from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from metalearn._torch import tree_map
from metalearn.episodes import Batch, Inputs
from metalearn.learners._base import Adapted
from metalearn.learners._checks import member_of, positive
from metalearn.learners._encoder import EncoderLearner, feature_size

PairLoss = Literal["contrastive", "logistic", "triplet"]


class Siamese(EncoderLearner):
    r"""Learn from pairs whether two inputs are of one class; then name a query after the support it resembles most.

    With :math:`d` the Euclidean distance of two embeddings and :math:`s = 1` for a pair of one class, else 0:

    * ``"contrastive"``: :math:`\frac12 s d^2 + \frac12 (1 - s) \max(0, m - d)^2`, with the margin :math:`m`;
    * ``"logistic"``: cross-entropy of :math:`\sigma(\sum_j w_j \lvert u_j - v_j \rvert + b)`, with learned weights on
      the absolute differences of the embeddings :math:`u` and :math:`v`;
    * ``"triplet"``: :math:`\max(0, m + d_{+}^2 - d_{-}^2)`, from an anchor to a positive and to a negative.

    :func:`metalearn.fit` takes pairs from :func:`metalearn.sample_pairs`, or triplets from
    :func:`metalearn.sample_triplets`.

    Args:
        encoder: Any module from inputs ``[n, ...]`` to vectors ``[n, n_features]``.
        pair_loss: ``"contrastive"``, ``"logistic"`` or ``"triplet"``.
        margin: Distance (triplet: difference of squared distances) beyond which a negative no longer counts; above 0.
        n_features: Size of the encoder's vectors, needed for ``"logistic"``; ``None``: ``encoder.n_features``.

    Raises:
        ValueError: If an option is unknown or out of range, or a batch holds no pairs (or triplets).

    Reference:
        Hadsell, Chopra, LeCun: Dimensionality Reduction by Learning an Invariant Mapping, 2006, equation 4
        (contrastive). Koch, Zemel, Salakhutdinov: Siamese Neural Networks for One-shot Image Recognition, 2015
        (logistic). Schroff, Kalenichenko, Philbin: FaceNet, 2015, arXiv 1503.03832, equation 3 (triplet).

    Differs from the paper:
        With several shots, a class is scored by the mean over its support examples. Koch's regularisation, rates by
        layer and affine distortions are left to the optimiser and the pool's transform.

    Taught in:
        Siamese networks.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> from metalearn.learners import Siamese
        >>> learner = Siamese(nn.Identity(), pair_loss="contrastive", margin=2.0)
        >>> learner.similarity(torch.tensor([[0.0, 0.0]]), torch.tensor([[3.0, 4.0]]))
        tensor([-25.])
    """

    def __init__(
        self,
        encoder: nn.Module,
        *,
        pair_loss: PairLoss = "contrastive",
        margin: float = 1.0,
        n_features: int | None = None,
    ) -> None:
        super().__init__(encoder)
        if pair_loss not in get_args(PairLoss):
            raise ValueError(f"pair_loss must be one of {list(get_args(PairLoss))}, got {pair_loss!r}")
        self.pair_loss = pair_loss
        self.margin = positive("margin", margin)
        self.n_features = n_features
        if pair_loss == "logistic":
            size = feature_size(encoder, n_features)
            self.weight = nn.Parameter(
                torch.full((size,), -(size**-0.5))
            )  # at first a larger difference speaks against
            self.bias = nn.Parameter(torch.zeros(()))

    def adapt(
        self, support_x: Inputs, support_y: Tensor, *, n_way: int | None = None, n_steps: int | None = None
    ) -> Adapted:
        """Embed one support set; there are no inner steps to count.

        Returns:
            ``"support"`` ``[n_support, n_features]``, ``"share"`` ``[n_way, n_support]``, the weight of each example in
            its class's mean, and the support's statistics where the norm policy needs them.
        """
        self._steps(n_steps)
        features = self.encode({}, support_x)
        member = member_of(support_y, n_way).to(features.dtype)
        adapted = {"support": features, "share": member / member.sum(1, keepdim=True)}
        return self.with_statistics(adapted, support_x)

    def predict(self, adapted: Adapted, x: Inputs) -> Tensor:
        """Return the mean similarity ``[n, n_way]`` of each query to the support examples of each class."""
        features = self.encode(adapted, x)
        similarity = self._similarity(features.unsqueeze(1), adapted["support"])  # [n, n_support]
        return similarity @ adapted["share"].T

    def similarity(self, left: Inputs, right: Inputs) -> Tensor:
        """Return how alike the two sides of each pair are ``[n]``: the logit, or minus the squared distance."""
        return self._similarity(self.encode({}, left), self.encode({}, right))

    def batch_loss(self, batch: Batch) -> Tensor:
        """Return the mean loss of a batch of pairs (or triplets): what ``backward`` differentiates."""
        sides = self._encode_sides(batch)
        if self.pair_loss == "logistic":
            return F.binary_cross_entropy_with_logits(self._similarity(*sides), batch.y.to(sides[0].dtype))
        near = (sides[0] - sides[1]).square().sum(1)
        if self.pair_loss == "triplet":
            return (self.margin + near - (sides[0] - sides[2]).square().sum(1)).relu().mean()
        distance = near.clamp(min=1e-12).sqrt()  # the root has no derivative at 0, where two embeddings coincide
        return torch.where(batch.y == 1, near, (self.margin - distance).relu().square()).mean() / 2

    def backward(self, batch: Any) -> Tensor:
        """Add the gradient of the loss of a batch of pairs (or triplets) to ``.grad`` and return the loss, detached."""
        return super().backward(self._pairs(batch))

    def check(self, batch: Any) -> None:
        """Try a batch before a run: pairs or triplets in training, episodes in evaluation."""
        super().check(batch)
        if isinstance(batch, Batch) and self.pair_loss != "triplet" and bool((batch.y == batch.y[0]).all()):
            raise ValueError("the pairs are all equal or all unequal; both are needed: sample with pool.pairs(...)")

    def _observe(self, batch: Any) -> None:
        if isinstance(batch, Batch):
            self._encode_sides(batch)
        else:
            super()._observe(batch)

    def _pairs(self, batch: Any) -> Batch:
        kind = "triplets" if self.pair_loss == "triplet" else "pairs"
        if not isinstance(batch, Batch) or batch.kind != kind:
            found = f"a batch of kind {batch.kind!r}" if isinstance(batch, Batch) else str(batch)
            raise ValueError(
                f"pair_loss={self.pair_loss!r} learns from {kind}, got {found}: sample with pool.{kind}(...)"
            )
        return batch

    def _encode_sides(self, batch: Batch) -> tuple[Tensor, ...]:
        sides = self._pairs(batch).sides
        x = tree_map(lambda *leaves: torch.cat(leaves), *sides)
        return self.encode({}, x).chunk(len(sides))  # one pass: the same statistics for all sides

    def _similarity(self, left: Tensor, right: Tensor) -> Tensor:
        if self.pair_loss == "logistic":
            return (left - right).abs() @ self.weight + self.bias
        return -(left - right).square().sum(-1)
