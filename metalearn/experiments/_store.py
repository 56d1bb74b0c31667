"""The files of studies: records that people read, the values of single tasks, trained weights; locks for runners."""

from __future__ import annotations

import io
import json
import os
import platform
import re
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from safetensors.torch import save
from torch import Tensor

from metalearn._files import write_whole
from metalearn.experiments.study import Study

HERE = Path(__file__).parent  # what ships with the package lies in results/ and weights/ under it
FORMAT = 2  # of records
Values = npt.NDArray[Any]
KEY, WEIGHTS_FORMAT = "metalearn weights", "1"


def runs_folder() -> Path:
    """Return where checkpoints lie: $METALEARN_RUNS, or a cache folder of the user."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return Path(os.environ.get("METALEARN_RUNS") or cache / "metalearn" / "runs")


@contextmanager
def lock(path: Path, *, wait: bool = False) -> Iterator[bool]:
    """Hold a lock, or say that another process has it; the system lets go of it when its process ends, however.

    Args:
        path: The lock's file, which stays; it names the process that holds it.
        wait: Whether to wait for it.
    """
    try:
        import fcntl
    except ImportError:  # Windows: run one process at a time
        yield True
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            yield False
            return
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield True


def read_record(name: str, home: Path = HERE) -> dict[str, Any] | None:
    """Return a study's record, or ``None`` where it has none; refuse one of another format."""
    path = home / "results" / f"{name}.json"
    if not path.exists():
        return None
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    if content.get("format") != FORMAT:
        found = content.get("format")
        raise ValueError(f"{path.name} has the format {found}, expected {FORMAT}: written by another version")
    return content


def read_values(name: str, home: Path = HERE) -> dict[str, Values]:
    """Return the values of all tasks of a study: for each part one row after another."""
    path = home / "results" / f"{name}.npz"
    if not path.exists():
        return {}
    with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as archive:
        return dict(archive)


def gather(study: Study, part: dict[str, Any], weights: bytes | None, home: Path = HERE) -> None:
    """Add a part to its study's files; parts that were made with other settings than today's leave them.

    The record is written last: whatever happens before, the earlier one and what it names are whole.

    Args:
        study: The study.
        part: What is recorded; each of its rows has ``"per_task"``, which goes into the file of values.
        weights: Content of the file of weights, where the part has its own.
        home: Folder that has ``results/`` and ``weights/``.
    """
    with lock(runs_folder() / f"{study.name}.lock", wait=True):
        before = read_record(study.name, home) or {}
        parts = {entry["values"]: entry for entry in before.get("parts", [])}
        values = read_values(study.name, home)
        values[part["values"]] = pack(part["rows"])
        rows = [{key: value for key, value in row.items() if key != "per_task"} for row in part["rows"]]
        parts[part["values"]] = {**part, "rows": rows}
        now = [study.key(label, seed) for seed in study.seeds for label in study.methods]
        kept = [parts[key] for key in now if key in parts]
        if weights is not None:
            write_whole(home / "weights" / part["weights"], lambda file: file.write(weights))
        kept_values: dict[str, Any] = {entry["values"]: values[entry["values"]] for entry in kept}
        write_whole(home / "results" / f"{study.name}.npz", lambda file: np.savez_compressed(file, **kept_values))
        content = {"format": FORMAT, **study.describe(), "parts": kept}
        write_whole(home / "results" / f"{study.name}.json", lambda file: file.write(as_text(content).encode()))
        named = {Path(entry["weights"]).name for entry in kept if entry["weights"]}
        for stale in (home / "weights" / study.name).glob("*.safetensors"):
            if stale.name not in named:
                stale.unlink()


def pack(rows: list[dict[str, Any]]) -> Values:
    """Return the values of a part's rows one after another: right answers of a task as a small integer, or errors."""
    values = np.concatenate([np.asarray(row["per_task"], dtype=np.float32) for row in rows])
    if any("n_answers" not in row for row in rows):
        return values
    answers = np.concatenate([np.full(len(row["per_task"]), row["n_answers"]) for row in rows])
    counts: Values = np.rint(values * answers)
    return counts.astype(np.uint8 if answers.max() < 256 else np.uint16)


def unpack(part: Mapping[str, Any], row: Mapping[str, Any], values: Values) -> Tensor:
    """Return the values of a row's tasks, of all values of its part."""
    start = 0
    for other in part["rows"]:
        if other is row:
            break
        start += other["n_tasks"]
    found = torch.from_numpy(values[start : start + row["n_tasks"]].astype(np.float32))
    return found / torch.tensor(row.get("n_answers", 1))


def pack_weights(state: Mapping[str, Tensor], header: Mapping[str, Any]) -> bytes:
    """Return the content of a file of weights: tensors, and a header of plain data."""
    tensors = {name: tensor.detach().cpu().clone().contiguous() for name, tensor in state.items()}
    return save(tensors, {KEY: WEIGHTS_FORMAT, **{key: json.dumps(value) for key, value in header.items()}})


def as_text(content: Any) -> str:
    """Return JSON with each innermost list or object on one line, so that a change is readable."""
    text = json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False)
    return re.sub(r"[\[{][^\[\]{}]*[\]}]", lambda found: re.sub(r"\n\s*", " ", found.group()), text) + "\n"


def write_analysis(content: Mapping[str, Any], home: Path = HERE) -> None:
    """Write the record of an analysis under its name, numbers to four digits; what is not finite becomes null."""
    text = json.dumps(content)
    rounded = json.loads(text, parse_float=lambda number: float(f"{float(number):.4g}"), parse_constant=lambda _: None)
    path = home / "analyses" / f"{content['name']}.json"
    write_whole(path, lambda file: file.write(as_text(rounded).encode()))


def read_analysis(name: str, home: Path = HERE) -> dict[str, Any]:
    """Return the record of an analysis, as plain data."""
    content: dict[str, Any] = json.loads((home / "analyses" / f"{name}.json").read_text(encoding="utf-8"))
    return content


def environment() -> dict[str, Any]:
    """Return versions, hardware and commit, to be stored with every result.

    Example:
        >>> from metalearn.experiments import environment
        >>> sorted(environment())
        ['commit', 'hardware', 'versions']
    """
    packages = {name: metadata.version(name) for name in ("torch", "numpy", "metalearn-book")}
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return {
        "versions": {"python": platform.python_version(), **packages},
        "hardware": {"cpu": _cpu_name(), "threads": torch.get_num_threads(), "gpu": gpu},
        "commit": _commit(),
    }


def _cpu_name() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.processor())


def _commit() -> str | None:
    try:
        answer = subprocess.run(["git", "rev-parse", "HEAD"], cwd=HERE, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return answer.stdout.strip()
