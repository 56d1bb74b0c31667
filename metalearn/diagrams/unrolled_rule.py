"""The graph of a learned rule, step after step, and the paths that the first-order gradient cuts."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

from metalearn.diagrams._parts import arrow, box, canvas
from metalearn.plotting import COLOURS

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def draw_unrolled_rule(axes: Axes, n_steps: int = 2) -> None:
    """Draw the steps of a learned rule; dashed arrows carry no gradient if gradients are taken as constants.

    Args:
        axes: Where to draw.
        n_steps: Steps to draw.

    Example:
        >>> from matplotlib import pyplot as plt
        >>> from metalearn.diagrams import draw_unrolled_rule
        >>> figure, axes = plt.subplots()
        >>> draw_unrolled_rule(axes)
        >>> plt.close(figure)
    """
    tint, width = COLOURS["meta-LSTM"], 2.8
    weights = [box(axes, (0.6 + width * k, 3.6), rf"$\theta'_{k}$") for k in range(n_steps + 1)]
    rules = [box(axes, (2.0 + width * k, 2.3), "rule", tint) for k in range(n_steps)]
    for k, rule in enumerate(rules):
        slope = box(axes, (0.8 + width * k, 0.9), rf"$\nabla_{k}$, loss")
        arrow(axes, weights[k], weights[k + 1])
        arrow(axes, weights[k], rule)
        arrow(axes, weights[k], slope, COLOURS["MAML"], ls="--")
        arrow(axes, slope, rule)
        arrow(axes, rule, weights[k + 1])
        axes.text(0.45 + width * k, 1.5, "cut", color=COLOURS["MAML"], ha="center", fontsize=9)
    for before, after in pairwise(rules):
        arrow(axes, before, after, tint)
        axes.text(before.get_position()[0] + 0.65 * width, 2.45, "memory", color=tint, ha="center", fontsize=8)
    end = 0.6 + width * n_steps
    arrow(axes, weights[-1], box(axes, (end, 2.3), "query\nloss"))
    canvas(axes, end + 0.8, 4.2)
