"""The contrastive loss of a pair, and its forces in the plane of the embeddings."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from metalearn.plotting import COLOURS

if TYPE_CHECKING:
    from matplotlib.axes import Axes

DISTANCES = (0.3, 0.7, 1.3, 0.5)  # of partners in turn, in margins


def draw_pair_loss(axes: Axes) -> None:
    """Draw the contrastive loss of an equal and of an unequal pair against their distance, for margin 1.

    Args:
        axes: Where to draw.

    Example:
        >>> from matplotlib import pyplot as plt
        >>> from metalearn.diagrams import draw_pair_loss
        >>> figure, axes = plt.subplots()
        >>> draw_pair_loss(axes)
        >>> plt.close(figure)
    """
    distance = np.linspace(0, 1.6, 161)
    for name, loss in (("equal pairs", distance**2 / 2), ("unequal pairs", np.maximum(0, 1 - distance) ** 2 / 2)):
        axes.plot(distance, loss, color=COLOURS[name], label=name)
    axes.axvline(1, color="0.4", ls=":", label="margin")
    axes.set(xlabel="distance, in margins", ylabel="loss")
    axes.legend(fontsize=8, loc="center left", bbox_to_anchor=(1.0, 0.5))


def draw_springs(axes: Axes) -> None:
    """Draw what the contrastive loss does to the partners of one embedding, equal ones above, unequal ones below.

    An arrow is half the force. The dotted circle has the margin as its radius.

    Args:
        axes: Where to draw.

    Example:
        >>> from matplotlib import pyplot as plt
        >>> from metalearn.diagrams import draw_springs
        >>> figure, axes = plt.subplots()
        >>> draw_springs(axes)
        >>> plt.close(figure)
    """
    look = {"angles": "xy", "scale_units": "xy", "scale": 2, "width": 0.012, "zorder": 3}
    for start, equal, name in ((0, True, "equal pairs"), (np.pi, False, "unequal pairs")):
        turn, distance = start + np.arange(8) * np.pi / 8 + 0.2, np.tile(DISTANCES, 2)
        out = np.stack([np.cos(turn), np.sin(turn)])
        force = out * (-distance if equal else np.maximum(0, 1 - distance))
        label = "equal: pulled in" if equal else "unequal: pushed out"
        axes.quiver(*(distance * out), *force, color=COLOURS[name], **look)
        axes.plot(*(distance * out), "o", color=COLOURS[name], markersize=4, label=label)
    turn = np.linspace(0, 2 * np.pi, 100)
    axes.plot(np.cos(turn), np.sin(turn), ":", color="0.4", label="margin")
    axes.plot(0, 0, "k*", markersize=10, label="embedding $u$")
    axes.set(aspect="equal", xlim=(-1.5, 1.5), ylim=(-1.5, 1.5), xlabel="in margins", ylabel="in margins")
    axes.legend(fontsize=8, loc="center left", bbox_to_anchor=(1.0, 0.5))
