"""The picture of MAML: one start, a step to each task."""

from __future__ import annotations

from typing import TYPE_CHECKING

from metalearn.plotting import COLOURS

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def draw_adaptation(axes: Axes) -> None:
    """Draw the idea of MAML: one start, from which a gradient step leads towards each task's own weights.

    Args:
        axes: Where to draw.

    Example:
        >>> from matplotlib import pyplot as plt
        >>> from metalearn.diagrams import draw_adaptation
        >>> figure, axes = plt.subplots()
        >>> draw_adaptation(axes)
        >>> plt.close(figure)
    """
    ends = [(2.3, 1.0), (1.7, -1.3), (-1.7, 1.1)]
    arrow = {"arrowstyle": "->", "lw": 2.5, "color": COLOURS["MAML"]}
    axes.annotate("", xy=(0, 0), xytext=(-3.2, -1.3), arrowprops=arrow)
    axes.text(-3.2, -0.62, "outer loop:\nmeta-training", color=COLOURS["MAML"])
    for i, (x, y) in enumerate(ends, start=1):
        axes.annotate(
            "", xy=(0.65 * x, 0.65 * y), xytext=(0, 0), arrowprops={"arrowstyle": "->", "lw": 1.5, "ls": "--"}
        )
        axes.plot(x, y, marker="*", markersize=13, color=COLOURS["joint training"])
        axes.text(x + 0.15, y - 0.05, f"task {i}'s best weights")
        axes.text(0.68 * x, 0.68 * y - 0.28, rf"$\theta'_{i}$")
    axes.plot(0, 0, marker="o", markersize=9, color=COLOURS["MAML"])
    axes.text(-0.1, 0.18, r"$\theta$")
    axes.text(-0.2, -0.95, "inner loop:\none gradient step", fontsize=9)
    axes.set(xlim=(-3.5, 4.6), ylim=(-1.6, 1.5))
    axes.set_axis_off()
