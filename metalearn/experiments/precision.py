"""What bfloat16 does to the meta-gradient: its angle and error against float64, task by task, beside float32's.

python -m metalearn.experiments.precision     measure again and write the record (two minutes)
"""

from __future__ import annotations

import math
import time
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from metalearn import pretrained
from metalearn.data import glyphs, sinusoids
from metalearn.experiments._rows import seeded, write
from metalearn.learners import MAML, Learner
from metalearn.networks import MLP, Conv4
from metalearn.precision import reduced

N_TASKS = 40
NOTE = "On a processor, by autocast. TF32 acts on GPUs only and was not measured: none was there."


def learners() -> dict[tuple[str, str], MAML]:
    """Return the learners, at their first weights and at those that their studies trained."""
    torch.manual_seed(0)
    waves = MAML(MLP([1, 40, 40, 1]), 0.01, loss_fn=F.mse_loss)
    letters = MAML(Conv4(5, channels=32, norm="support", downsample="stride"), 0.1)
    found = {("MAML on sine waves", "first"): waves, ("MAML on glyphs", "first"): letters}
    for name, study in (("MAML on sine waves", "sinusoids"), ("MAML on glyphs", "glyphs")):
        trained = pretrained("maml", study)
        assert isinstance(trained, MAML)
        found[name, "trained"] = trained
    return found


def gradient(learner: Learner, task: Any, precision: str) -> Tensor:
    """Return the meta-gradient of a batch of one task as a vector in float64."""
    twin = deepcopy(learner).train()
    twin.how = "loop"
    if precision == "float64":
        twin.double()
        task = task.map(lambda x: x.double() if x.is_floating_point() else x)
    with reduced("bf16" if precision == "bf16" else None):
        twin.backward(task)
    return torch.cat([p.grad.flatten().double() for p in twin.parameters() if p.grad is not None])


def spread(values: list[float]) -> dict[str, float]:
    """Return median, quartiles and the ends of the values of all tasks."""
    ordered = torch.tensor(values, dtype=torch.float64)
    low, middle, high = torch.quantile(ordered, torch.tensor([0.25, 0.5, 0.75], dtype=torch.float64)).tolist()
    return {"median": middle, "low": low, "high": high, "least": min(values), "most": max(values)}


def compared(exact: list[Tensor], other: list[Tensor]) -> dict[str, Any]:
    """Return cosine and relative error of gradients, of single tasks and of their mean."""
    cosines = [F.cosine_similarity(a, b, dim=0).item() for a, b in zip(exact, other, strict=True)]
    errors = [((a - b).norm() / a.norm()).item() for a, b in zip(exact, other, strict=True)]
    angles = [degrees(a, b) for a, b in zip(exact, other, strict=True)]
    a, b = torch.stack(exact).mean(0), torch.stack(other).mean(0)
    mean = {"batch_cosine": F.cosine_similarity(a, b, dim=0).item(), "batch_error": ((a - b).norm() / a.norm()).item()}
    mean["batch_degrees"] = degrees(a, b)
    return {"cosine": spread(cosines), "degrees": spread(angles), "error": spread(errors), **mean}


def degrees(a: Tensor, b: Tensor) -> float:
    """Return the angle between two vectors, exactly for small ones, whose cosine rounds to 1."""
    return math.degrees(2 * math.asin(min(1.0, (a / a.norm() - b / b.norm()).norm().item() / 2)))


def main() -> None:
    """Measure all, and write the record."""
    begun, rows = time.process_time(), []
    torch.set_num_threads(1)
    draws: dict[str, Any] = {
        "MAML on sine waves": sinusoids().episodes(n_tasks=N_TASKS, n_shot=10, n_query=10),
        "MAML on glyphs": glyphs().train.episodes(n_tasks=N_TASKS, n_way=5, n_shot=1, n_query=5),
    }
    tasks = {name: draw(seeded(0)) for name, draw in draws.items()}
    for (name, weights), learner in learners().items():
        for order in ("first", "second"):
            learner.first_order = order == "first"
            found = {
                kind: [gradient(learner, tasks[name][i : i + 1], kind) for i in range(N_TASKS)]
                for kind in ("float64", "float32", "bf16")
            }
            for kind in ("float32", "bf16"):
                row = {"on": name, "weights": weights, "order": order, "precision": kind, "n_tasks": N_TASKS}
                rows.append({**row, **compared(found["float64"], found[kind])})
                print(row, rows[-1]["cosine"]["median"], rows[-1]["batch_cosine"], flush=True)
    write("precision", begun, seeds=[0], note=NOTE, rows=rows)


if __name__ == "__main__":
    main()
