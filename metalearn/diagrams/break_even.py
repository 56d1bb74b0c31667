"""Two ways to handle new tasks, and where the one that is prepared for once has paid for itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

from metalearn.plotting import COLOURS

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def draw_break_even(axes: Axes, once: float, each: float, alone: float, n_tasks: float) -> None:
    """Draw the total cost of both ways against the number of tasks: two straight lines, which cross or do not.

    Between the lines is what the preparation has still to earn, and after the crossing what it has earned.

    Args:
        axes: Where to draw.
        once: Cost of the preparation.
        each: Cost of a task after it.
        alone: Cost of a task without it.
        n_tasks: How many tasks to show.

    Example:
        >>> from matplotlib import pyplot as plt
        >>> from metalearn.diagrams import draw_break_even
        >>> figure, axes = plt.subplots()
        >>> draw_break_even(axes, once=60, each=1, alone=5, n_tasks=30)
        >>> plt.close(figure)
    """
    tint, grey = COLOURS["MAML"], COLOURS["alone"]
    ends = [0.0, float(n_tasks)]
    axes.plot(ends, [once, once + each * n_tasks], color=tint)
    axes.plot(ends, [0.0, alone * n_tasks], color=grey)
    crossing = once / (alone - each) if alone > each else float("inf")
    meet = min(crossing, n_tasks)
    axes.fill_between([0, meet], [0, alone * meet], [once, once + each * meet], color=tint, alpha=0.15, lw=0)
    middle = 0.2 * meet
    axes.text(middle, (once + (each + alone) * middle) / 2, "still to\nbe earned", ha="center", va="center", fontsize=9)
    if crossing < n_tasks:
        rest = [crossing, n_tasks]
        ours, theirs = ([start + slope * n for n in rest] for start, slope in ((once, each), (0.0, alone)))
        axes.fill_between(rest, ours, theirs, color=COLOURS["prototypical"], alpha=0.2, lw=0)
        late = crossing + 0.7 * (n_tasks - crossing)
        axes.text(late, (once + (each + alone) * late) / 2, "earned", ha="center", va="center", fontsize=9)
        axes.plot(crossing, alone * crossing, "o", color="0.1", zorder=4)
        axes.plot([crossing] * 2, [0, alone * crossing], color="0.4", ls=":", lw=1.2)
    elif crossing == float("inf"):
        axes.text(n_tasks, once + each * n_tasks, "never", ha="right", va="bottom", fontsize=10, color=tint)
    axes.set(xlim=(0, n_tasks), ylim=(0, None), xlabel="tasks")
