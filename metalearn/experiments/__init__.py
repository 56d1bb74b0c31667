"""Recorded studies: methods compared, trained and tested by one runner; their numbers and weights come along."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from metalearn.experiments import _store
from metalearn.experiments._record import Record
from metalearn.experiments._run import run
from metalearn.experiments._store import environment
from metalearn.experiments.study import Fit, Method, Study

__all__ = [
    "Fit",
    "Method",
    "Record",
    "Study",
    "environment",
    "load",
    "names",
    "rows",
    "run",
    "standing",
]

STANDING = ("sinusoids", "glyphs", "omniglot")  # the order of the queue; a file here for each


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
        >>> "sinusoid_maml" in experiments.names()
        True
    """
    return sorted(path.stem for path in (_store.HERE / "results").glob("*.json"))


def load(name: str) -> Any:
    """Return a recorded study: its settings, results, seeds, hardware, versions and commit.

    Args:
        name: One of :func:`metalearn.experiments.names`.

    Returns:
        A :class:`Record`; what scripts of earlier versions recorded is a plain dictionary.

    Raises:
        ValueError: If there is no such study; the message lists the known ones.

    Example:
        >>> from metalearn.experiments import load
        >>> load("sinusoid_maml")["settings"]["n_steps"]
        70000
    """
    content = _store.read_record(name)
    if content is None:
        raise ValueError(f"no recorded study {name!r}; known: {names()}")
    return Record(name) if content.get("format") == _store.FORMAT else content


def rows(run: dict[str, Any] | Record, **wanted: Any) -> list[dict[str, Any]]:
    """Return the results of a recorded run whose fields have the wanted values, in the order of the run.

    Raises:
        ValueError: If there are none; the message shows the fields of a result.

    Example:
        >>> from metalearn import experiments
        >>> run = experiments.load("sinusoid_maml")
        >>> [row["seed"] for row in experiments.rows(run, method="maml", train_shot=10, n_shot=5, n_steps=1)]
        [0, 1, 2]
    """
    results = (
        run["results"] if isinstance(run, dict) else [{**part, **row} for part in run.parts() for row in part["rows"]]
    )
    found = [row for row in results if wanted.items() <= row.items()]
    if not found:
        example = {key: value for key, value in results[0].items() if not isinstance(value, list | dict)}
        raise ValueError(f"no result with {wanted}; a result looks like {example}")
    return found
