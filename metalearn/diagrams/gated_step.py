"""One step of the meta-LSTM: gradient descent with two gates."""

from __future__ import annotations

from typing import TYPE_CHECKING

from metalearn.diagrams._parts import arrow, box, canvas
from metalearn.plotting import COLOURS

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def draw_gated_step(axes: Axes) -> None:
    """Draw one step of a weight in the memory of an LSTM: what is kept, what enters, and who reads what.

    Args:
        axes: Where to draw.

    Example:
        >>> from matplotlib import pyplot as plt
        >>> from metalearn.diagrams import draw_gated_step
        >>> figure, axes = plt.subplots()
        >>> draw_gated_step(axes)
        >>> plt.close(figure)
    """
    tint = COLOURS["meta-LSTM"]
    old, new = box(axes, (0.7, 3.4), r"$\theta'_k$"), box(axes, (6.4, 3.4), r"$\theta'_{k+1}$")
    keep, add = box(axes, (2.4, 3.4), r"$\times f_k$", tint), box(axes, (4.6, 3.4), "$+$")
    enter, slope = box(axes, (4.6, 2.3), r"$\times i_k$", tint), box(axes, (6.4, 2.3), r"$-\nabla_k$")
    rule = box(axes, (2.4, 0.9), "LSTM and gates\n(shared by all weights)", tint, size=8)
    read = box(axes, (6.0, 0.9), r"$\pi(\nabla_k)$, $\pi$(loss)")
    for start, end in ((old, keep), (keep, add), (add, new), (slope, enter), (enter, add), (slope, read), (read, rule)):
        arrow(axes, start, end)
    arrow(axes, old, rule, bend=0.2)
    for gate in (keep, enter):
        arrow(axes, rule, gate, tint, lw=2)
    canvas(axes, 7.2, 4)
