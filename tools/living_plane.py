"""Write the letters of the living plane, plane_of_glyphs.js, and the picture that stands there without scripts.

Run ``python -m tools.living_plane`` (15 seconds). A plane needs two numbers for each image. They are a linear map of
the 32 numbers of ``pretrained("prototypical", "glyphs")``, less their mean over the training letters; it is trained
here, as a prototypical network, on tasks of training letters. The letters shown are of the test split, drawn at random.
"""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import matplotlib as mpl
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.offsetbox import AnnotationBbox, OffsetImage
from torch import Tensor, nn

from metalearn import Pool, evaluate, fit, plotting, pretrained
from metalearn.data import glyphs
from metalearn.learners import Prototypical
from metalearn.pools import Splits
from metalearn.runtime import stream
from tools.living_tasks import HOME, packed

TARGET, PICTURE = HOME / "plane_of_glyphs.js", HOME / "plane.png"
N_TASKS, N_WAY, N_SHOT, N_QUERY = 4, 3, 5, 2
COSINE_TEMPERATURE = 0.1
SIZES = {"n_tasks": 20, "n_way": N_WAY, "n_query": 5}
HEAD = """\
// Written by tools/living_plane.py: do not edit. Letters of the test split and their places in a learned plane: for
// each task three letters of five examples and two queries. images: 28 x 28 pixels each, in order, two to a byte.
// accuracy: of 600 tasks of three test letters, in 100, by distance, with one and with five examples.
(() => {
  const living = (window.living = window.living || {});
  living.planeOfGlyphs = """


def embedded(splits: Splits) -> Splits:
    """Return pools of the trained network's numbers ``[n, 32]``, less the mean over the training split."""
    learner = pretrained("prototypical", "glyphs")
    assert isinstance(learner, Prototypical)
    with torch.no_grad():
        train, validation, test = (
            learner.encode({}, pool.x.float() / 255) for pool in (splits.train, splits.validation, splits.test)
        )
    middle = train.mean(0)
    return Splits(
        Pool(train - middle, splits.train.y),
        Pool(validation - middle, splits.validation.y),
        Pool(test - middle, splits.test.y),
    )


def trained_map(train: Pool) -> nn.Linear:
    """Return a linear map to the plane, trained on tasks of five letters."""
    layer = nn.Linear(train.x.shape[1], 2, bias=False)
    with torch.no_grad():
        layer.weight.copy_(0.2 * torch.randn(layer.weight.shape, generator=stream(0, "living plane")))
    sampler = train.episodes(n_tasks=16, n_way=5, n_shot=5, n_query=5)
    fit(Prototypical(layer), sampler, n_steps=600, outer_lr=0.01, seed=0, progress=False)
    return layer.requires_grad_(False)


def accuracy(layer: nn.Linear, test: Pool) -> dict[str, list[int]]:
    """Return right answers in 100, by distance, with one and with five examples."""
    learners = {
        "euclidean": Prototypical(layer),
        "cosine": Prototypical(layer, distance="cosine", temperature=COSINE_TEMPERATURE),
        "all": Prototypical(nn.Identity()),  # of all 32 numbers
    }
    samplers = [test.episodes(n_shot=n_shot, **SIZES) for n_shot in (1, N_SHOT)]
    return {
        name: [round(100 * evaluate(learner, sampler, n_tasks=600, seed=0).mean) for sampler in samplers]
        for name, learner in learners.items()
    }


def drawn_rows(pool: Pool) -> Tensor:
    """Return which images are shown ``[N_TASKS, N_WAY, N_SHOT + N_QUERY]``."""
    generator = stream(0, "living plane letters")
    classes = torch.randperm(pool.n_classes, generator=generator)[: N_TASKS * N_WAY]
    instances = [(pool.y == label).nonzero().flatten() for label in classes]
    rows = [own[torch.randperm(len(own), generator=generator)[: N_SHOT + N_QUERY]] for own in instances]
    return torch.stack(rows).view(N_TASKS, N_WAY, -1)


def write(path: Path) -> None:
    """Write letters, places and accuracies as a script."""
    splits = glyphs()
    numbers = embedded(splits)
    layer = trained_map(numbers.train)
    rows = drawn_rows(splits.test)
    places = layer(numbers.test.x)[rows]  # [N_TASKS, N_WAY, N_SHOT + N_QUERY, 2]
    shown = [
        [[[round(value, 4) for value in place] for place in letter] for letter in task] for task in places.tolist()
    ]
    parts = [
        f'"accuracy": {json.dumps(accuracy(layer, numbers.test))}',
        '"tasks": [\n      ' + ",\n      ".join(json.dumps(task) for task in shown) + "\n    ]",
        f'"images": "{base64.b64encode(packed(splits.test.x[rows.flatten()])).decode()}"',
    ]
    path.write_text(f"{HEAD}{{\n    " + ",\n    ".join(parts) + "\n  };\n})();\n", encoding="utf-8")


def parse(text: str) -> Any:
    """Return what the text of the script holds."""
    return json.loads(text.partition("living.planeOfGlyphs = ")[2].partition(";\n")[0])


def show(axes: Axes, images: Tensor, places: Tensor) -> None:
    """Draw five examples of each letter, their prototypes and the regions nearest to them."""
    side = 1.15 * float(places.abs().max())
    line = torch.linspace(-side, side, 400)
    grid = torch.stack(torch.meshgrid(line, line, indexing="xy"), -1).view(-1, 2)
    prototypes = places[:, :N_SHOT].mean(1)
    nearest = torch.cdist(grid, prototypes).argmin(1).view(400, 400)
    axes.contourf(line, line, nearest, levels=[-0.5, 0.5, 1.5, 2.5], colors=["C0", "C1", "C2"], alpha=0.15)
    for label in range(N_WAY):
        for image, place in zip(images[label, :N_SHOT], places[label], strict=False):
            small = OffsetImage(image[0].numpy(), zoom=0.8, cmap="gray_r", clim=(0, 255))
            frame = {"edgecolor": f"C{label}", "linewidth": 1.5}
            axes.add_artist(AnnotationBbox(small, place.tolist(), pad=0.1, bboxprops=frame))
    axes.scatter(*prototypes.T, s=200, c=["C0", "C1", "C2"], edgecolors="white", zorder=5)
    for name, place in zip("ABC", prototypes.tolist(), strict=True):
        axes.text(*place, name, color="white", ha="center", va="center", zorder=6, weight="bold")
    axes.set(xlim=(-side, side), ylim=(-side, side), aspect="equal", xticks=[], yticks=[])
    axes.grid(visible=False)


def save(path: Path) -> None:
    """Draw the first task from what ``write`` stored."""
    images, places = glyphs().test.x, parse(TARGET.read_text(encoding="utf-8"))["tasks"][0]
    with mpl.rc_context():
        mpl.rcdefaults()
        plotting.use_style()
        figure = Figure(figsize=(4.5, 4.5), layout="constrained")
        show(figure.subplots(), images[drawn_rows(glyphs().test)[0]], torch.tensor(places))
        figure.savefig(path, dpi=150, metadata={"Software": None})


if __name__ == "__main__":
    write(TARGET)
    save(PICTURE)
