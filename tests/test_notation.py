"""The page "Notation": one symbol, one meaning; and the glossary: one word, one sense."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest

BOOK = Path(__file__).resolve().parents[1] / "book"
Row = tuple[str, str]  # symbols, meaning


def tables(text: str) -> dict[str, list[Row]]:
    """Return the rows of each table that lists symbols, by its heading."""
    found = {}
    for part in re.split(r"^## ", text, flags=re.MULTILINE)[1:]:
        rows = re.findall(r"^\| (\$.*?) \| (.*?) \|.*\|$", part, flags=re.MULTILINE)
        found[part.split("\n", 1)[0]] = rows
    return {heading: rows for heading, rows in found.items() if rows}


def symbols(cell: str) -> list[str]:
    """Return the symbols that a row explains; of an equation its left side."""
    pieces = [piece.split("=")[0].split(r"\sim")[0].strip() for piece in re.findall(r"\$([^$]+)\$", cell)]
    return [piece for piece in pieces if piece != "y"]  # every target is called y


def chapters(heading: str) -> set[int]:
    """Return the chapters for which a table holds; none: the whole book."""
    match = re.search(r": chapters? (\d+)(?: (and|to) (\d+))?$", heading)
    if match is None:
        return set()
    first, last = int(match[1]), int(match[3] or match[1])
    return set(range(first, last + 1)) if match[2] == "to" else {first, last}


def double_meanings(text: str) -> list[str]:
    """Return the symbols that have two meanings where a reader could meet both."""
    problems = []
    entries = [
        (heading, symbol, meaning.startswith("("))
        for heading, rows in tables(text).items()
        for cell, meaning in rows
        for symbol in symbols(cell)
    ]
    for k, (heading, symbol, narrow) in enumerate(entries):
        for other, twin, narrow_too in entries[:k]:
            here, there = chapters(heading), chapters(other)
            meet = not here or not there or here & there
            if twin == symbol and meet and not (here and there and (narrow or narrow_too)):
                problems.append(f"{symbol}: {other}; {heading}")
    return problems


def test_a_symbol_has_one_meaning() -> None:
    assert double_meanings((BOOK / "notation.md").read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    ("headings", "meanings", "wrong"),
    [
        (("Tasks", "Scores"), ("a", "b"), True),
        (("Tasks", "Vision: chapter 13"), ("a", "(among labels) b"), True),
        (("Rules: chapters 7 and 9", "Vision: chapter 9"), ("a", "b"), True),
        (("Rules: chapters 7 and 9", "Vision: chapter 9"), ("a", "(among labels) b"), False),
        (("Rules: chapters 7 and 9", "Vision: chapter 8"), ("a", "b"), False),
        (("Rules: chapters 7 to 9", "Vision: chapter 8"), ("a", "b"), True),
    ],
)
def test_a_second_meaning_is_noticed(headings: tuple[str, str], meanings: tuple[str, str], wrong: bool) -> None:
    text = "".join(f"## {name}\n\n| $k$ | {meaning} | |\n" for name, meaning in zip(headings, meanings, strict=True))
    assert bool(double_meanings(text)) == wrong


def terms(text: str) -> list[str]:
    """Return the English terms of the glossary, lower-case."""
    listing = text.split("```{glossary}")[1].split("```")[0]
    lines = [line for line in listing.replace("–", "-").splitlines() if line and not line.startswith((" ", ":"))]
    return [line.lower() for line in lines if line.isascii()]


def test_a_word_stands_in_the_glossary_once() -> None:
    found = Counter(term.replace("-", " ") for term in terms((BOOK / "glossary.md").read_text(encoding="utf-8")))
    assert len(found) > 80
    assert [term for term, count in found.items() if count > 1] == []
