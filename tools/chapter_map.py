"""Draw the map of the chapters on the book's first page, from what each chapter's head says has to be read before it.

Run ``python -m tools.chapter_map``; it writes book/_static/map.png, the same bytes each time.
"""

from __future__ import annotations

import re
import textwrap
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path

import nbformat
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch, PathPatch
from matplotlib.path import Path as Curve

from tools import pictures

ROOT = Path(__file__).resolve().parents[1]
TARGET = ROOT / "book" / "_static" / "map.png"
PARTS = {  # last chapter of each, its name and colour
    9: ("methods", "#0072B2"),
    12: ("without gradients, examples or labels", "#D55E00"),
    16: ("uses", "#009E73"),
    20: ("weighed", "#882255"),
    99: ("methods", "#0072B2"),
}
WIDTH, HEIGHT, STEP = 1.2, 0.4, (1.62, 0.48)  # of a box, and from box to box, in inches


Stop = int | tuple[int, int, int]  # a chapter, or where an arrow passes a column


@dataclass(frozen=True)
class Chapter:
    """What a chapter's first cell says of it."""

    number: int
    title: str
    before: tuple[int, ...]
    minutes: int


@cache
def chapters() -> dict[int, Chapter]:
    """Return the chapters by number.

    Raises:
        ValueError: If a head has no line that says what comes before.
    """
    found = {}
    for path in sorted((ROOT / "chapters").glob("[0-9][0-9]_*.ipynb")):
        head = nbformat.read(path, as_version=4).cells[0].source
        title = re.match(r"# (\d+) · (.+)", head)
        before = re.search(r"^\*\*Before this:\*\*(.*?)\*\*Reading:\*\* (\d+) minutes", head, re.MULTILINE)
        if title is None or before is None:
            raise ValueError(f"the head of {path.name} lacks a title, or the line '**Before this:** …'")
        numbers = tuple(int(number) for number in re.findall(r"\[chapter (\d+)\]", before[1]))
        found[int(title[1])] = Chapter(int(title[1]), title[2], numbers, int(before[2]))
    return found


def needed(number: int) -> set[int]:
    """Return all chapters that come before one, directly or not."""
    direct = chapters()[number].before
    return set(direct).union(*(needed(each) for each in direct))


def arrows() -> list[tuple[int, int]]:
    """Return the pairs (before, after), without those that follow from others."""
    pairs = []
    for number, chapter in chapters().items():
        implied = set().union(*(needed(each) for each in chapter.before))
        pairs += [(each, number) for each in chapter.before if each not in implied]
    return pairs


def depth(number: int) -> int:
    """Return how many chapters have to be read one after the other before one."""
    return max((depth(each) + 1 for each in chapters()[number].before), default=0)


def ways() -> dict[tuple[int, int], list[Stop]]:
    """Return for each arrow where it passes: its chapters, and a lane in each column between them."""
    return {
        (start, end): [start, *((start, end, k) for k in range(depth(start) + 1, depth(end))), end]
        for start, end in arrows()
    }


def places() -> dict[Stop, tuple[float, float]]:
    """Return the middle of each box and lane: a column for each depth, near to what comes before."""
    found: dict[Stop, tuple[float, float]] = {}
    columns: dict[int, list[Stop]] = {}
    for number in chapters():
        columns.setdefault(depth(number), []).append(number)
    for way in ways().values():
        for lane in way[1:-1]:
            columns[lane[2]].append(lane)  # type: ignore[index]
    for column, stops in sorted(columns.items()):
        left = {stop: [found[way[k - 1]][1] for way in ways().values() for k in range(1, len(way)) if way[k] == stop]
                for stop in stops}  # fmt: skip
        order = sorted(stops, key=lambda stop: -sum(left[stop]) / max(len(left[stop]), 1))
        heights = [STEP[1] if isinstance(stop, int) else STEP[1] / 2 for stop in order]
        y = sum(heights) / 2
        for stop, height in zip(order, heights, strict=True):
            found[stop] = (STEP[0] * column, y - height / 2)
            y -= height
    return found


def colour(number: int) -> str:
    """Return the colour of a chapter's part."""
    return next(colour for last, (_, colour) in PARTS.items() if number <= last)


def draw_arrow(axes: Axes, points: list[tuple[float, float]], of: str) -> None:
    """Draw a curve from the right side of a box, through lanes, to the left side of another."""
    for k, ((x, y), (u, v)) in enumerate(pairwise(points)):
        x, u = x + WIDTH / 2, u - WIDTH / 2
        bend = (u - x) / 2
        corners = [(x, y), (x + bend, y), (u - bend, v), (u, v)]
        codes = [Curve.MOVETO] + [Curve.CURVE4] * 3
        if k + 2 < len(points):  # straight on through the lane
            corners, codes = [*corners, (u + WIDTH, v)], [*codes, Curve.LINETO]
        curve = Curve(corners, codes)
        axes.add_patch(PathPatch(curve, fill=False, edgecolor=of, linewidth=1.0, alpha=0.7, zorder=1))


def short(title: str) -> str:
    """Return a title for a box: without what follows a colon, where it is long."""
    return title if len(title) <= 34 else title.partition(":")[0]


def draw() -> Figure:
    """Return the picture."""
    found = places()
    x, y = zip(*found.values(), strict=True)
    left, right, low, high = min(x) - 0.65, max(x) + 0.65, min(y) - 0.25, max(y) + 0.25
    figure = Figure(figsize=(right - left, high - low), layout="none")
    axes = figure.add_axes((0, 0, 1, 1))
    for (_, after), way in ways().items():
        draw_arrow(axes, [found[stop] for stop in way], colour(after))
    for number in chapters():
        u, v = found[number]
        edge = {"edgecolor": colour(number), "facecolor": "white", "linewidth": 1.3, "zorder": 2}
        style = "round,pad=0,rounding_size=0.06"
        axes.add_patch(FancyBboxPatch((u - WIDTH / 2, v - HEIGHT / 2), WIDTH, HEIGHT, style, **edge))
        text = textwrap.fill(f"{number} {short(chapters()[number].title)}", 19)
        axes.text(u, v, text, ha="center", va="center", fontsize=8, linespacing=1.05, zorder=3)
    names = dict(PARTS.values())
    for k, (name, of) in enumerate(names.items()):
        axes.text(left + 0.1, low + 0.16 * (len(names) - k), name, color=of, fontsize=9, va="center")
    axes.set(xlim=(left, right), ylim=(low, high))
    axes.axis("off")
    return figure


def save(path: Path) -> None:
    """Write the picture."""
    pictures.save(draw, path)


if __name__ == "__main__":
    save(TARGET)
