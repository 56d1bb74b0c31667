"""The loop of meta-training, and the use on a new task."""

from __future__ import annotations

from typing import TYPE_CHECKING

from metalearn.diagrams._parts import arrow, box, canvas
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
    outer, top, bottom = COLOURS["MAML"], 4.1, 0.7
    tasks = box(axes, (1.0, top), "tasks\n" r"$p(\mathcal{T})$")
    episode = box(axes, (3.3, top), "draw\n" r"$\mathcal{T} = (\mathcal{S}, \mathcal{Q})$")
    adapt = box(axes, (6.0, top), "adapt\nto " r"$\mathcal{S}$")
    loss = box(axes, (8.6, top), "loss\non " r"$\mathcal{Q}$")
    theta = box(axes, (6.0, 2.4), r"meta-parameters $\theta$", outer)
    new = box(axes, (3.3, bottom), "new task\n" r"$\mathcal{S}$, queries")
    again = box(axes, (6.0, bottom), "adapt\nto " r"$\mathcal{S}$")
    use = box(axes, (8.6, bottom), "predict\nqueries")
    for start, end in ((tasks, episode), (episode, adapt), (adapt, loss), (new, again), (again, use)):
        arrow(axes, start, end)
    arrow(axes, loss, theta, outer, bend=-0.3, lw=2)
    for end in (adapt, again):
        arrow(axes, theta, end, "0.5", ls="--")
    axes.text(8.75, 2.5, "meta-update,\nthen the\nnext task", color=outer, fontsize=9, va="center")
    axes.text(0.2, 5.15, "meta-training", weight="bold")
    axes.text(0.2, bottom, "meta-testing", weight="bold", va="center", fontsize=10)
    canvas(axes, 10.6, 5.5)
