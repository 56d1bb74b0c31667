"""How a pile of unlabelled images becomes tasks: copies of an image as a class, or a cluster as a class."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from metalearn.diagrams._parts import arrow, canvas, thumbnail
from metalearn.plotting import COLOURS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from torch import Tensor

SIZE, STEP, N_COLUMNS = 0.7, 0.8, 4  # of a thumbnail; from one to the next; of the pile
SUPPORT, QUERY, WRONG = COLOURS["joint training"], COLOURS["siamese"], COLOURS["MAML"]
LOOK: dict[str, Any] = {"ha": "center", "va": "center", "fontsize": 8}


def draw_unlabelled_tasks(
    axes: Axes, images: Tensor, chosen: Tensor, copies: Tensor, clusters: Tensor, labels: Tensor
) -> None:
    """Draw a pile of images and two tasks made of it: above from copies, below from clusters.

    Support images have blue frames, queries orange ones. Below, the first two images of each cluster are taken. Red
    signs mark what no method is told: above, neighbours that are two classes though they are of one; below, images that
    are one class though they are of two.

    Args:
        axes: Where to draw.
        images: The pile ``[n, 1, height, width]``.
        chosen: Rows of the images that become a class each ``[3]``.
        copies: An augmented copy of each of them ``[3, 1, height, width]``.
        clusters: Cluster of each image ``[n]``, at most 4 different ones; of one image no class can be made.
        labels: True class of each image ``[n]``, to mark errors.

    Example:
        >>> import torch
        >>> from matplotlib import pyplot as plt
        >>> from metalearn.diagrams import draw_unlabelled_tasks
        >>> figure, axes = plt.subplots()
        >>> images, which = torch.rand(12, 1, 28, 28), torch.arange(12) % 4
        >>> draw_unlabelled_tasks(axes, images, torch.tensor([0, 1, 2]), images[:3], which, which)
        >>> plt.close(figure)
    """
    _draw_pile(axes, images)
    _draw_copies(axes, images[chosen], copies, labels[chosen])
    _draw_clusters(axes, images, clusters, labels)
    for x, text, colour in ((9.0, "support", SUPPORT), (10.3, "query", QUERY)):
        axes.text(x, 7.85, text, color=colour, weight="bold", **LOOK)
    canvas(axes, 11.4, 8.2)


def _draw_pile(axes: Axes, images: Tensor) -> None:
    top = 4.1 + STEP * ((len(images) - 1) // N_COLUMNS) / 2
    for i, image in enumerate(images):
        thumbnail(axes, (0.55 + STEP * (i % N_COLUMNS), top - STEP * (i // N_COLUMNS)), image, SIZE)
    axes.text(0.55 + STEP * 1.5, top + 0.75, "unlabelled images", **LOOK)
    arrow(axes, (3.5, 4.6), (4.6, 6.2), bend=-0.15)
    arrow(axes, (3.5, 3.6), (4.3, 2.4), bend=0.15)


def _draw_copies(axes: Axes, originals: Tensor, copies: Tensor, labels: Tensor) -> None:
    axes.text(6.5, 6.8, "draw images at random,\nbend a copy of each:", **LOOK)
    axes.text(6.5, 6.1, "each image is a class", weight="bold", **LOOK)
    for n, (original, copy) in enumerate(zip(originals, copies, strict=True)):
        y = 7.25 - STEP * n
        thumbnail(axes, (9.0, y), original, SIZE, SUPPORT)
        thumbnail(axes, (10.3, y), copy, SIZE, QUERY)
        arrow(axes, (9.42, y), (9.88, y))
        if n and labels[n] == labels[n - 1]:
            axes.text(8.4, y + STEP / 2, "=", color=WRONG, weight="bold", ha="center", va="center", fontsize=13)


def _draw_clusters(axes: Axes, images: Tensor, clusters: Tensor, labels: Tensor) -> None:
    axes.text(6.5, 4.3, "group by an embedding:", **LOOK)
    axes.text(9.65, 4.3, "each cluster is a class", weight="bold", **LOOK)
    for row, cluster in enumerate(torch.unique(clusters).tolist()):
        members, y = (clusters == cluster).nonzero().flatten().tolist(), 3.55 - 0.9 * row
        drawn, left = (members[:2], members[2:]) if len(members) > 1 else ([], members)
        for k, i in enumerate(left[:4]):
            thumbnail(axes, (5.1 + STEP * k, y), images[i], SIZE)
        for x, i, colour in zip((9.0, 10.3), drawn, (SUPPORT, QUERY), strict=False):
            thumbnail(axes, (x, y), images[i], SIZE, colour)
        if drawn and labels[drawn[0]] != labels[drawn[1]]:
            axes.text(9.65, y, "≠", color=WRONG, weight="bold", ha="center", va="center", fontsize=13)
