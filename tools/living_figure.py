"""Draw the picture that stands for the page of the reader's letters where scripts are off.

Run ``python -m tools.living_figure``; it writes book/_static/living/letters.png, the same bytes each time, from the
page's own example: five invented letters, and three drawings with their distances.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from metalearn import pretrained
from tools import pictures

HOME = Path(__file__).resolve().parents[1] / "book/_static/living"
TARGET = HOME / "letters.png"
NAMES = "ABCDE"
SIZE, BOX, PEN, LARGEST = 28, 18, 0.8, 0.5  # as in book/_static/living/strokes.js

Stroke = Sequence[Sequence[float]]
Array = npt.NDArray[Any]


def stored(name: str) -> Any:
    """Return what a script of the living pages holds as ``living.<name> = {…};``, if it is JSON."""
    for path in sorted(HOME.glob("*.js")):
        _, found, rest = path.read_text(encoding="utf-8").partition(f"living.{name} = ")
        if found:
            return json.loads(rest.partition(";\n")[0])
    raise ValueError(f"no script in {HOME} holds living.{name}")


def image_of(strokes: Sequence[Stroke]) -> Array:
    """Return the image ``[28, 28]`` in [0, 1] of a drawing: centred, of one size, drawn with one pen.

    Args:
        strokes: Lists of points ``[x, y]`` on a board of any size, y downwards.
    """
    points = np.concatenate([np.asarray(stroke, float) for stroke in strokes])
    low, high = points.min(0), points.max(0)
    zoom = min(LARGEST, BOX / max(*(high - low), 1e-9))
    lines = [(np.asarray(stroke, float) - (low + high) / 2) * zoom + SIZE / 2 for stroke in strokes]
    starts = np.concatenate([line[np.maximum(np.arange(len(line)) - 1, 0)] for line in lines])  # [n_points, 2]
    steps = np.concatenate(lines) - starts
    rows, columns = np.mgrid[:SIZE, :SIZE] + 0.5
    offset = np.stack([columns, rows], -1)[:, :, None] - starts  # [28, 28, n_points, 2]
    along = (offset * steps).sum(-1) / np.maximum((steps**2).sum(-1), 1e-12)
    distance = np.linalg.norm(offset - np.clip(along, 0, 1)[..., None] * steps, axis=-1).min(-1)
    return np.asarray(np.rint(15 * np.clip(PEN - distance + 0.5, 0, 1)) / 15)


def batch(drawings: Sequence[Sequence[Stroke]]) -> Tensor:
    """Return the images ``[n, 1, 28, 28]`` of some drawings."""
    return torch.from_numpy(np.stack([image_of(drawing) for drawing in drawings])).float().unsqueeze(1)


def distances() -> Tensor:
    """Return the squared distances ``[3, 5]`` of the example's questions from its letters."""
    example, learner = stored("exampleOfLetters"), pretrained("prototypical", "glyphs")
    x = batch([drawing for drawings in example["letters"] for drawing in drawings])
    y = torch.tensor([label for label, drawings in enumerate(example["letters"]) for _ in drawings])
    with torch.no_grad():
        return -learner.predict(learner.adapt(x, y, n_way=len(NAMES)), batch(example["questions"]))


def show_image(axes: Axes, image: Array, title: str) -> None:
    """Show one image, ink dark on paper."""
    axes.imshow(image, cmap="gray_r", vmin=0, vmax=1)
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_color("0.8")
    axes.spines[:].set_visible(True)
    axes.set_title(title)


def show_bars(axes: Axes, values: list[float], limits: list[float]) -> None:
    """Show the distances of one drawing from the letters, and beyond which it would be none of them."""
    nearest = int(np.argmin(values))
    accepted = values[nearest] <= limits[nearest]
    for row, (value, limit) in enumerate(zip(values, limits, strict=True)):
        axes.barh(row, value, color="C0" if accepted and row == nearest else "0.7")
        axes.plot([limit, limit], [row - 0.4, row + 0.4], color="black")
    axes.set(yticks=range(len(NAMES)), yticklabels=NAMES, xlim=(0, 32), xticks=[])
    axes.grid(visible=False)
    axes.invert_yaxis()
    axes.set_title(f"nearest: {NAMES[nearest]}" if accepted else "none of these")


def draw() -> Figure:
    """Return the picture."""
    example, table = stored("exampleOfLetters"), [row[2] for row in stored("weightsOfGlyphs")["limits"]]
    limits = [table[len(drawings) - 1] for drawings in example["letters"]]
    figure = Figure(figsize=(7, 2.8), layout="constrained")
    halves: Any = figure.subfigures(1, 2, width_ratios=(1, 4))
    left, right = halves
    for row, drawings in enumerate(example["letters"]):
        for column, drawing in enumerate(drawings):
            axes = left.add_subplot(5, 2, 2 * row + column + 1)
            show_image(axes, image_of(drawing), "")
            axes.set_ylabel(NAMES[row] if column == 0 else "", rotation=0, ha="right", va="center")
    grid = right.subplots(2, 3)
    for column, (question, values) in enumerate(zip(example["questions"], distances().tolist(), strict=True)):
        show_image(grid[0, column], image_of(question), f"drawing {column + 1}")
        show_bars(grid[1, column], values, limits)
    grid[1, 1].set_xlabel("squared distance from each letter's mean; a tick is its limit")
    return figure


def save(path: Path) -> None:
    """Write the picture."""
    pictures.save(draw, path, 32)


if __name__ == "__main__":
    save(TARGET)
