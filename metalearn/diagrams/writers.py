"""Who writes whose weights: MAML, a hypernetwork, a neural process and a meta network side by side."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

from metalearn.diagrams._parts import arrow, box, canvas
from metalearn.plotting import COLOURS

if TYPE_CHECKING:
    from matplotlib.axes import Axes

WRITERS = {  # what reads the support, what it leaves of it, what predicts; whether the reader, the predictor is trained
    "MAML": ("gradient\nstep", "all\nweights", "sub-\nnetwork", False, False),
    "hypernetwork": ("meta\nnetwork", "all\nweights", "sub-\nnetwork", True, False),
    "neural process": ("set\nnetwork", "one\nvector", "decoder", True, True),
    "meta network": ("gradients,\nrules", "fast\nweights", "slow + fast\nnetwork", True, True),
}
COLUMNS = (0.85, 3.1, 5.35, 7.6, 9.85)
ROW = 2.7  # height


def draw_writers(axes: Axes, names: Sequence[str] = tuple(WRITERS)) -> None:
    """Draw, a row for each method, what becomes of a support set, what is trained, and the gradient's way to it.

    Coloured boxes are trained by the outer loop. Coloured arrows lead from the query loss back to them.

    Args:
        axes: Where to draw.
        names: Methods, from the top: ``"MAML"``, ``"hypernetwork"``, ``"neural process"``, ``"meta network"``.

    Raises:
        KeyError: If there is no row for a name.

    Example:
        >>> from matplotlib import pyplot as plt
        >>> from metalearn.diagrams import draw_writers
        >>> figure, axes = plt.subplots()
        >>> draw_writers(axes, ["hypernetwork"])
        >>> plt.close(figure)
    """
    height = ROW * len(names)
    for i, name in enumerate(names):
        _draw_row(axes, height - ROW * (i + 0.55), name)
    canvas(axes, 10.8, height)


def _draw_row(axes: Axes, y: float, name: str) -> None:
    reader, written, predictor, *trained = WRITERS[name]
    tint = COLOURS[name]
    axes.text(0.1, y + 1.0, name, color=tint, weight="bold", fontsize=9)
    texts = ("support", reader, written, predictor, "query\nloss")
    colours = ["0.4", *(tint if each else "0.4" for each in (trained[0], False, trained[1])), "0.4"]
    sides = []  # the left and right ends of the boxes
    for x, text, colour in zip(COLUMNS, texts, colours, strict=True):
        box(axes, (x, y), text, colour, "white" if colour == "0.4" else f"{colour}22", 8)
        half = 0.11 + 0.066 * max(map(len, text.split("\n")))
        sides.append((x - half, x + half))
    for left, right in pairwise(sides):
        arrow(axes, (left[1], y), (right[0], y))
    axes.text(COLUMNS[3], y - 1.15, "query", ha="center", fontsize=8)
    arrow(axes, (COLUMNS[3], y - 0.85), (COLUMNS[3], y - 0.36))
    if not any(trained):  # the start is trained, which is no part of the pass
        box(axes, (COLUMNS[1], y + 1.05), "start", tint, f"{tint}22", 8)
        arrow(axes, (COLUMNS[1], y + 0.83), (COLUMNS[1], y + 0.36))
        arrow(axes, (COLUMNS[4], y + 0.5), (COLUMNS[1] + 0.6, y + 1.05), tint, 0.15)
    for x, is_trained in zip(COLUMNS[1:4:2], trained, strict=True):
        if is_trained:
            arrow(axes, (COLUMNS[4], y + 0.5), (x, y + 0.5), tint, 0.2)
