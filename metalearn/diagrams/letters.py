"""Where the letters of this book come from: outlines of fonts, and what a program makes of them."""

from __future__ import annotations

import unicodedata
from functools import cache
from pathlib import Path as File
from typing import TYPE_CHECKING, Any

import numpy as np

from metalearn.diagrams._parts import canvas, thumbnail

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from matplotlib.path import Path

    from metalearn.pools import Pool

FAMILIES = {  # the fonts of tools/render_glyphs.py, in its order
    "DejaVuSans": ("", "-Bold", "-Oblique", "-BoldOblique"),
    "DejaVuSansMono": ("", "-Bold", "-Oblique", "-BoldOblique"),
    "DejaVuSerif": ("", "-Bold", "-Italic", "-BoldItalic"),
    "STIXGeneral": ("", "Bol", "Italic", "BolIta"),
}
TEX_FONTS = ("cmr10", "cmss10", "cmtt10", "cmb10", "cmti10", "cmmi10")  # Unicode's code points only in ASCII


@cache
def _charmaps() -> dict[File, frozenset[int]]:
    from matplotlib import get_data_path
    from matplotlib.ft2font import FT2Font

    folder = File(get_data_path()) / "fonts" / "ttf"
    names = [family + style for family, styles in FAMILIES.items() for style in styles]
    files = [folder / f"{name}.ttf" for name in (*names, *TEX_FONTS)]
    return {file: frozenset(FT2Font(str(file)).get_charmap()) for file in files}


def outlines_of(class_name: str) -> list[Path]:
    """Return the distinct outlines of a letter in the fonts that matplotlib ships, the longer side 1, centred on 0.

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
    found: dict[tuple[Any, bytes], Path] = {}
    for file, codes in _charmaps().items():
        if ord(letter) not in codes or (file.stem in TEX_FONTS and not letter.isascii()):
            continue
        path = TextPath((0, 0), letter, size=100, prop=FontProperties(fname=str(file)))
        low, high = path.get_extents().get_points()
        vertices = (path.vertices - (low + high) / 2) / (high - low).max()
        key = vertices.shape, np.round(vertices, 2).tobytes()
        found.setdefault(key, Path(vertices, path.codes))
    return list(found.values())


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
