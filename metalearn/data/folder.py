"""Your own images: a folder in which each subfolder is a class."""

from __future__ import annotations

import struct
import warnings
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import torch
from torch import Tensor

from metalearn._given import at_least_one
from metalearn.pools import Pool

Mode = Literal["L", "RGB"]
SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".pbm", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")


def folder(path: str | Path, image_size: int, mode: Mode = "RGB", *, invert: bool = False) -> Pool:
    """Return the images of a folder as a pool: each subfolder is a class, called by its name.

    Files are read in the order of their names, each by :func:`read_image`. Hidden files (``.DS_Store``) are passed
    over; whatever else is left out is named in a warning: files beside the subfolders, folders within them, and files
    whose suffix is not that of an image.

    Args:
        path: The folder.
        image_size: Height and width of the images, in pixels.
        mode: ``"L"`` for grey images, ``"RGB"`` for colour.
        invert: Whether to turn dark into bright, for ink on paper.

    Returns:
        A pool of uint8 images ``[n, 1, image_size, image_size]``, or ``[n, 3, ...]`` in colour.

    Raises:
        ValueError: If the folder is missing or holds no subfolders, a subfolder holds no image, or a file cannot be
            read.
        ImportError: If Pillow is not installed.

    Example:
        >>> from metalearn.data import folder
        >>> folder("photographs", image_size=84)  # doctest: +SKIP
        Pool(1200 examples [3, 84, 84], 60 classes of 20)
    """
    files, left_out = _files(Path(path))
    if left_out:
        more = f" and {len(left_out) - 5} more" if len(left_out) > 5 else ""
        names = ", ".join(str(name.relative_to(path)) for name in left_out[:5])
        warnings.warn(
            f"{len(left_out)} entries of {path} are no images of a class and were left out: {names}{more}."
            f" Images lie in one folder for each class and end in {' '.join(SUFFIXES)}",
            stacklevel=2,
        )
    images = torch.stack([read_image(file, image_size, mode, invert=invert) for file in files])
    classes = sorted({file.parent.name for file in files})
    return Pool(images, [classes.index(file.parent.name) for file in files], class_names=classes)


def read_image(file: str | Path, image_size: int, mode: Mode = "RGB", *, invert: bool = False) -> Tensor:
    """Return an image as :func:`folder` reads it, so that a new image is prepared like those of the pool.

    A photograph is turned upright as its camera noted, the largest square is cut out of its middle and scaled,
    transparent parts become white, and 16 bits become 8.

    Args:
        file: The image.
        image_size: Height and width of the result, in pixels.
        mode: ``"L"`` for grey, ``"RGB"`` for colour.
        invert: Whether to turn dark into bright.

    Returns:
        A uint8 tensor ``[1, image_size, image_size]``, or ``[3, image_size, image_size]`` in colour.

    Raises:
        ValueError: If the file is missing, cut or no image.
        ImportError: If Pillow is not installed.

    Example:
        >>> from metalearn.data import read_image
        >>> read_image("new.png", image_size=84).shape  # doctest: +SKIP
        torch.Size([3, 84, 84])
    """
    if mode not in get_args(Mode):
        raise ValueError(f"mode must be 'L' (grey) or 'RGB' (colour), got {mode!r}")
    at_least_one(image_size=image_size)
    try:
        from PIL import Image, ImageOps
    except ImportError as err:
        raise ImportError('images are read with Pillow: pip install "metalearn-book[chapters]"') from err
    try:
        with Image.open(file) as opened:
            image = _eight_bits(ImageOps.exif_transpose(opened), mode)
        square = ImageOps.fit(image, (image_size, image_size))
    except (OSError, SyntaxError, ValueError, EOFError, struct.error, Image.DecompressionBombError) as err:
        if isinstance(err, FileNotFoundError | IsADirectoryError):
            what = "it is a folder" if Path(file).is_dir() else "there is no such file"
            raise ValueError(f"cannot read the image {file}: {what}") from err
        raise ValueError(f"cannot read the image {file}: {err}. Replace it, or take it out of the folder") from err
    pixels = torch.from_numpy(np.array(square)).reshape(image_size, image_size, -1)
    pixels = pixels.permute(2, 0, 1).contiguous()  # [channels, height, width]
    return 255 - pixels if invert else pixels


def _files(path: Path) -> tuple[list[Path], list[Path]]:
    """Return the images of all classes, sorted, and what was left out."""
    if not path.is_dir():
        what = "it is a file" if path.exists() else "there is none"
        raise ValueError(f"expected a folder with one folder of images for each class, got {path}: {what}")
    entries = [entry for entry in sorted(path.iterdir()) if not entry.name.startswith(".")]
    files, left_out = [], [entry for entry in entries if not entry.is_dir()]
    for place in (entry for entry in entries if entry.is_dir()):
        inside = [file for file in sorted(place.iterdir()) if not file.name.startswith(".")]
        images = [file for file in inside if file.is_file() and file.suffix.lower() in SUFFIXES]
        if not images:
            raise ValueError(
                f"expected images in each class's folder, found none among the {len(inside)} entries of {place}:"
                f" fill it or remove it (images end in {' '.join(SUFFIXES)})"
            )
        files += images
        left_out += [file for file in inside if file not in images]
    if not files:
        raise ValueError(
            f"expected one folder of images for each class in {path}, found no folders and {len(left_out)} files:"
            f" make {path / 'cat'} and {path / 'dog'}, say, and put the images there"
        )
    return files, left_out


def _eight_bits(image: Any, mode: str) -> Any:
    """Return a Pillow image in a mode of 8 bits; 16 bits are scaled, since Pillow's own conversion cuts them off."""
    from PIL import Image

    if image.mode == "F":
        raise ValueError("its pixels are floats, whose range is unknown: save it with 8 or 16 bits")
    if image.mode.startswith("I"):
        levels = np.asarray(image).astype(np.int64)
        if levels.min() < 0 or levels.max() > 65535:
            raise ValueError(f"expected levels 0 to 65535, got {levels.min()} to {levels.max()}")
        image = Image.fromarray(np.rint(levels / 257).astype(np.uint8))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert(mode)
