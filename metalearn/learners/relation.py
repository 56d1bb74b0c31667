"""Relation networks: the distance itself is a network."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from metalearn.episodes import Episode, Inputs
from metalearn.learners._base import Adapted, Learner
from metalearn.learners._checks import member_of


class Relation(Learner):
    r"""Embed, average the support of each class, and let a second network score each pair of query and class.

    The score of class :math:`n` is the relation module's output on the features of the class and of the query, stacked
    along axis 1. The outer objective is the squared error between the sigmoids of the scores and 1 for the query's
    class, 0 for the others.

    Args:
        encoder: Any module from inputs ``[n, ...]`` to features ``[n, channels, ...]``; for images feature maps, as
            ``Conv4(downsample="maps")`` returns them.
        relation: Any module from stacked features ``[n, 2 * channels, ...]`` to scores ``[n, 1]``, such as
            :class:`metalearn.networks.RelationModule`.

    Raises:
        ValueError: From :meth:`adapt`, if inner steps are asked for; from :meth:`predict`, if the relation module
            returns anything but one score a pair.

    Reference:
        Sung, Yang, Zhang, Xiang, Torr, Hospedales: Learning to Compare: Relation Network for Few-Shot Learning, 2018,
        arXiv 1711.06025, equations 1 and 2.

    Differs from the paper:
        Features of a class are averaged, not summed, so that classes may have unequal shots. Scores are returned before
        the sigmoid.

    Taught in:
        Matching and prototypical networks.

    Example:
        >>> import torch
        >>> from metalearn.learners import Relation
        >>> from metalearn.networks import Conv4, RelationModule
        >>> learner = Relation(Conv4(channels=8, downsample="maps"), RelationModule(8))
        >>> adapted = learner.adapt(torch.rand(5, 1, 28, 28), torch.arange(5))
        >>> learner.predict(adapted, torch.rand(2, 1, 28, 28)).shape
        torch.Size([2, 5])
    """

    def __init__(self, encoder: nn.Module, relation: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder
        self.relation = relation

    def adapt(
        self, support_x: Inputs, support_y: Tensor, *, n_way: int | None = None, n_steps: int | None = None
    ) -> Adapted:
        """Return the features of each class of one support set; there are no inner steps to count.

        Returns:
            ``"classes"`` ``[n_way, channels, ...]``, and the support's statistics where the norm policy needs them.
        """
        self._steps(n_steps)
        features = self.run("encoder", {}, support_x)
        member = member_of(support_y, n_way).to(features.dtype)
        share = member / member.sum(1, keepdim=True)
        return self.with_statistics({"classes": torch.einsum("ns,s...->n...", share, features)}, support_x)

    def predict(self, adapted: Adapted, x: Inputs) -> Tensor:
        """Return the relation scores before the sigmoid ``[n, n_way]``."""
        classes, features = adapted["classes"], self.run("encoder", adapted, x)
        n, n_way = len(features), len(classes)
        pairs = torch.cat(
            [
                classes.unsqueeze(0).expand(n, *classes.shape),
                features.unsqueeze(1).expand(n, n_way, *features.shape[1:]),
            ],
            dim=2,
        )  # [n, n_way, 2 * channels, ...]
        scores = self.run("relation", adapted, pairs.flatten(0, 1))
        if scores.shape != (n * n_way, 1):
            raise ValueError(
                f"the relation module must return one score a pair, [{n * n_way}, 1], got {list(scores.shape)}"
            )
        return scores.reshape(n, n_way)

    def loss(self, episode: Episode) -> Tensor:
        """Return the squared error between the sigmoids of the query's scores and its one-hot labels."""
        adapted = self.adapt(episode.support_x, episode.support_y, n_way=episode.n_way)
        scores = self.predict(adapted, episode.query_x)
        own = episode.query_y.unsqueeze(1) == torch.arange(scores.shape[1], device=scores.device)  # [n, n_way]
        return F.mse_loss(scores.sigmoid(), own.to(scores.dtype))
