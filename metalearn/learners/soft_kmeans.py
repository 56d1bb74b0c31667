"""Soft k-means: prototypes that unlabelled images refine."""

from __future__ import annotations

from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from metalearn._torch import is_traced, is_transformed
from metalearn.episodes import Episode, EpisodeList, Inputs
from metalearn.learners._base import Adapted
from metalearn.learners._checks import count_classes, member_of
from metalearn.learners._encoder import EncoderLearner, nearness

Distractors = Literal["none", "cluster", "mask"]
N_HIDDEN, EPSILON = 20, 1e-6  # units of the network that sets the masks; what keeps variances above 0


class SoftKMeans(EncoderLearner):
    r"""Average the labelled support of each class, then let unlabelled images move the averages.

    Support examples of the label -1 are unlabelled. Prototypes :math:`c_n` start as those of a prototypical network. In
    a refinement each unlabelled :math:`x` belongs to class :math:`n` by the share :math:`w_n(x)`, the softmax of
    :math:`-\lVert f_\theta(x) - c_n \rVert^2`, and :math:`c_n` becomes the mean over labelled examples, with weight 1,
    and unlabelled ones, with weight :math:`w_n`. Unlabelled images of other classes are distractors: ``"none"`` does
    not heed them, the other options can learn to leave them out:

    * ``"cluster"``: a further cluster, at the origin, of the learned width :math:`r`, takes its share;
    * ``"mask"``: shares are multiplied by :math:`\sigma(-\gamma_n (d_n(x) - \beta_n))`, where :math:`d_n` is the
      squared distance over its mean over the unlabelled, and a small network sets :math:`\beta_n` and
      :math:`\gamma_n` from smallest, largest, variance, skewness and kurtosis of :math:`d_n`.

    Args:
        encoder: Any module from inputs ``[n, ...]`` to vectors ``[n, n_features]``.
        distractors: ``"none"``, ``"cluster"`` or ``"mask"``.
        n_refinements: Number of refinements; 0 leaves unlabelled images aside, as prototypical networks do.

    Raises:
        ValueError: If an option is unknown or out of range.

    Reference:
        Ren, Triantafillou, Ravi, Snell, Swersky, Tenenbaum, Larochelle, Zemel: Meta-Learning for Semi-Supervised
        Few-Shot Classification, 2018, arXiv 1803.00676, section 3.

    Taught in:
        Without labels.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> from metalearn.learners import SoftKMeans
        >>> x, y = torch.tensor([[0.0], [20.0], [2.0], [24.0]]), torch.tensor([0, 1, -1, -1])
        >>> SoftKMeans(nn.Identity()).adapt(x, y)["prototypes"]
        tensor([[ 1.],
                [22.]])
    """

    def __init__(self, encoder: nn.Module, *, distractors: Distractors = "none", n_refinements: int = 1) -> None:
        super().__init__(encoder)
        if distractors not in get_args(Distractors):
            raise ValueError(f"distractors must be one of {list(get_args(Distractors))}, got {distractors!r}")
        if n_refinements < 0:
            raise ValueError(f"n_refinements must be at least 0, got {n_refinements}")
        self.distractors, self.n_refinements = distractors, n_refinements
        if distractors == "cluster":
            self.log_width = nn.Parameter(torch.zeros(()))
        if distractors == "mask":
            self.masks = nn.Sequential(nn.Linear(5, N_HIDDEN), nn.Tanh(), nn.Linear(N_HIDDEN, 2))

    def adapt(
        self, support_x: Inputs, support_y: Tensor, *, n_way: int | None = None, n_steps: int | None = None
    ) -> Adapted:
        """Return the refined prototypes of one support set; there are no inner steps to count.

        Args:
            support_x: Inputs ``[n_support, ...]``, labelled and unlabelled.
            support_y: Labels 0…n_way-1, or -1 for unlabelled inputs ``[n_support]``.
            n_way: Number of classes; ``None`` counts them.
            n_steps: Must be left out.

        Returns:
            ``"prototypes"`` ``[n_way, n_features]``, and the support's statistics where the norm policy needs them.
        """
        self._steps(n_steps)
        n_way, unlabelled = count_classes(support_y, n_way), support_y == -1
        if not (is_transformed() or is_traced() or support_y.is_meta):
            member_of(support_y[~unlabelled], n_way)  # refuses labels that are out of range, classes without examples
        features = self.encode({}, support_x)
        member = (support_y == torch.arange(n_way, device=support_y.device).unsqueeze(1)).to(features.dtype)
        prototypes = member @ features / member.sum(1, keepdim=True)
        for _ in range(self.n_refinements):
            weight = member + self.shares(features, prototypes, unlabelled).T  # [n_way, n_support]
            prototypes = weight @ features / weight.sum(1, keepdim=True)
        return self.with_statistics({"prototypes": prototypes}, support_x)

    def shares(self, features: Tensor, prototypes: Tensor, unlabelled: Tensor) -> Tensor:
        """Return to what extent each example counts as unlabelled example of each class.

        Args:
            features: Embedded support ``[n_support, n_features]``.
            prototypes: Of the classes ``[n_way, n_features]``.
            unlabelled: Which examples are unlabelled, bool ``[n_support]``.

        Returns:
            Weights in [0, 1] ``[n_support, n_way]``: 0 for labelled examples.
        """
        logits = nearness(features, prototypes, "squared euclidean", 1.0)
        if self.distractors == "cluster":
            outside = -features.square().sum(1, keepdim=True) * torch.exp(-2 * self.log_width) - self.log_width
            share = torch.cat([logits, outside], 1).softmax(1)[:, :-1]
        else:
            share = logits.softmax(1)
        share = share * unlabelled.unsqueeze(1)
        return share * self._mask(-logits, unlabelled) if self.distractors == "mask" else share

    def _mask(self, distance: Tensor, unlabelled: Tensor) -> Tensor:
        """Return by how much each share is let through ``[n_support, n_way]``."""
        counted, n = unlabelled.unsqueeze(1), unlabelled.sum().clamp(min=1)
        mean = (distance * counted).sum(0) / n
        relative = torch.where(counted, distance / mean.clamp(min=EPSILON), 1.0)  # of mean 1 over the unlabelled
        second, third, fourth = (((relative - 1) ** power).sum(0) / n for power in (2, 3, 4))
        second = second + EPSILON
        moments = [relative.amin(0), relative.amax(0), second, third / second**1.5, fourth / second**2]
        threshold, slope = self.masks(torch.stack(moments, 1)).unbind(1)  # [n_way] each
        return torch.sigmoid(-slope * (relative - threshold))

    def predict(self, adapted: Adapted, x: Inputs) -> Tensor:
        """Return minus the squared distances to the prototypes ``[n, n_way]``."""
        return nearness(self.encode(adapted, x), adapted["prototypes"], "squared euclidean", 1.0)

    def check_values(self, batch: Any) -> None:
        """Refuse wrong labels and values that are not finite; the support may hold unlabelled examples."""
        if isinstance(batch, Episode | EpisodeList):
            batch.check(unlabelled=True)
        else:
            super().check_values(batch)
