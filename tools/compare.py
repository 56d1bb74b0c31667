"""Compare outputs as text with numbers in it, so that rounding on another processor is no difference.

The text between numbers is equal, where runs of blanks count as one and blanks before a number as none (they align it).
Markup with its attributes, ``<Figure …>``, names with digits in them (``Conv4``, ``5-way``, ``2.13.0``), nan and inf
are text. A bare integer is exact in a cell without a tolerance. Every other number may differ from the stored one by
one unit of its last printed digit, or by the tolerance times its absolute value, whichever is more.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from decimal import Decimal
from math import inf
from typing import Any

MAX_TOLERANCE = 0.1
_NUMBER = r"(?:(?<![\w)\]])[-−+])?(?:\d{1,3}(?:,\d{3})+(?!\d)|\d++)(?:\.\d++)?(?:[eE][-−+]?\d++)?"
_TOKEN = re.compile(
    r"<[A-Za-z/!][^<>]*>"  # markup
    r"|[^\W\d]\w*+(?:-\w++(?!\.\d))*"  # words: Conv4, ResNet-18
    r"|\d++(?:\.\d++){2,}"  # versions: 2.13.0
    r"|\d++(?![eE][-−+]?\d)(?:[^\W\d]\w*+|(?=-\w))(?:-\w++(?!\.\d))*"  # with letters or hyphens: 3rd, 5-way, 1-8-1
    rf"|(?P<number>{_NUMBER})"
)


def tolerance_of(cell: Mapping[str, Any]) -> float:
    """Return how far a cell's numbers may move, relative to themselves: 0 unless its metadata say otherwise.

    Raises:
        ValueError: If the metadata hold anything but a number from 0 to 0.1.
    """
    tolerance = cell["metadata"].get("metalearn", {}).get("tolerance", 0)
    if isinstance(tolerance, bool) or not isinstance(tolerance, int | float) or not 0 <= tolerance <= MAX_TOLERANCE:
        raise ValueError(f"metalearn.tolerance must be a number from 0 to {MAX_TOLERANCE}, got {tolerance!r}")
    return float(tolerance)


def split(text: str) -> tuple[list[str], list[str]]:
    """Return the pieces of text, their blanks evened out, and the numbers that stand between them."""
    pieces, numbers, start = [], [], 0
    for found in _TOKEN.finditer(text):
        if found["number"]:
            pieces.append(text[start : found.start()].rstrip(" \t"))
            numbers.append(found["number"])
            start = found.end()
    return [re.sub(r"[ \t]+", " ", piece) for piece in [*pieces, text[start:]]], numbers


def value(number: str) -> Decimal:
    """Return a printed number's value; its exponent is that of the last printed digit."""
    return Decimal(number.replace(",", "").replace("−", "-"))


def is_integer(number: str) -> bool:
    """Say whether a number is printed without a point and without an exponent."""
    return re.fullmatch(r"[-−+]?[\d,]+", number) is not None


def agree(stored: str, new: str, tolerance: float) -> bool:
    """Say whether a printed number agrees with the stored one."""
    if stored == new or (tolerance == 0 and is_integer(stored)):
        return stored == new
    old = value(stored)
    unit = Decimal(1).scaleb(int(old.as_tuple().exponent))  # of the last printed digit
    return abs(value(new) - old) <= max(unit, Decimal(str(tolerance)) * abs(old))


def different_text(stored: str, new: str) -> list[str]:
    """Return in words where two outputs differ that no tolerance helps."""
    (old_pieces, old_numbers), (new_pieces, new_numbers) = split(stored), split(new)
    for old, piece in zip(old_pieces, new_pieces, strict=False):
        if old != piece:
            return [f"the text {old!r} is now {piece!r}"]
    if len(old_numbers) != len(new_numbers):
        return [f"{len(old_numbers)} numbers are now {len(new_numbers)}"]
    return []


def numbers_of(stored: str, new: str) -> list[tuple[str, str]]:
    """Return the pairs of numbers of two outputs whose text is the same."""
    return list(zip(split(stored)[1], split(new)[1], strict=True))


def differences(stored: str, new: str, tolerance: float = 0.0) -> list[str]:
    """Return in words what of a new output does not agree with the stored one; nothing if all does."""
    return different_text(stored, new) or [
        f"{old} is now {number}: it needs a tolerance of {needed(old, number):.3f}, the cell's is {tolerance:g}"
        for old, number in numbers_of(stored, new)
        if not agree(old, number, tolerance)
    ]


def needed(stored: str, new: str) -> float:
    """Return the tolerance that a number needs to agree with the stored one: 0.001 where any will do."""
    if agree(stored, new, 0.0):
        return 0.0
    if agree(stored, new, 0.001):
        return 0.001
    old = value(stored)
    return float(abs(value(new) - old) / abs(old)) if old else inf


def needed_by_all(stored: Sequence[str], new: Sequence[str]) -> float:
    """Return the tolerance that the outputs of a cell need; infinity if none helps."""
    if len(stored) != len(new) or any(map(different_text, stored, new)):
        return inf
    return max(
        (needed(*pair) for old, text in zip(stored, new, strict=True) for pair in numbers_of(old, text)), default=0.0
    )


def texts(outputs: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return what a cell printed and showed, without images, whose bytes no machine shares."""
    found = []
    for output in outputs:
        shown = output.get("data", {"text": output.get("text", output.get("evalue", ""))})
        found += [f"{kind}: {text}" for kind, text in sorted(shown.items()) if not kind.startswith("image/")]
    return found


class Output(str):
    """A text that equals others as outputs do; the stored one stands to the left."""

    tolerance: float
    __hash__ = None  # type: ignore[assignment]  # texts that are equal here may differ as strings

    def __new__(cls, text: str, tolerance: float = 0.0) -> Output:
        """Attach the cell's tolerance to the text."""
        output = super().__new__(cls, text)
        output.tolerance = tolerance
        return output

    def __eq__(self, other: object) -> bool:
        """Say whether the other text is the same output."""
        return isinstance(other, str) and not differences(str(self), str(other), self.tolerance)

    def __ne__(self, other: object) -> bool:
        """Say whether the other text is another output (``str`` has its own)."""
        return not self == other
