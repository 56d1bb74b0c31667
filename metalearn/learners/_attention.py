"""A layer of a transformer that reads a set, and answers queries that do not see one another."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class ContextLayer(nn.Module):
    """One layer: attention, then a perceptron, each after a normalisation and added to what it got.

    Args:
        width: Size of the tokens.
        n_heads: Heads of the attention; a divisor of ``width``.

    Example:
        >>> import torch
        >>> from metalearn.learners._attention import ContextLayer
        >>> tokens, keys, values = ContextLayer(8, 2).read(torch.zeros(5, 8))
        >>> tokens.shape, keys.shape, values.shape
        (torch.Size([5, 8]), torch.Size([2, 5, 4]), torch.Size([2, 5, 4]))
    """

    def __init__(self, width: int, n_heads: int) -> None:
        super().__init__()
        self.n_heads = n_heads
        self.query, self.key, self.value, self.mix = (nn.Linear(width, width) for _ in range(4))
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def read(self, tokens: Tensor, hidden: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """Return the support's tokens ``[n_support, width]`` after the layer, and its keys and values."""
        normed = standardised(tokens)
        queries, keys, values = (self._heads(part(normed)) for part in (self.query, self.key, self.value))
        scores = _masked(queries @ keys.mT / math.sqrt(keys.shape[-1]), hidden)  # [n_heads, n_support, n_support]
        return self._finish(tokens, scores.softmax(-1) @ values), keys, values

    def ask(self, tokens: Tensor, keys: Tensor, values: Tensor, hidden: Tensor | None = None) -> Tensor:
        """Return the queries' tokens ``[n, width]`` after the layer: each sees the support and itself."""
        normed, n_support = standardised(tokens), keys.shape[-2]
        queries, own_keys, own_values = (self._heads(part(normed)) for part in (self.query, self.key, self.value))
        scores = _masked(queries @ keys.mT, hidden)  # [n_heads, n, n_support]
        own = (queries * own_keys).sum(-1, keepdim=True)  # [n_heads, n, 1]
        weights = (torch.cat([scores, own], -1) / math.sqrt(keys.shape[-1])).softmax(-1)
        return self._finish(tokens, weights[..., :n_support] @ values + weights[..., n_support:] * own_values)

    def _heads(self, tokens: Tensor) -> Tensor:
        size = tokens.shape[1] // self.n_heads  # said, since -1 cannot be found where there are no tokens
        return tokens.reshape(len(tokens), self.n_heads, size).transpose(0, 1)  # [n_heads, n, width / n_heads]

    def _finish(self, tokens: Tensor, attended: Tensor) -> Tensor:
        tokens = tokens + self.mix(attended.transpose(0, 1).flatten(1))
        changed: Tensor = tokens + self.down(F.gelu(self.up(standardised(tokens))))
        return changed


def standardised(tokens: Tensor) -> Tensor:
    """Return tokens with mean 0 and variance 1 each; the linear maps that follow scale and shift them.

    Example:
        >>> import torch
        >>> from metalearn.learners._attention import standardised
        >>> standardised(torch.tensor([[1.0, 3.0]])).round(decimals=3)
        tensor([[-1.,  1.]])
    """
    return F.layer_norm(tokens, tokens.shape[-1:])


def _masked(scores: Tensor, hidden: Tensor | None) -> Tensor:
    """Return scores ``[..., n_support]`` with minus infinity where an example is hidden."""
    return scores if hidden is None else scores.masked_fill(hidden, -math.inf)
