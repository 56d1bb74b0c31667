"""Draw the picture of the book's first page from the recorded study on sine waves.

Run ``python -m tools.landing_figure``; it writes book/_static/result.png, the same bytes each time.
"""

from __future__ import annotations

from pathlib import Path

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from metalearn import experiments, plotting
from metalearn.data import sinusoids
from tools import pictures

TARGET = Path(__file__).resolve().parents[1] / "book" / "_static" / "result.png"
METHODS = {"from scratch": "SGD from scratch", "joint training": "joint training", "MAML": "MAML"}  # in the study
STEPS = (1, 5, 10)
N_SHOT = 5
SEED = 6  # of the three waves


def medians(label: str) -> list[float]:
    """Return the median error over the study's test tasks after each number of inner steps."""
    study = experiments.load("sinusoids")
    return [study.score(METHODS[label], f"{N_SHOT} points", k).median for k in STEPS]


def draw_tasks(axes: Axes) -> None:
    """Draw three tasks: a wave each, and the five points that a learner is given."""
    tasks = sinusoids().sample(3, N_SHOT, 400, torch.Generator().manual_seed(SEED))
    for i, look in enumerate(("o-", "s--", "^:")):
        task = tasks[i]
        order = task.query_x[:, 0].argsort()
        axes.plot(task.query_x[order, 0], task.query_y[order, 0], look[1:], color="black", alpha=0.5)
        axes.plot(task.support_x[:, 0], task.support_y[:, 0], look[0], color="black")
    axes.set(title="three tasks: a wave from five points", xlabel="x", ylabel="y")


def draw_result(axes: Axes) -> None:
    """Draw each method's median error by inner steps."""
    for label in METHODS:
        values = medians(label)
        (line,) = axes.plot(STEPS, values, "o-", color=plotting.COLOURS[label])
        axes.text(10, values[-1] + 0.08, label, color=line.get_color(), ha="right", va="bottom")
    axes.set(title="error on new waves", xlabel="gradient steps on the five points", ylabel="median squared error")
    axes.set_ylim(0, 4)
    axes.set_xticks(STEPS)


def draw() -> Figure:
    """Return the picture."""
    figure = Figure(figsize=(7, 2.8))
    left, right = figure.subplots(1, 2)
    draw_tasks(left)
    draw_result(right)
    return figure


def save(path: Path) -> None:
    """Write the picture."""
    pictures.save(draw, path)


if __name__ == "__main__":
    save(TARGET)
