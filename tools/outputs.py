"""Execute chapters in place under the conditions that the tests compare with, or clean what an editor left in them.

python tools/outputs.py --chapter 05     execute chapters/05_*.ipynb; written only if every cell ran
python tools/outputs.py --clean FILES    keep sources, outputs, tags, alt texts and tolerances; drop all other metadata
python tools/outputs.py --check FILES    change nothing; fail if --clean would change a file
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError

from metalearn.runtime import CONDITIONS

ROOT = Path(__file__).resolve().parents[1]
TIMEOUT_S = 300
KEPT = ("tags", "mystnb", "metalearn")
KEPT_OF_OURS = ("tolerance",)
METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}


def set_conditions() -> None:
    """Let the kernels that start after this see what stored outputs are made under; what the caller set stays."""
    profile = ROOT / "_build" / "ipython"  # not the personal one, which may hold start-up files
    profile.mkdir(parents=True, exist_ok=True)
    for name, value in CONDITIONS.items():
        os.environ.setdefault(name, value)
    os.environ["IPYTHONDIR"] = str(profile)
    os.environ.pop("METALEARN_BUDGET", None)  # the quick one


def clean(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """Return a copy with its outputs but without times, versions and whatever an editor added."""
    notebook = nbformat.from_dict(notebook)
    notebook.metadata = nbformat.from_dict(METADATA)
    for cell in notebook.cells:
        kept = {key: cell.metadata[key] for key in KEPT if key in cell.metadata}
        ours = {key: value for key, value in kept.pop("metalearn", {}).items() if key in KEPT_OF_OURS}
        cell.metadata = nbformat.from_dict(kept | ({"metalearn": ours} if ours else {}))
    return notebook


def cleaned_text(path: Path) -> str:
    """Return the text of a notebook file as it is after cleaning."""
    return nbformat.writes(clean(nbformat.read(path, as_version=4))) + "\n"


def write_atomically(path: Path, text: str) -> None:
    """Write the whole file or leave the old one."""
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)


def client_of(path: Path, timeout_s: int = TIMEOUT_S, allow_errors: bool = False) -> NotebookClient:
    """Return what executes a notebook as its file stands, in the folder of the file."""
    return NotebookClient(
        nbformat.read(path, as_version=4),
        timeout=timeout_s,
        allow_errors=allow_errors,
        kernel_name="python3",
        record_timing=False,
        coalesce_streams=True,
        extra_arguments=["--log-level=ERROR"],
        resources={"metadata": {"path": str(path.parent)}},
    )


def execute(path: Path, timeout_s: int = TIMEOUT_S) -> None:
    """Run every cell and store the outputs; leave the file as it is where a cell fails.

    Raises:
        RuntimeError: If a cell fails or takes too long; the message shows the cell.
    """
    client = client_of(path, timeout_s)
    running = [-1]
    client.on_cell_execute = lambda cell, cell_index: running.append(cell_index)
    try:
        client.execute()
    except (CellExecutionError, CellTimeoutError, DeadKernelError) as error:
        raise RuntimeError(f"cell {running[-1] + 1} of {path.name} failed; the file is as it was\n\n{error}") from None
    write_atomically(path, nbformat.writes(clean(client.nb)) + "\n")


def find_chapter(number: str, folder: Path) -> Path:
    """Return the chapter whose file name starts with the number.

    Raises:
        ValueError: If there is none; the message lists those there are.
    """
    chapters = {path.name.split("_")[0]: path for path in sorted(folder.glob("[0-9][0-9]_*.ipynb"))}
    if number.zfill(2) not in chapters:
        raise ValueError(f"no chapter {number!r}; name one of these: " + ", ".join(f"CHAPTER={n}" for n in chapters))
    return chapters[number.zfill(2)]


def main(arguments: list[str]) -> int:
    """Do what the command line asks, and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    action = parser.add_mutually_exclusive_group(required=True)
    action.add_argument("--chapter", metavar="NUMBER")
    action.add_argument("--clean", nargs="+", type=Path, metavar="FILE")
    action.add_argument("--check", nargs="+", type=Path, metavar="FILE")
    chosen = parser.parse_args(arguments)
    if chosen.chapter is not None:
        set_conditions()
        os.environ["CUDA_VISIBLE_DEVICES"] = ""  # stored outputs are a CPU's
        try:
            path = find_chapter(chosen.chapter, ROOT / "chapters")
            execute(path)
        except (ValueError, RuntimeError) as error:
            print(error, file=sys.stderr)
            return 1
        print(f"{path.relative_to(ROOT)}: every cell ran, outputs stored")
        return 0
    changed = [path for path in chosen.clean or chosen.check if path.read_text(encoding="utf-8") != cleaned_text(path)]
    for path in changed:
        print(f"{path}: {'cleaned' if chosen.clean else 'holds metadata to clean'}")
        if chosen.clean:
            write_atomically(path, cleaned_text(path))
    return 1 if changed and chosen.check else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
