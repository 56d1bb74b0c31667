"""Where the letters of this book come from: outlines of fonts, and what a program makes of them."""

from __future__ import annotations

import unicodedata
from typing import TYPE_CHECKING

from metalearn.data._fonts import font_path, fonts_of, outlines_by_font
from metalearn.diagrams._parts import canvas, thumbnail

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from matplotlib.path import Path

    from metalearn.pools import Pool


def outlines_of(class_name: str) -> list[Path]:
    """Return the distinct outlines of a letter in the fonts that matplotlib ships, the longer side 1, centred on 0.

    Two are the same if the program that rendered the letters starts from the same pixels.

    Args:
        class_name: Name of a class of :func:`metalearn.data.glyphs`, such as ``"Greek/small letter alpha"``.

    Raises:
        KeyError: If Unicode has no such letter.

    Example:
        >>> from metalearn.diagrams import outlines_of
        >>> len(outlines_of("Hebrew/letter alef"))
        4
    """
    from matplotlib.font_manager import FontProperties
    from matplotlib.path import Path
    from matplotlib.textpath import TextPath

    letter = unicodedata.lookup(class_name.replace("/", " "))
    found = []
    for name in outlines_by_font(letter, fonts_of(letter)):
        path = TextPath((0, 0), letter, size=100, prop=FontProperties(fname=str(font_path(name))))
        low, high = path.get_extents().get_points()
        found.append(Path((path.vertices - (low + high) / 2) / (high - low).max(), path.codes))
    return found


def draw_letters(axes: Axes, pool: Pool, classes: Sequence[int]) -> None:
    """Draw letters, one a row: two outlines of the fonts, then some of the images that a program made of such.

    Args:
        axes: Where to draw.
        pool: Pool of :func:`metalearn.data.glyphs`.
        classes: Class ids, a row for each.

    Example:
        >>> from matplotlib import pyplot as plt
        >>> from metalearn.data import glyphs
        >>> from metalearn.diagrams import draw_letters
        >>> figure, axes = plt.subplots()
        >>> draw_letters(axes, glyphs().test, [0, 90])
        >>> plt.close(figure)
    """
    from matplotlib.patches import PathPatch
    from matplotlib.transforms import Affine2D

    height = len(classes)
    for row, label in enumerate(classes):
        name, y = pool.class_names[label], height - 0.5 - row
        outlines = outlines_of(name)
        axes.text(1.75, y, f"{name.split('/')[0]}\n{len(outlines)} outlines", ha="right", va="center", fontsize=8)
        for column, outline in enumerate(outlines[:: max(1, len(outlines) - 1)][:2]):  # the first and the last
            move = Affine2D().scale(0.72).translate(2.4 + 0.95 * column, y)
            axes.add_patch(PathPatch(move.transform_path(outline), fc="0.9", ec="0.2", lw=0.8))
        axes.annotate("", (4.5, y), (3.95, y), arrowprops={"arrowstyle": "-|>", "color": "0.25"})
        start = int(pool.class_starts[label])
        for column in range(5):
            thumbnail(axes, (5.1 + 0.95 * column, y), pool.x[start + column].float() / 255, size=0.88)
    for x, text in ((2.9, "font"), (7.0, "images of the class: 5 of 20")):
        axes.text(x, height + 0.15, text, ha="center", fontsize=8)
    canvas(axes, 9.5, height + 0.5)
