"""What a task costs with and without meta-training: operations until a target is reached, and those of the training.

python -m metalearn.experiments.costs     measure again and write the record, which a chapter shows
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from metalearn import Episode, costs, experiments, pretrained
from metalearn.data import glyphs, sinusoids
from metalearn.evaluation import accuracy, mean_squared_error
from metalearn.experiments._rows import seeded, write
from metalearn.experiments._scratch import AdamFromScratch
from metalearn.experiments._sources import sampler
from metalearn.learners import Learner
from metalearn.networks import MLP, Conv4
from metalearn.runtime import stream
from metalearn.vectorize import How, over_tasks

ALONE = {"glyphs": (0, 1, 2, 5, 10, 20, 40), "sinusoids": (0, 1, 2, 5, 10, 20, 50, 100, 200, 500)}
STEPS, RATES = (0, 1, 2, 3, 5, 10), {"glyphs": (0.003, 0.01, 0.03), "sinusoids": (0.01, 0.03, 0.1)}
TARGETS = {"glyphs": (0.5, 0.6, 0.7, 0.8, 0.9), "sinusoids": (1.0, 0.3, 0.1, 0.05)}
N_TASKS, N_VALIDATION, N_TIMED = {"glyphs": 40, "sinusoids": 200}, {"glyphs": 8, "sinusoids": 50}, 15
LEARNERS = {
    "glyphs": ("MAML", "first-order MAML", "Prototypical", "Transfer"),
    "sinusoids": ("MAML", "first-order MAML", "joint training"),
}


def draw(data: str, n_tasks: int, n_shot: int, split: str) -> Episode:
    """Return tasks of a stream, ``"validation"`` or ``"test"``, from classes that no learner was trained on."""
    generator = stream(0, split)
    if data == "sinusoids":
        return sinusoids().sample(n_tasks, n_shot, 100, generator)
    pool = getattr(glyphs(), split)
    found: Episode = pool.episodes(n_tasks=n_tasks, n_way=5, n_shot=n_shot, n_query=15)(generator)
    return found


def alone(data: str, rate: float, seed: int) -> AdamFromScratch:
    """Return the network of the study's MAML with fresh weights, and Adam."""
    seeded(seed)
    if data == "sinusoids":
        return AdamFromScratch(MLP([1, 40, 40, 1]), rate, loss_fn=F.mse_loss)
    return AdamFromScratch(Conv4(5, channels=32, norm="support", downsample="stride"), rate)


def values(learner: Any, task: Episode, steps: tuple[int, ...] | None) -> Tensor:
    """Return accuracy, or the squared error, of the queries after each number of steps, or once without steps."""
    metric = accuracy if task.n_way else mean_squared_error
    x, y = task.support_x, task.support_y
    if steps is None:
        adapted = [learner.adapt(x, y, n_way=task.n_way)]
    else:
        path = enumerate(learner._path(learner._start(), x, y, max(steps)))
        adapted = [learner.with_statistics(params, x) for number, params in path if number in steps]
    return torch.stack([metric(learner.predict(one, task.query_x), task.query_y) for one in adapted])


def by_itself(data: str, rate: float, tasks: Episode) -> Tensor:
    """Return :func:`values` of a network that each task trains from fresh weights; waves share one of two."""
    steps, n_tasks = ALONE[data], len(tasks)
    size = n_tasks // 2 if data == "sinusoids" else 1
    parts = [tasks[start : start + size] for start in range(0, n_tasks, size)]
    how: How = "vmap" if size > 1 else "loop"
    with torch.no_grad():
        learners = [alone(data, rate, seed) for seed in range(len(parts))]
        pairs = zip(learners, parts, strict=True)
        found = [over_tasks(partial(values, one, steps=steps), part, how) for one, part in pairs]
    return torch.cat(found)


def best_rate(data: str, n_shot: int) -> dict[str, float]:
    """Return the mean over validation tasks of the best value on the way, the median for errors, for each rate."""
    tasks, found = draw(data, N_VALIDATION[data], n_shot, "validation"), {}
    for rate in RATES[data]:
        scores = by_itself(data, rate, tasks)
        found[str(rate)] = scores.amax(1).mean().item() if data == "glyphs" else scores.amin(1).median().item()
    return found


def row(data: str, n_shot: int, label: str, steps: Any, scores: Tensor, operations: list[int]) -> dict[str, Any]:
    """Return what is recorded: medians and means by step, and for each target the operations of each task, or none."""
    reached: dict[str, Any] = {}
    for target in TARGETS[data]:
        hit = scores >= target if data == "glyphs" else scores <= target
        first = hit.int().argmax(1)
        reached[str(target)] = [operations[i] if any_ else None for i, any_ in zip(first, hit.any(1), strict=True)]
    half = 1.96 * scores.std(0) / len(scores) ** 0.5
    by_step = {"mean": scores.mean(0).tolist(), "ci95": half.tolist(), "median": scores.median(0).values.tolist()}
    return {"data": data, "n_shot": n_shot, "method": label, "steps": steps, "operations": operations, **by_step,
            "reached": reached}  # fmt: skip


def counted(learner: Learner, task: Episode, steps: tuple[int, ...] | None) -> list[int]:
    """Return the operations of adapting by each number of steps, from those of one and of two."""
    if steps is None:
        return [costs.adaptation(learner, task).operations]
    one, two = (costs.adaptation(learner, task, n).operations for n in (1, 2))
    return [one + (n - 1) * (two - one) if n else 0 for n in steps]


def tasks_of(data: str, n_shot: int) -> tuple[list[dict[str, Any]], dict[str, float]]:
    """Return a row for the network alone and for each learner of the study, all on the same test tasks."""
    tried, tasks = best_rate(data, n_shot), draw(data, N_TASKS[data], n_shot, "test")
    pick: Callable[..., str] = max if data == "glyphs" else min
    rate = float(pick(tried, key=lambda key: tried[key]))
    operations = counted(alone(data, rate, 0), tasks[0], ALONE[data])
    rows = [row(data, n_shot, "alone", ALONE[data], by_itself(data, rate, tasks), operations)]
    for label in LEARNERS[data]:
        learner = pretrained(label.lower().replace(" ", "_").replace("-", "_"), data)
        if label == "joint training":
            learner.inner_lr = 0.03  # the study's choice on validation tasks
        steps = STEPS if label.endswith(("MAML", "training")) else None
        with torch.no_grad():
            scores = over_tasks(partial(values, learner, steps=steps), tasks, "loop")
        rows.append(row(data, n_shot, label, steps, scores, counted(learner, tasks[0], steps)))
    return rows, tried


def training(data: str, label: str) -> dict[str, Any]:
    """Return what a study's training took: operations of a step and of all, recorded seconds, seconds of steps here."""
    record, learner = experiments.load(data), pretrained(label.lower().replace(" ", "_").replace("-", "_"), data)
    method = record.methods[label]
    pool = sinusoids() if data == "sinusoids" else glyphs().train
    batch = sampler(pool, **method["episodes"])(seeded(0))
    learner.train()
    step = costs.meta_step(learner, batch)
    timed = costs.compare_times({"step": lambda: learner.backward(batch)}, 5)["step"].cpu_seconds
    seeds = [
        {"seed": part["seed"], "n_steps": part["n_steps"], "operations": part["n_steps"] * step,
         "examples": part["examples"], "cpu_seconds": part["cpu_seconds"], "cpu": part["hardware"]["cpu"]}
        for part in record.parts(label)
    ]  # fmt: skip
    plain = {"operations_per_step": step, "seconds_per_step_here": timed}
    compiled = method["fit"].get("compile", False)
    return {"data": data, "method": label, **plain, "compiled": compiled, "seeds": seeds}


def adaptation_times(data: str, n_shot: int) -> dict[str, float]:
    """Return the processor's milliseconds of adapting to a task, by learner; of the network alone those of one step."""
    task, functions = draw(data, 1, n_shot, "test")[0], {}
    learners = {name: pretrained(name.lower().replace(" ", "_").replace("-", "_"), data) for name in LEARNERS[data]}
    for name, learner in {"alone": alone(data, 0.01, 0), **learners}.items():
        steps = 1 if name == "alone" else 10 if data == "sinusoids" else None
        functions[name] = lambda learner=learner, steps=steps: learner.adapt(
            task.support_x, task.support_y, n_way=task.n_way, n_steps=steps
        )
    with torch.no_grad():
        return {name: 1e3 * found.cpu_seconds for name, found in costs.compare_times(functions, N_TIMED).items()}


def main() -> None:
    """Measure all, and write the record after each kind of task."""
    begun, rates, times = time.process_time(), {}, {}
    rows: list[dict[str, Any]] = []
    with costs.EnergyMeter() as meter:
        trained = [training(data, label) for data, labels in LEARNERS.items() for label in labels]
    for data, n_shot in (("sinusoids", 10), ("glyphs", 5), ("glyphs", 1)):
        mine, rates[f"{data}, {n_shot}"] = tasks_of(data, n_shot)
        times[f"{data}, {n_shot}"] = adaptation_times(data, n_shot)
        rows += mine
        means = [(one["method"], round(one["mean"][-1], 3)) for one in mine]
        print(data, n_shot, rates, means, f"{time.process_time() - begun:.0f} s", flush=True)
        content: dict[str, Any] = {"rates": rates, "rows": rows, "milliseconds": times, "training": trained}
        content |= {"counter": meter.energy.source, "n_tasks": N_TASKS, "targets": TARGETS}
        write("costs", begun, seeds=[0], **content)


if __name__ == "__main__":
    main()
