"""How files are written: whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO


def write_whole(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Write beside the target and rename: a crash leaves the old file or the new one, never half of one.

    Args:
        path: Where the file shall lie; its folder is made where it is missing.
        write: Called with the open file.

    Raises:
        OSError: If it cannot be written; it names the file, and an earlier one is untouched.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_whole(Path(folder, "a.bin"), lambda file: file.write(b"abc"))
        ...     Path(folder, "a.bin").read_bytes()
        b'abc'
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        if error.filename is not None:
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error  # a full disk does not say which file
    finally:
        temporary.unlink(missing_ok=True)
