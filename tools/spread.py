"""Measure how far a chapter's printed numbers move on other processors, with other threads and with other seeds.

python -m tools.spread --chapter 05    run chapters/05_*.ipynb under each condition; the file stays as it is

For each code cell whose output changes: the tolerance that it needs to agree with the stored output. "text" stands for
a difference that no tolerance helps, "fails" for a cell that raises.
"""

from __future__ import annotations

import argparse
import os
import sys
from math import isinf
from pathlib import Path

import nbformat
from nbclient.exceptions import CellTimeoutError, DeadKernelError
from nbformat import NotebookNode

from tools.compare import needed_by_all, texts, tolerance_of
from tools.outputs import ROOT, client_of, find_chapter, set_conditions

SSE = {"ATEN_CPU_CAPABILITY": "default", "ONEDNN_MAX_CPU_ISA": "SSE41", "MKL_CBWR": "COMPATIBLE"}
TWO = {"OMP_NUM_THREADS": "2", "MKL_NUM_THREADS": "2"}
SPREAD: dict[str, dict[str, str]] = {
    "AVX2": {},
    "SSE": SSE,
    "2 threads": TWO,
    "SSE, 2": SSE | TWO,
    "seed 1": {"METALEARN_SEED": "1"},
    "seed 2": {"METALEARN_SEED": "2"},
}


def code_cells(notebook: NotebookNode) -> list[NotebookNode]:
    """Return the cells that run."""
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def rerun(path: Path, condition: dict[str, str]) -> list[NotebookNode]:
    """Return the code cells of a chapter after a run under a condition; a cell that raises does not stop it."""
    client = client_of(path, allow_errors=True)
    client.execute(env=os.environ | condition)
    return code_cells(client.nb)


def move(stored: NotebookNode, new: NotebookNode) -> str:
    """Return the tolerance that a cell needs, as a table shows it; empty if none."""
    if any(output.output_type == "error" for output in new.outputs):
        return "" if "raises-exception" in stored.metadata.get("tags", []) else "fails"
    least = needed_by_all(texts(stored.outputs), texts(new.outputs))
    return "text" if isinf(least) else f"{least:.3f}" if least else ""


def show(stored: list[NotebookNode], runs: dict[str, list[NotebookNode]]) -> str:
    """Return a table of the cells whose outputs change under one of the conditions."""
    rows = [["cell", "has", *runs]]
    for number, cell in enumerate(stored, 1):
        moves = [move(cell, run[number - 1]) for run in runs.values()]
        compared = "nbval-ignore-output" not in cell.metadata.get("tags", [])
        if any(moves):
            rows.append([str(number), f"{tolerance_of(cell):g}" if compared else "ignored", *moves])
    return "\n".join("".join(f"{entry:>11}" for entry in row) for row in rows)


def main(arguments: list[str]) -> int:
    """Run a chapter under each condition, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--chapter", metavar="NUMBER", required=True)
    parser.add_argument("--only", nargs="+", choices=SPREAD, default=list(SPREAD), metavar="CONDITION")
    chosen = parser.parse_args(arguments)
    for name in {name for condition in SPREAD.values() for name in condition}:
        os.environ.pop(name, None)  # a condition of the caller would stand in every column
    set_conditions()
    os.environ["CUDA_VISIBLE_DEVICES"] = ""
    try:
        path = find_chapter(chosen.chapter, ROOT / "chapters")
        runs = {}
        for name in chosen.only:
            print(f"{path.name}: {name} …", file=sys.stderr)
            runs[name] = rerun(path, SPREAD[name])
    except (ValueError, CellTimeoutError, DeadKernelError) as error:
        print(error, file=sys.stderr)
        return 1
    print(show(code_cells(nbformat.read(path, as_version=4)), runs))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
