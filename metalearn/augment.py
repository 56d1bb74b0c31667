"""Augmentation: images moved, turned, bent and thinned at random, a whole batch at once."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

COARSE = 5  # points a side of the field by which images are bent; it is smooth between them


@dataclass(frozen=True)
class Augment:
    """Change each image of a batch at random: first its geometry, in one resampling, then single pixels.

    What moves in from outside is 0. All numbers are strengths, 0 for none; each image draws its own shift, rotation,
    scale and shear, uniformly between minus and plus the strength.

    Args:
        shift: Pixels along each axis.
        rotation: Degrees, about the image's centre.
        scale: Share by which the image grows or shrinks, below 1.
        shear: Pixels that a row moves sideways, for each pixel of its height above or below the centre.
        elastic: Pixels by which points are moved apart from each other: the standard deviation, at 5×5 points, of a
            field that is smooth between them.
        zeroed: Probability, below 1, with which each pixel is set to 0.
        flip: Whether to mirror half of the images, left to right.

    Raises:
        ValueError: If a strength is negative, or ``scale`` or ``zeroed`` is not below 1; from a call, if the input is
            no batch of float images.

    Taught in:
        Without labels.

    Example:
        >>> import torch
        >>> from metalearn.augment import Augment
        >>> augment = Augment(shift=2.0, rotation=10.0, zeroed=0.1)
        >>> augment(torch.ones(8, 1, 28, 28), torch.Generator().manual_seed(0)).shape
        torch.Size([8, 1, 28, 28])
    """

    shift: float = 0.0
    rotation: float = 0.0
    scale: float = 0.0
    shear: float = 0.0
    elastic: float = 0.0
    zeroed: float = 0.0
    flip: bool = False

    def __post_init__(self) -> None:
        for name in ("shift", "rotation", "scale", "shear", "elastic", "zeroed"):
            value, below = getattr(self, name), 1.0 if name in ("scale", "zeroed") else float("inf")
            if not 0 <= value < below:
                raise ValueError(f"{name} must be at least 0 and below {below:g}, got {value}")

    def __call__(self, x: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Return images ``[n, channels, height, width]``, changed; a generator on their device draws the amounts."""
        if x.ndim != 4 or not x.is_floating_point():
            raise ValueError(f"expected float images [n, channels, height, width], got {x.dtype} {list(x.shape)}")

        def draw(*shape: int) -> Tensor:
            return 2 * torch.rand(shape, generator=generator, device=x.device, dtype=x.dtype) - 1

        n, height, width = len(x), x.shape[2], x.shape[3]
        if self.shift or self.rotation or self.scale or self.shear or self.elastic:
            angle = draw(n) * torch.pi * self.rotation / 180
            shift, scale = draw(n, 2) * self.shift, 1 + draw(n) * self.scale
            grid = sampling_grid(x, shift, angle, scale, draw(n) * self.shear)
            if self.elastic:
                field = torch.randn(n, 2, COARSE, COARSE, generator=generator, device=x.device, dtype=x.dtype)
                bend = F.interpolate(field * self.elastic, (height, width), mode="bicubic", align_corners=True)
                grid = grid + 2 * bend.movedim(1, 3) / x.new_tensor([width, height])
            x = F.grid_sample(x, grid, align_corners=False)
        if self.flip:
            x = torch.where(draw(n, 1, 1, 1) > 0, x.flip(3), x)
        if self.zeroed:
            kept = torch.rand(n, 1, height, width, generator=generator, device=x.device) >= self.zeroed
            x = x * kept
        return x


def sampling_grid(x: Tensor, shift: Tensor, angle: Tensor, scale: Tensor, shear: Tensor) -> Tensor:
    """Return where each pixel of the changed images comes from, as ``torch.nn.functional.grid_sample`` takes it.

    A point of the image is sheared, scaled, turned counter-clockwise as one sees it, then shifted; the grid inverts
    this.

    Args:
        x: Images ``[n, channels, height, width]``.
        shift: Pixels to the right and down ``[n, 2]``.
        angle: Radians ``[n]``.
        scale: Factors ``[n]``, above 0.
        shear: Pixels sideways for each pixel of height ``[n]``.

    Returns:
        The grid ``[n, height, width, 2]``.

    Example:
        >>> import torch
        >>> from metalearn.augment import sampling_grid
        >>> x = torch.arange(9.0).reshape(1, 1, 3, 3)
        >>> right, none = torch.tensor([[1.0, 0.0]]), torch.zeros(1)
        >>> grid = sampling_grid(x, right, none, none + 1, none)
        >>> torch.nn.functional.grid_sample(x, grid, align_corners=False)[0, 0]
        tensor([[0., 0., 1.],
                [0., 3., 4.],
                [0., 6., 7.]])
    """
    cos, sin, zero = angle.cos(), angle.sin(), torch.zeros_like(angle)
    turned = torch.stack([cos, sin, -sin, cos], 1).reshape(-1, 2, 2)  # y points down
    sheared = torch.stack([zero + 1, shear, zero, zero + 1], 1).reshape(-1, 2, 2)
    matrix = turned @ (sheared * scale.reshape(-1, 1, 1))  # of a point, in pixels from the centre
    inverse = torch.linalg.inv(matrix)
    half = x.new_tensor([x.shape[3], x.shape[2]]) / 2  # a grid measures in halves of the image
    inverse = inverse * half / half.unsqueeze(1)
    offset = -(inverse @ (shift / half).unsqueeze(2))
    return F.affine_grid(torch.cat([inverse, offset], 2), list(x.shape), align_corners=False)
