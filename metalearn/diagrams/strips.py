"""What a few measurements leave of a family of machines: each cuts a strip out of the plane of their parameters."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from metalearn.plotting import COLOURS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from torch import Tensor


def draw_strips(axes: Axes, machines: Tensor, directions: Tensor, values: Tensor, width: float) -> None:
    """Draw a cloud of machines, a strip for each measurement, and which machines lie in all strips.

    A machine with the parameters $(p, q)$ would have measured $p u + q v$ where the direction is $(u, v)$. It agrees
    with a measurement if this is within ``width`` of the value.

    Args:
        axes: Where to draw.
        machines: Two parameters of each machine ``[n_machines, 2]``.
        directions: What each measurement multiplies the parameters by ``[n_measurements, 2]``; none: the whole cloud.
        values: What was measured ``[n_measurements]``.
        width: How far a measurement can be off, above 0.

    Example:
        >>> import torch
        >>> from matplotlib import pyplot as plt
        >>> from metalearn.diagrams import draw_strips
        >>> figure, axes = plt.subplots()
        >>> draw_strips(axes, torch.rand(50, 2), torch.eye(2), torch.tensor([0.5, 0.4]), width=0.1)
        >>> plt.close(figure)
    """
    low, high = machines.min(0).values, machines.max(0).values
    gap = 0.06 * (high - low)
    (left, bottom), (right, top) = (low - gap).tolist(), (high + gap).tolist()
    p, q = torch.meshgrid(torch.linspace(left, right, 400), torch.linspace(bottom, top, 400), indexing="xy")
    for (u, v), value in zip(directions.tolist(), values.tolist(), strict=True):
        off = (p * u + q * v - value).abs()
        axes.contourf(p, q, off, levels=[0, width], colors=[COLOURS["transfer"]], alpha=0.35)
    agree = ((machines @ directions.T - values).abs() <= width).all(1)
    for chosen, colour, size in ((~agree, "0.75", 5), (agree, COLOURS["MAML"], 9)):
        x, y = machines[chosen].T
        axes.scatter(x, y, color=colour, s=size, zorder=3, linewidths=0)
    axes.set(xlim=(left, right), ylim=(bottom, top), title=f"{int(agree.sum())} of {len(machines)} agree")
    axes.grid(False)
