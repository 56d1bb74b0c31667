"""A multilayer perceptron, the network of regression tasks and of small heads."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from torch import nn

from metalearn.networks.norms import make_norm


class MLP(nn.Sequential):
    """A multilayer perceptron with ReLU.

    Args:
        sizes: Numbers of units from input to output; ``[1, 40, 40, 1]`` is MAML's sinusoid network.
        norm: Normalisation after each hidden layer, as in :func:`make_norm`.
        init_std: Standard deviation of the initial weights, biases zero; ``None``: PyTorch's default.

    Attributes:
        config: The arguments above by name, from which a saved network is built again.

    Raises:
        ValueError: If there are fewer than two sizes, or the norm is unknown.

    Example:
        >>> import torch
        >>> from metalearn.networks import MLP
        >>> MLP([1, 40, 40, 1])(torch.zeros(10, 1)).shape
        torch.Size([10, 1])
    """

    def __init__(self, sizes: Sequence[int], *, norm: str = "none", init_std: float | None = None) -> None:
        if len(sizes) < 2:
            raise ValueError(f"sizes must name at least input and output, got {list(sizes)}")
        layers: list[nn.Module] = []
        for i, (n_in, n_out) in enumerate(pairwise(sizes)):
            layers.append(nn.Linear(n_in, n_out))
            if i < len(sizes) - 2:
                layers += [make_norm(norm, n_out), nn.ReLU()] if norm != "none" else [nn.ReLU()]
        super().__init__(*layers)
        self._spread(init_std)
        self.config: dict[str, Any] = {"sizes": list(sizes), "norm": norm, "init_std": init_std}
        self.n_features = sizes[-1]

    def reset_parameters(self) -> None:
        """Draw the weights anew, as the constructor did."""
        for layer in self:
            if callable(reset := getattr(layer, "reset_parameters", None)):
                reset()
        self._spread(self.config["init_std"])

    def _spread(self, std: float | None) -> None:
        for layer in self:
            if std is not None and isinstance(layer, nn.Linear):
                nn.init.normal_(layer.weight, std=std)
                nn.init.zeros_(layer.bias)
