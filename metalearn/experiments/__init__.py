"""Recorded studies: methods compared, trained and tested by one runner; their numbers and weights come along."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from metalearn.experiments import _store
from metalearn.experiments._overview import Overview
from metalearn.experiments._record import Record
from metalearn.experiments._rivals import Gain, finalists, gain
from metalearn.experiments._run import run
from metalearn.experiments._store import environment
from metalearn.experiments.study import Fit, Method, Study

__all__ = [
    "Fit",
    "Gain",
    "Method",
    "Overview",
    "Record",
    "Study",
    "analysis",
    "environment",
    "finalists",
    "gain",
    "load",
    "names",
    "run",
    "standing",
]

STANDING = (  # the order of the queue; a file here for each
    *("sinusoids", "glyphs", "omniglot"),
    *("natural", "across", "one_shot_generation"),
    *("languages", "intents", "relations"),
    *("linear_problems", "ciphers", "in_context"),
    *("sites", "slides"),
    "ratings",
    "evolution",
    *("bandits", "games", "navigation"),
    *("unlabelled", "semi_supervised", "omniglot_unlabelled"),
    *("table_glyphs", "table_omniglot", "table_official", "table_natural"),
    *("dynamics_pendulum", "dynamics_cart_pole", "dynamics_lane"),
)


def standing() -> dict[str, Study]:
    """Return the studies that are made part by part.

    Example:
        >>> from metalearn import experiments
        >>> experiments.standing()["glyphs"].seeds
        (0, 1, 2)
    """
    return {name: import_module(f"metalearn.experiments.{name}").STUDY for name in STANDING}


def names() -> list[str]:
    """Return the names of all recorded studies.

    Example:
        >>> from metalearn import experiments
        >>> "sinusoids" in experiments.names()
        True
    """
    return sorted(path.stem for path in (_store.HERE / "results").glob("*.json"))


def load(name: str) -> Record:
    """Return a recorded study: its settings, results, seeds, hardware, versions and commit.

    Args:
        name: One of :func:`metalearn.experiments.names`.

    Raises:
        ValueError: If there is no such study; the message lists the known ones.

    Example:
        >>> from metalearn.experiments import load
        >>> load("sinusoids").part("MAML")["n_steps"]
        70000
    """
    if name not in names():
        raise ValueError(f"no recorded study {name!r}; known: {names()}")
    return Record(name)


def analysis(name: str) -> dict[str, Any]:
    """Return a recorded analysis that is no comparison on episodes, as plain data, with seeds and hardware.

    Args:
        name: Of the module that makes it: ``"heart"`` is made by ``python -m metalearn.experiments.heart``; so are
            ``"adapters"``, ``"architectures"``, ``"cells"``, ``"compression"``, ``"control"``, ``"costs"``,
            ``"explanation"``, ``"federated"``, ``"hardware"``, ``"labelling"``, ``"precision"``, ``"private"``,
            ``"table_costs"`` and ``"throughput"``. ``"tools"`` was written by hand.

    Raises:
        ValueError: If there is no such analysis; the message lists the known ones.

    Example:
        >>> from metalearn import experiments
        >>> experiments.analysis("heart")["seeds"]
        [0, 1, 2]
    """
    paths = {path.stem: path for path in (_store.HERE / "analyses").glob("*.json")}
    if name not in paths:
        raise ValueError(f"no recorded analysis {name!r}; known: {sorted(paths)}")
    return _store.read_analysis(name)
