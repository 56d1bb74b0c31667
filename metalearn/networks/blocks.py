"""A small network that is described by a few choices, so that architectures can be searched."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

OPERATIONS = ("conv 3", "conv 5", "residual 3", "none")
POOLS: dict[str, type[nn.Module]] = {"max": nn.MaxPool2d, "mean": nn.AvgPool2d}


class BlockNet(nn.Module):
    """A stem of stride 2 and blocks of one's choice, with a pooling between each two: an encoder of images.

    Args:
        blocks: An operation each: ``"conv 3"`` or ``"conv 5"``, a convolution of that size, normalised, with ReLU;
            ``"residual 3"``: its input plus a ``"conv 3"``; ``"none"``: nothing, so that depth is a choice, too.
        norm: ``"group"``: groups of two channels; or ``"none"``.
        pool: ``"max"`` or ``"mean"``, 2×2.
        width: Channels of all layers, even.
        in_channels: Channels of the images.
        image_size: Height and width of the images.

    Attributes:
        config: The arguments above by name, from which a saved network is built again.
        n_features: Size of the features.

    Raises:
        ValueError: If a choice is unknown, the width odd, or the images too small.

    Taught in:
        Trust.

    Example:
        >>> import torch
        >>> from metalearn.networks import BlockNet
        >>> BlockNet(["conv 3", "none", "residual 3"], width=8)(torch.zeros(2, 1, 28, 28)).shape
        torch.Size([2, 72])
    """

    def __init__(
        self,
        blocks: Sequence[str] = ("conv 3", "conv 3", "conv 3"),
        *,
        norm: str = "none",
        pool: str = "max",
        width: int = 16,
        in_channels: int = 1,
        image_size: int = 28,
    ) -> None:
        super().__init__()
        unknown = [name for name in blocks if name not in OPERATIONS]
        if unknown or norm not in ("none", "group") or pool not in POOLS or width < 2 or width % 2:
            raise ValueError(
                f"expected blocks of {list(OPERATIONS)}, norm 'none' or 'group', pool of {list(POOLS)} and an even"
                f" width, got {list(blocks)}, {norm!r}, {pool!r}, {width}"
            )
        size = (image_size + 1) // 2 // 2 ** (len(blocks) - 1) if blocks else 0
        if size < 1:
            raise ValueError(
                f"expected a block at least, and images that survive the poolings, got {image_size} pixels"
            )
        self.stem = convolution(3, norm, in_channels, width, stride=2)
        self.blocks = nn.ModuleList(operation(name, norm, width) for name in blocks)
        self.pool = POOLS[pool](2)
        self.n_features = width * size**2
        self.config: dict[str, Any] = {
            "blocks": list(blocks),
            "norm": norm,
            "pool": pool,
            "width": width,
            "in_channels": in_channels,
            "image_size": image_size,
        }

    def forward(self, x: Tensor) -> Tensor:
        """Return features ``[n, n_features]`` of images ``[n, in_channels, height, width]``."""
        x = self.stem(x)
        for i, block in enumerate(self.blocks):
            x = block(self.pool(x) if i else x)
        return x.flatten(1)


class Residual(nn.Module):
    """An input plus what a layer makes of it."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        """Return the sum."""
        total: Tensor = x + self.layer(x)
        return total


def convolution(size: int, norm: str, n_in: int, n_out: int, stride: int = 1) -> nn.Sequential:
    """Return a convolution that keeps the size but for its stride, a normalisation, and ReLU."""
    layer = nn.Conv2d(n_in, n_out, size, stride, padding=size // 2)
    return nn.Sequential(layer, nn.GroupNorm(n_out // 2, n_out) if norm == "group" else nn.Identity(), nn.ReLU())


def operation(name: str, norm: str, width: int) -> nn.Module:
    """Return a block by its name."""
    if name == "none":
        return nn.Identity()
    kind, size = name.split()
    layer = convolution(int(size), norm, width, width)
    return Residual(layer) if kind == "residual" else layer
