"""The loop of meta-training, and the use on a new task."""

from __future__ import annotations

from typing import TYPE_CHECKING

from metalearn.plotting import COLOURS

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def draw_process(axes: Axes) -> None:
    """Draw how meta-learning proceeds: the loop of meta-training, and below it the use on a new task.

    Args:
        axes: Where to draw.

    Example:
        >>> from matplotlib import pyplot as plt
        >>> from metalearn.diagrams import draw_process
        >>> figure, axes = plt.subplots()
        >>> draw_process(axes)
        >>> plt.close(figure)
    """
    boxes = {
        "tasks": (0.0, 1.0, "distribution\nof tasks"),
        "episode": (1.6, 1.0, "episode:\nsupport, query"),
        "adapt": (3.2, 1.0, "adapt\nto support"),
        "loss": (4.8, 1.0, "loss\non query"),
        "new": (1.6, -0.6, "new task:\nits support"),
        "adapt again": (3.2, -0.6, "adapt\nto support"),
        "use": (4.8, -0.6, "predict\nits queries"),
    }
    for x, y, text in boxes.values():
        axes.text(x, y, text, ha="center", va="center", bbox={"boxstyle": "round,pad=0.4", "fc": "white", "ec": "0.4"})
    arrows = [
        ("tasks", "episode"),
        ("episode", "adapt"),
        ("adapt", "loss"),
        ("new", "adapt again"),
        ("adapt again", "use"),
    ]
    for start, end in arrows:
        (x0, y0, _), (x1, _, _) = boxes[start], boxes[end]
        axes.annotate("", xy=(x1 - 0.58, y0), xytext=(x0 + 0.62, y0), arrowprops={"arrowstyle": "->"})
    back = {"arrowstyle": "->", "color": COLOURS["MAML"], "connectionstyle": "arc3,rad=0.45", "lw": 1.8}
    axes.annotate("", xy=(3.2, 1.32), xytext=(4.8, 1.32), arrowprops=back)
    axes.text(4.0, 1.95, "meta-update", color=COLOURS["MAML"], ha="center")
    again = {"arrowstyle": "->", "color": "0.4", "connectionstyle": "arc3,rad=0.35", "lw": 1.2}
    axes.annotate("", xy=(1.6, 0.68), xytext=(4.8, 0.68), arrowprops=again | {"connectionstyle": "arc3,rad=-0.25"})
    axes.text(3.2, 0.1, "next episode", color="0.4", ha="center", fontsize=9)
    down = {"arrowstyle": "->", "color": COLOURS["MAML"], "ls": "--"}
    axes.annotate("", xy=(3.2, -0.28), xytext=(3.2, 0.02), arrowprops=down)
    axes.text(-0.55, 1.75, "meta-training", weight="bold")
    axes.text(-0.55, -0.65, "meta-testing", weight="bold")
    axes.set(xlim=(-0.8, 5.6), ylim=(-1.1, 2.2))
    axes.set_axis_off()
