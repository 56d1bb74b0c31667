"""The plainest features of a colour picture: how bright each colour is, and how much it varies."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Moments(nn.Module):
    """Mean and standard deviation of each channel over the pixels; nothing is learned.

    Args:
        channels: Channels of the pictures.

    Attributes:
        config: The argument by name, from which a saved network is built again.
        n_features: Twice the number of channels.

    Example:
        >>> import torch
        >>> from metalearn.networks import Moments
        >>> Moments(1)(torch.tensor([[[[0.0, 1.0]]]]))
        tensor([[0.5000, 0.5000]])
    """

    def __init__(self, channels: int = 3) -> None:
        super().__init__()
        self.config = {"channels": channels}
        self.n_features = 2 * channels

    def forward(self, x: Tensor) -> Tensor:
        """Return means, then standard deviations ``[n, 2 * channels]``, of pictures ``[n, channels, ...]``."""
        pixels = x.flatten(2)
        mean = pixels.mean(2)
        spread = (pixels - mean.unsqueeze(2)).square().mean(2).clamp(min=1e-12).sqrt()
        return torch.cat([mean, spread], 1)
