"""Every source of images as grey pictures of one size, so that one network can be trained on any and tested on all."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from metalearn.data.cifar100 import cifar100
from metalearn.data.digits import digits
from metalearn.data.glyphs import glyphs
from metalearn.data.mnist import mnist
from metalearn.data.omniglot import omniglot
from metalearn.pools import Pool, Splits

IMAGES: dict[str, Callable[[], Splits]] = {
    "glyphs": glyphs,
    "omniglot": omniglot,
    "digits": digits,
    "mnist": mnist,
    "cifar100": lambda: cifar100("cifar_fs"),
}
OF_TEN = ("digits", "mnist")
PER_DIGIT = 1000
LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601, as Pillow's mode "L" has it


def grey(name: str, image_size: int = 28) -> Splits:
    """Return a source of images in grey and in one size.

    Digits and MNIST have ten classes, too few for three pools with tasks of five. Here 0 to 4 are for training and 5 to
    9 for testing, and **validation holds other images of 0 to 4**: every fifth of each digit, which training lacks. Of
    MNIST at most 1,000 images of each digit are taken.

    Args:
        name: ``"glyphs"``, ``"omniglot"`` (the official split), ``"digits"``, ``"mnist"`` or ``"cifar100"`` (the split
            of CIFAR-FS).
        image_size: Height and width; images of another size are resized, with smoothing where they shrink.

    Returns:
        Pools of uint8 images ``[n, 1, image_size, image_size]``.

    Raises:
        ValueError: If there is no such source, or its file is cut or altered.
        ConnectionError: If a file is missing and cannot be downloaded.

    Example:
        >>> from metalearn.data import grey
        >>> grey("digits").test
        Pool(896 examples [1, 28, 28], 5 classes of 174 to 182)
    """
    if name not in IMAGES:
        raise ValueError(f"expected images by name, one of {', '.join(map(repr, IMAGES))}, got {name!r}")
    splits = IMAGES[name]()
    if name in OF_TEN:
        splits = _halves(splits)
    return Splits(*(_resized(pool, image_size) for pool in splits))


def _halves(splits: Splits) -> Splits:
    """Return 0 to 4, other images of 0 to 4, and 5 to 9."""
    first, second = splits.train, _joined(splits.validation, splits.test)
    place = torch.arange(len(first)) - first.class_starts[first.y]  # of each image within its class
    held_out = place % 5 == 4
    few = [_rows(first, (place < PER_DIGIT) & part) for part in (~held_out, held_out)]
    return Splits(few[0], few[1], _rows(second, torch.arange(len(second)) - second.class_starts[second.y] < PER_DIGIT))


def _joined(one: Pool, other: Pool) -> Pool:
    y = torch.cat([one.y, other.y + one.n_classes])
    return Pool(torch.cat([one.x, other.x]), y, class_names=one.class_names + other.class_names)


def _rows(pool: Pool, rows: Tensor) -> Pool:
    return Pool(pool.x[rows], pool.y[rows], class_names=pool.class_names)


def _resized(pool: Pool, image_size: int) -> Pool:
    x = pool.x
    if x.shape[1] == 3:
        x = (x * torch.tensor(LUMA).reshape(3, 1, 1)).sum(1, keepdim=True).round().to(torch.uint8)
    if x.shape[-2:] != (image_size, image_size):
        size = (image_size, image_size)
        resized = F.interpolate(x.float(), size, mode="bilinear", antialias=True, align_corners=False)
        x = resized.round().clamp(0, 255).to(torch.uint8)
    return Pool(x, pool.y, class_names=pool.class_names)
