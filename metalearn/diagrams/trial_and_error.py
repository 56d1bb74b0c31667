"""Trial and error over learning methods as a loop, and the cloud by which evolution strategies take a step."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from metalearn.diagrams._parts import arrow, box, canvas
from metalearn.plotting import COLOURS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from torch import Tensor

LOSSES = ((3.6, 0.9), (2.2, 0.5), (0.8, 0.7))  # height of a variant, its loss
WIDTH, STEP = 0.55, 0.75  # of the cloud, and the length of the step it takes


def draw_trial_and_error(axes: Axes) -> None:
    """Draw the loop: vary a method, score the variants on the same tasks, keep the best, go on from there.

    The bars are losses, shorter is better, with their intervals.

    Args:
        axes: Where to draw.

    Example:
        >>> from matplotlib import pyplot as plt
        >>> from metalearn.diagrams import draw_trial_and_error
        >>> figure, axes = plt.subplots()
        >>> draw_trial_and_error(axes)
        >>> plt.close(figure)
    """
    tint = COLOURS["MAML"]
    method, tasks = box(axes, (0.9, 2.2), "learning\nmethod"), box(axes, (5.5, 2.2), "the same\ntasks")
    best = min(range(len(LOSSES)), key=lambda k: LOSSES[k][1])
    for k, (height, loss) in enumerate(LOSSES):
        variant = box(axes, (3.1, height), f"variant {k + 1}", tint if k == best else "0.4")
        arrow(axes, method, variant)
        arrow(axes, variant, tasks)
        arrow(axes, tasks, (7.2, height))
        colour = tint if k == best else "0.7"
        axes.barh(height, 1.6 * loss, 0.4, 7.3, color=colour)
        axes.plot([7.3 + 1.6 * loss + side for side in (-0.3, 0.3)], [height] * 2, color="0.2", lw=1.2)
    axes.text(1.95, 3.25, "vary", ha="center", fontsize=9)
    axes.text(4.3, 3.25, "try", ha="center", fontsize=9)
    axes.text(6.5, 3.45, "loss", ha="center", fontsize=9)
    axes.plot([8.5, 9.5, 9.5, 0.9], [LOSSES[best][0]] * 2 + [0.1] * 2, color=tint, lw=1.4)
    arrow(axes, (0.9, 0.1), method, tint)
    axes.text(5.0, 0.2, "keep the best, and go on from there", color=tint, ha="center", fontsize=9)
    canvas(axes, 9.7, 4.2)


def draw_cloud(axes: Axes, n_pairs: int = 12) -> None:
    """Draw one step of an evolution strategy: pairs of perturbed weights, coloured by rank, move the mean.

    Dark points have low losses. Each pair lies on opposite sides of the mean.

    Args:
        axes: Where to draw.
        n_pairs: Number of pairs.

    Example:
        >>> from matplotlib import pyplot as plt
        >>> from metalearn.diagrams import draw_cloud
        >>> figure, axes = plt.subplots()
        >>> draw_cloud(axes)
        >>> plt.close(figure)
    """
    a, b = np.meshgrid(np.linspace(-1.2, 3.7, 99), np.linspace(-1.4, 2.4, 77))
    axes.contour(a, b, _loss(a, b), 10, colors="0.85")
    half = np.random.default_rng(3).normal(size=(n_pairs, 2))
    offsets = np.concatenate([half, -half])  # [2 * n_pairs, 2]
    ranks = _loss(*(WIDTH * offsets).T).argsort().argsort() / (len(offsets) - 1) - 0.5
    step = -(ranks[:, None] * offsets).sum(0)
    end = STEP * step / np.linalg.norm(step)
    for one in half:
        axes.plot(*(WIDTH * np.stack([-one, one])).T, color="0.8", lw=0.8)
    axes.scatter(WIDTH * offsets[:, 0], WIDTH * offsets[:, 1], c=ranks, cmap="viridis", s=28, zorder=3)
    arrow(axes, (0.0, 0.0), (float(end[0]), float(end[1])), COLOURS["MAML"], lw=2.4)
    axes.plot(0, 0, "k*", markersize=11, zorder=5)
    axes.plot(2.4, 1.0, "kx", markersize=8)
    for at, text in (((0.1, -0.32), "mean"), ((2.55, 0.95), "lowest loss")):
        axes.text(*at, text, fontsize=9)
    axes.text(end[0] + 0.08, end[1] + 0.06, "new mean", fontsize=9, color=COLOURS["MAML"])
    axes.set(aspect="equal", xlabel="first weight", ylabel="second weight", xticks=[], yticks=[])
    axes.grid(False)


def draw_clouds(axes: Axes, means: Tensor, covariances: Tensor, colour: str, every: int = 2) -> None:
    """Draw the way of a search in the plane, and the clouds from which it drew, one standard deviation wide.

    Args:
        axes: Where to draw.
        means: Centre of each cloud ``[n_generations, 2]``.
        covariances: Of each ``[n_generations, 2, 2]``, or of all ``[2, 2]``.
        colour: Of lines and clouds.
        every: Draw each ``every``-th cloud.

    Example:
        >>> import torch
        >>> from matplotlib import pyplot as plt
        >>> from metalearn.diagrams import draw_clouds
        >>> figure, axes = plt.subplots()
        >>> draw_clouds(axes, torch.zeros(4, 2), torch.eye(2), "tab:blue")
        >>> len(axes.lines)
        3
        >>> plt.close(figure)
    """
    centres, turn = means.double(), torch.linspace(0, 2 * np.pi, 61, dtype=torch.float64)
    roots = torch.linalg.cholesky(covariances.double()).expand(len(centres), 2, 2)
    rims = centres.unsqueeze(2) + roots @ torch.stack([turn.cos(), turn.sin()])  # [n_generations, 2, 61]
    axes.plot(centres[:, 0], centres[:, 1], color=colour)
    for rim in rims[::every]:
        axes.plot(rim[0], rim[1], color=colour, lw=1, alpha=0.8)


def _loss(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    loss: np.ndarray = (a - 2.4) ** 2 + 2 * (b - 1.0) ** 2
    return loss
