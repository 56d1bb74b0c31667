"""Where data files lie."""

from __future__ import annotations

import os
from pathlib import Path


def folders() -> list[Path]:
    """Return the folders in which data files are looked for, the first one first.

    Returns:
        ``$METALEARN_DATA`` where it is set, then ``$XDG_CACHE_HOME/metalearn`` or ``~/.cache/metalearn``.
    """
    given = os.environ.get("METALEARN_DATA")
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "metalearn"
    return ([Path(given).expanduser()] if given else []) + [cache]


def find(name: str) -> Path | None:
    """Return the first existing file called ``name`` (``"omniglot/omniglot28_gray8.npz"``), or ``None``."""
    return next((folder / name for folder in folders() if (folder / name).is_file()), None)


def place_for(name: str) -> Path:
    """Return where to write a file called ``name``: in the first folder that can be written, which is made.

    Raises:
        PermissionError: If none can be written.
    """
    for folder in folders():
        target = folder / name
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
        except OSError:  # a file system that is read only
            continue
        if os.access(target.parent, os.W_OK):
            return target
    raise PermissionError(
        f"expected a folder to keep data in, cannot write {' or '.join(map(str, folders()))}: set METALEARN_DATA to one"
    )
