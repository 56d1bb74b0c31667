"""Letters of many scripts, drawn from the fonts that matplotlib ships: the book's default images."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path

import numpy as np
import torch

from metalearn.pools import Pool, Splits

ARCHIVE = Path(__file__).with_name("glyphs.npz")  # written by tools/render_glyphs.py
SHA256 = "5bf80f050af8e299d13ce14239e6181d810c1308f92f94ce490fbdfaf10d95d7"


def glyphs() -> Splits:
    """Return the letters of fifteen scripts, 28x28 grey images, split by script.

    A class is a letter, an instance is the letter in one of several fonts, bent, stretched and drawn with a pen of
    another width. There are 20 instances of each class, no class is another one rotated on purpose, and letters that
    look alike (Latin A, Greek Alpha) were dropped except for the first. Nothing is downloaded.

    Returns:
        Pools of uint8 images ``[n, 1, 28, 28]``, ink 255 on black 0, 16 grey levels. Class names are
        ``"<script>/<Unicode name>"``. Training has Latin, Greek, Cyrillic, Canadian syllabics, Coptic and Lisu;
        validation Arabic, Armenian, N'Ko, Ogham and Old Italic; test Georgian, Tifinagh, Hebrew and Lao.

    Raises:
        ValueError: If the archive in the package is missing, cut or altered.

    Reference:
        The outlines are those of DejaVu, STIX and Computer Modern, as shipped with matplotlib.

    Example:
        >>> from metalearn.data import glyphs
        >>> splits = glyphs()
        >>> splits.test.class_names[0], len(splits.test) == 20 * splits.test.n_classes
        ('Georgian/capital letter an', True)
    """
    with np.load(io.BytesIO(_verified(ARCHIVE)), allow_pickle=False) as archive:
        packed, names, split = archive["images"], archive["name"], archive["split"]
    levels = np.stack([packed >> 4, packed & 15], axis=-1)  # [n_classes, 20, 28, 14, 2]
    images = torch.from_numpy(levels.reshape(len(names), 20, 1, 28, 28) * 17)  # levels 0..15 -> 0..255

    def pool(which: int) -> Pool:
        x = images[torch.from_numpy(split == which)]
        labels = torch.arange(len(x)).repeat_interleave(20)
        return Pool(x.flatten(0, 1), labels, class_names=[str(name) for name in names[split == which]])

    return Splits(pool(0), pool(1), pool(2))


def _verified(path: Path) -> bytes:
    """Return a file's bytes, if they are those that we shipped."""
    content = path.read_bytes() if path.exists() else b""
    if hashlib.sha256(content).hexdigest() != SHA256:
        raise ValueError(
            f"expected the glyphs.npz of this version, got another file, of {len(content):,} bytes, at {path}:"
            " pip install --force-reinstall --no-deps metalearn-book"
        )
    return content
