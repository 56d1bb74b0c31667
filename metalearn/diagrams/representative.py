"""Which point represents some examples best: the landscape of their summed distances."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch

from metalearn.plotting import COLOURS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from torch import Tensor


def draw_representative(
    axes: Axes, examples: Tensor, distance: Callable[[Tensor, Tensor], Tensor], high: float = 3.5
) -> None:
    """Draw the summed distance from examples to a point as contour lines over where the point lies.

    The mean of the examples is a cross, the lowest place of the landscape green: a circle, or a dashed ray where only
    the direction counts.

    Args:
        axes: Where to draw; both axes have one scale.
        examples: Points ``[n, 2]`` with coordinates in ``(0, high)``.
        distance: From examples ``[n, 2]`` to points ``[m, 1, 2]``: ``[m, n]``.
        high: Largest coordinate drawn.

    Example:
        >>> import torch
        >>> from matplotlib import pyplot as plt
        >>> from metalearn.diagrams import draw_representative
        >>> figure, axes = plt.subplots()
        >>> draw_representative(axes, torch.rand(4, 2) + 0.5, lambda u, v: (u - v).square().sum(-1))
        >>> plt.close(figure)
    """
    ticks = torch.linspace(high / 70, high, 140)
    grid = torch.cartesian_prod(ticks, ticks)
    total = distance(examples, grid.unsqueeze(1)).sum(1)
    axes.contour(ticks, ticks, total.reshape(140, 140).T, 12, colors="0.7", linewidths=0.8)
    best, colour = grid[total.argmin()], COLOURS["prototypical"]
    half = distance(examples, (best / 2).reshape(1, 1, 2)).sum()
    if torch.isclose(half, total.min(), rtol=1e-4):  # lengths do not count
        axes.plot(*torch.stack([0 * best, 9 * best]).T, "--", color=colour, label="lowest sum")
    else:
        axes.plot(*best, "o", mfc="none", ms=12, color=colour, label="lowest sum")
    axes.plot(*examples.T, "k.", label="examples")
    axes.plot(*examples.mean(0), "kx", ms=8, label="their mean")
    axes.set(aspect="equal", xlim=(0, high), ylim=(0, high), xlabel="$v_1$", ylabel="$v_2$")
