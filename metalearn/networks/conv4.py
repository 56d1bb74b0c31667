"""The small convolutional networks of the few-shot literature."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from metalearn.networks.norms import make_norm


class Conv4(nn.Module):
    """Four blocks of 3×3 convolution, normalisation and ReLU: the field's standard small network.

    Args:
        n_outputs: Number of logits; ``None`` returns the features, for an encoder.
        in_channels: Channels of the images.
        image_size: Height and width of the images.
        channels: Channels of each block.
        norm: ``"batch"``, ``"support"``, ``"frozen"``, ``"group"`` or ``"none"``; see :func:`make_norm`.
        downsample: ``"pool"``: 2×2 max-pooling after each block, features flattened; ``"stride"``: convolutions of
            stride 2 and the mean over positions at the end, as MAML has it for Omniglot; ``"maps"``: pooling after the
            first two blocks only, features kept as maps ``[n, channels, image_size // 4, image_size // 4]``, as
            relation networks have it.

    Attributes:
        config: The arguments above by name, from which a saved network is built again.
        n_features: Size of the features; of maps, the number of channels.

    Raises:
        ValueError: If an option is unknown or the images are too small.

    Reference:
        Vinyals, Blundell, Lillicrap, Kavukcuoglu, Wierstra: Matching Networks for One Shot Learning, 2016,
        arXiv 1606.04080, section 4.1. Strided: Finn, Abbeel, Levine, 2017, arXiv 1703.03400, section 5.2.

    Example:
        >>> import torch
        >>> from metalearn.networks import Conv4
        >>> Conv4(5)(torch.zeros(2, 1, 28, 28)).shape, Conv4().n_features
        (torch.Size([2, 5]), 64)
    """

    def __init__(
        self,
        n_outputs: int | None = None,
        *,
        in_channels: int = 1,
        image_size: int = 28,
        channels: int = 64,
        norm: str = "batch",
        downsample: str = "pool",
    ) -> None:
        super().__init__()
        if downsample not in ("pool", "stride", "maps"):
            raise ValueError(f"downsample must be 'pool', 'stride' or 'maps', got {downsample!r}")
        if downsample == "maps" and n_outputs is not None:
            raise ValueError(f"downsample='maps' returns feature maps, leave n_outputs out, got n_outputs={n_outputs}")
        if downsample == "pool" and image_size < 16:
            raise ValueError(f"four poolings need images of at least 16 pixels, got image_size={image_size}")
        stride = 2 if downsample == "stride" else 1
        blocks: list[nn.Module] = []
        for i, n_in in enumerate((in_channels, channels, channels, channels)):
            blocks += [nn.Conv2d(n_in, channels, 3, stride, padding=1), make_norm(norm, channels), nn.ReLU()]
            if downsample == "pool" or (downsample == "maps" and i < 2):
                blocks.append(nn.MaxPool2d(2))
        end = nn.AdaptiveAvgPool2d(1) if downsample == "stride" else nn.Identity()
        self.blocks = nn.Sequential(*blocks, end, nn.Identity() if downsample == "maps" else nn.Flatten())
        self.n_features = channels * (image_size // 16) ** 2 if downsample == "pool" else channels
        self.head = nn.Identity() if n_outputs is None else nn.Linear(self.n_features, n_outputs)
        self.config: dict[str, Any] = {
            "n_outputs": n_outputs,
            "in_channels": in_channels,
            "image_size": image_size,
            "channels": channels,
            "norm": norm,
            "downsample": downsample,
        }

    def forward(self, x: Tensor) -> Tensor:
        """Return features or logits ``[n, n_features or n_outputs]`` of images ``[n, in_channels, height, width]``."""
        logits: Tensor = self.head(self.blocks(x))
        return logits


class RelationModule(nn.Module):
    """Two convolutional blocks and two dense layers that score how alike two feature maps are.

    Args:
        channels: Channels of each of the two maps, and of the blocks.
        map_size: Height and width of the maps; at least 4.
        n_hidden: Units of the hidden dense layer.
        norm: Normalisation of the blocks, as in :func:`make_norm`.

    Attributes:
        config: The arguments above by name, from which a saved network is built again.

    Reference:
        Sung, Yang, Zhang, Xiang, Torr, Hospedales: Learning to Compare: Relation Network for Few-Shot Learning, 2018,
        arXiv 1711.06025, figure 2.

    Example:
        >>> import torch
        >>> from metalearn.networks import RelationModule
        >>> RelationModule(64)(torch.zeros(10, 128, 7, 7)).shape
        torch.Size([10, 1])
    """

    def __init__(self, channels: int = 64, *, map_size: int = 7, n_hidden: int = 8, norm: str = "batch") -> None:
        super().__init__()
        if map_size < 4:
            raise ValueError(f"two poolings need maps of at least 4 pixels, got map_size={map_size}")
        blocks: list[nn.Module] = []
        for n_in in (2 * channels, channels):
            blocks += [nn.Conv2d(n_in, channels, 3, padding=1), make_norm(norm, channels), nn.ReLU(), nn.MaxPool2d(2)]
        dense = [nn.Linear(channels * (map_size // 4) ** 2, n_hidden), nn.ReLU(), nn.Linear(n_hidden, 1)]
        self.layers = nn.Sequential(*blocks, nn.Flatten(), *dense)
        self.config: dict[str, Any] = {"channels": channels, "map_size": map_size, "n_hidden": n_hidden, "norm": norm}

    def forward(self, x: Tensor) -> Tensor:
        """Return scores ``[n, 1]`` of pairs of maps, stacked along their channels ``[n, 2 * channels, size, size]``."""
        scores: Tensor = self.layers(x)
        return scores
