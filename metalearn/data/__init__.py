"""Data sets, each a function that returns pools of disjoint classes, and task families."""

from collections.abc import Callable
from typing import Any

from metalearn.data._checksum import digest
from metalearn.data._torchvision import import_torchvision
from metalearn.data.cells import Cells, CellSplits, cells
from metalearn.data.cifar100 import cifar100
from metalearn.data.ciphers import Ciphers, ciphers
from metalearn.data.digits import digits
from metalearn.data.folder import folder, read_image
from metalearn.data.glyphs import glyphs
from metalearn.data.grey import grey
from metalearn.data.heart import Hospital, heart
from metalearn.data.intents import intent_sentences, intents, out_of_scope
from metalearn.data.languages import language_names, languages
from metalearn.data.linear_problems import LinearProblems, linear_problems
from metalearn.data.mnist import mnist, mnist_parts
from metalearn.data.movielens import movielens
from metalearn.data.omniglot import omniglot
from metalearn.data.pages import Page, pages
from metalearn.data.raters import Raters
from metalearn.data.rating_world import RatingWorld
from metalearn.data.ratings import RatingSplits, ratings
from metalearn.data.relations import relation_sentences, relations
from metalearn.data.returns import returns
from metalearn.data.sinusoids import Sinusoids, sinusoids
from metalearn.data.sites import Sites, SiteSplits, sites
from metalearn.data.slides import Slides, slides
from metalearn.data.text import Corpus, Vocabulary
from metalearn.pools import Pool, Splits
from metalearn.samplers import TaskFamily

__all__ = [
    "CellSplits",
    "Cells",
    "Ciphers",
    "Corpus",
    "Hospital",
    "LinearProblems",
    "Page",
    "Raters",
    "RatingSplits",
    "RatingWorld",
    "Sinusoids",
    "SiteSplits",
    "Sites",
    "Slides",
    "Splits",
    "Vocabulary",
    "cells",
    "checksum",
    "cifar100",
    "ciphers",
    "digits",
    "folder",
    "glyphs",
    "grey",
    "heart",
    "import_torchvision",
    "intent_sentences",
    "intents",
    "language_names",
    "languages",
    "linear_problems",
    "load",
    "mnist",
    "mnist_parts",
    "movielens",
    "omniglot",
    "out_of_scope",
    "pages",
    "ratings",
    "read_image",
    "relation_sentences",
    "relations",
    "returns",
    "sinusoids",
    "sites",
    "slides",
]

SOURCES: dict[str, Callable[..., Splits]] = {
    "glyphs": glyphs,
    "digits": digits,
    "mnist": mnist,
    "omniglot": omniglot,
    "cifar100": cifar100,
    "languages": languages,
    "intents": intents,
    "relations": relations,
}


def load(name: str, **options: Any) -> Splits:
    """Return the data set of that name.

    Args:
        name: ``"glyphs"``, ``"digits"``, ``"mnist"``, ``"omniglot"``, ``"cifar100"``, or of texts ``"languages"``,
            ``"intents"`` or ``"relations"``.
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


def checksum(data: str | Splits | Pool | TaskFamily, **options: Any) -> str:
    """Return a digest of data that a record can keep: it changes with any pixel, label, class name or bound.

    Args:
        data: The name of a data set (``"sinusoids"`` as well), which is loaded; pools; or a task family.
        **options: Passed on to :func:`load`.

    Returns:
        The SHA-256 of the pools' tensors and class names in hexadecimal digits; for a task family that of its repr.
        A pool's transform is no part of it.

    Raises:
        ValueError: If there is no such data set.

    Example:
        >>> from metalearn.data import checksum, glyphs
        >>> checksum("glyphs") == checksum(glyphs()), checksum("sinusoids")[:12]
        (True, 'f088c4a3942b')
    """
    if isinstance(data, str):
        data = sinusoids() if data == "sinusoids" else load(data, **options)
    return digest(data)
