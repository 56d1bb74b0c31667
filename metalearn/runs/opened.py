"""A run, or trained weights of the package, opened by its path or name: the learner, its data and its sizes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from metalearn import experiments
from metalearn._pretrained import pretrained
from metalearn.experiments import Method, _store
from metalearn.experiments._run import _Part
from metalearn.experiments.study import slug
from metalearn.learners import Learner
from metalearn.learners._settings import from_settings
from metalearn.runs._checks import nearest
from metalearn.runs.run import read_study
from metalearn.training import read_checkpoint


@dataclass(frozen=True)
class Opened:
    """A trained learner, and what it was trained for.

    Attributes:
        learner: In ``eval`` mode, on the CPU.
        data: Source of its tasks; see :class:`metalearn.experiments.Study`.
        test: Sizes of its test: ``n_way`` (where there are classes), ``n_shot``, ``n_query``.
        n_steps: Numbers of inner steps at which it is tested; empty where it has none.
        note: What a user has to know of the weights, or empty.

    Example:
        >>> from metalearn.runs import open_run
        >>> open_run("maml/sinusoids").n_steps
        (1, 5, 10)
    """

    learner: Learner
    data: str
    test: Mapping[str, Any]
    n_steps: tuple[int, ...]
    note: str = ""


def open_run(where: str | Path) -> Opened:
    """Open the folder of a run, or weights that come with the package.

    A run that was not finished gives its best weights so far, and says so in ``note``.

    Args:
        where: A folder that :func:`metalearn.runs.train` wrote, or ``"METHOD/STUDY"`` such as ``"maml/glyphs"``.

    Raises:
        ValueError: If it is neither; the message lists names that are near.

    Example:
        >>> from metalearn.runs import open_run
        >>> open_run("prototypical/glyphs").test["n_way"]
        5
    """
    if Path(where).is_dir():
        return _of_folder(Path(where))
    if Path(where).is_file():
        raise ValueError(f"{where} is a file: name the folder of a run, which train writes")
    method, _, study = str(where).partition("/")
    if not study and (known := _studies_of(method)):
        raise ValueError(f"expected method/study, or a folder of a run, got {where}: there are {', '.join(known)}")
    if study not in experiments.STANDING:
        raise ValueError(
            f"{where} is no folder of a run, and no weights of the package, which are called method/study: the study"
            f" {study!r} is unknown{nearest(study or method, experiments.STANDING)}"
        )
    record = experiments.load(study)
    labels = {slug(label): label for label in record.methods}
    method = method if method in labels else slug(method)  # "MAML" is meant as "maml"
    if method not in labels:
        raise ValueError(f"the study {study} has no method {method!r}{nearest(method, labels)}")
    described, test = Method(**record.methods[labels[method]]), dict(next(iter(record.tests.values())))
    learner = pretrained(method, study, n_way=test.get("n_way"), n_shot=test.get("n_shot") if "n_way" in test else None)
    return Opened(learner, described.data or record.content["data"]["name"], test, _steps(described))


def _studies_of(method: str) -> list[str]:
    """Return the names of the weights that the package has of a method."""
    files = (_store.HERE / "weights").glob(f"*/{slug(method)}-seed0.safetensors")
    return sorted(f"{slug(method)}/{file.parent.name}" for file in files)


def _of_folder(folder: Path) -> Opened:
    study = read_study(folder)
    method = next(iter(study.methods.values()))
    test, note = dict(study.tests["test"]), ""
    if (folder / "weights.safetensors").exists():
        learner = _Part(study, method, study.seeds[0], folder, torch.device("cpu"), False).learner(method)
    elif (folder / "checkpoint.pt").exists():
        state = read_checkpoint(folder / "checkpoint.pt")
        learner = from_settings(method.settings).eval()
        learner.load_state_dict(state["best"] or state["learner"])
        done, of = len(state["history"]["losses"]), method.training.n_steps
        note = f"the run is not finished: weights of {done:,} of {of:,} steps"
    else:
        raise ValueError(f"the run in {folder} was stopped before its first checkpoint: resume it")
    return Opened(learner, study.data, test, _steps(method), note)


def _steps(method: Method) -> tuple[int, ...]:
    return tuple(method.test.get("n_steps", ()))
