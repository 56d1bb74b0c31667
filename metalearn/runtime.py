"""Where and how a run happens: seeds, device, budget, and the conditions under which outputs are stored."""

from __future__ import annotations

import hashlib
import os
import random
from typing import Any, TypeVar

import numpy as np
import torch
from tqdm import tqdm

T = TypeVar("T")

CONDITIONS = {  # environment in which stored outputs are made and compared, where the caller does not set another
    "MPLBACKEND": "module://matplotlib_inline.backend_inline",
    "OMP_NUM_THREADS": "1",  # sums over several threads round differently; MKL takes its number from here
    "PYTHONHASHSEED": "0",
    "PYTHONWARNINGS": "ignore",
    "TQDM_DISABLE": "1",  # progress bars print times
    "ATEN_CPU_CAPABILITY": "avx2",  # processors with wider registers round differently
    "MKL_CBWR": "AVX2",
    "ONEDNN_MAX_CPU_ISA": "AVX2",
}


def default_seed() -> int:
    """Return the seed that ``fit``, ``evaluate`` and ``calibrate`` take where none is given.

    It is 0, or 1,000 times the environment variable METALEARN_SEED, which runs a whole chapter with other draws.

    Raises:
        ValueError: If METALEARN_SEED is no integer of at least 0.

    Example:
        >>> from metalearn.runtime import default_seed
        >>> default_seed() % 1_000
        0
    """
    text = os.environ.get("METALEARN_SEED") or "0"
    if not text.isdecimal():
        raise ValueError(f"METALEARN_SEED must be an integer of at least 0, got {text!r}")
    return 1_000 * int(text)


def seed_everything(seed: int) -> torch.Generator:
    """Seed Python, NumPy and PyTorch, and return a generator for drawing episodes.

    Args:
        seed: At least 0 and below 2**31; :func:`default_seed` is added to it.

    Returns:
        A CPU generator with the same seed.

    Example:
        >>> import torch
        >>> from metalearn.runtime import seed_everything
        >>> int(torch.randint(100, (), generator=seed_everything(0))) == int(torch.randint(100, ()))
        True
    """
    seed = seed + default_seed()
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002 - for libraries that draw from NumPy's global state
    torch.manual_seed(seed)
    return torch.Generator().manual_seed(seed)


def stream(seed: int, name: str, device: torch.device | str = "cpu") -> torch.Generator:
    """Return a generator of its own for one use of a seed, so that no test task is a training task.

    Args:
        seed: Any integer.
        name: What is drawn: ``"train"``, ``"statistics"``, ``"validation"``, ``"test"``, ``"calibration"``, or another.
        device: Where it draws.

    Example:
        >>> import torch
        >>> from metalearn.runtime import stream
        >>> draws = [torch.rand(1, generator=stream(0, name)).item() for name in ("train", "test")]
        >>> draws[0] == draws[1]
        False
    """
    digest = hashlib.sha256(f"{name} {seed}".encode()).digest()
    return torch.Generator(device).manual_seed(int.from_bytes(digest[:6], "big"))


def pick_device(name: str | None = None) -> torch.device:
    """Return the named device, or a GPU where there is one and the CPU elsewhere.

    Args:
        name: ``"cpu"``, ``"cuda"``, ``"cuda:1"``, ``"mps"``; ``None`` picks.

    Raises:
        ValueError: If the named device is not there.

    Example:
        >>> from metalearn.runtime import pick_device
        >>> pick_device("cpu")
        device(type='cpu')
    """
    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name is None:
        return torch.device(next(kind for kind, available in there.items() if available))
    kind = name.split(":")[0]
    if not there.get(kind, False):
        raise ValueError(f"device {name!r} is not available here; available: {[k for k, ok in there.items() if ok]}")
    return torch.device(name)


def progress_bar(total: int, unit: str, show: bool, done: int = 0) -> Any:
    """Return a progress bar on the error stream; the environment variable TQDM_DISABLE=1 hides all of them.

    Args:
        total: Number of things to do.
        unit: What is counted.
        show: Whether to show it.
        done: Number of things done before.

    Example:
        >>> from metalearn.runtime import progress_bar
        >>> with progress_bar(10, "task", show=False) as bar:
        ...     for _ in range(10):
        ...         _ = bar.update()
    """
    hidden = {} if show else {"disable": True}  # an explicit disable=False would overrule the environment
    return tqdm(total=total, unit=unit, initial=done, **hidden)


def budget(*, full: T, quick: T) -> T:
    """Return ``quick``, or ``full`` where the environment variable METALEARN_BUDGET says so.

    Chapters run the quick budget, so that a page takes less than a minute; the full one can take hours.

    Raises:
        ValueError: If METALEARN_BUDGET is neither ``"quick"`` nor ``"full"``.

    Example:
        >>> from metalearn.runtime import budget
        >>> budget(full=70_000, quick=1_500)
        1500
    """
    choices = {"quick": quick, "full": full}
    name = os.environ.get("METALEARN_BUDGET", "quick")
    if name not in choices:
        raise ValueError(f"METALEARN_BUDGET must be one of {sorted(choices)}, got {name!r}")
    return choices[name]
