"""Run chapters as a stranger does, each in an empty folder, with the installed package. Asserts decide.

python tools/alone.py 01 04 21     these chapters; without numbers, all

Run it with the Python of the environment that is to be tried, which needs nbclient and ipykernel beside the package.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import time
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError

ROOT = Path(__file__).resolve().parents[1]
TIMEOUT_S = 600


def chapters(numbers: list[str]) -> list[Path]:
    """Return the chapters of these numbers, or all.

    Raises:
        ValueError: If there is no chapter of a number.
    """
    found = {path.name[:2]: path for path in sorted((ROOT / "chapters").glob("[0-9][0-9]_*.ipynb"))}
    if unknown := [number for number in numbers if number.zfill(2) not in found]:
        raise ValueError(f"no chapter {unknown[0]!r}; there are {', '.join(found)}")
    return [found[number.zfill(2)] for number in numbers] or list(found.values())


def run(path: Path) -> float:
    """Run a chapter in an empty folder and return the seconds that it took.

    Raises:
        RuntimeError: If a cell fails, or the chapter leaves something in the folder.
    """
    with tempfile.TemporaryDirectory() as folder:
        client = NotebookClient(
            nbformat.read(path, as_version=4),
            timeout=TIMEOUT_S,
            kernel_name="python3",
            resources={"metadata": {"path": folder}},
        )
        began = time.perf_counter()
        try:
            client.execute()
        except (CellExecutionError, CellTimeoutError, DeadKernelError) as error:
            raise RuntimeError(f"{path.name} failed\n\n{error}") from None
        if left := sorted(entry.name for entry in Path(folder).iterdir()):
            raise RuntimeError(f"{path.name} left {left} in its folder")
        return time.perf_counter() - began


def set_conditions(profile: str) -> None:
    """Let kernels see the installed package, no personal start-up files, and no progress bars."""
    for name in ("PYTHONPATH", "METALEARN_BUDGET"):
        os.environ.pop(name, None)
    os.environ.update(IPYTHONDIR=profile, TQDM_DISABLE="1", MPLBACKEND="module://matplotlib_inline.backend_inline")


def main(numbers: list[str]) -> None:
    """Run chapters one after the other and say what they took."""
    profile = tempfile.mkdtemp()
    set_conditions(profile)
    try:
        for path in chapters(numbers):
            print(f"{path.name}: every cell ran, {run(path):.0f} s", flush=True)
    finally:
        shutil.rmtree(profile, ignore_errors=True)


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except (ValueError, RuntimeError) as error:
        sys.exit(str(error))
