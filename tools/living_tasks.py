"""Write the forty tasks of the landing page, tasks_of_glyphs.js, and the picture that stands there without scripts.

Run ``python -m tools.living_tasks``. Each task has five letters of one script of the test split, one example of each,
and one query: another instance of one of them. They are drawn once, ten of each script, and none was left out; the
answers are those of ``Pixels`` and of ``pretrained("prototypical", "glyphs")``.
"""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl
import torch
from matplotlib.figure import Figure
from torch import Tensor

from metalearn import Pool, plotting, pretrained
from metalearn.data import glyphs
from metalearn.learners import Learner, Pixels
from metalearn.runtime import stream

HOME = Path(__file__).resolve().parents[1] / "book/_static/living"
TARGET, PICTURE = HOME / "tasks_of_glyphs.js", HOME / "guess.png"
N_WAY, N_OF_SCRIPT = 5, 10
HEAD = """\
// Written by tools/living_tasks.py: do not edit. Forty tasks from scripts that no network was trained on, and answers.
// images: 28 x 28 pixels each, two to a byte, 16 grey levels; for each task five support letters, then the query.
(() => {
  const living = (window.living = window.living || {});
  living.tasksOfGlyphs = """


@dataclass(frozen=True)
class Task:
    """Five letters of a script, seen once each, and a query; ``answer`` is the query's letter."""

    script: str
    images: Tensor  # [N_WAY + 1, 1, 28, 28], uint8
    answer: int

    def guess(self, learner: Learner) -> int:
        """Return what a learner takes the query for."""
        x = self.images.float() / 255
        with torch.no_grad():
            adapted = learner.adapt(x[:N_WAY], torch.arange(N_WAY), n_way=N_WAY)
            return int(learner.predict(adapted, x[N_WAY:]).argmax())


def draw(pool: Pool, n_of_script: int, seed: int = 0) -> list[Task]:
    """Return tasks in a random order, so many of each script in a pool.

    Args:
        pool: Letters with class names ``"<script>/<letter>"``.
        n_of_script: Tasks of each script.
        seed: Of the draw.
    """
    generator = stream(seed, "living tasks")
    scripts = [name.partition("/")[0] for name in pool.class_names]
    tasks = [
        draw_task(pool, [label for label, own in enumerate(scripts) if own == script], script, generator)
        for script in dict.fromkeys(scripts)
        for _ in range(n_of_script)
    ]
    return [tasks[i] for i in torch.randperm(len(tasks), generator=generator)]


def draw_task(pool: Pool, labels: list[int], script: str, generator: torch.Generator) -> Task:
    """Return one task of some classes: five of them, an example of each, and another one of a random letter."""
    chosen = torch.tensor(labels)[torch.randperm(len(labels), generator=generator)[:N_WAY]]
    answer = int(torch.randint(N_WAY, (1,), generator=generator))
    instances = [(pool.y == label).nonzero().flatten() for label in chosen]
    pairs = torch.stack([own[torch.randperm(len(own), generator=generator)[:2]] for own in instances])  # [N_WAY, 2]
    return Task(script, pool.x[torch.cat([pairs[:, 0], pairs[answer, 1:]])], answer)


def packed(images: Tensor) -> bytes:
    """Return images as four bits a pixel."""
    levels = (images.flatten() // 17).view(-1, 2)
    return bytes((levels[:, 0] * 16 + levels[:, 1]).tolist())


def stored_tasks() -> list[Task]:
    """Return the tasks of the landing page."""
    return draw(glyphs().test, N_OF_SCRIPT)


def write(path: Path) -> None:
    """Write the tasks and the learners' answers as a script."""
    tasks = stored_tasks()
    learners: dict[str, Learner] = {"pixels": Pixels(), "prototypical": pretrained("prototypical", "glyphs")}
    rows = [
        json.dumps({"script": task.script, "answer": task.answer}
                   | {name: task.guess(learner) for name, learner in learners.items()})
        for task in tasks
    ]  # fmt: skip
    images = base64.b64encode(packed(torch.cat([task.images for task in tasks]))).decode()
    text = '{\n    "tasks": [\n      ' + ",\n      ".join(rows) + f'\n    ],\n    "images": "{images}"\n  }}'
    path.write_text(f"{HEAD}{text};\n}})();\n", encoding="utf-8")


def save(path: Path) -> None:
    """Draw the first task: the query, and the five letters."""
    task = stored_tasks()[0]
    with mpl.rc_context():
        mpl.rcdefaults()
        plotting.use_style()
        figure = Figure(figsize=(6.4, 1.5), layout="constrained")
        for position, axes in enumerate(figure.subplots(1, N_WAY + 1, width_ratios=[1.3] + [1] * N_WAY)):
            axes.imshow(task.images[position - 1, 0].numpy(), cmap="gray_r", vmin=0, vmax=255)
            axes.set(xticks=[], yticks=[])
            axes.spines[:].set_visible(True)
            axes.set_title(str(position) if position else "Which is this?", fontsize=10)
        figure.savefig(path, dpi=150, metadata={"Software": None})


if __name__ == "__main__":
    write(TARGET)
    save(PICTURE)
