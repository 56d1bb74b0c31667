"""The files of unfinished runs: what they hold, and whether a run is the one that a file belongs to."""

from __future__ import annotations

import hashlib
import inspect
import io
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from metalearn._files import write_whole
from metalearn.learners._base import Learner

FORMAT = 2  # raise it when the content changes
SAME_RESULT = {"how", "chunk_size", "recompute", "training"}  # settings that change no number


def identity(
    learner: Learner,
    optimizer: torch.optim.Optimizer,
    schedule: Callable[[int], float] | None,
    max_grad_norm: float | None,
    seed: int,
) -> dict[str, str]:
    """Return what decides a run, as text by name: the learner, its settings and networks, the optimiser, the seed."""
    found = {"learner": type(learner).__name__, "revision": str(learner.revision), "seed": str(seed)}
    for name in inspect.signature(type(learner)).parameters:
        if name not in SAME_RESULT and hasattr(learner, name):
            found[f"learner.{name}"] = _describe(getattr(learner, name))
    for name, tensor in learner.state_dict().items():
        found[f"tensor {name}"] = f"{list(tensor.shape)} {tensor.dtype}"
    for name, parameter in learner.named_parameters():
        found[f"tensor {name}"] += "" if parameter.requires_grad else ", frozen"
    found["optimizer"] = type(optimizer).__name__
    for k, group in enumerate(optimizer.param_groups):
        settings = {key: value for key, value in group.items() if key not in ("params", "initial_lr")}
        found |= {f"optimizer group {k}, {key}": _describe(value) for key, value in settings.items()}
    steps = (0, 1, 10, 100, 1_000, 10_000)
    found["schedule"] = "none" if schedule is None else ", ".join(f"{schedule(step):.9g}" for step in steps)
    found["max_grad_norm"] = str(max_grad_norm)
    return found


def _describe(value: Any) -> str:
    """Return a text that is the same in another process, and differs where the value does."""
    if isinstance(value, nn.Parameter):
        return f"trained {list(value.shape)}"
    if isinstance(value, Tensor):
        digest = hashlib.sha256(value.detach().cpu().contiguous().numpy().tobytes()).hexdigest()[:12]
        return str(value.item()) if value.numel() == 1 else f"{list(value.shape)} of checksum {digest}"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {_describe(part)}" for key, part in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_describe(part) for part in value) + "]"
    if isinstance(value, nn.Module):
        return repr(value) if list(value.parameters()) else f"{value!r} {_describe(_settings(value))}"
    if isinstance(value, partial):
        return f"{_describe(value.func)} {_describe(value.args)} {_describe(value.keywords)}"
    if callable(value):
        return f"{getattr(value, '__module__', '')}.{getattr(value, '__qualname__', type(value).__name__)}"
    return repr(value)


def _settings(loss: nn.Module) -> dict[str, Any]:
    """Return numbers, texts and buffers of a loss such as ``nn.HuberLoss``, which its repr does not show."""
    own = {name: value for name, value in vars(loss).items() if isinstance(value, int | float | str)}
    return {name: value for name, value in own.items() if name != "training"} | dict(loss.named_buffers())


def compare(path: Path, theirs: Mapping[str, str], mine: Mapping[str, str]) -> None:
    """Refuse a checkpoint of another run; the message shows the first differences.

    Raises:
        ValueError: If anything that decides the run differs.
    """
    names = [name for name in {**mine, **theirs} if mine.get(name) != theirs.get(name)]
    if names:
        shown = "; ".join(_difference(name, theirs.get(name), mine.get(name)) for name in names[:3])
        raise ValueError(
            f"the checkpoint {path} is of another run: {shown}. Name another file, or delete this one to start anew"
        )


def _difference(name: str, theirs: str | None, mine: str | None) -> str:
    """Return both texts, long ones from where they part."""
    theirs, mine = str(theirs), str(mine)
    start = next((i for i, (a, b) in enumerate(zip(theirs, mine, strict=False)) if a != b), 0)
    start = max(start - 20, 0) if max(len(theirs), len(mine)) > 80 else 0

    def cut(text: str) -> str:
        part = " ".join(text[start : start + 80].split())
        return ("..." if start else "") + part + ("..." if len(text) > start + 80 else "")

    return f"its {name} is {cut(theirs)}, here it is {cut(mine)}"


def write_checkpoint(path: Path, state: Mapping[str, Any], step: int) -> None:
    """Write a checkpoint, whole or not at all.

    Raises:
        OSError: If it cannot be written; an earlier one is untouched.
    """
    buffer = io.BytesIO()  # torch.save into a file turns a full disk into a RuntimeError about positions
    torch.save({"format": FORMAT, **state}, buffer)
    try:
        write_whole(path, lambda file: file.write(buffer.getbuffer()))
    except OSError as error:
        raise OSError(
            error.errno,
            f"the checkpoint of step {step} could not be written ({error.strerror}); an earlier one is untouched. Make"
            " room and call fit again with the same checkpoint",
            str(path),
        ) from error


def read_checkpoint(path: str | Path) -> dict[str, Any]:
    """Read a checkpoint of :func:`metalearn.fit` without running any code that it might hold.

    Args:
        path: File that ``fit`` wrote.

    Returns:
        What it holds: among others ``"learner"`` (its weights), ``"optimizer"``, ``"history"`` and ``"best"``, the
        weights that scored best where there was a validation.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is cut, no checkpoint, or of another format.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> from torch import nn
        >>> from metalearn import fit, sample_episodes
        >>> from metalearn.data import digits
        >>> from metalearn.learners import Prototypical
        >>> from metalearn.training import read_checkpoint
        >>> learner, pool = Prototypical(nn.Sequential(nn.Flatten(), nn.Linear(64, 8))), digits().train
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder, "run.pt")
        ...     _ = fit(learner, lambda g: sample_episodes(pool, 1, 2, 1, 1, g), 5, checkpoint=path, progress=False)
        ...     len(read_checkpoint(path)["history"]["losses"])
        5
    """
    try:
        state = torch.load(path, weights_only=True, map_location="cpu")
        found = state["format"]
    except FileNotFoundError:
        raise
    except Exception as error:
        raise ValueError(f"{path} is no whole checkpoint ({type(error).__name__}): delete it to start anew") from error
    if found != FORMAT:
        raise ValueError(
            f"{path} has checkpoint format {found}, this version of metalearn reads {FORMAT}: delete it to start anew,"
            " or use the version that wrote it"
        )
    return dict(state)
