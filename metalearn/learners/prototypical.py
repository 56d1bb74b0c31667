"""Prototypical networks: one mean of embedded examples for each class, and the nearest mean wins."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.func import functional_call

from metalearn.episodes import Episode, Inputs
from metalearn.learners._base import Learner, count_classes
from metalearn.networks import set_statistics, support_statistics


class Prototypical(Learner):
    r"""Embed, average the support of each class, classify by squared Euclidean distance.

    Prototype :math:`c_n` is the mean of the embedded support examples of class :math:`n`; the logit of a query is
    :math:`-\lVert f_\theta(x) - c_n \rVert^2`.

    Args:
        encoder: Any module from inputs ``[n, ...]`` to vectors ``[n, n_features]``. With the norm policy ``"frozen"``
            it trains on each batch's own statistics and is tested on stored ones, as the authors' code does.

    Raises:
        ValueError: From :meth:`adapt`, if the encoder returns no vectors or inner steps are asked for.

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

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder

    def adapt(
        self, support_x: Inputs, support_y: Tensor, *, n_way: int | None = None, n_steps: int | None = None
    ) -> dict[str, Tensor]:
        """Return the prototypes of one support set; there are no inner steps to count.

        Returns:
            ``"prototypes"`` ``[n_way, n_features]``, and the support's statistics where the norm policy needs them.
        """
        if n_steps is not None:
            raise ValueError(f"Prototypical takes no inner steps, got n_steps={n_steps}: leave it out")
        statistics = support_statistics(self.encoder, dict(self.encoder.named_parameters()), support_x)
        features = self._encode(statistics, support_x)
        classes = torch.arange(count_classes(support_y, n_way), device=support_y.device)
        member = (support_y == classes.unsqueeze(1)).to(features.dtype)  # [n_way, n_support]
        return {"prototypes": member @ features / member.sum(1, keepdim=True), **statistics}

    def predict(self, adapted: dict[str, Tensor], x: Inputs) -> Tensor:
        """Return minus the squared distances ``[n, n_way]`` to the prototypes."""
        statistics = {name: tensor for name, tensor in adapted.items() if name != "prototypes"}
        return -(self._encode(statistics, x).unsqueeze(1) - adapted["prototypes"]).square().sum(-1)

    def update_statistics(self, batch: Episode) -> None:
        """Estimate the statistics of the encoder's ``"frozen"`` layers."""
        set_statistics(self.encoder, [batch.support_x.flatten(0, 1), batch.query_x.flatten(0, 1)])

    def _encode(self, statistics: dict[str, Tensor], x: Inputs) -> Tensor:
        features: Tensor = functional_call(self.encoder, statistics, (x,))
        if features.ndim != 2:
            raise ValueError(f"the encoder must return vectors [n, n_features], got {list(features.shape)}: flatten it")
        return features
