"""Where Reptile, first-order MAML and MAML go, from the same inner steps."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.func import grad

from metalearn.diagrams._parts import arrow
from metalearn.plotting import COLOURS

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def directions(
    losses: Sequence[Callable[[Tensor], Tensor]], theta: Tensor, inner_lr: float
) -> tuple[Tensor, dict[str, Tensor]]:
    """Return the walk of plain gradient steps on one loss after the other, and where three methods would go.

    The last loss is the query of MAML and first-order MAML, which walk on the others; Reptile walks on all.

    Args:
        losses: Of the minibatches of one task, each of two weights ``[2]``.
        theta: The start ``[2]``.
        inner_lr: Of the steps.

    Returns:
        The points of the walk ``[1 + n_losses, 2]``, the start first, and a step of the inner rate along the direction
        of each method, downhill.
    """
    walk = [theta]
    for loss in losses:
        walk.append(walk[-1] - inner_lr * grad(loss)(walk[-1]))

    def query_loss(start: Tensor) -> Tensor:
        for loss in losses[:-1]:
            start = start - inner_lr * grad(loss)(start)
        return losses[-1](start)

    return torch.stack(walk), {
        "Reptile": walk[-1] - theta,
        "first-order MAML": walk[-1] - walk[-2],
        "MAML": -inner_lr * grad(query_loss)(theta),
    }


def draw_directions(axes: Axes, losses: Sequence[Callable[[Tensor], Tensor]], theta: Tensor, inner_lr: float) -> None:
    """Draw three inner steps of a model with two weights, and from their start the directions of three methods.

    Args:
        axes: Where to draw; its limits must hold the walk.
        losses: Of the minibatches of one task, each of two weights ``[2]``; the last one is the query of MAML.
        theta: The start ``[2]``.
        inner_lr: Of the steps.

    Example:
        >>> import torch
        >>> from matplotlib import pyplot as plt
        >>> from metalearn.diagrams import draw_directions
        >>> ends = torch.tensor([[1.0, 0.0], [1.0, 1.0], [0.0, 1.0]])
        >>> figure, axes = plt.subplots()
        >>> losses = [lambda w, end=end: (w - end).square().sum() for end in ends]
        >>> draw_directions(axes, losses, torch.zeros(2), inner_lr=0.2)
        >>> plt.close(figure)
    """
    walk, ways = directions(losses, theta, inner_lr)
    points = [(float(x), float(y)) for x, y in walk]
    for k, (start, end) in enumerate(pairwise(points)):
        arrow(axes, start, end, colour="0.55", ls=":", lw=1.6)
        middle = ((start[0] + end[0]) / 2, (start[1] + end[1]) / 2)
        side = (end[1] - start[1], start[0] - end[0])  # to the right of the step
        long = math.hypot(*side) / 13  # points
        name = f"$g_{k}$" if k == 0 else f"$g'_{k}$"
        place: dict[str, Any] = {"textcoords": "offset points", "ha": "center", "va": "center"}
        axes.annotate(name, middle, (side[0] / long, side[1] / long), fontsize=10, color="0.35", **place)
    for name, way in ways.items():
        end = (float(theta[0] + way[0]), float(theta[1] + way[1]))
        arrow(axes, points[0], end, colour=COLOURS[name], lw=2.2)
        axes.plot([], [], color=COLOURS[name], lw=2.2, label=name)
    axes.plot([], [], ":", color="0.55", label="inner steps")
    axes.plot(*points[0], "o", color="0.2", markersize=7)
    axes.legend(fontsize=9)
