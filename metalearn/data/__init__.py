"""Data sets, each a function that returns pools of disjoint classes, and task families."""

from collections.abc import Callable
from typing import Any

from metalearn.data._torchvision import import_torchvision
from metalearn.data.digits import digits
from metalearn.data.glyphs import glyphs
from metalearn.data.mnist import mnist, mnist_parts
from metalearn.data.omniglot import omniglot
from metalearn.data.sinusoids import Sinusoids, sinusoids
from metalearn.pools import Splits

__all__ = [
    "Sinusoids",
    "Splits",
    "digits",
    "glyphs",
    "import_torchvision",
    "load",
    "mnist",
    "mnist_parts",
    "omniglot",
    "sinusoids",
]

SOURCES: dict[str, Callable[..., Splits]] = {"glyphs": glyphs, "digits": digits, "mnist": mnist, "omniglot": omniglot}


def load(name: str, **options: Any) -> Splits:
    """Return the data set of that name.

    Args:
        name: ``"glyphs"``, ``"digits"``, ``"mnist"`` or ``"omniglot"``.
        **options: Passed on to the function of that name.

    Raises:
        ValueError: If there is no such data set.

    Example:
        >>> from metalearn.data import load
        >>> load("glyphs").train.class_names[0]
        'Latin/capital letter a'
    """
    if name not in SOURCES:
        raise ValueError(f"expected a data set's name, one of {', '.join(map(repr, SOURCES))}, got {name!r}")
    return SOURCES[name](**options)
