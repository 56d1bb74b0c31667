"""Every chapter keeps the book's rules; nbval, beside this file, runs the cells and compares their outputs."""

from __future__ import annotations

import ast
import platform
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import nbformat
import pytest
import yaml
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from metalearn.runtime import CONDITIONS
from tools.compare import tolerance_of
from tools.outputs import METADATA, clean, cleaned_text, execute, find_chapter, main, set_conditions

ROOT = Path(__file__).resolve().parents[1]
CHAPTERS = sorted((ROOT / "chapters").glob("*.ipynb"))


@dataclass(frozen=True)
class Limits:
    """How long a chapter's parts may be; a cell with the tag ``derivation`` checks one."""

    n_cells: tuple[int, int] = (40, 80)
    median_lines: int = 6
    lines: int = 15
    derivation_lines: int = 20
    words_per_line: int = 10


LIMITS = Limits()
WIDE_TOLERANCE = 0.02
WIDE: dict[str, list[int]] = {"07_meta_lstm": [18]}  # code cells whose tolerance is above that, by chapter


def code_cells(notebook: NotebookNode) -> list[NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def tags(cell: NotebookNode) -> list[str]:
    return list(cell.metadata.get("tags", []))


def code_lines(source: str) -> int:
    """Count lines that are neither blank nor a comment."""
    return sum(bool(line.strip()) and not line.strip().startswith("#") for line in source.splitlines())


def words(source: str) -> int:
    """Count words of prose: formulas and code blocks are none."""
    prose = re.sub(r"```(?:python|shell).*?```|\$\$.*?\$\$|\$[^$]*\$|`[^`]*`", " ", source, flags=re.DOTALL)
    return len(re.findall(r"[A-Za-zÀ-ÿ][\w'’-]*", prose))


# Rules: each takes a notebook and returns what is wrong with it, in words.


def wrong_metadata(notebook: NotebookNode) -> list[str]:
    return [] if notebook == clean(notebook) else ["metadata to clean: run tools/outputs.py --clean on it"]


def wrong_order(notebook: NotebookNode) -> list[str]:
    counts = [cell.execution_count for cell in code_cells(notebook)]
    return [] if counts == list(range(1, len(counts) + 1)) else [f"cells were not run once each, in order: {counts}"]


def wrong_errors(notebook: NotebookNode) -> list[str]:
    return [
        f"code cell {number} stores an error: {output.ename}"
        for number, cell in enumerate(code_cells(notebook), 1)
        for output in cell.outputs
        if output.output_type == "error" and "raises-exception" not in tags(cell)
    ]


def wrong_size(notebook: NotebookNode, limits: Limits = LIMITS) -> list[str]:
    lengths = [code_lines(cell.source) for cell in code_cells(notebook)]
    n_words = sum(words(cell.source) for cell in notebook.cells if cell.cell_type == "markdown")
    problems = []
    if not limits.n_cells[0] <= len(notebook.cells) <= limits.n_cells[1]:
        problems.append(f"{len(notebook.cells)} cells, expected {limits.n_cells[0]} to {limits.n_cells[1]}")
    if median(lengths) > limits.median_lines:
        problems.append(f"a median of {median(lengths)} code lines a cell, expected at most {limits.median_lines}")
    for number, cell in enumerate(code_cells(notebook), 1):
        most = limits.derivation_lines if "derivation" in tags(cell) else limits.lines
        if lengths[number - 1] > most:
            problems.append(f"code cell {number} has {lengths[number - 1]} lines, expected at most {most}")
    if n_words < limits.words_per_line * sum(lengths):
        expected = f"expected at least {limits.words_per_line} a line"
        problems.append(f"{n_words} words of prose for {sum(lengths)} lines of code, {expected}")
    return problems


def wrong_tolerance(notebook: NotebookNode) -> list[str]:
    problems = []
    for number, cell in enumerate(code_cells(notebook), 1):
        try:
            tolerance_of(cell)
        except ValueError as error:
            problems.append(f"code cell {number}: {error}")
    return problems


def wrong_seed(notebook: NotebookNode) -> list[str]:
    sources = [cell.source for cell in code_cells(notebook)]
    problems = [
        f"code cell {number} calls torch.manual_seed, which knows nothing of METALEARN_SEED: call seed_everything"
        for number, source in enumerate(sources, 1)
        if "torch.manual_seed(" in source
    ]
    called = any("seed_everything(" in source for source in sources)
    return problems if called else [*problems, "seed_everything is never called"]


def wide_cells(notebook: NotebookNode) -> list[int]:
    """Return the numbers of the code cells with a wide tolerance."""
    return [n for n, cell in enumerate(code_cells(notebook), 1) if tolerance_of(cell) > WIDE_TOLERANCE]


def wrong_ignored(notebook: NotebookNode) -> list[str]:
    ignored = sum("nbval-ignore-output" in tags(cell) for cell in code_cells(notebook))
    skipped = sum("nbval-skip" in tags(cell) for cell in code_cells(notebook))
    problems = [f"{skipped} cells are never tested (nbval-skip)"] if skipped else []
    if 3 * ignored > len(code_cells(notebook)):
        problems.append(f"{ignored} of {len(code_cells(notebook))} outputs are not compared, expected at most a third")
    return problems


def wrong_alt_texts(notebook: NotebookNode) -> list[str]:
    return [
        f"code cell {number} shows an image without alt text (cell metadata mystnb.image.alt)"
        for number, cell in enumerate(code_cells(notebook), 1)
        if any(kind.startswith("image/") for output in cell.outputs for kind in output.get("data", {}))
        and len(str(cell.metadata.get("mystnb", {}).get("image", {}).get("alt", "")).split()) < 3
    ]


def wrong_captions(notebook: NotebookNode) -> list[str]:
    return [
        f"code cell {number} shows an image without a caption (cell metadata mystnb.figure.caption)"
        for number, cell in enumerate(code_cells(notebook), 1)
        if any(kind.startswith("image/") for output in cell.outputs for kind in output.get("data", {}))
        and len(str(cell.metadata.get("mystnb", {}).get("figure", {}).get("caption", "")).split()) < 5
    ]


def wrong_set_up(notebook: NotebookNode) -> list[str]:
    return [] if "hide-input" in tags(code_cells(notebook)[0]) else ["the first code cell lacks the tag hide-input"]


def wrong_title(path: Path, notebook: NotebookNode) -> list[str]:
    if not re.fullmatch(r"\d\d_[a-z0-9_]+\.ipynb", path.name):
        return [f"the file name {path.name} is not of the form 05_name.ipynb"]
    start = f"# {int(path.name[:2])} · "
    return [] if notebook.cells[0].source.startswith(start) else [f"the first cell does not start with {start!r}"]


def wrong_list(chapters: list[str], toc: dict[str, list[dict[str, list[dict[str, str]]]]]) -> list[str]:
    listed = [entry["file"] for part in toc["parts"] for entry in part["chapters"]]
    listed = [file for file in listed if file.startswith("chapters/")]
    problems = [f"{name} is not listed in book/_toc.yml" for name in chapters if name not in listed]
    problems += [f"book/_toc.yml lists {name}, which does not exist" for name in listed if name not in chapters]
    return problems + ([] if listed == sorted(listed) else ["book/_toc.yml lists the chapters out of order"])


HEAD = re.compile(
    r"^\*\*Before this:\*\* .+\. \*\*Difficulty:\*\* (●○○|●●○|●●●)\. \*\*Reading:\*\* (\d+) minutes\. "
    r"\*\*Running:\*\* \d+ s on one core of an? .+\.$",
    re.MULTILINE,
)


def wrong_head(notebook: NotebookNode) -> list[str]:
    match = HEAD.search(notebook.cells[0].source)
    if match is None:
        return ["the first cell does not say what to know before, how hard it is, how long to read and to run"]
    n_words = sum(words(cell.source) for cell in notebook.cells if cell.cell_type == "markdown")
    said, minutes = int(match[2]), n_words / 120  # slowly: there are formulas and code
    return [] if abs(said - minutes) <= 6 else [f"reading takes {minutes:.0f} minutes, the first cell says {said}"]


def functions(notebook: NotebookNode) -> dict[str, str]:
    """Return the functions of a notebook, each body as the key to its name."""
    found = {}
    for cell in code_cells(notebook):
        lines = [line for line in cell.source.splitlines() if not line.startswith(("%", "!"))]
        for node in ast.walk(ast.parse("\n".join(lines))):
            if isinstance(node, ast.FunctionDef):
                found["\n".join(ast.unparse(line) for line in node.body)] = node.name
    return found


def twice(notebooks: dict[str, NotebookNode]) -> list[str]:
    """Return the functions that stand in two notebooks."""
    seen: dict[str, str] = {}
    problems = []
    for stem, notebook in notebooks.items():
        bodies = functions(notebook)
        problems += [f"{name} of {stem} stands in {seen[body]}, too" for body, name in bodies.items() if body in seen]
        seen |= dict.fromkeys(bodies, stem)
    return problems


RULES: list[Callable[[NotebookNode], list[str]]] = [
    wrong_metadata,
    wrong_order,
    wrong_errors,
    wrong_ignored,
    wrong_seed,
    wrong_tolerance,
    wrong_alt_texts,
    wrong_captions,
    wrong_set_up,
    wrong_size,
]


def problems_of(path: Path, notebook: NotebookNode) -> list[str]:
    """Return what is wrong with a chapter."""
    return [problem for rule in RULES for problem in rule(notebook)] + wrong_title(path, notebook)


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)
def test_chapter_keeps_the_rules(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    assert problems_of(path, notebook) == []
    assert path.read_text(encoding="utf-8") == cleaned_text(path), "run tools/outputs.py --clean on it"


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)
def test_another_package_of_the_same_name_is_named_first(path: Path, tmp_path: Path) -> None:
    (tmp_path / "metalearn").mkdir()
    (tmp_path / "metalearn" / "__init__.py").touch()  # it has nothing that a chapter imports
    set_up = code_cells(nbformat.read(path, as_version=4))[0].source
    run = subprocess.run([sys.executable, "-c", set_up], cwd=tmp_path, capture_output=True, text=True)
    assert run.stderr.splitlines()[-1] == "AssertionError: another package is called metalearn: uninstall it"


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)
def test_a_chapter_says_what_it_takes(path: Path) -> None:
    assert wrong_head(nbformat.read(path, as_version=4)) == []


def test_a_head_can_be_wrong() -> None:
    notebook = good_notebook()
    assert "does not say" in wrong_head(notebook)[0]
    line = "**Before this:** chapter 1. **Difficulty:** ●○○. **Reading:** {} minutes. "
    line += "**Running:** 9 s on one core of a CPU."
    notebook.cells[0].source += "\n" + line.format(5)
    assert wrong_head(notebook) == []
    notebook.cells[0].source = notebook.cells[0].source.replace("5 minutes", "25 minutes")
    assert "the first cell says 25" in wrong_head(notebook)[0]


def test_no_function_stands_in_two_chapters() -> None:
    assert twice({path.stem: nbformat.read(path, as_version=4) for path in CHAPTERS}) == []


def test_a_function_in_two_chapters_is_noticed() -> None:
    one, other = good_notebook(), good_notebook()
    code_cells(one)[1].source = "def f(x):\n    return x + 1"
    code_cells(other)[2].source = "def g(x):\n    return x + 1  # under another name"
    assert twice({"01_a": one, "02_b": other}) == ["g of 02_b stands in 01_a, too"]


def test_wide_tolerances_are_listed() -> None:
    found = {path.stem: wide_cells(nbformat.read(path, as_version=4)) for path in CHAPTERS}
    assert {stem: cells for stem, cells in found.items() if cells} == WIDE, f"WIDE lists cells above {WIDE_TOLERANCE}"


def test_every_chapter_is_listed_and_every_listed_chapter_exists() -> None:
    assert CHAPTERS
    toc = yaml.safe_load((ROOT / "book" / "_toc.yml").read_text(encoding="utf-8"))
    assert wrong_list([f"chapters/{path.stem}" for path in CHAPTERS], toc) == []
    intro = (ROOT / "book" / "intro.md").read_text(encoding="utf-8")
    assert [path.name for path in CHAPTERS if f"(../chapters/{path.name})" not in intro] == []


# Each rule can fail.


def good_notebook() -> NotebookNode:
    code = [
        new_code_cell("x = 1\n# a comment\n\nprint(x)", metadata={"tags": []}, execution_count=number)
        for number in range(1, 21)
    ]
    code[0].metadata.tags = ["hide-input"]
    code[0].source += "\nseed_everything(0)"
    prose = "Fourteen words stand before two lines of code, so that a reader can follow us. " * 2
    notebook = new_notebook(cells=[cell for one in code for cell in (new_markdown_cell(prose), one)])
    notebook.cells[0].source = "# 5 · A title\n\n" + notebook.cells[0].source
    notebook.metadata = nbformat.from_dict(METADATA)
    return notebook


IMAGE = new_output("display_data", data={"image/png": "", "text/plain": "<Figure size 600x400 with 1 Axes>"})
ERROR = new_output("error", ename="ValueError", evalue="no", traceback=[])
EDITS: dict[str, tuple[Callable[[NotebookNode], list[str]], Callable[[list[NotebookNode]], object], str]] = {
    "times": (wrong_metadata, lambda code: code[3].metadata.update(execution={"a": "2026"}), "metadata to clean"),
    "order": (wrong_order, lambda code: code[3].update(execution_count=9), "in order"),
    "not run": (wrong_order, lambda code: code[3].update(execution_count=None), "in order"),
    "error": (wrong_errors, lambda code: code[3].outputs.append(ERROR), "code cell 4 stores an error: ValueError"),
    "long": (wrong_size, lambda code: code[3].update(source="x = 1\n" * 16), "4 has 16 lines, expected at most 15"),
    "derivation": (
        wrong_size,
        lambda code: code[3].update(source="x = 1\n" * 21, metadata={"tags": ["derivation"]}),
        "code cell 4 has 21 lines, expected at most 20",
    ),
    "median": (wrong_size, lambda code: [cell.update(source="x = 1\n" * 7) for cell in code], "a median of 7"),
    "prose": (wrong_size, lambda code: [cell.update(source="x = 1\n" * 5) for cell in code], "words of prose"),
    "ignored": (wrong_ignored, lambda code: [c.metadata.tags.append("nbval-ignore-output") for c in code[:7]], "7 of"),
    "skipped": (wrong_ignored, lambda code: code[3].metadata.tags.append("nbval-skip"), "never tested"),
    "alt": (wrong_alt_texts, lambda code: code[3].outputs.append(IMAGE), "code cell 4 shows an image without alt"),
    "caption": (wrong_captions, lambda code: code[3].outputs.append(IMAGE), "code cell 4 shows an image without a cap"),
    "tolerance": (
        wrong_tolerance,
        lambda code: code[3].metadata.update(metalearn={"tolerance": 0.2}),
        r"code cell 4: metalearn.tolerance must be a number from 0 to 0.1, got 0.2",
    ),
    "torch's seed": (wrong_seed, lambda code: code[3].update(source="torch.manual_seed(0)"), "code cell 4 calls torch"),
    "no seed": (wrong_seed, lambda code: code[0].update(source="x = 1"), "seed_everything is never called"),
    "set-up": (wrong_set_up, lambda code: code[0].metadata.update(tags=[]), "lacks the tag hide-input"),
}


def test_a_good_notebook_has_no_problems() -> None:
    notebook = good_notebook()
    assert problems_of(Path("05_new.ipynb"), notebook) == []
    code_cells(notebook)[3].update(source="x = 1\n" * 15)
    code_cells(notebook)[4].update(source="x = 1\n" * 20, metadata={"tags": ["derivation"]})
    assert len(wrong_size(notebook)) == 1, "more prose is all that is missing"


@pytest.mark.parametrize("name", EDITS)
def test_each_rule_can_fail(name: str) -> None:
    rule, edit, message = EDITS[name]
    notebook = good_notebook()
    assert rule(notebook) == []
    edit(code_cells(notebook))
    assert any(message in problem for problem in rule(notebook))


def test_wide_tolerances_are_found() -> None:
    notebook = good_notebook()
    assert wide_cells(notebook) == []
    code_cells(notebook)[3].metadata.update(metalearn={"tolerance": 0.03})
    assert wide_cells(notebook) == [4]


def test_rules_on_files_can_fail() -> None:
    notebook = good_notebook()
    assert wrong_title(Path("maml.ipynb"), notebook) and wrong_title(Path("06_maml.ipynb"), notebook)
    del notebook.cells[:10]
    assert wrong_size(notebook) == ["30 cells, expected 40 to 80"]
    notebook.cells += notebook.cells[:2] * 26
    assert wrong_size(notebook) == ["82 cells, expected 40 to 80"]
    toc = {"parts": [{"chapters": [{"file": "book/setup"}, {"file": "chapters/06_b"}, {"file": "chapters/05_a"}]}]}
    assert wrong_list(["chapters/05_a", "chapters/07_c"], toc) == [
        "chapters/07_c is not listed in book/_toc.yml",
        "book/_toc.yml lists chapters/06_b, which does not exist",
        "book/_toc.yml lists the chapters out of order",
    ]


# The tool that stores outputs.


def write(path: Path, *sources: str) -> Path:
    nbformat.write(new_notebook(cells=[new_code_cell(source) for source in sources]), path)
    return path


def test_execute_stores_outputs_and_clean_metadata(tmp_path: Path) -> None:
    path = write(tmp_path / "05_a.ipynb", "import os\nprint('one')\nprint(os.environ['TQDM_DISABLE'])", "1 + 1")
    execute(path)
    notebook = nbformat.read(path, as_version=4)
    assert [cell.outputs[0].get("text") for cell in notebook.cells] == ["one\n1\n", None]
    assert notebook.cells[1].outputs[0].data == {"text/plain": "2"}
    assert wrong_metadata(notebook) == wrong_order(notebook) == []
    assert path.read_text(encoding="utf-8") == cleaned_text(path)


@pytest.mark.slow
def test_execute_leaves_the_file_where_a_cell_fails(tmp_path: Path) -> None:
    path = write(tmp_path / "05_a.ipynb", "x = 1", "x / 0")
    before = path.read_bytes()
    with pytest.raises(RuntimeError, match=r"(?s)cell 2 of 05_a.ipynb failed; the file is as it was.*x / 0.*ZeroDiv"):
        execute(path)
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]


@pytest.mark.slow
def test_execute_stops_a_cell_that_takes_too_long(tmp_path: Path) -> None:
    path = write(tmp_path / "05_a.ipynb", "import time\ntime.sleep(60)")
    with pytest.raises(RuntimeError, match=r"cell 1 of 05_a.ipynb failed"):
        execute(path, timeout_s=1)


def conditions_of_a_kernel(folder: Path) -> list[str]:
    source = "import torch\nprint(torch.backends.cpu.get_cpu_capability(), torch.get_num_threads())"
    execute(write(folder / "05_a.ipynb", source))
    return nbformat.read(folder / "05_a.ipynb", as_version=4).cells[0].outputs[0].text.split()


@pytest.mark.slow
@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="names the instruction sets of x86")
@pytest.mark.parametrize(
    ("of_the_caller", "seen"),
    [
        ({}, ["AVX2", "1"]),
        ({"ATEN_CPU_CAPABILITY": "default"}, ["DEFAULT", "1"]),
        ({"OMP_NUM_THREADS": "2"}, ["AVX2", "2"]),
    ],
)
def test_a_kernel_runs_under_the_conditions_that_the_caller_set_and_ours_elsewhere(
    of_the_caller: dict[str, str], seen: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in {*CONDITIONS, "MKL_NUM_THREADS"}:
        monkeypatch.delenv(name, raising=False)
    for name, value in of_the_caller.items():
        monkeypatch.setenv(name, value)
    set_conditions()
    assert conditions_of_a_kernel(tmp_path) == seen


def test_an_unknown_chapter_is_refused_with_a_list(tmp_path: Path) -> None:
    for name in ("05_a.ipynb", "06_b.ipynb"):
        write(tmp_path / name)
    assert find_chapter("6", tmp_path).name == "06_b.ipynb"
    for number in ("07", ""):
        with pytest.raises(ValueError, match=f"no chapter '{number}'; name one of these: CHAPTER=05, CHAPTER=06"):
            find_chapter(number, tmp_path)


def test_clean_and_check(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "05_a.ipynb"
    ours = {"tolerance": 0.05, "note": "measured by me"}
    kept = {"tags": ["hide-input"], "metalearn": {"tolerance": 0.05}}
    cell = new_code_cell("1", metadata={**kept, "metalearn": ours, "collapsed": True}, execution_count=1)
    cell.outputs = [new_output("execute_result", data={"text/plain": "1"}, execution_count=1)]
    nbformat.write(new_notebook(cells=[cell], metadata={"authors": [{"name": "me"}], **METADATA}), path)
    assert main(["--check", str(path)]) == 1
    assert main(["--clean", str(path)]) == 0
    assert main(["--check", str(path)]) == 0
    cleaned = nbformat.read(path, as_version=4)
    assert cleaned.cells[0].outputs == cell.outputs and cleaned.cells[0].metadata == kept
    assert "metalearn" not in clean(new_notebook(cells=[new_code_cell(metadata={"metalearn": {}})])).cells[0].metadata
    assert "05_a.ipynb: cleaned" in capsys.readouterr().out


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)
def test_the_set_up_cell_refuses_to_install_from_the_placeholder(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = code_cells(nbformat.read(path, as_version=4))[0].source
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)  # as on a machine without the package
    monkeypatch.setattr("subprocess.run", lambda *command, **options: pytest.fail(f"ran {command}"))
    if "https://github.com/OWNER/" in source:
        with pytest.raises(RuntimeError, match="not published yet"):
            exec(source, {})
