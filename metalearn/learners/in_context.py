"""In-context learning: a transformer reads the support set, and predicts each query from what it has read."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from metalearn.episodes import Episode, Inputs
from metalearn.learners._attention import ContextLayer, standardised
from metalearn.learners._base import Adapted
from metalearn.learners._checks import at_least_one, check_labels, count_classes
from metalearn.learners._encoder import EncoderLearner, feature_size


class InContext(EncoderLearner):
    r"""Read the support set with a transformer: what is kept of it are keys and values, no weight changes.

    Each example is one token, the sum of a linear map of its features and of a linear map of its target; a query's
    token has no target. In each layer a support token attends to the support, a query token to the support and to
    itself, never to another query. There is no encoding of positions: the support is a set, and its order does not
    matter. To adapt is to run the layers over the support and to keep each layer's keys and values; to predict is to
    run them over the queries.

    Args:
        encoder: Any module from inputs ``[n, ...]`` to vectors ``[n, n_features]``; ``nn.Identity()`` for inputs that
            are vectors.
        max_way: Largest number of classes of a task; ``None``: targets are values. The labels are told apart by
            learned vectors, one for each number, so that training has to hand out the numbers at random, as
            ``pool.episodes`` does.
        n_outputs: Size of the targets, where they are values.
        n_features: Size of the encoder's vectors; ``None``: ``encoder.n_features``.
        width: Size of the tokens; a multiple of ``n_heads``.
        n_layers: Number of layers of attention and perceptron.
        n_heads: Heads of each attention.
        hide_support: In ``train`` mode, hide a random number of each task's support examples in :meth:`loss`, all but
            one at most: one training then serves all numbers of examples up to ``n_shot``. The number is drawn from
            torch's global state, which ``fit`` seeds.

    Raises:
        ValueError: If a number is below 1 or ``n_heads`` does not divide ``width``; from :meth:`adapt`, if the task is
            not of the kind the learner is built for, the encoder returns no vectors or inner steps are asked for.

    Reference:
        Garg, Tsipras, Liang, Valiant: What Can Transformers Learn In-Context? A Case Study of Simple Function Classes,
        2022, arXiv 2208.01066. The layers: Vaswani, Shazeer, Parmar, Uszkoreit, Jones, Gomez, Kaiser, Polosukhin:
        Attention Is All You Need, 2017, arXiv 1706.03762, equation 1, with normalisation before each part.

    Differs from the paper:
        Garg et al. train a causal language model, with positions, on sequences in which inputs and targets take turns.
        Here an input and its target are one token, the support is a set, and queries are answered all at once.

    Taught in:
        Reading is adapting: in-context learning.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> from metalearn.learners import InContext
        >>> learner = InContext(nn.Identity(), n_features=2)
        >>> adapted = learner.adapt(torch.zeros(10, 2), torch.zeros(10, 1))
        >>> {name: list(tensor.shape) for name, tensor in adapted.items()}
        {'keys': [3, 4, 10, 16], 'values': [3, 4, 10, 16], 'classes': [1]}
        >>> learner.predict(adapted, torch.zeros(5, 2)).shape
        torch.Size([5, 1])
    """

    def __init__(
        self,
        encoder: nn.Module,
        max_way: int | None = None,
        *,
        n_outputs: int = 1,
        n_features: int | None = None,
        width: int = 64,
        n_layers: int = 3,
        n_heads: int = 4,
        hide_support: bool = False,
    ) -> None:
        super().__init__(encoder, F.mse_loss if max_way is None else F.cross_entropy)
        at_least_one(max_way=max_way, n_outputs=n_outputs, width=width, n_layers=n_layers, n_heads=n_heads)
        if width % n_heads:
            raise ValueError(f"width must be a multiple of n_heads, got width={width} and n_heads={n_heads}")
        self.max_way = max_way
        self.n_outputs = n_outputs
        self.n_features = feature_size(encoder, n_features)
        self.width = width
        self.n_layers = n_layers
        self.n_heads = n_heads
        self.hide_support = hide_support
        n_targets = n_outputs if max_way is None else max_way
        self.inputs = nn.Linear(self.n_features, width)
        self.targets = nn.Linear(n_targets, width)  # its bias tells a target of zero from none
        self.layers = nn.ModuleList(ContextLayer(width, n_heads) for _ in range(n_layers))
        self.readout = nn.Linear(width, n_targets)

    def adapt(
        self, support_x: Inputs, support_y: Tensor, *, n_way: int | None = None, n_steps: int | None = None
    ) -> Adapted:
        """Read one support set; there are no inner steps to count.

        Args:
            support_x: Inputs ``[n_support, ...]``.
            support_y: Labels 0…n_way-1 ``[n_support]``, or targets ``[n_support, n_outputs]``.
            n_way: Number of classes, at most ``max_way``; ``None`` counts them.
            n_steps: Must be left out.

        Returns:
            ``"keys"`` and ``"values"`` of all layers, each ``[n_layers, n_heads, n_support, width / n_heads]``,
            ``"classes"``, zeros of which there are as many as outputs, and the support's statistics where the norm
            policy needs them.
        """
        return self.with_statistics(self._read(support_x, support_y, n_way, n_steps), support_x)

    def predict(self, adapted: Adapted, x: Inputs) -> Tensor:
        """Return the logits ``[n, n_way]``, or the values ``[n, n_outputs]``."""
        return self._ask(adapted, x)

    def loss(self, episode: Episode) -> Tensor:
        """Return the task loss on one task's query after reading its support, or a part of it (``hide_support``)."""
        if not (self.training and self.hide_support):
            return super().loss(episode)
        n_support = len(episode.support_y)
        n_seen = torch.randint(1, n_support + 1, (), device=episode.support_y.device)
        hidden = torch.arange(n_support, device=n_seen.device) >= n_seen
        adapted = self._read(episode.support_x, episode.support_y, episode.n_way, None, hidden)
        return self.loss_fn(self._ask(adapted, episode.query_x, hidden), episode.query_y)

    def _read(
        self, support_x: Inputs, support_y: Tensor, n_way: int | None, n_steps: int | None, hidden: Tensor | None = None
    ) -> Adapted:
        self._steps(n_steps)
        features = self.encode({}, support_x)
        targets = self._targets(support_y, n_way).to(features.dtype)  # [n_support, n_targets]
        tokens = self.inputs(features) + self.targets(targets)
        kept = []
        for layer in self._layers():
            tokens, keys, values = layer.read(tokens, hidden)
            kept.append((keys, values))
        n_outputs = self.n_outputs if self.max_way is None else count_classes(support_y, n_way)
        keys, values = (torch.stack(part) for part in zip(*kept, strict=True))
        return {"keys": keys, "values": values, "classes": tokens.new_zeros(n_outputs)}

    def _ask(self, adapted: Adapted, x: Inputs, hidden: Tensor | None = None) -> Tensor:
        tokens: Tensor = self.inputs(self.encode(adapted, x))
        for layer, keys, values in zip(self._layers(), adapted["keys"], adapted["values"], strict=True):
            tokens = layer.ask(tokens, keys, values, hidden)
        outputs: Tensor = self.readout(standardised(tokens))
        return outputs[:, : len(adapted["classes"])]

    def _layers(self) -> list[ContextLayer]:
        return [layer for layer in self.layers if isinstance(layer, ContextLayer)]

    def _targets(self, support_y: Tensor, n_way: int | None) -> Tensor:
        """Return labels as one-hot vectors ``[n_support, max_way]``, values as they are; refuse other tasks."""
        if self.max_way is None:
            if n_way is not None or support_y.ndim != 2 or support_y.shape[1] != self.n_outputs:
                raise ValueError(
                    f"this InContext is built for targets [n_support, {self.n_outputs}], got {list(support_y.shape)}"
                    f" and n_way={n_way}: set n_outputs to the size of the targets, or max_way to the number of classes"
                )
            return support_y
        if support_y.is_floating_point() or support_y.ndim != 1 or count_classes(support_y, n_way) > self.max_way:
            raise ValueError(
                f"this InContext is built for labels of at most {self.max_way} classes [n_support], got"
                f" {support_y.dtype} {list(support_y.shape)} and n_way={n_way}: build one with a larger max_way, or"
                " leave max_way out for targets that are values"
            )
        check_labels(support_y, count_classes(support_y, n_way))
        return support_y.unsqueeze(1) == torch.arange(self.max_way, device=support_y.device)
