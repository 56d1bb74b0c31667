"""Where data files lie, and how an archive is read from there, or downloaded the first time."""

from __future__ import annotations

import io
import os
import zipfile
import zlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from metalearn._files import write_whole


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


def read_arrays(
    name: str, keys: Iterable[str], download: Callable[[Path], dict[str, Any]]
) -> tuple[Path, dict[str, Any]]:
    """Return the path of an archive and its arrays; where it is missing, write it with what ``download`` returns.

    Args:
        name: Of the archive, such as ``"mnist/mnist.npz"``.
        keys: Names of the arrays.
        download: Called with the folder of the archive, which it may use for files of its own.

    Raises:
        ValueError: If the file is cut or lacks an array.
    """
    path = find(name)
    if path is None:
        path = place_for(name)
        arrays = download(path.parent)
        write_whole(path, lambda file: np.savez_compressed(file, **arrays))
    try:
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as file:
            return path, {key: file[key] for key in keys}
    except (OSError, EOFError, LookupError, ValueError, zipfile.BadZipFile, zlib.error) as err:
        refuse(path, repr(err), err)


def offline(url: str, name: str, err: Exception) -> str:
    """Return what to say where a download failed."""
    return (
        f"could not download {url} ({err}). With a network, call again: the data are kept in {folders()[-1]}."
        f" Without one, copy {name} from another machine's cache into a folder that METALEARN_DATA names."
    )


def refuse(path: Path, got: str, cause: Exception | None = None) -> NoReturn:
    """Refuse a file that is not what was downloaded."""
    raise ValueError(
        f"expected the whole, unaltered file {path}, got: {got}. Delete it and call again to download it anew."
    ) from cause
