"""The fonts that the glyphs come from, and the rule that says which of a letter's outlines are different ones."""

from __future__ import annotations

import string
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

FONTS = (
    *(f"DejaVuSans{style}" for style in ("", "-Bold", "-Oblique", "-BoldOblique")),
    *(f"DejaVuSansMono{style}" for style in ("", "-Bold", "-Oblique", "-BoldOblique")),
    *(f"DejaVuSerif{style}" for style in ("", "-Bold", "-Italic", "-BoldItalic")),
    *(f"STIXGeneral{style}" for style in ("", "Bol", "Italic", "BolIta")),
)
TEX_FONTS = ("cmr10", "cmss10", "cmtt10", "cmb10", "cmti10", "cmmi10")  # Unicode's code points only in ASCII
CANVAS, LETTER = 128, 80  # pixels: the drawing board's side, a letter's longer side on it


def font_path(name: str) -> Path:
    """Return where matplotlib keeps a font."""
    from matplotlib import get_data_path

    return Path(get_data_path()) / "fonts" / "ttf" / f"{name}.ttf"


@cache
def codes_of(name: str) -> frozenset[int]:
    """Return the code points that a font has a glyph for."""
    from matplotlib.ft2font import FT2Font

    return frozenset(FT2Font(str(font_path(name))).get_charmap())


def fonts_of(letter: str) -> list[str]:
    """Return the names of the fonts that hold a letter."""
    fonts = FONTS + TEX_FONTS if letter in string.ascii_letters else FONTS
    return [name for name in fonts if ord(letter) in codes_of(name)]


def outlines_by_font(letter: str, fonts: Sequence[str]) -> dict[str, npt.NDArray[Any]]:
    """Return a letter's distinct outlines, each by the first font that has it.

    Two are the same if they agree pixel by pixel on a board of ``CANVAS`` pixels, each ``[CANVAS, CANVAS]`` in [0, 1],
    centred, its longer side ``LETTER``.
    """
    from PIL import Image, ImageFont

    found: dict[bytes, str] = {}
    for name in fonts:
        font = ImageFont.truetype(str(font_path(name)), 160, layout_engine=ImageFont.Layout.BASIC)
        mask = font.getmask(letter)
        image = Image.frombytes("L", mask.size, bytes(mask))
        box = image.point(lambda grey: 255 * (grey > 127)).getbbox()
        if box is None:
            continue
        image = image.crop(box)
        scale = LETTER / max(image.size)
        size = max(1, round(image.width * scale)), max(1, round(image.height * scale))
        image = image.resize(size, Image.Resampling.BOX)
        board = Image.new("L", (CANVAS, CANVAS))
        board.paste(image, ((CANVAS - image.width) // 2, (CANVAS - image.height) // 2))
        found.setdefault(board.tobytes(), name)
    grey = {name: np.frombuffer(board, np.uint8).reshape(CANVAS, CANVAS) for board, name in found.items()}
    return {name: image / 255 for name, image in grey.items()}
