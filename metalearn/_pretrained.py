"""Learners with the weights that the package's studies trained."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from metalearn.learners import Learner


def pretrained(method: str, data: str, *, n_way: int | None = 5, n_shot: int | None = 1, seed: int = 0) -> Learner:
    """Return a learner that a study of this package trained, in ``eval`` mode, on the CPU.

    ``metalearn.experiments.load(data)`` tells how it was trained and how it scored: the same tasks give the same
    numbers here. Of settings that the study chose for each test by trying (``"joint_training"`` on sine waves), the
    learner has those of its training. Nothing is downloaded, and no code that a file might hold is run.

    Args:
        method: The method's name in the study, in small letters with underscores: ``"maml"``, ``"first_order_maml"``,
            ``"siamese_contrastive"``. Where a study trained several variants, each has to be named in full.
        data: The study, such as ``"glyphs"`` or ``"sinusoids"``: a name in ``metalearn.experiments.STANDING``.
        n_way: Number of classes of the tasks for which the weights were chosen. Sine waves have none: leave it out.
        n_shot: Support examples of each class of these tasks; leave it out for sine waves, too (10 points). The learner
            takes tasks of other sizes where its method does.
        seed: Seed of the training. The weights of seed 0 come with the package, scores of all seeds with the study.

    Raises:
        ValueError: If there are no such weights; the message lists those there are. If their file is cut, or of
            another version.

    Example:
        >>> import metalearn
        >>> from metalearn.data import glyphs
        >>> learner = metalearn.pretrained("prototypical", "glyphs")
        >>> tasks = glyphs().test.episodes(n_tasks=20, n_way=5, n_shot=1, n_query=5)
        >>> metalearn.evaluate(learner, tasks, n_tasks=100).above(0.2, by=0.6)
        True
    """
    from metalearn import experiments  # here: it needs the whole package

    if data not in experiments.STANDING:
        raise ValueError(f"expected data to be one of {list(experiments.STANDING)}, got {data!r}")
    record = experiments.load(data)
    part = _part(record, data, method, n_way, n_shot, seed)
    path = _path(record, part)
    return _build(record.methods[part["method"]], _read(path, part, data))


def _part(record: Any, data: str, method: str, n_way: int | None, n_shot: int | None, seed: int) -> dict[str, Any]:
    """Return the part of a record that is meant.

    Raises:
        ValueError: If there is none; the message lists those there are.
    """
    there = {}
    for part in record.parts():
        if part["weights"] is not None and _path(record, part).is_file():
            there[(*_name(record, part["method"]), part["seed"])] = part
    wanted = (method, n_way, n_shot, seed)
    if "n_way" not in next(iter(record.tests.values())) and (n_way, n_shot) in ((5, 1), (None, None)):
        wanted = (method, None, None, seed)
    if wanted not in there:
        asked = _text(*wanted)
        list_of_them = "; ".join(_text(*key) for key in there) or "none"
        raise ValueError(f"no weights on {data} for {asked}; there are {list_of_them}")
    found: dict[str, Any] = there[wanted]
    return found


def _name(record: Any, label: str) -> tuple[str, int | None, int | None]:
    """Return a method's name in small letters, and the sizes of the tasks by which its weights were chosen."""
    from metalearn.experiments.study import slug

    chosen_on = record.methods[label]["fit"].get("validate_on") or next(iter(record.tests))
    test = record.tests[chosen_on]
    if "n_way" not in test:
        return slug(label), None, None
    return slug(label).removesuffix(f"_{test['n_shot']}_shot"), test["n_way"], test["n_shot"]


def _text(method: str, n_way: int | None, n_shot: int | None, seed: int) -> str:
    sizes = "" if n_way is None and n_shot is None else f" {n_way}-way {n_shot}-shot"
    return f"{method!r}{sizes} seed {seed}"


def _path(record: Any, part: Mapping[str, Any]) -> Path:
    return Path(record.home, "weights", part["weights"])


def _read(path: Path, part: Mapping[str, Any], data: str) -> dict[str, Tensor]:
    """Return the tensors of a file of weights, if it is the one that a part of a study names.

    Raises:
        ValueError: If it is cut, no such file, or of another format, training or revision of the learner.
    """
    from metalearn.experiments._store import KEY, WEIGHTS_FORMAT

    again = "install the package again, or restore the file from its repository"
    try:
        with safe_open(path, framework="pt") as file:
            header = file.metadata() or {}
            tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118 - not a mapping
    except SafetensorError as error:
        raise ValueError(f"{path} is no whole file of weights ({error}): it was cut or replaced; {again}") from error
    if KEY not in header:
        raise ValueError(f"expected weights of a study, got a file without their header, {path}: {again}")
    if header[KEY] != WEIGHTS_FORMAT:
        raise ValueError(f"expected weights of format {WEIGHTS_FORMAT}, got format {header[KEY]} in {path}: {again}")
    wanted = {"study": data, "method": part["trained_as"], "seed": part["seed"]}
    wanted["training_digest"] = part["training_digest"]
    found = {key: json.loads(header.get(key, "null")) for key in wanted}
    if found != wanted:
        raise ValueError(f"expected the weights of {wanted}, got those of {found} in {path}: {again}")
    _check_revision(path, header)
    return tensors


def _check_revision(path: Path, header: Mapping[str, str]) -> None:
    from metalearn.learners._settings import known_learners

    name = json.loads(header["settings"])["learner"]
    now, then = known_learners()[name].revision, json.loads(header["revision"])
    if now != then:
        raise ValueError(
            f"expected weights of revision {now} of {name}, got revision {then} in {path}: what {name} computes has"
            " changed since; train anew by metalearn study run, or use the version that wrote them"
        )


def _build(method: Mapping[str, Any], weights: Mapping[str, Tensor]) -> Learner:
    """Return a method's learner with weights, laid out and run as its study did."""
    from metalearn.experiments.study import Method
    from metalearn.learners._settings import from_settings

    described = Method(**method)
    with torch.random.fork_rng(devices=[]):  # the caller's random numbers stay as they are
        learner = from_settings(described.settings)
    learner.load_state_dict(weights)
    if described.training.channels_last:
        learner.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    learner.how = described.training.how  # type: ignore[assignment]
    return learner.eval()
