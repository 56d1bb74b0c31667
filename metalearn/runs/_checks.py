"""Settings that contradict each other, or the data, are refused before anything is written."""

from __future__ import annotations

import difflib
import inspect
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch

from metalearn.experiments import Fit, Method
from metalearn.experiments._sources import sampler, source
from metalearn.learners._settings import from_settings, known_learners
from metalearn.pools import Pool

ABOVE_ZERO = ("max_seconds", "outer_lr", "head_lr", "max_grad_norm")
TEST = ("n_steps", "tune", "n_way")
COUNTS = ("n_steps", "validate_every", "patience")
OF_TASKS = ("n_way", "n_shot", "n_query")


def nearest(name: str, known: Iterable[str]) -> str:
    """Return the end of a message that says which names there are, and which one may be meant."""
    known = list(known)
    folded = {entry.lower(): entry for entry in known}
    found = difflib.get_close_matches(name.lower(), folded, 1, 0.6)
    meant = f"; did you mean {folded[found[0]]!r}?" if found else "."
    return f"{meant} There are {', '.join(known)}"


def check_sections(asked: Mapping[str, Any], sections: Sequence[str]) -> None:
    """Refuse what stands for a table of settings and is none, and training that cannot be."""
    for section in sections:
        if not isinstance(asked.get(section, {}), Mapping):
            raise ValueError(f"expected [{section}] as a table of settings, got {section} = {asked[section]!r}")
    fit = asked.get("fit", {})
    if unknown := sorted(set(fit) - set(Fit.__dataclass_fields__)):
        raise ValueError(f"fit has no option {unknown[0]!r}{nearest(unknown[0], Fit.__dataclass_fields__)}")
    for name, value in fit.items():
        if name in COUNTS and not (_is_number(value) and value == int(value) and value >= 1):
            raise ValueError(f"expected {name} of at least 1, got {value!r}")
        if name in ABOVE_ZERO and not (_is_number(value) and value > 0):
            raise ValueError(f"expected {name} as a number above 0, got {value!r}")
    if unknown := sorted(set(asked.get("test", {})) - set(TEST)):
        raise ValueError(f"test has no option {unknown[0]!r}{nearest(unknown[0], TEST)}")
    if not isinstance(asked.get("test", {}).get("tune", {}), Mapping):
        raise ValueError(f"expected test.tune as lists of values by setting, got {asked['test']['tune']!r}")
    steps = asked.get("test", {}).get("n_steps", [0])
    if not (isinstance(steps, list | tuple) and all(isinstance(k, int) and k >= 0 for k in steps)):
        raise ValueError(f"expected test.n_steps as a list of numbers of inner steps, such as [1, 3], got {steps!r}")


def check_learner(method: Method, usual: Mapping[str, Any]) -> None:
    """Refuse arguments that the learner does not take; ``usual`` are those of the study."""
    takes = [
        name for name in inspect.signature(known_learners()[method.learner]).parameters if name not in method.model
    ]
    for name, value in method.learner_args.items():
        if name not in takes:
            raise ValueError(f"{method.learner} has no setting {name!r}{nearest(name, takes)}")
        if isinstance(value, str) and _is_number(usual.get(name)):
            raise ValueError(f"expected {name} of {method.learner} as a number, got {value!r}")
    try:
        with torch.device("meta"):  # no memory, no random numbers
            learner = from_settings(method.settings)
    except TypeError as error:
        raise ValueError(f"{method.learner} cannot be made with {dict(method.learner_args)}: {error}") from error
    if method.test.get("n_steps") and learner.n_inner_steps is None:
        raise ValueError(f"{method.learner} takes no inner steps: leave test.n_steps out")


def check_ways(method: Method, test: Mapping[str, Any]) -> None:
    """Refuse a network with another number of answers than tasks have classes."""
    trained_way = method.episodes.get("n_way")
    if "n_way" in test and not method.fits({"n_way": trained_way or test["n_way"]}):
        raise ValueError(
            f"the network of {method.learner} answers {test['n_way']} classes, but training draws {trained_way}-way"
            " tasks: give one n_way for both"
        )


def check_data(data: str, method: Method, test: Mapping[str, Any]) -> None:
    """Refuse tasks for which the data have too few classes, examples or rows; the message names the part."""
    sizes = {key: test[key] for key in OF_TASKS if key in test}
    for part in ("validation", "test", "train"):
        pool = getattr(source(data), part, None)
        drawn = {"n_tasks": 1, **sizes}
        if part == "train":
            if method.episodes.get("kind", "episodes") != "episodes":
                continue
            drawn = {key: value for key, value in method.episodes.items() if key != "kind"}
        if pool is not None and hasattr(pool, "episodes"):
            what = "classes" if isinstance(pool, Pool) else "tasks"
            try:
                sampler(pool, **drawn)(torch.Generator().manual_seed(0))
            except (TypeError, ValueError) as error:
                raise ValueError(f"{part} {what} of {data}: {error}{_advice(data, pool, drawn)}") from error


def _advice(data: str, pool: Any, drawn: Mapping[str, Any]) -> str:
    """Return what helps where a user's own folder or archive has too few classes."""
    n_way = drawn.get("n_way", 0)
    if isinstance(pool, Pool) and pool.n_classes < n_way and data.partition(":")[0] in ("folder", "npz", "python"):
        return (
            f" ({', '.join(pool.class_names[:3])}{', …' if pool.n_classes > 3 else ''}), since classes are divided"
            " into 64 % for training, 16 % for validation and 20 % for the test: ask for a smaller n_way, or bring more"
        )
    return ""


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
