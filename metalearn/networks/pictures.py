"""Networks that draw pictures from noise and a given picture, and one that reads which noise was drawn."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from metalearn.networks.norms import make_norm


def _block(n_in: int, n_out: int, norm: str) -> list[nn.Module]:
    return [nn.Conv2d(n_in, n_out, 3, padding=1), make_norm(norm, n_out), nn.ReLU()]


class _Decoder(nn.Module):
    """What both decoders share: noise is spread over the positions of the code and put beside it."""

    def __init__(self, n_latent: int, *, code_channels: int, image_size: int, channels: int, norm: str) -> None:
        super().__init__()
        if image_size < 4 or image_size % 4:
            raise ValueError(
                f"height and width are doubled twice: image_size must be a multiple of 4, got {image_size}"
            )
        self.n_latent, self.image_size, self.map_size = n_latent, image_size, image_size // 4
        self.spread = nn.Linear(n_latent, channels * self.map_size**2)
        self.body = nn.Sequential(*_block(channels + code_channels, channels, norm), *_block(channels, channels, norm))
        self.config: dict[str, Any] = {
            "n_latent": n_latent,
            "code_channels": code_channels,
            "image_size": image_size,
            "channels": channels,
            "norm": norm,
        }

    def on_map(self, z: Tensor, code: Tensor) -> Tensor:
        """Return features ``[n, channels, map_size, map_size]`` of noise ``[n, n_latent]`` beside the code."""
        spread = self.spread(z).unflatten(1, (-1, self.map_size, self.map_size))
        features: Tensor = self.body(torch.cat([spread, code], 1))
        return features


class PaintDecoder(_Decoder):
    """Draw pictures from noise and a code alone: what the code does not hold has to come from the noise.

    Height and width are doubled twice: by repetition, and at the end by four channels that are interleaved.

    Args:
        n_latent: Size of the noise.
        code_channels: Channels of the code.
        image_size: Height and width of the pictures, a multiple of 4; those of the code are a quarter.
        channels: Channels of each block of convolution, normalisation and ReLU.
        norm: Normalisation, as in :func:`make_norm`.

    Attributes:
        config: The arguments above by name, from which a saved network is built again.

    Raises:
        ValueError: If ``image_size`` is no multiple of 4, or the norm is unknown.

    Reference:
        The interleaving: Shi, Caballero, Huszár, Totz, Aitken, Bishop, Rueckert, Wang: Real-Time Single Image and Video
        Super-Resolution Using an Efficient Sub-Pixel Convolutional Neural Network, 2016, arXiv 1609.05158.

    Example:
        >>> import torch
        >>> from metalearn.networks import PaintDecoder
        >>> PaintDecoder(16)(torch.zeros(5, 16), torch.zeros(5, 32, 7, 7), torch.zeros(5, 1, 28, 28)).shape
        torch.Size([5, 1, 28, 28])
    """

    def __init__(
        self, n_latent: int, *, code_channels: int = 32, image_size: int = 28, channels: int = 32, norm: str = "group"
    ) -> None:
        super().__init__(n_latent, code_channels=code_channels, image_size=image_size, channels=channels, norm=norm)
        self.paint = nn.Sequential(
            nn.Upsample(scale_factor=2.0),
            *_block(channels, channels, norm),
            nn.Conv2d(channels, 4, 3, padding=1),
            nn.PixelShuffle(2),
        )

    def forward(self, z: Tensor, code: Tensor, picture: Tensor) -> Tensor:
        """Return logits ``[n, 1, height, width]`` of noise ``[n, n_latent]`` and a code each; the picture is unused."""
        logits: Tensor = self.paint(self.on_map(z, code))
        return logits


class WarpDecoder(_Decoder):
    """Draw pictures by bending a given one: noise and code say how far each place moves, and how broad the pen is.

    The displacements are given on the grid of the code, at most a quarter of the picture's width, so that no letter
    leaves the page, and are interpolated between. A small network then thickens or
    thins the strokes: the noise scales and shifts its channels, alike at all places, so that it cannot paint.

    Args:
        n_latent: Size of the noise.
        code_channels: Channels of the code.
        image_size: Height and width of the pictures, a multiple of 4; those of the code are a quarter.
        channels: Channels of each block of convolution, normalisation and ReLU.
        norm: Normalisation, as in :func:`make_norm`.

    Attributes:
        config: The arguments above by name, from which a saved network is built again.

    Raises:
        ValueError: If ``image_size`` is no multiple of 4, or the norm is unknown.

    Reference:
        Jaderberg, Simonyan, Zisserman, Kavukcuoglu: Spatial Transformer Networks, 2015, arXiv 1506.02025, equation 5
        (sampling). Perez, Strub, de Vries, Dumoulin, Courville: FiLM: Visual Reasoning with a General Conditioning
        Layer, 2018, arXiv 1709.07871 (scales and shifts).

    Example:
        >>> import torch
        >>> from metalearn.networks import WarpDecoder
        >>> WarpDecoder(16)(torch.zeros(5, 16), torch.zeros(5, 32, 7, 7), torch.zeros(5, 1, 28, 28)).shape
        torch.Size([5, 1, 28, 28])
    """

    grid: Tensor

    def __init__(
        self, n_latent: int, *, code_channels: int = 32, image_size: int = 28, channels: int = 32, norm: str = "group"
    ) -> None:
        super().__init__(n_latent, code_channels=code_channels, image_size=image_size, channels=channels, norm=norm)
        self.bend = nn.Conv2d(channels, 2, 3, padding=1)
        self.turn = nn.Linear(n_latent, 2 * self.map_size**2, bias=False)
        self.pen = nn.Linear(n_latent, 2 * channels)
        self.stroke = nn.Conv2d(4, channels, 3, padding=1)
        self.finish = nn.Sequential(
            nn.ReLU(),
            nn.Conv2d(channels, channels, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(channels, 4, 3, padding=1),
            nn.PixelShuffle(2),
        )
        self.contrast = nn.Parameter(torch.tensor(6.0))  # logits of ink and paper: 3 and -3
        for layer in (self.bend, self.turn, self.pen):  # it starts near the picture as it is
            nn.init.normal_(layer.weight, std=0.01)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
        self.register_buffer("grid", _places(image_size), persistent=False)

    def warp(self, z: Tensor, code: Tensor, picture: Tensor) -> Tensor:
        """Return the picture ``[n, 1, height, width]`` bent, with its pen as it was."""
        coarse = self.bend(self.on_map(z, code)) + self.turn(z).unflatten(1, (2, self.map_size, self.map_size))
        size = [self.image_size, self.image_size]
        fine = F.interpolate(coarse.tanh() / 2, size=size, mode="bilinear", align_corners=True)  # [n, 2, height, width]
        return F.grid_sample(picture, self.grid + fine.permute(0, 2, 3, 1), align_corners=True)

    def forward(self, z: Tensor, code: Tensor, picture: Tensor) -> Tensor:
        """Return logits ``[n, 1, height, width]`` of noise ``[n, n_latent]``, and a code and a picture each."""
        bent = self.warp(z, code, picture)
        scale, shift = self.pen(z)[:, :, None, None].chunk(2, 1)  # each [n, channels, 1, 1]
        pen: Tensor = self.finish(self.stroke(F.pixel_unshuffle(bent, 2)) * (1 + scale) + shift)
        return self.contrast * (bent - 0.5) + pen


class PairReader(nn.Module):
    """Read from a picture beside a given one how the one differs: mean and log variance of the noise behind it.

    Args:
        n_latent: Size of the noise.
        in_channels: Channels of each picture.
        image_size: Height and width of the pictures, even and at least 8.
        channels: Channels of each of three blocks of 3×3 convolution, normalisation and ReLU.
        norm: Normalisation, as in :func:`make_norm`.

    Attributes:
        config: The arguments above by name, from which a saved network is built again.

    Raises:
        ValueError: If the pictures are odd or too small, or the norm is unknown.

    Example:
        >>> import torch
        >>> from metalearn.networks import PairReader
        >>> mean, log_var = PairReader(16)(torch.zeros(5, 1, 28, 28), torch.zeros(5, 1, 28, 28))
        >>> mean.shape, log_var.shape
        (torch.Size([5, 16]), torch.Size([5, 16]))
    """

    def __init__(
        self, n_latent: int, *, in_channels: int = 1, image_size: int = 28, channels: int = 32, norm: str = "group"
    ) -> None:
        super().__init__()
        if image_size < 8 or image_size % 2:
            raise ValueError(f"image_size must be even and at least 8, got {image_size}")
        pool = nn.MaxPool2d(2)
        self.blocks = nn.Sequential(
            nn.PixelUnshuffle(2),  # half the height and width, four times the channels
            *_block(8 * in_channels, channels, norm),
            pool,
            *_block(channels, channels, norm),
            pool,
            *_block(channels, channels, norm),
            nn.Flatten(),
        )
        self.head = nn.Linear(channels * (image_size // 8) ** 2, 2 * n_latent)
        self.config: dict[str, Any] = {
            "n_latent": n_latent,
            "in_channels": in_channels,
            "image_size": image_size,
            "channels": channels,
            "norm": norm,
        }

    def forward(self, picture: Tensor, given: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and log variance, each ``[n, n_latent]``, of pairs of pictures ``[n, channels, …]``."""
        mean, log_var = self.head(self.blocks(torch.cat([picture, given], 1))).chunk(2, 1)
        return mean, log_var.clamp(-10.0, 10.0)


def _places(size: int) -> Tensor:
    """Return the places of pixels as ``grid_sample`` takes them, ``[size, size, 2]``: -1 to 1, first to the right."""
    line = torch.linspace(-1, 1, size)
    down, right = torch.meshgrid(line, line, indexing="ij")
    return torch.stack([right, down], -1)
