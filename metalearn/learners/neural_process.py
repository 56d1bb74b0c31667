"""Conditional neural processes: the support set becomes one vector, and a network reads it beside each query."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from metalearn.episodes import Episode, Inputs
from metalearn.learners._base import Adapted
from metalearn.learners._checks import class_means
from metalearn.learners._encoder import EncoderLearner, feature_size
from metalearn.learners._set_encoder import SetEncoder, check_task, refuse_both
from metalearn.networks import MLP

MIN_STD = 0.1  # as the authors' code has it: a floor under the deviation, so that the likelihood stays bounded


class NeuralProcess(EncoderLearner):
    r"""Embed the support set as a vector :math:`r`, and predict each query by one network of its features and r.

    Nothing is trained in a task: to adapt is to average. For values, :math:`r` is the mean over the support of an
    MLP of features and targets, and the decoder returns the mean and the standard deviation of a normal distribution
    for each query; the outer objective is its negative log-likelihood. For classes, :math:`r` holds one mean for each
    class, one after the other, and the decoder returns logits; the objective is the cross-entropy.

    Args:
        encoder: Any module from inputs ``[n, ...]`` to vectors ``[n, n_features]``; ``nn.Identity()`` for inputs that
            are vectors.
        n_way: Number of classes of the tasks, for the published form; ``None``: regression, or ``per_class``.
        per_class: Classify by a decoder that is shared by all classes; leave ``n_way`` out.
        n_outputs: Size of the targets, in regression.
        n_features: Size of the encoder's vectors; ``None``: ``encoder.n_features``.
        n_hidden: Units of the two hidden layers of the set's MLP, and of the decoder.
        n_embedding: Size of the set's MLP's output.

    Raises:
        ValueError: If a number is below 1; from :meth:`adapt`, if the task is not of the kind the learner is built
            for, the encoder returns no vectors or inner steps are asked for.

    Reference:
        Garnelo, Rosenbaum, Maddison, Ramalho, Saxton, Shanahan, Rezende, Teh, Eslami: Conditional Neural Processes,
        2018, arXiv 1807.01613, equations 1 to 4.

    Differs from the paper:
        The query does not contain the support unless the sampler says so.

    Taught in:
        Meta neural networks.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> from metalearn.learners import NeuralProcess
        >>> learner = NeuralProcess(nn.Identity(), n_features=1)
        >>> adapted = learner.adapt(torch.zeros(10, 1), torch.zeros(10, 1))
        >>> mean, std = learner.predict_distribution(adapted, torch.zeros(3, 1))
        >>> mean.shape, std.shape
        (torch.Size([3, 1]), torch.Size([3, 1]))
    """

    def __init__(
        self,
        encoder: nn.Module,
        n_way: int | None = None,
        *,
        per_class: bool = False,
        n_outputs: int = 1,
        n_features: int | None = None,
        n_hidden: int = 128,
        n_embedding: int = 128,
    ) -> None:
        regression = n_way is None and not per_class
        super().__init__(encoder, F.mse_loss if regression else F.cross_entropy)  # for values, see loss()
        refuse_both(per_class, n_way)
        self.n_way = n_way
        self.per_class = per_class
        self.n_outputs = n_outputs
        self.n_features = feature_size(encoder, n_features)
        self.n_hidden = n_hidden
        self.n_embedding = n_embedding
        self.set_encoder = SetEncoder(self.n_features, 1 if per_class else n_way, n_outputs, n_hidden, n_embedding)
        n_decoded = 1 if per_class else 2 * n_outputs if n_way is None else n_way
        self.decoder = MLP([self.n_features + self.set_encoder.size, n_hidden, n_hidden, n_decoded])

    def adapt(
        self, support_x: Inputs, support_y: Tensor, *, n_way: int | None = None, n_steps: int | None = None
    ) -> Adapted:
        """Return the embedding of one support set; there are no inner steps to count.

        Args:
            support_x: Inputs ``[n_support, ...]``.
            support_y: Labels 0…n_way-1 ``[n_support]``, or targets ``[n_support, n_outputs]``.
            n_way: Number of classes; must be the learner's own where it is given.
            n_steps: Must be left out.

        Returns:
            ``"embedding"`` ``[n_embedding]``, or ``[n_way * n_embedding]`` for classes, or with ``per_class``
            ``[n_way, n_embedding]``, and the support's statistics where the norm policy needs them.
        """
        self._steps(n_steps)
        if not self.per_class:
            check_task("NeuralProcess", self.n_way, self.n_outputs, n_way, support_y)
        features = self.encode({}, support_x)
        if self.per_class:
            embedding = class_means(self.set_encoder.net(features), support_y, n_way)
        else:
            embedding = self.set_encoder(features, support_y)
        return self.with_statistics({"embedding": embedding}, support_x)

    def predict(self, adapted: Adapted, x: Inputs) -> Tensor:
        """Return the logits ``[n, n_way]``, or the means of the values ``[n, n_outputs]``."""
        if self.n_way is None and not self.per_class:
            return self.predict_distribution(adapted, x)[0]
        return self._decode(adapted, x)

    def predict_distribution(self, adapted: Adapted, x: Inputs) -> tuple[Tensor, Tensor]:
        """Return mean and standard deviation of the values, each ``[n, n_outputs]``; the latter is above 0.1.

        Raises:
            ValueError: If the learner is built for classes: the softmax of its logits is their distribution.
        """
        if self.n_way is not None or self.per_class:
            raise ValueError(
                "this NeuralProcess is built for classes and has no mean and deviation: take"
                " predict(adapted, x).softmax(1)"
            )
        mean, raw = self._decode(adapted, x).chunk(2, 1)
        return mean, MIN_STD + (1 - MIN_STD) * F.softplus(raw)

    def loss(self, episode: Episode) -> Tensor:
        """Return the mean negative log-likelihood of one task's query after reading its support."""
        if self.n_way is not None or self.per_class:
            return super().loss(episode)
        adapted = self.adapt(episode.support_x, episode.support_y, n_way=episode.n_way)
        mean, std = self.predict_distribution(adapted, episode.query_x)
        standard = (episode.query_y - mean) / std  # written out: F.gaussian_nll_loss looks at values, vmap refuses it
        return (0.5 * standard.square() + std.log()).mean() + 0.5 * math.log(2 * math.pi)

    def _decode(self, adapted: Adapted, x: Inputs) -> Tensor:
        features, embedding = self.encode(adapted, x), adapted["embedding"]
        if self.per_class:
            shape = len(features), len(embedding), -1  # [n, n_way, size]
            pairs = torch.cat([features.unsqueeze(1).expand(shape), embedding.expand(shape)], 2)
            logits: Tensor = self.decoder(pairs).squeeze(2)
            return logits
        decoded: Tensor = self.decoder(torch.cat([features, embedding.expand(len(features), -1)], 1))
        return decoded
