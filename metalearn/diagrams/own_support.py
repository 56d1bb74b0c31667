"""A support set that is given, and one that the learner collects itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

from metalearn.diagrams._parts import arrow, box, canvas
from metalearn.plotting import COLOURS

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def draw_own_support(axes: Axes) -> None:
    """Draw where the support set of a task comes from: in the rows above it is given, below the learner acts for it.

    Args:
        axes: Where to draw.

    Example:
        >>> from matplotlib import pyplot as plt
        >>> from metalearn.diagrams import draw_own_support
        >>> figure, axes = plt.subplots()
        >>> draw_own_support(axes)
        >>> plt.close(figure)
    """
    tint = COLOURS["MAML"]
    given = ["task", r"$\mathcal{S}$ is given", r"adapt: $\theta'$", "loss\non $\\mathcal{Q}$"]
    earned = ["task", "act with $\\pi_\\theta$:\n$\\mathcal{S}$ is collected", r"adapt: $\theta'$"]
    earned.append("act with $\\pi_{\\theta'}$:\nreturn")
    rows = []
    for y, texts in ((4.1, given), (0.7, earned)):
        places = zip((0.7, 3.0, 5.5, 7.9), texts, strict=True)
        rows.append([box(axes, (x, y), text, size=8.5) for x, text in places])
        for start, end in zip(rows[-1], rows[-1][1:], strict=False):
            arrow(axes, start, end)
    start = box(axes, (3.0, 2.4), r"$\theta$", fill="0.92", size=11)
    for row in rows:
        arrow(axes, start, row[2])
    arrow(axes, start, rows[1][1], tint, lw=2.4)
    axes.text(2.75, 1.65, "who acts decides\nwhat is seen", ha="right", va="center", color=tint, fontsize=8.5)
    canvas(axes, 9.0, 4.8)
