"""Matching networks: attention over the support set is a nearest neighbour that can be differentiated."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from metalearn.episodes import Inputs
from metalearn.learners._base import Adapted
from metalearn.learners._checks import at_least_one, member_of, positive
from metalearn.learners._encoder import EncoderLearner, feature_size
from metalearn.networks import LSTMCell


class Matching(EncoderLearner):
    r"""Weigh the labels of the support by a softmax over cosines between the query and each support example.

    The probability of class :math:`n` is :math:`\sum_{i: y_i = n} a(x, x_i)`. The attention :math:`a` is a softmax over
    the support of the cosine of the two embeddings, over the temperature. A class with more support examples has more
    terms in its sum.

    Args:
        encoder: Any module from inputs ``[n, ...]`` to vectors ``[n, n_features]``.
        full_context: Full-context embeddings: a bidirectional LSTM lets each support embedding see the others, in
            the order of the support, and an LSTM with attention lets the query's see the support.
        n_features: Size of the encoder's vectors, needed for the full context; ``None``: ``encoder.n_features``.
        n_reads: Steps of the query's LSTM, at least 1; the full context only.
        temperature: Divides the cosines; above 0. The paper has 1.

    Raises:
        ValueError: If an option is out of range; from :meth:`adapt`, if the encoder returns no vectors or inner steps
            are asked for.

    Reference:
        Vinyals, Blundell, Lillicrap, Kavukcuoglu, Wierstra: Matching Networks for One Shot Learning, 2016,
        arXiv 1606.04080, equation 1 and appendix A.

    Taught in:
        Matching and prototypical networks.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> from metalearn.learners import Matching
        >>> learner = Matching(nn.Identity())
        >>> adapted = learner.adapt(torch.eye(2), torch.tensor([0, 1]))
        >>> learner.predict(adapted, torch.tensor([[3.0, 3.0]])).exp()
        tensor([[0.5000, 0.5000]])
    """

    def __init__(
        self,
        encoder: nn.Module,
        *,
        full_context: bool = False,
        n_features: int | None = None,
        n_reads: int = 5,
        temperature: float = 1.0,
    ) -> None:
        super().__init__(encoder)
        self.full_context = full_context
        self.n_features = n_features
        self.n_reads = n_reads
        self.temperature = positive("temperature", temperature)
        if full_context:
            size = feature_size(encoder, n_features)
            at_least_one(n_reads=n_reads)
            self.forward_cell, self.backward_cell = LSTMCell(size, size), LSTMCell(size, size)
            self.read_cell = LSTMCell(2 * size, size)  # its input is the query's embedding beside what it last read

    def adapt(
        self, support_x: Inputs, support_y: Tensor, *, n_way: int | None = None, n_steps: int | None = None
    ) -> Adapted:
        """Embed one support set; there are no inner steps to count.

        Returns:
            ``"support"`` ``[n_support, n_features]``, ``"member"`` ``[n_way, n_support]``, 1 where an example is of a
            class, and the support's statistics where the norm policy needs them.
        """
        self._steps(n_steps)
        features = self.encode({}, support_x)
        if self.full_context:
            features = self._embed_in_context(features)
        adapted = {"support": features, "member": member_of(support_y, n_way).to(features.dtype)}
        return self.with_statistics(adapted, support_x)

    def predict(self, adapted: Adapted, x: Inputs) -> Tensor:
        """Return the logarithms of the class probabilities ``[n, n_way]``."""
        features, support = self.encode(adapted, x), adapted["support"]
        if self.full_context:
            features = self._read(features, support)
        cosines = F.normalize(features, dim=1) @ F.normalize(support, dim=1).T  # [n, n_support]
        attention = (cosines / self.temperature).log_softmax(1)
        return (attention.unsqueeze(1) + adapted["member"].log()).logsumexp(2)

    def _embed_in_context(self, features: Tensor) -> Tensor:
        """Add to each support embedding the states of an LSTM that ran up to it, and of one that ran down to it."""
        up, down = self._run(self.forward_cell, features), self._run(self.backward_cell, features.flip(0)).flip(0)
        return features + up + down

    def _run(self, cell: LSTMCell, sequence: Tensor) -> Tensor:
        state = (torch.zeros_like(sequence[:1]), torch.zeros_like(sequence[:1]))
        hidden = []
        for i in range(len(sequence)):
            state = cell(sequence[i : i + 1], state)
            hidden.append(state[0])
        return torch.cat(hidden)

    def _read(self, features: Tensor, support: Tensor) -> Tensor:
        """Let each query attend to the support ``n_reads`` times, each query by itself."""
        hidden, cell = torch.zeros_like(features), torch.zeros_like(features)
        for _ in range(self.n_reads):
            read = (hidden @ support.T).softmax(1) @ support  # the first read is the mean of the support
            hidden, cell = self.read_cell(torch.cat([features, read], 1), (hidden, cell))
            hidden = hidden + features
        return hidden
