"""Small networks for text: tokens ``[n, length]`` go in, vectors come out; token 0 is padding and changes nothing."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from metalearn._given import at_least_one, dims

N_SPECIAL = 2  # tokens below: 0 is padding, 1 stands for what the vocabulary does not hold


class BagOfTokens(nn.Module):
    """The mean of learned vectors of the known tokens, then a linear layer: the order of tokens does not count.

    A text without known tokens gives zeros.

    Args:
        n_tokens: Size of the vocabulary, the two special tokens (0: padding, 1: unknown) included.
        n_features: Size of a token's vector, and of the output.
        n_outputs: Number of logits; ``None`` returns the features, for an encoder.

    Attributes:
        config: The arguments above by name, from which a saved network is built again.

    Raises:
        ValueError: If a size is below 1, or the input is no matrix of integers.

    Reference:
        Iyyer, Manjunatha, Boyd-Graber, Daumé: Deep Unordered Composition Rivals Syntactic Methods for Text
        Classification, 2015, doi 10.3115/v1/P15-1162.

    Example:
        >>> import torch
        >>> from metalearn.networks import BagOfTokens
        >>> BagOfTokens(100, 64)(torch.tensor([[5, 7, 9, 0], [9, 7, 5, 0]])).shape
        torch.Size([2, 64])
    """

    def __init__(self, n_tokens: int, n_features: int = 64, *, n_outputs: int | None = None) -> None:
        super().__init__()
        at_least_one(n_tokens=n_tokens - N_SPECIAL, n_features=n_features)
        self.embedding = nn.Embedding(n_tokens, n_features)
        self.linear = nn.Linear(n_features, n_features if n_outputs is None else n_outputs)
        self.n_features = n_features
        self.config: dict[str, Any] = {"n_tokens": n_tokens, "n_features": n_features, "n_outputs": n_outputs}

    def forward(self, tokens: Tensor) -> Tensor:
        """Return features ``[n, n_features]``, or logits, of tokens ``[n, length]``."""
        known = _checked(tokens) >= N_SPECIAL  # [n, length]
        return masked(self.linear(mean_of(self.embedding(tokens), known)), known)


class TokenWeights(nn.Module):
    """One learned weight for each entry of a vector, which is then made of length 1: TF-IDF whose weights are learned.

    Weights start at 1, so that vectors of length 1 pass unchanged before training. A vector of zeros stays one.

    Args:
        n_features: Size of the vectors.

    Attributes:
        config: The arguments above by name, from which a saved network is built again.

    Raises:
        ValueError: If the size is below 1.

    Example:
        >>> import torch
        >>> from metalearn.networks import TokenWeights
        >>> TokenWeights(2)(torch.tensor([[3.0, 4.0]]))
        tensor([[0.6000, 0.8000]], grad_fn=<DivBackward0>)
    """

    def __init__(self, n_features: int) -> None:
        super().__init__()
        at_least_one(n_features=n_features)
        self.log_weight = nn.Parameter(torch.zeros(n_features))
        self.n_features = n_features
        self.config: dict[str, Any] = {"n_features": n_features}

    def forward(self, x: Tensor) -> Tensor:
        """Return weighted vectors ``[n, n_features]`` of length 1."""
        return F.normalize(x * self.log_weight.exp(), dim=-1)


class TextTransformer(nn.Module):
    """A small transformer encoder: each token looks at all others, and the mean over tokens is the text's vector.

    It is written as products of matrices, with normalisation that has no weights of its own, so that gradients of
    gradients are exact in a loop and under vmap. A text of padding alone gives zeros.

    Args:
        n_tokens: Size of the vocabulary, the two special tokens (0: padding, 1: unknown) included.
        n_features: Size of a token's vector, and of the output; a multiple of ``n_heads``.
        n_layers: Number of layers.
        n_heads: Attention heads of a layer.
        max_length: Longest text in tokens.
        n_outputs: Number of logits; ``None`` returns the features, for an encoder.

    Attributes:
        config: The arguments above by name, from which a saved network is built again.

    Raises:
        ValueError: If a size is below 1 or does not fit, the input is no matrix of integers, or a text is longer than
            ``max_length``.

    Reference:
        Vaswani et al.: Attention Is All You Need, 2017, arXiv 1706.03762.

    Differs from the paper:
        Positions are learned, layers are normalised before and not after they are applied, and there is no dropout.

    Example:
        >>> import torch
        >>> from metalearn.networks import TextTransformer
        >>> TextTransformer(100, 48)(torch.tensor([[5, 7, 9, 0], [9, 7, 5, 0]])).shape
        torch.Size([2, 48])
    """

    def __init__(
        self,
        n_tokens: int,
        n_features: int = 48,
        *,
        n_layers: int = 2,
        n_heads: int = 4,
        max_length: int = 32,
        n_outputs: int | None = None,
    ) -> None:
        super().__init__()
        at_least_one(n_tokens=n_tokens - N_SPECIAL, n_layers=n_layers, n_heads=n_heads, max_length=max_length)
        if n_features < n_heads or n_features % n_heads:
            raise ValueError(f"n_features must be a multiple of n_heads={n_heads}, got {n_features}")
        self.embedding = nn.Embedding(n_tokens, n_features)
        self.positions = nn.Parameter(0.1 * torch.randn(max_length, n_features))
        self.layers = nn.ModuleList(_Layer(n_features, n_heads) for _ in range(n_layers))
        self.linear = nn.Linear(n_features, n_features if n_outputs is None else n_outputs)
        self.n_features, self.max_length = n_features, max_length
        self.config: dict[str, Any] = {
            "n_tokens": n_tokens,
            "n_features": n_features,
            "n_layers": n_layers,
            "n_heads": n_heads,
            "max_length": max_length,
            "n_outputs": n_outputs,
        }

    def forward(self, tokens: Tensor) -> Tensor:
        """Return features ``[n, n_features]``, or logits, of tokens ``[n, length]``."""
        present = _checked(tokens) > 0  # [n, length]
        if tokens.shape[1] > self.max_length:
            raise ValueError(
                f"expected at most max_length={self.max_length} tokens a text, got {tokens.shape[1]}: cut them"
            )
        x = self.embedding(tokens) + self.positions[: tokens.shape[1]]  # [n, length, n_features]
        for layer in self.layers:
            x = layer(x, present)
        return masked(self.linear(mean_of(_normalised(x), present)), present)


class _Layer(nn.Module):
    """Attention, then a perceptron on each token; both are added to what came in."""

    def __init__(self, n_features: int, n_heads: int) -> None:
        super().__init__()
        self.n_heads = n_heads
        self.qkv = nn.Linear(n_features, 3 * n_features)
        self.mix = nn.Linear(n_features, n_features)
        self.wide, self.narrow = nn.Linear(n_features, 2 * n_features), nn.Linear(2 * n_features, n_features)

    def forward(self, x: Tensor, present: Tensor) -> Tensor:
        """Return new vectors ``[n, length, n_features]``; what is not ``present`` is looked at by none."""
        x = x + self.mix(self._attend(_normalised(x), present))
        step: Tensor = self.narrow(F.gelu(self.wide(_normalised(x))))
        return x + step

    def _attend(self, x: Tensor, present: Tensor) -> Tensor:
        n, length, size = x.shape
        parts = self.qkv(x).reshape(n, length, 3, self.n_heads, size // self.n_heads)
        query, key, value = parts.permute(2, 0, 3, 1, 4).unbind(0)  # each [n, n_heads, length, size of a head]
        scores = query @ key.transpose(-1, -2) / math.sqrt(size // self.n_heads)  # [n, n_heads, length, length]
        scores = torch.where(present[:, None, None, :], scores, -1e9)  # finite: a text of padding alone gives no NaN
        attended: Tensor = (scores.softmax(-1) @ value).transpose(1, 2).reshape(n, length, size)
        return attended


def mean_of(vectors: Tensor, present: Tensor) -> Tensor:
    """Return the mean ``[n, n_features]`` of the vectors ``[n, length, n_features]`` that are present; zeros of none.

    Example:
        >>> import torch
        >>> from metalearn.networks.text import mean_of
        >>> mean_of(torch.tensor([[[2.0], [4.0], [9.0]]]), torch.tensor([[True, True, False]]))
        tensor([[3.]])
    """
    share = present.to(vectors.dtype)
    share = share / share.sum(1, keepdim=True).clamp(min=1)  # [n, length]
    return (share.unsqueeze(1) @ vectors).squeeze(1)


def masked(vectors: Tensor, present: Tensor) -> Tensor:
    """Return the vectors ``[n, n_features]`` of texts with something present, and zeros for the others."""
    return torch.where(present.any(1, keepdim=True), vectors, 0.0)


def _normalised(x: Tensor) -> Tensor:
    """Return vectors of mean 0 and variance 1; a linear layer comes after, so that no weights are needed here."""
    return F.layer_norm(x, x.shape[-1:])


def _checked(tokens: Tensor) -> Tensor:
    if tokens.ndim != 2 or tokens.is_floating_point():
        raise ValueError(
            f"expected integer tokens [n, length], got {tokens.dtype} {dims(tokens)}: Vocabulary.encode makes them"
        )
    return tokens
