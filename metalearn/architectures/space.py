"""The space that is searched: three blocks, a normalisation, a pooling and a width."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product
from typing import Any

from metalearn.learners import Prototypical
from metalearn.networks.blocks import OPERATIONS, POOLS, BlockNet
from metalearn.search import Choice

N_BLOCKS = 3
#: Choices of an architecture by name, 512 in all, in the form that :mod:`metalearn.search` takes.
SPACE: dict[str, Choice] = {
    **{f"block {i + 1}": Choice(OPERATIONS) for i in range(N_BLOCKS)},
    "norm": Choice(("none", "group")),
    "pool": Choice(tuple(POOLS)),
    "width": Choice((8, 16)),
}


def all_architectures() -> list[dict[str, Any]]:
    """Return the settings of every architecture of the space.

    Taught in:
        Trust.

    Example:
        >>> from metalearn.architectures import all_architectures
        >>> len(all_architectures())
        512
    """
    return [dict(zip(SPACE, values, strict=True)) for values in product(*(part.values for part in SPACE.values()))]


def network(settings: Mapping[str, Any]) -> BlockNet:
    """Return the network of an architecture, untrained.

    Raises:
        ValueError: If a setting is missing or unknown.
    """
    if set(settings) != set(SPACE):
        raise ValueError(f"expected settings for {list(SPACE)}, got {list(settings)}")
    blocks = [settings[f"block {i + 1}"] for i in range(N_BLOCKS)]
    return BlockNet(blocks, norm=settings["norm"], pool=settings["pool"], width=settings["width"])


def build(settings: Mapping[str, Any]) -> Prototypical:
    """Return prototypical networks with the embedding of an architecture, untrained.

    Args:
        settings: A value for each name of ``SPACE``.

    Raises:
        ValueError: If a setting is missing or unknown.

    Taught in:
        Trust.

    Example:
        >>> import torch
        >>> from metalearn.architectures import SPACE, build
        >>> from metalearn.search import draw
        >>> build(draw(SPACE, torch.Generator().manual_seed(0))).encoder.config["image_size"]
        28
    """
    return Prototypical(network(settings))
