"""Outputs are compared as text with numbers in it: each rule, then nbval with the hook, then the measured spread."""

from __future__ import annotations

import operator
import os
import re
import subprocess
import sys
from math import inf
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook, new_output

from tools.compare import Output, differences, needed, needed_by_all, split, texts, tolerance_of
from tools.outputs import METADATA
from tools.spread import SPREAD, SSE, code_cells, rerun, show

ROOT = Path(__file__).resolve().parents[1]

SAME = [  # stored, new, tolerance
    ("loss 0.53", "loss 0.54", 0),  # one unit of the last printed digit
    ("0.95", "1", 0.06),  # %g drops the last digit
    ("9.9", "10.0", 0),
    ("5e+01", "6e+01", 0),
    ("1.80e-05", "1.81e-05", 0),
    ("-0.0", "0.0", 0),
    ("−0.31", "-0.30", 0),  # a minus sign
    ("0.500", "0.525", 0.05),  # exactly the tolerance
    ("1.000", "1.030", 0.03),  # in decimal, as it is printed
    ("-2.00", "-2.10", 0.05),
    ("0.00", "0.01", 0.05),  # the unit is more than the tolerance of a small number
    ("79 ± 1 %", "80 ± 1 %", 0.02),  # a bare integer in a cell with a tolerance
    ("1,761", "1,800", 0.05),
    ("1,761.5", "1,761.6", 0),
    ("0.12–2.58", "0.13–2.59", 0),
    ("2.49-2.92", "2.48-2.93", 0),
    ("took 4.5s", "took 4.6s", 0),
    ("nan, inf, -inf", "nan, inf, -inf", 0),
    ("a    b", "a b", 0),  # runs of blanks
    ("x:  9.9", "x: 10.0", 0),
    ("[ 0.1 -0.2]", "[-0.0 -0.2]", 0),  # blanks before a number align it
    ("| MAML | 0.53 ± 0.02 | 65% |", "| MAML | 0.54 ± 0.01 | 65% |", 0),
    ("| **92.5** |", "| **92.6** |", 0),
    ("tensor([[-0.2000, 0.1000]])", "tensor([[-0.2001, 0.0999]])", 0),
    ("<b style='width: 1.0px'>0.51</b>", "<b style='width: 1.0px'>0.52</b>", 0),
]
OTHER = [
    ("loss 0.53", "loss 0.55", 0),
    ("loss 0.53", "error 0.53", 0),
    ("0.500", "0.526", 0.05),
    ("-2.00", "2.00", 0.1),
    ("0.95", "1.00", 0.05),
    ("79 ± 1 %", "80 ± 1 %", 0),  # a bare integer
    ("1,761", "1,762", 0),
    ("3", "3.0", 0),
    ("1,761", "1,900", 0.05),
    ("79 %", "85 %", 0.05),
    ("nan", "0.5", 0.1),
    ("inf", "-inf", 0.1),
    ("0.5", "inf", 0.1),
    ("12", "1 2", 0.1),  # blanks between numbers tell them apart
    ("a b", "ab", 0),
    ("a\nb", "a b", 0),
    ("0.5 %", "0.5%", 0),
    ("<Figure size 506x319 with 1 Axes>", "<Figure size 507x319 with 1 Axes>", 0.1),
    ("<b style='width: 1.0px'>0.51</b>", "<b style='width: 1.1px'>0.51</b>", 0.1),
    ("5-way 1-shot", "6-way 1-shot", 0.1),  # names
    ("5-way 1-shot", "5-way 2-shot", 0.1),
    ("Conv4", "Conv5", 0.1),
    ("ResNet-18", "ResNet-19", 0.1),
    ("torch 2.13.0", "torch 2.13.1", 0.1),
    ("0.5 0.6", "0.5", 0.1),
    ("| MAML | 0.53 |", "| ANIL | 0.53 |", 0.1),
]


@pytest.mark.parametrize(("stored", "new", "tolerance"), SAME)
def test_outputs_agree(stored: str, new: str, tolerance: float) -> None:
    assert differences(stored, new, tolerance) == []
    assert Output(stored, tolerance) == Output(new, tolerance)
    assert not operator.ne(Output(stored, tolerance), Output(new, tolerance))  # what nbval asks


@pytest.mark.parametrize(("stored", "new", "tolerance"), OTHER)
def test_outputs_differ(stored: str, new: str, tolerance: float) -> None:
    assert len(differences(stored, new, tolerance)) == 1
    assert Output(stored, tolerance) != Output(new, tolerance)
    assert not operator.eq(Output(stored, tolerance), Output(new, tolerance))


def test_a_difference_says_what_it_would_need() -> None:
    assert differences("a 0.50, b 2", "a 0.56, b 3", 0.01) == [
        "0.50 is now 0.56: it needs a tolerance of 0.120, the cell's is 0.01"
    ]
    assert differences("mean 5", "median 5") == ["the text 'mean' is now 'median'"]
    assert differences("1 2", "1") == ["2 numbers are now 1"]


def test_the_unit_is_that_of_the_stored_number() -> None:
    assert differences("0.5", "0.58") == [] and differences("0.50", "0.6") != []


def test_numbers_are_found_in_a_table() -> None:
    row = "| Meta-SGD | 0.48–0.57, 0.5-0.7 | −3 ± 1.5e-05 | 1,761 | 23% | 5-way | 1-8-1 |"
    assert split(row)[1] == ["0.48", "0.57", "0.5", "0.7", "−3", "1.5e-05", "1,761", "23"]


@pytest.mark.parametrize("wrong", [-0.1, 0.11, True, "0.1", None, float("nan")])
def test_a_wrong_tolerance_is_refused(wrong: object) -> None:
    assert tolerance_of(new_code_cell("")) == 0
    assert tolerance_of(new_code_cell("", metadata={"metalearn": {"tolerance": 0.1}})) == 0.1
    with pytest.raises(ValueError, match=r"must be a number from 0 to 0\.1, got"):
        tolerance_of(new_code_cell("", metadata={"metalearn": {"tolerance": wrong}}))


def test_the_tolerance_that_a_number_needs() -> None:
    assert needed("0.50", "0.51") == 0 and needed("79", "79") == 0
    assert needed("79", "80") == 0.001
    assert needed("80", "88") == pytest.approx(0.1) and needed("-0.50", "-0.60") == pytest.approx(0.2)
    assert needed("0.0", "0.5") == inf
    assert needed_by_all(["a 1.0", "b"], ["a 1.3", "b"]) == pytest.approx(0.3)
    assert needed_by_all(["a 1.0"], ["b 1.0"]) == needed_by_all(["a"], []) == inf


# nbval with the hook of conftest.py.


def stored_cell(source: str, output: str, **ours: float) -> nbformat.NotebookNode:
    outputs = [new_output("stream", name="stdout", text=output)]
    return new_code_cell(source, metadata={"metalearn": ours}, outputs=outputs, execution_count=1)


def nbval_result(path: Path, cells: list[nbformat.NotebookNode], **environment: str) -> tuple[set[int], str]:
    """Return the numbers of the cells that fail under nbval, and what it printed."""
    nbformat.write(new_notebook(cells=cells, metadata=METADATA), path)
    command = [sys.executable, "-m", "pytest", "--nbval", "-p", "no:cacheprovider", "-p", "conftest", "--color=no"]
    result = subprocess.run(
        [*command, str(path)], cwd=ROOT, env=os.environ | environment, capture_output=True, text=True, check=False
    )
    assert re.search(r"\d+ (?:passed|failed)", result.stdout), result.stdout + result.stderr
    return {int(number) for number in re.findall(r"^FAILED .*::Cell (\d+)", result.stdout, re.MULTILINE)}, result.stdout


@pytest.mark.slow
def test_nbval_compares_with_the_tolerance_of_the_cell(tmp_path: Path) -> None:
    cells = [
        stored_cell("print('loss 0.53')", "loss 0.52\n"),
        stored_cell("print('loss 0.53')", "loss 0.51\n"),
        stored_cell("print('loss 0.53')", "loss 0.51\n", tolerance=0.05),
        stored_cell("print('79 of 80')", "78 of 80\n"),
        stored_cell("print('79 of 80')", "78 of 80\n", tolerance=0.05),
        stored_cell("print(1.5)", "1.5\n", tolerance=0.5),
    ]
    failed, report = nbval_result(tmp_path / "a.ipynb", cells, METALEARN_SEED="0")
    assert failed == {1, 3, 5}
    assert "0.51 is now 0.53: it needs a tolerance of 0.039, the cell's is 0" in report
    assert "78 is now 79" in report and "must be a number from 0 to 0.1, got 0.5" in report


@pytest.mark.slow
def test_another_seed_runs_the_asserts_and_compares_nothing(tmp_path: Path) -> None:
    cells = [stored_cell("print('loss 0.53')", "loss 9\n"), stored_cell("assert 1 > 2", "")]
    assert nbval_result(tmp_path / "a.ipynb", cells, METALEARN_SEED="1")[0] == {1}


# make spread, and what continuous integration runs of it.


def test_continuous_integration_and_the_rules_name_the_same_conditions() -> None:
    elsewhere = " ".join(f"{name}={value}" for name, value in SSE.items()) + " make chapters\n"
    for name in (".ci/run", "CONTRIBUTING.md"):
        text = (ROOT / name).read_text(encoding="utf-8")
        assert elsewhere in text and "METALEARN_SEED=1 make chapters\n" in text, name


@pytest.mark.slow
def test_the_spread_of_a_chapter(tmp_path: Path) -> None:
    seed = "import os\nseed = int(os.environ.get('METALEARN_SEED', 0))\nprint(f'{1 + 0.2 * seed:.2f}')"
    cells = [stored_cell(seed, "1.00\n"), stored_cell("assert seed < 2", ""), stored_cell("print('a' * seed)", "\n")]
    cells[1].outputs = []
    nbformat.write(new_notebook(cells=cells), tmp_path / "05_a.ipynb")
    stored = code_cells(nbformat.read(tmp_path / "05_a.ipynb", as_version=4))
    assert texts(stored[0].outputs) == ["text: 1.00\n"]
    runs = {name: rerun(tmp_path / "05_a.ipynb", SPREAD[name]) for name in ("AVX2", "seed 2")}
    table = [line.split() for line in show(stored, runs).splitlines()]
    assert table == [["cell", "has", "AVX2", "seed", "2"], ["1", "0", "0.400"], ["2", "0", "fails"], ["3", "0", "text"]]
