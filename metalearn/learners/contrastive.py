"""Contrastive learning: two views of one image are to be alike, views of different images not; no label is read."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from metalearn._torch import tree_map
from metalearn.episodes import Batch, Inputs
from metalearn.learners._base import Adapted
from metalearn.learners._checks import class_means, positive
from metalearn.learners._encoder import Distance, EncoderLearner, feature_size, known_distance, nearness


def nt_xent(left: Tensor, right: Tensor, temperature: float = 0.5) -> Tensor:
    r"""Return the normalised, temperature-scaled cross-entropy of pairs of views.

    Each of the :math:`2B` vectors is to name its partner among the :math:`2B - 1` others, by the softmax of its cosines
    with them over the temperature :math:`\tau`:
    :math:`-\log \frac{\exp(\cos(z_i, z_{j(i)}) / \tau)}{\sum_{k \ne i} \exp(\cos(z_i, z_k) / \tau)}`.

    Args:
        left: One view of each image ``[n, n_features]``, at least two images.
        right: The other view, in the same order.
        temperature: Above 0.

    Returns:
        The mean over both views of all images.

    Raises:
        ValueError: If shapes differ, or there is one image only.

    Reference:
        Chen, Kornblith, Norouzi, Hinton: A Simple Framework for Contrastive Learning of Visual Representations
        (SimCLR), 2020, arXiv 2002.05709, equation 1.

    Taught in:
        Without labels.

    Example:
        >>> import torch
        >>> from metalearn.learners.contrastive import nt_xent
        >>> nt_xent(torch.eye(2), torch.eye(2), temperature=1.0)  # log(1 + 2 / e)
        tensor(0.5514)
    """
    if left.shape != right.shape or left.ndim != 2 or len(left) < 2:
        raise ValueError(
            f"expected two views [n, n_features] of n >= 2 images, got {list(left.shape)}, {list(right.shape)}"
        )
    vectors = F.normalize(torch.cat([left, right]), dim=1)
    itself = torch.eye(len(vectors), dtype=torch.bool, device=vectors.device)
    logits = (vectors @ vectors.T / positive("temperature", temperature)).masked_fill(itself, -torch.inf)
    partner = torch.arange(len(vectors), device=vectors.device).roll(len(left))
    return F.cross_entropy(logits, partner)


class Contrastive(EncoderLearner):
    r"""Train an encoder to tell each image's two views from those of other images; classify by the nearest mean.

    Training takes :class:`metalearn.unlabelled.Views` and its loss is ``nt_xent`` of the views' features behind a
    small network, the projection, which tasks do without. In a task nothing is trained: the prototype of a class is the
    mean of its embedded support, as in prototypical networks.

    Args:
        encoder: Any module from inputs ``[n, ...]`` to vectors ``[n, n_features]``.
        n_projection: Units of the projection's hidden layer and of its output; 0: no projection.
        temperature: Divides the cosines in training; above 0.
        distance: How queries are compared with prototypes: ``"squared euclidean"`` or ``"cosine"``.
        n_features: Size of the encoder's vectors; ``None``: ``encoder.n_features``.

    Raises:
        ValueError: If an option is unknown or out of range, or a batch holds no views.

    Reference:
        Chen, Kornblith, Norouzi, Hinton: A Simple Framework for Contrastive Learning of Visual Representations
        (SimCLR), 2020, arXiv 2002.05709, algorithm 1.

    Differs from the paper:
        Judged by nearest means of a task's few examples, not by a linear classifier on many labels.

    Taught in:
        Without labels.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> from metalearn import Batch
        >>> from metalearn.learners import Contrastive
        >>> learner = Contrastive(nn.Identity(), n_projection=0, temperature=1.0, n_features=2)
        >>> learner.batch_loss(Batch((torch.eye(2), torch.eye(2)), torch.arange(2), "views"))
        tensor(0.5514)
    """

    def __init__(
        self,
        encoder: nn.Module,
        *,
        n_projection: int = 64,
        temperature: float = 0.5,
        distance: Distance = "cosine",
        n_features: int | None = None,
    ) -> None:
        super().__init__(encoder)
        if n_projection < 0:
            raise ValueError(f"n_projection must be at least 0, got {n_projection}")
        self.n_projection, self.n_features = n_projection, feature_size(encoder, n_features)
        self.temperature = positive("temperature", temperature)
        self.distance = known_distance(distance)
        self.projection: nn.Module = nn.Identity()
        if n_projection:
            hidden, out = nn.Linear(self.n_features, n_projection), nn.Linear(n_projection, n_projection)
            self.projection = nn.Sequential(hidden, nn.ReLU(), out)

    def adapt(
        self, support_x: Inputs, support_y: Tensor, *, n_way: int | None = None, n_steps: int | None = None
    ) -> Adapted:
        """Return ``"prototypes"`` ``[n_way, n_features]`` of one support set; there are no inner steps to count."""
        self._steps(n_steps)
        return self.with_statistics(
            {"prototypes": class_means(self.encode({}, support_x), support_y, n_way)}, support_x
        )

    def predict(self, adapted: Adapted, x: Inputs) -> Tensor:
        """Return the cosines with the prototypes, or minus the squared distances to them ``[n, n_way]``."""
        return nearness(self.encode(adapted, x), adapted["prototypes"], self.distance, 1.0)

    def batch_loss(self, batch: Batch) -> Tensor:
        """Return the loss of a batch of views: what ``backward`` differentiates."""
        x = tree_map(lambda *leaves: torch.cat(leaves), *self._views(batch).sides)
        left, right = self.projection(self.encode({}, x)).chunk(2)  # one pass: the same statistics for both views
        return nt_xent(left, right, self.temperature)

    def backward(self, batch: Any) -> Tensor:
        """Add the gradient of the loss of a batch of views to ``.grad`` and return the loss, detached."""
        return super().backward(self._views(batch))

    def _views(self, batch: Any) -> Batch:
        if not isinstance(batch, Batch) or batch.kind != "views":
            found = f"a batch of kind {batch.kind!r}" if isinstance(batch, Batch) else str(batch)
            raise ValueError(f"Contrastive learns from views, got {found}: sample with metalearn.unlabelled.Views")
        return batch
