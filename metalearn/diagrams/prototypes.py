"""A plane of embeddings, with prototypes and the straight borders between them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from matplotlib.colors import ListedColormap

from metalearn.plotting import COLOURS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from torch import Tensor

CLASSES = [COLOURS[name] for name in ("joint training", "siamese", "prototypical", "first-order MAML", "transfer")]


def draw_prototypes(axes: Axes, support: Tensor, support_y: Tensor, query: Tensor, query_y: Tensor) -> None:
    """Draw embeddings in the plane: support points and their means, query points, and whose mean is nearest where.

    Args:
        axes: Where to draw; both axes get one scale, so that what looks nearest is.
        support: Embedded support ``[n_support, 2]``, of at most 5 classes.
        support_y: Labels ``[n_support]``.
        query: Embedded query ``[n_query, 2]``.
        query_y: Labels ``[n_query]``.

    Example:
        >>> import torch
        >>> from matplotlib import pyplot as plt
        >>> from metalearn.diagrams import draw_prototypes
        >>> figure, axes = plt.subplots()
        >>> points, labels = torch.randn(6, 2), torch.tensor([0, 0, 0, 1, 1, 1])
        >>> draw_prototypes(axes, points, labels, torch.randn(6, 2), labels)
        >>> plt.close(figure)
    """
    n_way = int(support_y.max()) + 1
    prototypes = torch.stack([support[support_y == n].mean(0) for n in range(n_way)])
    points = torch.cat([support, query])
    margin = 0.06 * (points.amax(0) - points.amin(0)).max()
    low, high = points.amin(0) - margin, points.amax(0) + margin
    across, up = (torch.linspace(float(low[i]), float(high[i]), 400) for i in (0, 1))
    grid = torch.stack(torch.meshgrid(across, up, indexing="xy"), -1)  # [400, 400, 2]
    nearest = (grid.unsqueeze(2) - prototypes).square().sum(-1).argmin(-1)
    extent = (float(low[0]), float(high[0]), float(low[1]), float(high[1]))
    shades: dict[str, Any] = {"cmap": ListedColormap(CLASSES[:n_way]), "vmin": -0.5, "vmax": n_way - 0.5, "alpha": 0.16}
    axes.imshow(nearest.numpy(), extent=extent, origin="lower", interpolation="nearest", **shades)
    for n in range(n_way):
        own = support[support_y == n]
        for point in own:
            axes.plot(*torch.stack([point, prototypes[n]]).T, color=CLASSES[n], lw=0.7, alpha=0.6)
        axes.plot(*own.T, "o", color=CLASSES[n], ms=6)
        axes.plot(*query[query_y == n].T, "o", color=CLASSES[n], mfc="white", ms=4)
        axes.plot(*prototypes[n], "*", color=CLASSES[n], mec="black", ms=15, label=f"class {n}")
    axes.set(aspect="equal", xlabel="first coordinate", ylabel="second coordinate")
    axes.grid(False)
