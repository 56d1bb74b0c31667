"""What `make release` checks before it installs, and the chapters that run alone."""

from __future__ import annotations

import sys

import pytest
from nbformat.v4 import new_code_cell, new_notebook, writes

from tools import alone, release


def test_the_content_of_a_wheel_is_checked() -> None:
    about = "metalearn_book-1.0.0.dist-info/"
    good = [*release.NEEDED, f"{about}entry_points.txt", f"{about}licenses/LICENSE", f"{about}RECORD"]
    assert release.wrong_content(good, "1.0.0") == []
    assert release.wrong_content(good[1:], "1.0.0") == ["metalearn/py.typed is missing"]
    assert release.wrong_content([*good, "tests/test_x.py"], "1.0.0") == ["tests/test_x.py does not belong there"]
    assert len(release.wrong_content(good, "1.0.1")) > 2


def test_a_command_that_fails_or_says_something_else_is_noticed() -> None:
    release.run(sys.executable, "-c", "print('yes')", wanted="yes")
    with pytest.raises(RuntimeError, match="did not say 'no'"):
        release.run(sys.executable, "-c", "print('yes')", wanted="no")
    with pytest.raises(RuntimeError, match=r"ended with 3\n"):
        release.run(sys.executable, "-c", "raise SystemExit(3)")


def test_chapters_are_found_by_number() -> None:
    assert [path.name[:3] for path in alone.chapters(["1", "21"])] == ["01_", "21_"]
    assert len(alone.chapters([])) > 15
    with pytest.raises(ValueError, match="no chapter '77'; there are 01, 02"):
        alone.chapters(["77"])


@pytest.mark.slow
def test_a_chapter_runs_in_an_empty_folder_and_leaves_it_so(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    for name in ("IPYTHONDIR", "TQDM_DISABLE", "MPLBACKEND"):
        monkeypatch.setenv(name, "before")  # restored after the test
    alone.set_conditions(str(tmp_path))

    def chapter(code: str):
        path = tmp_path / "01_a.ipynb"
        path.write_text(writes(new_notebook(cells=[new_code_cell(code)])))
        return path

    assert alone.run(chapter("import os; assert os.listdir() == [] and 'PYTHONPATH' not in os.environ")) > 0
    with pytest.raises(RuntimeError, match=r"01_a\.ipynb failed\n\n"):
        alone.run(chapter("assert 1 == 2"))
    with pytest.raises(RuntimeError, match=r"left \['a.txt'\] in its folder"):
        alone.run(chapter("open('a.txt', 'w').close()"))
