"""How the support votes on one query."""

from __future__ import annotations

from typing import TYPE_CHECKING

from metalearn.diagrams._parts import canvas, thumbnail
from metalearn.plotting import COLOURS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from torch import Tensor


def draw_vote(axes: Axes, query: Tensor, support: Tensor, labels: Tensor, weights: Tensor) -> None:
    """Draw one query, the support below it, and over each support image a bar as high as its share of the vote.

    Args:
        axes: Where to draw.
        query: One image ``[1, height, width]`` in [0, 1].
        support: Images ``[n_support, 1, height, width]``.
        labels: Their classes ``[n_support]``; images of a class stand side by side.
        weights: Their shares ``[n_support]``, which sum to one.

    Example:
        >>> import torch
        >>> from matplotlib import pyplot as plt
        >>> from metalearn.diagrams import draw_vote
        >>> figure, axes = plt.subplots()
        >>> labels, weights = torch.tensor([0, 0, 1]), torch.tensor([0.7, 0.2, 0.1])
        >>> draw_vote(axes, torch.rand(1, 8, 8), torch.rand(3, 1, 8, 8), labels, weights)
        >>> plt.close(figure)
    """
    height, place = 2.6, 0.5  # of a bar of weight one; of the next image
    axes.text(0.5, 4.9, "query", ha="left", va="center", fontsize=10)
    thumbnail(axes, (2.6, 4.9), query, size=1.0)
    for label in range(int(labels.max()) + 1):
        members = (labels == label).nonzero().flatten().tolist()
        start = place
        for i in members:
            share = float(weights[i])
            axes.bar(place + 0.5, height * share, width=0.7, bottom=1.5, color=COLOURS["matching"], zorder=2)
            axes.text(place + 0.5, 1.55 + height * share, f"{share:.2f}", ha="center", va="bottom", fontsize=8)
            thumbnail(axes, (place + 0.5, 0.95), support[i], size=0.9)
            place += 1
        total = float(weights[members].sum())
        text = f"class {label}\n{total:.2f}"
        axes.text((start + place) / 2, 0.35, text, ha="center", va="top", fontsize=9)
        place += 0.5
    canvas(axes, place, 5.5)
    axes.set_ylim(-0.7, 5.5)
