"""Render ``metalearn/data/glyphs.npz``: letters of matplotlib's own fonts, each drawn twenty times by an unsteady hand.

Run ``python tools/render_glyphs.py`` from the repository's root (about five minutes on one core) and copy the printed
checksum into ``metalearn/data/glyphs.py``. The same versions of Pillow, SciPy and NumPy give the same bytes.
"""

from __future__ import annotations

import hashlib
import io
import unicodedata
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image
from scipy import ndimage

from metalearn.data._fonts import CANVAS, FONTS, LETTER, TEX_FONTS, codes_of, fonts_of, outlines_by_font

Array = npt.NDArray[Any]

SCRIPTS = {  # scripts of each split, in the order in which they claim a shape: a later twin is dropped
    "train": ("Latin", "Greek", "Cyrillic", "Canadian Syllabics", "Coptic", "Lisu"),
    "validation": ("Arabic", "Armenian", "Nko", "Ogham", "Old Italic"),
    "test": ("Georgian", "Tifinagh", "Hebrew", "Lao"),
}
ORDER = [script for scripts in SCRIPTS.values() for script in scripts]
CATEGORIES = ("Lu", "Ll", "Lt", "Lo")  # without modifier letters, which look like commas
TWINS = 0.95  # likeness from which on two letters of one split count as one letter
STRANGERS = 0.9  # the same for letters of different splits
N_INSTANCES = 20
SIZE = 28  # pixels: an image's side


def fonts_of_letters() -> dict[str, list[str]]:
    """Return the base letters of our scripts, ordered by script and code point, with the fonts that hold each."""
    chars = {chr(code) for name in FONTS + TEX_FONTS for code in codes_of(name)}
    bases = {c for c in chars if unicodedata.category(c) in CATEGORIES and unicodedata.normalize("NFKD", c) == c}
    letters = sorted((c for c in bases if script_of(c)), key=lambda c: (ORDER.index(script_of(c)), c))
    return {letter: fonts for letter in letters if (fonts := fonts_of(letter))}


def script_of(letter: str) -> str:
    """Return the script that a letter's Unicode name begins with, or an empty text."""
    name = unicodedata.name(letter, "")
    return next((script for script in ORDER if name.startswith(script.upper() + " ")), "")


def split_of(letter: str) -> int:
    """Return 0, 1 or 2: training, validation or test."""
    return next(i for i, scripts in enumerate(SCRIPTS.values()) if script_of(letter) in scripts)


def class_name(letter: str) -> str:
    """Return script and Unicode name: ``Greek/small letter alpha``."""
    script = script_of(letter)
    return f"{script}/{unicodedata.name(letter)[len(script) + 1 :].lower()}"


def outlines(letter: str, fonts: list[str]) -> list[Array]:
    """Return a letter's distinct outlines, each ``[CANVAS, CANVAS]`` in [0, 1], centred, its longer side ``LETTER``."""
    return list(outlines_by_font(letter, fonts).values())


def features(shapes: list[Array]) -> Array:
    """Return a unit vector for each outline, such that a product of two is their likeness, 1 for equal ones.

    Likeness is the correlation of two outlines drawn with one pen and on one scale, narrow letters made wider.
    """
    rows = np.stack([_plain(shape)[::2, ::2].ravel() for shape in shapes])
    rows -= rows.mean(1, keepdims=True)
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def _plain(shape: Array) -> Array:
    image = Image.fromarray((255 * shape).astype(np.uint8))
    image = image.crop(image.point(lambda grey: 255 * (grey > 127)).getbbox())
    slimness = min(image.size) / max(image.size)
    scale = [48 if side == max(image.size) else max(4, round(48 * slimness**0.5)) for side in image.size]
    board = Image.new("L", (64, 64))
    board.paste(image.resize((scale[0], scale[1]), Image.Resampling.BOX), ((64 - scale[0]) // 2, (64 - scale[1]) // 2))
    depth = depth_of(np.asarray(board) > 127)
    return np.asarray(ndimage.gaussian_filter(np.clip(depth + 3.5 - np.median(ridge_of(depth)), 0, 1), 1.5))


def depth_of(inside: Array) -> Array:
    """Return each pixel's distance to the outline, in pixels: positive in the ink, negative outside."""
    return np.asarray(ndimage.distance_transform_edt(inside) - ndimage.distance_transform_edt(~inside))


def ridge_of(depth: Array) -> Array:
    """Return the depths along the middle of the strokes: half their widths, in pixels."""
    return np.asarray(depth[(depth == ndimage.maximum_filter(depth, 3)) & (depth > 0)])


def choose(shapes: dict[str, list[Array]]) -> list[str]:
    """Keep the letters with two outlines or more that are no blobs, nor a twin, in any font, of one kept before."""
    kept: list[str] = []
    seen, owners = np.empty((0, 32 * 32), np.float32), np.empty(0, int)
    for letter, found in shapes.items():
        if len(found) < 2 or min(depth_of(shape > 0.5).max() for shape in found) > LETTER / 5:
            continue
        rows, split = features(found), split_of(letter)
        if ((seen @ rows.T).max(1) >= np.where(owners == split, TWINS, STRANGERS)).any():
            continue
        kept.append(letter)
        seen, owners = np.concatenate([seen, rows]), np.append(owners, [split] * len(rows))
    return kept


def draw(shape: Array, rng: np.random.Generator) -> Array:
    """Draw an outline once: affine and elastic bending, a pen's width, a size and a place.

    Args:
        shape: Outline ``[CANVAS, CANVAS]`` in [0, 1].
        rng: Source of randomness.

    Returns:
        Grey levels 0..15 ``[SIZE, SIZE]``, ink bright. No ink is cut at the border and no stroke vanishes.
    """
    inside = bend(shape, rng) > 0.5
    depth = depth_of(inside)
    rows, columns = np.nonzero(inside)
    box = np.array([[rows.min(), rows.max() + 1], [columns.min(), columns.max() + 1]])
    zoom = (17 + 6 * rng.random()) / (box[:, 1] - box[:, 0]).max()  # image pixels per board pixel
    ridge = ridge_of(depth) - 0.5
    pen = 0.6 + 0.4 * rng.random()  # half the stroke's width, image pixels
    parts, n_parts = ndimage.label(inside, np.ones((3, 3)))
    dot = min(ndimage.maximum(depth, parts, range(1, n_parts + 1))) - 0.5  # half width of the smallest part
    grow = max(pen / zoom - np.median(ridge), 0.8 / zoom - dot)  # the pen's width, but dots stay visible
    while breaks(depth, n_parts, 0.3 / zoom - grow):
        grow += 0.15 / zoom  # and hairlines stay whole
    half = (box[:, 1] - box[:, 0]) * zoom / 2 + grow * zoom
    room = np.maximum(SIZE / 2 - 1 - half, 0)
    place = SIZE / 2 + np.clip(1.5 * (2 * rng.random(2) - 1), -room, room)  # the letter's centre in the image
    centre = box.mean(1)
    grid = np.arange(SIZE) + 0.5
    points = np.meshgrid(*((grid - place[axis]) / zoom + centre[axis] - 0.5 for axis in (0, 1)), indexing="ij")
    ink = ndimage.map_coordinates(depth, points, order=1, mode="nearest")
    return np.rint(15 * np.clip((ink + grow) * zoom + 0.5, 0, 1)).astype(np.uint8)


def breaks(depth: Array, n_parts: int, loss: float) -> bool:
    """Tell whether a letter that loses ``loss`` board pixels all round falls apart, or loses whole strokes."""
    left = depth > loss
    if ndimage.label(left, np.ones((3, 3)))[1] > n_parts:
        return True
    return bool(ndimage.distance_transform_edt(~left)[depth > 0].max() > 2 * max(loss, 0) + 2)  # a corner loses less


def bend(shape: Array, rng: np.random.Generator) -> Array:
    """Turn, shear, stretch and bend an outline on its board."""
    angle, shear, stretch = (2 * rng.random(3) - 1) * (0.2, 0.25, 0.25)  # radians, slope, log ratio of height to width
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    affine = turn @ np.array([[1, 0], [shear, 1]]) @ np.diag(np.exp([-stretch / 2, stretch / 2])) * 1.15
    waves = 3.0 * rng.standard_normal((2, 5, 5))  # displacements in board pixels, on a coarse grid
    field = np.stack([ndimage.zoom(wave, CANVAS / 5, order=3) for wave in waves])
    points = np.stack(np.meshgrid(*2 * [np.arange(CANVAS) - (CANVAS - 1) / 2], indexing="ij"))
    points = np.tensordot(affine, points, 1) + (CANVAS - 1) / 2 + field
    return np.asarray(ndimage.map_coordinates(shape, points, order=1, mode="constant"))


def render(letter: str, shapes: list[Array]) -> Array:
    """Return a letter's instances, grey levels ``[N_INSTANCES, SIZE, SIZE]``: the same whatever else is rendered."""
    rng = np.random.default_rng([2024, ord(letter)])
    return np.stack([draw(shapes[i % len(shapes)], rng) for i in range(N_INSTANCES)])


def pack(letters: list[str], levels: Array) -> bytes:
    """Return the archive's bytes: two pixels a byte, the same on every run (fixed dates)."""
    flat = levels.reshape(-1, 2)
    arrays = {
        "images": (flat[:, 0] << 4 | flat[:, 1]).reshape(*levels.shape[:-1], SIZE // 2),
        "name": np.array([class_name(letter) for letter in letters]),
        "codepoint": np.array([ord(letter) for letter in letters], np.int32),
        "split": np.array([split_of(letter) for letter in letters], np.uint8),
    }
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_LZMA) as file:
        for key, array in arrays.items():
            member = zipfile.ZipInfo(f"{key}.npy", date_time=(1980, 1, 1, 0, 0, 0))
            member.compress_type, member.create_system = zipfile.ZIP_LZMA, 3
            content = io.BytesIO()
            np.save(content, array, allow_pickle=False)
            file.writestr(member, content.getvalue())
    return archive.getvalue()


def main() -> None:
    """Render all letters and write the archive beside the package's modules."""
    shapes = {letter: outlines(letter, fonts) for letter, fonts in fonts_of_letters().items()}
    letters = choose(shapes)
    content = pack(letters, np.stack([render(letter, shapes[letter]) for letter in letters]))
    target = Path(__file__).parents[1] / "metalearn" / "data" / "glyphs.npz"
    target.write_bytes(content)
    print(f"{target}: {len(letters)} letters, {len(content):,} bytes, sha256 {hashlib.sha256(content).hexdigest()}")


if __name__ == "__main__":
    main()
