"""The picture of a Siamese network: two inputs, one encoder."""

from __future__ import annotations

from typing import TYPE_CHECKING

from metalearn.diagrams._parts import arrow, box, canvas, thumbnail
from metalearn.plotting import COLOURS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from torch import Tensor


def draw_two_towers(axes: Axes, images: Tensor, embeddings: Tensor) -> None:
    """Draw how a pair is compared: one encoder, with one set of weights, turns both inputs into vectors.

    Args:
        axes: Where to draw.
        images: The pair, ``[2, 1, height, width]`` in [0, 1], bright ink.
        embeddings: What the encoder makes of them, ``[2, n_features]``; the grey bars show their values.

    Example:
        >>> import torch
        >>> from matplotlib import pyplot as plt
        >>> from metalearn.diagrams import draw_two_towers
        >>> figure, axes = plt.subplots()
        >>> draw_two_towers(axes, torch.rand(2, 1, 28, 28), torch.randn(2, 16))
        >>> plt.close(figure)
    """
    colour, vectors = COLOURS["siamese"], embeddings.detach().cpu()
    end = box(axes, (7.3, 1.25), f"distance\nd = {float((vectors[0] - vectors[1]).norm()):.1f}")
    low, high = float(vectors.min()), float(vectors.max())
    for i, (name, letter, height) in enumerate((("x", "u", 2.0), ("x'", "v", 0.5))):
        thumbnail(axes, (0.6, height), images[i].cpu(), size=0.95)
        axes.text(0.05, height, f"${name}$", ha="right", va="center")
        encoder = box(axes, (2.5, height), r"encoder $f_\theta$", colour)
        arrow(axes, (1.1, height), encoder)
        strip = (3.9, 5.7, height - 0.2, height + 0.2)
        axes.imshow(vectors[i][None].numpy(), extent=strip, vmin=low, vmax=high, cmap="Greys", aspect="auto")
        axes.text(4.8, height + 0.28, f"${letter}$", ha="center", va="bottom")
        arrow(axes, encoder, (3.85, height))
        arrow(axes, (5.75, height), end, bend=0.15 * (1 - 2 * i))
    axes.plot([2.5, 2.5], [0.85, 1.65], color=colour, lw=4, zorder=0)
    axes.text(2.65, 1.25, r"the same weights $\theta$", color="0.2", va="center", fontsize=9)
    canvas(axes, 8.2, 2.6)
    axes.set_xlim(-0.4, 8.2)
