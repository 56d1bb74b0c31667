"""Write a drawn picture of the book as a small file, the same bytes each time."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure
from PIL import Image

from metalearn import plotting


def save(draw: Callable[[], Figure], path: Path, n_colours: int = 64) -> None:
    """Draw in the book's style and write the picture, without a date or a version in it."""
    buffer = io.BytesIO()
    with mpl.rc_context():
        mpl.rcdefaults()
        plotting.use_style()
        draw().savefig(buffer, dpi=200)
    with Image.open(buffer) as image:  # few colours: a small file
        image.convert("RGB").quantize(n_colours, dither=Image.Dither.NONE).save(path, optimize=True)
