"""The computation graph of MAML: by which paths the start reaches the query loss."""

from __future__ import annotations

from typing import TYPE_CHECKING

from metalearn.diagrams._parts import arrow, box, canvas
from metalearn.plotting import COLOURS

if TYPE_CHECKING:
    from matplotlib.axes import Axes

ACROSS, TOP, BELOW = 3.4, 3.0, 1.25  # from one weight to the next; heights of the weights and of their gradients
PLAIN = "0.45"


def draw_maml_graph(axes: Axes, n_steps: int = 2, *, detach: bool = False) -> None:
    """Draw how the query loss depends on the start: straight on, and in colour through the gradients of the steps.

    A derivative of the loss is a sum over all paths from the start, of the product of the derivatives on each: 1 on a
    straight arrow, minus the inner rate times the Hessian on a coloured detour.

    Args:
        axes: Where to draw.
        n_steps: Inner steps, at least 1.
        detach: Draw what first-order MAML does: each detour is cut, and what is behind the cut is a constant.

    Example:
        >>> from matplotlib import pyplot as plt
        >>> from metalearn.diagrams import draw_maml_graph
        >>> figure, axes = plt.subplots()
        >>> draw_maml_graph(axes, detach=True)
        >>> plt.close(figure)
    """
    colour, end = PLAIN if detach else COLOURS["MAML"], 0.6 + ACROSS * n_steps
    names = [r"$\theta$", *(rf"$\theta'_{k}$" for k in range(1, n_steps + 1))]
    weights = [box(axes, (0.6 + ACROSS * k, TOP), name, fill="#F3F3F3", size=11) for k, name in enumerate(names)]
    loss = box(axes, (end + 1.9, TOP), r"$\mathcal{L}_\mathcal{Q}$", fill="#F3F3F3", size=11)
    arrow(axes, weights[-1], loss, PLAIN)
    for k in range(n_steps):
        middle = 0.6 + ACROSS * (k + 0.5)
        slope = box(axes, (middle, BELOW), rf"$\nabla\mathcal{{L}}_\mathcal{{S}}$({names[k]})", colour, size=10)
        arrow(axes, weights[k], weights[k + 1], PLAIN)
        axes.text(middle, TOP + 0.15, "$I$", color=PLAIN, ha="center", fontsize=10)
        for start, stop in ((weights[k], slope), (slope, weights[k + 1])):
            arrow(axes, start, stop, colour, lw=1.2 if detach else 2.2)
        if detach:
            cut = middle + 0.25 * ACROSS + 0.12, (TOP + BELOW) / 2 - 0.05
            axes.plot([cut[0] - 0.3, cut[0] + 0.3], [cut[1] + 0.3, cut[1] - 0.3], color="#B00020", lw=3.5)
            axes.text(cut[0] + 0.35, cut[1] - 0.25, "detach", color="#B00020", fontsize=9, va="center")
        else:
            axes.text(middle, (TOP + BELOW) / 2 + 0.2, r"$-\alpha H$", color=colour, ha="center", fontsize=10)
    canvas(axes, end + 2.6, TOP + 0.6)
    axes.set_ylim(BELOW - 0.6, TOP + 0.6)
