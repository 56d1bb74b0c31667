"""The first page and the README show the whole book, in the order in which it can be read."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from metalearn import learners
from tools import chapter_map

ROOT = Path(__file__).resolve().parents[1]
INTRO, README = ((ROOT / name).read_text(encoding="utf-8") for name in ("book/intro.md", "README.md"))
ROWS = re.compile(r"^\| \[(.*?)\]\((?:\.\./)?chapters/(\d\d)_\w+\.ipynb\) \| (.+?) \| (.+?) \|$", re.MULTILINE)


def table(text: str) -> dict[int, tuple[str, tuple[int, ...]]]:
    """Return the question of each chapter in a table, and what comes before it."""
    found = {}
    for _, number, question, before in ROWS.findall(text):
        found[int(number)] = (question, tuple(int(each) for each in re.findall(r"\d+", before)))
    return found


def paths(text: str) -> list[list[int]]:
    """Return the chapters of each way through the book."""
    section = text.split("## Ways through it")[1].split("\n## ")[0]
    entries = re.split(r"\n(?=\S[^\n]*\n: )", section)[1:]
    return [[int(number) for number in re.findall(r"chapters/(\d\d)_", entry)] for entry in entries]


def out_of_order(path: list[int]) -> list[str]:
    """Return the chapters of a way that need another which the way has not, or has later."""
    return [
        f"{number} needs {each}"
        for k, number in enumerate(path)
        for each in sorted(chapter_map.needed(number))
        if each not in path[:k]
    ]


@pytest.mark.parametrize("text", [INTRO, README], ids=["intro", "README"])
def test_the_tables_say_what_each_chapter_says_comes_before_it(text: str) -> None:
    shown = {number: before for number, (_, before) in table(text).items()}
    there = {number: tuple(sorted(chapter.before)) for number, chapter in chapter_map.chapters().items()}
    assert {number: shown.get(number) for number in there} == there
    assert list(shown) == sorted(shown)


def test_both_tables_ask_the_same_questions_under_the_chapters_own_titles() -> None:
    assert table(INTRO) == table(README)
    titles = {int(number): title for title, number, _, _ in ROWS.findall(README)}
    for number, chapter in chapter_map.chapters().items():
        assert titles[number] == f"{number} · {chapter.title}"


def test_a_way_through_the_book_has_what_its_chapters_need() -> None:
    if len(chapter_map.chapters()) < len(table(INTRO)):
        pytest.skip("chapters of the table are missing")
    ways = paths(INTRO)
    assert len(ways) == 5 and all(ways)
    assert [out_of_order(way) for way in ways] == [[]] * 5
    assert out_of_order([1, 8, 5]) == ["8 needs 4", "8 needs 5"]


def test_the_minutes_of_the_weekend_are_those_of_its_chapters() -> None:
    said = re.search(r"That is\s+(\d+) minutes of reading", INTRO)
    assert said is not None
    assert int(said[1]) == sum(chapter_map.chapters()[number].minutes for number in paths(INTRO)[1])


def test_arrows_leave_out_what_follows_from_others_and_nothing_else() -> None:
    after: dict[int, set[int]] = {number: set() for number in chapter_map.chapters()}
    for before, number in chapter_map.arrows():
        after[number] |= {before} | after[before] if before < number else {before} | chapter_map.needed(before)
    assert after == {number: chapter_map.needed(number) for number in after}
    assert (1, 6) not in chapter_map.arrows() and (5, 6) in chapter_map.arrows()


def test_no_two_boxes_of_the_map_overlap() -> None:
    places = [chapter_map.places()[number] for number in chapter_map.chapters()]
    for k, (x, y) in enumerate(places):
        for u, v in places[:k]:
            assert abs(x - u) > chapter_map.WIDTH or abs(y - v) > chapter_map.HEIGHT


def test_the_stored_map_is_the_one_that_is_drawn(tmp_path: Path) -> None:
    if len(chapter_map.chapters()) < len(table(INTRO)):
        pytest.skip("chapters of the table are missing")
    chapter_map.save(tmp_path / "map.png")
    with Image.open(tmp_path / "map.png") as drawn, Image.open(chapter_map.TARGET) as stored:
        assert drawn.size == stored.size, "run python -m tools.chapter_map"
        difference = np.abs(np.asarray(drawn.convert("L"), float) - np.asarray(stored.convert("L"), float))
    assert difference.mean() < 0.5, "run python -m tools.chapter_map"  # of 255 grey levels
    assert chapter_map.TARGET.stat().st_size <= 90_000


def test_every_learner_is_in_the_readme() -> None:
    listed = README.split("| Learner |")[1].split("\n\n")[0]
    assert [name for name in learners.__all__ if name != "Learner" and f"`{name}`" not in listed] == []
