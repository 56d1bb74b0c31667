"""Prototypical networks: one mean of embedded examples for each class, and the nearest mean wins."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from metalearn.episodes import Inputs
from metalearn.learners._base import Adapted
from metalearn.learners._checks import check_labels, member_of, positive
from metalearn.learners._encoder import Distance, EncoderLearner, known_distance, nearness


class Prototypical(EncoderLearner):
    r"""Embed, average the support of each class, classify by squared Euclidean distance.

    Prototype :math:`c_n` is the mean of the embedded support examples of class :math:`n`; the logit of a query is
    :math:`-\lVert f_\theta(x) - c_n \rVert^2`.

    Args:
        encoder: Any module from inputs ``[n, ...]`` to vectors ``[n, n_features]``. With the norm policy ``"frozen"``
            it trains on each batch's own statistics and is tested on stored ones, as the authors' code does.
        distance: ``"squared euclidean"``, or ``"cosine"``: the logit is then the cosine with the prototype, which the
            authors found worse.
        temperature: Divides the logits; above 0. Cosines lie in [-1, 1] and need about 0.1 to be sharp.

    Raises:
        ValueError: If an option is unknown or out of range; from :meth:`adapt`, if the encoder returns no vectors or
            inner steps are asked for.

    Reference:
        Snell, Swersky, Zemel: Prototypical Networks for Few-shot Learning, 2017, arXiv 1703.05175, equations 1 and 2.

    Taught in:
        Matching and prototypical networks.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> from metalearn.learners import Prototypical
        >>> learner = Prototypical(nn.Identity())
        >>> adapted = learner.adapt(torch.tensor([[0.0], [2.0], [5.0]]), torch.tensor([0, 0, 1]))
        >>> learner.predict(adapted, torch.tensor([[4.0]]))
        tensor([[-9., -1.]])
    """

    continues = True

    def __init__(
        self, encoder: nn.Module, *, distance: Distance = "squared euclidean", temperature: float = 1.0
    ) -> None:
        super().__init__(encoder)
        self.distance = known_distance(distance)
        self.temperature = positive("temperature", temperature)

    def adapt(
        self,
        support_x: Inputs,
        support_y: Tensor,
        *,
        n_way: int | None = None,
        n_steps: int | None = None,
        start: Mapping[str, Tensor] | None = None,
    ) -> Adapted:
        """Return the prototypes of one support set; there are no inner steps to count.

        Args:
            support_x: Inputs ``[n_support, ...]``.
            support_y: Labels 0…n_way-1 ``[n_support]``.
            n_way: Number of classes; ``None`` counts them.
            n_steps: Must be left out.
            start: An earlier result of the same classes; its examples count on, and not every class needs a new one.
                ``None``: these examples alone.

        Returns:
            ``"prototypes"`` ``[n_way, n_features]``, ``"counts"`` ``[n_way]``, the examples behind each, and the
            support's statistics where the norm policy needs them.
        """
        self._steps(n_steps)
        features = self.encode({}, support_x)
        member = self._member(support_y, n_way, start).to(features.dtype)  # [n_way, n_support]
        counts, sums = member.sum(1), member @ features
        if start is not None:
            sums, counts = sums + start["prototypes"] * start["counts"].unsqueeze(1), counts + start["counts"]
        return self.with_statistics({"prototypes": sums / counts.unsqueeze(1), "counts": counts}, support_x)

    def predict(self, adapted: Adapted, x: Inputs) -> Tensor:
        """Return minus the squared distances to the prototypes, or the cosines, over the temperature ``[n, n_way]``."""
        return nearness(self.encode(adapted, x), adapted["prototypes"], self.distance, self.temperature)

    def _member(self, support_y: Tensor, n_way: int | None, start: Mapping[str, Tensor] | None) -> Tensor:
        """Return which example belongs to which class ``[n_way, n_support]``; after a start, some may have none."""
        if start is None:
            return member_of(support_y, n_way)
        known = len(start["counts"])
        if n_way not in (None, known):
            raise ValueError(f"start has {known} classes, got n_way={n_way}: go on with the same classes")
        check_labels(support_y, known)
        return support_y == torch.arange(known, device=support_y.device).unsqueeze(1)
