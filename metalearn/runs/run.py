"""One run in a folder of its own: settings, checkpoint, log, and at the end the weights and the score."""

from __future__ import annotations

import json
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

import torch

from metalearn._files import write_whole
from metalearn.distributed import Workers
from metalearn.experiments import Method, Study, _store
from metalearn.experiments._run import _Part
from metalearn.runs.log import Log
from metalearn.runtime import pick_device
from metalearn.training import read_checkpoint

FORMAT = 1  # of settings.json; raise it when the content changes


def train(
    study: Study,
    folder: str | Path,
    *,
    resume: bool = False,
    log: Literal["csv", "tensorboard"] = "csv",
    device: str | None = None,
    progress: bool = True,
    workers: Workers | None = None,
) -> dict[str, Any]:
    """Train the one method of a study in a folder, test it, and return what was measured.

    The folder then holds ``settings.json`` (all that decides the run), ``checkpoint.pt``, ``log.csv``,
    ``weights.safetensors`` (best on validation), ``last.safetensors`` and ``result.json``.

    Args:
        study: What :func:`metalearn.runs.plan` returns.
        folder: Where the run is kept; made where it is missing.
        resume: Go on with the run in that folder, which must have these settings.
        log: How progress is written down; see :class:`Log`.
        device: Where to train; by default a GPU where there is one.
        progress: Whether to show progress bars.
        workers: The processes that train together; process 0 keeps the folder and tests. ``None``: this one alone.

    Returns:
        Plain data: how long it was trained, and a row with mean and interval for each test; in other processes than
        the first, how long it was trained.

    Raises:
        ValueError: If the folder holds a run and ``resume`` is not set, or the other way round, or one with other
            settings; if the device is not there.
        FloatingPointError: Never; a run that diverges ends with the best weights before, and says so.
        KeyboardInterrupt: After Ctrl-C; the checkpoint is written, and ``resume`` goes on from there.
        OSError: If a file cannot be written.

    Example:
        >>> import tempfile
        >>> from metalearn.runs import plan, train
        >>> study = plan("Prototypical", "digits", n_way=2, fit={"n_steps": 2})
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     result = train(study, folder, device="cpu", progress=False)
        >>> result["n_steps"], result["rows"][0]["n_tasks"]
        (2, 600)
    """
    folder, place, workers = Path(folder), pick_device(device), workers or Workers()
    place = workers.device if workers.size > 1 else place
    workers.check_same("the settings", json.dumps(asdict(study), sort_keys=True))
    if not workers.first:
        with tempfile.TemporaryDirectory() as scratch:  # fit takes what it goes on from out of process 0
            return _follow(study, Path(scratch), place, workers)
    label, method = next(iter(study.methods.items()))
    _prepare(study, folder, resume)
    with _store.lock(folder / "lock") as mine:
        if not mine:
            raise ValueError(f"process {(folder / 'lock').read_text()} is at work in {folder}: wait, or name another")
        path = folder / "checkpoint.pt"
        notes = Log(folder, log, done=len(read_checkpoint(path)["history"]["losses"]) if path.exists() else 0)
        part = _Part(study, method, study.seeds[0], folder, place, progress, notes, workers)
        workers.from_first(part.finished())
        try:
            training = part.train(None)
        finally:
            notes.close()
        rows = part.test(part.learner(method), method)
        for row in rows:
            del row["per_task"]
        result = {"method": label, **training, **_store.environment(), "rows": rows}
        if path.exists():
            last = _store.pack_weights(read_checkpoint(path)["learner"], {})
            write_whole(folder / "last.safetensors", lambda file: file.write(last))
        write_whole(folder / "result.json", lambda file: file.write(json.dumps(result, indent=1).encode()))
    return result


def _follow(study: Study, scratch: Path, place: torch.device, workers: Workers) -> dict[str, Any]:
    """Train in a process that keeps nothing."""
    method = next(iter(study.methods.values()))
    if workers.from_first(None):
        return {}  # the run was finished before
    # the path of a checkpoint that is never written: fit takes the state of process 0
    return _Part(study, method, study.seeds[0], scratch, place, False, None, workers).train(None)


def _prepare(study: Study, folder: Path, resume: bool) -> None:
    """Write the settings, or compare them with those of the run that is to go on.

    Raises:
        ValueError: If the folder and what was asked for do not fit.
    """
    content = {"format": FORMAT, "asked": _asked(study), "study": asdict(study)}
    path = folder / "settings.json"
    if path.exists() != resume:
        advice = "no run to go on with: leave resume out" if resume else "a run already: resume it, or name another"
        raise ValueError(f"{folder} holds {advice}")
    if not resume:
        if folder.exists() and any(folder.iterdir()):
            raise ValueError(f"{folder} is not empty and holds no run: name another folder")
        folder.mkdir(parents=True, exist_ok=True)
        write_whole(path, lambda file: file.write(json.dumps(content, indent=1).encode()))
        return
    there = read_study(folder)
    mine, theirs = (_flat(_plain(asdict(each))) for each in (study, there))
    if different := [key for key in {**mine, **theirs} if mine.get(key) != theirs.get(key)]:
        shown = "; ".join(f"{key} is {theirs.get(key)} there, {mine.get(key)} here" for key in different[:3])
        raise ValueError(f"{folder} is a run with other settings: {shown}. Leave them out to go on with its own")


def read_study(folder: str | Path) -> Study:
    """Return the study of a run from its ``settings.json``.

    Raises:
        ValueError: If there is no run, or its settings cannot be read.
    """
    path = Path(folder, "settings.json")
    try:
        content = json.loads(path.read_text())
        found, version = content["study"], content["format"]
    except FileNotFoundError as error:
        raise ValueError(f"{folder} is no folder of a run: it has no settings.json, which train writes") from error
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} cannot be read ({error}): it was cut or changed; train anew") from error
    if version != FORMAT:
        raise ValueError(f"expected settings of format {FORMAT}, got {version} in {path}: train anew")
    methods = {label: Method(**method) for label, method in found.pop("methods").items()}
    return Study(methods=methods, **{**found, "seeds": tuple(found["seeds"]), "snapshots": ()})


def _asked(study: Study) -> dict[str, Any]:
    """Return the run in the words that :func:`metalearn.runs.read_settings` reads."""
    label, method = next(iter(study.methods.items()))
    sections = {name: dict(getattr(method, name)) for name in ("learner_args", "episodes", "fit", "test")}
    sizes = {key: value for key, value in study.tests["test"].items() if key in ("n_way", "n_shot", "n_query")}
    return {"learner": label, "data": study.data, "seed": study.seeds[0], **sizes, **sections}


def _plain(content: Any) -> Any:
    return json.loads(json.dumps(content))


def _flat(content: Any, above: str = "") -> dict[str, Any]:
    if not isinstance(content, dict):
        return {above: content}
    parts = [_flat(part, f"{above}.{name}".strip(".")) for name, part in content.items()]
    return {key: value for part in parts for key, value in part.items()}
