"""Compressed learners: accuracy after adaptation against bytes and time; pruned, in int8, of low rank, distilled.

python -m metalearn.experiments.compression     measure what is missing and write the record, which a chapter shows
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import torch

from metalearn import costs, fit, pretrained
from metalearn.compression import Compressed, distillation_backward, factorise, prune, quantize, sparsity, stored_bytes
from metalearn.data import glyphs, sinusoids
from metalearn.experiments._rows import N_TASKS, scored, seeded, so_far, tasks, write
from metalearn.learners import Learner, Prototypical
from metalearn.networks import Conv4
from metalearn.runtime import stream

SEEDS, PRUNED, RANKS, N_TIMED = (0, 1, 2), (0.2, 0.4, 0.6, 0.8, 0.9), (0.75, 0.5, 0.4, 0.25), 15
N_RETRAINED, N_STUDENT, CHANNELS, TEMPERATURE, WEIGHT = 100, 800, (8,), 2.0, 0.5
WIDE: dict[str, Any] = {"n_tasks": 1, "n_way": 20, "n_shot": 1, "n_query": 5}
FIT: dict[str, Any] = {"max_grad_norm": 10.0, "progress": False}
LEARNERS = {"MAML": "glyphs", "Prototypical": "glyphs", "MAML, sine waves": "sinusoids"}


def shipped(label: str) -> tuple[Learner, Any, Any]:
    """Return a learner of a study, what draws its test tasks, and what draws its training tasks."""
    learner = pretrained(label.split(",")[0].lower(), LEARNERS[label])
    if "sine" in label:
        waves = sinusoids()
        test = waves.episodes(n_tasks=20, n_shot=10, n_query=100)
        return learner, test, waves.episodes(n_tasks=25, n_shot=10, n_query=10)
    learner.how = "loop"
    pools = glyphs()
    wide = pools.train.episodes(**WIDE)
    return learner, tasks(pools.test), wide if label == "Prototypical" else tasks(pools.train, 4)


def compressed(learner: Learner) -> Iterator[tuple[str, float | None, bool, Compressed]]:
    """Yield each compression's name, its size where it has one, whether it holds in adaptation, and the learner."""
    yield "none", None, True, Compressed(learner, stored_bytes(learner))
    yield "int8", None, True, quantize(learner)
    holds = (True, False) if learner.n_inner_steps is not None else (True,)
    for hold in holds:
        for share in PRUNED:
            yield "pruned", share, hold, prune(learner, share, hold=hold)
        for share in RANKS:
            found = factorise(learner, share, hold=hold)
            if found.n_bytes < stored_bytes(learner):
                yield "low rank", share, hold, found


def layer_by_layer() -> list[dict[str, Any]]:
    """Return a row for each share of weights that goes from each layer, of the learners of glyphs."""
    rows = []
    for label in ("MAML", "Prototypical"):
        learner, test, _ = shipped(label)
        for share in PRUNED:
            found = prune(learner, share, each_layer=True)
            rows.append(row(label, "pruned layer by layer", share, True, found, test))
        print("layer by layer", label, [round(one["mean"], 3) for one in rows], flush=True)
    return rows


def measure_again(learner: Learner, train: Callable[..., Any]) -> None:
    """Measure stored statistics of normalisation on training tasks; nothing else of the learner changes."""
    generator = stream(0, "statistics")
    with torch.no_grad():
        learner.update_statistics(train(generator) for _ in range(10))


def row(label: str, kind: str, size: float | None, hold: bool, found: Compressed, test: Any) -> dict[str, Any]:
    """Return what is recorded of a compressed learner: bytes, operations, zeros after adaptation, accuracy or error."""
    learner, task = found.learner, test(seeded(0))[0]
    steps = 10 if "sine" in label else learner.n_inner_steps
    with torch.no_grad():
        adapted = learner.eval().adapt(task.support_x, task.support_y, n_way=task.n_way, n_steps=steps)
    moved = {name: tensor for name, tensor in adapted.items() if name in dict(learner.named_parameters())}
    return {
        **{"method": label, "kind": kind, "size": size, "hold": hold, "n_bytes": found.n_bytes},
        **{"operations": costs.adaptation(learner, task, steps).operations, "n_steps": steps},
        **{"zeros": sparsity(learner), "zeros_adapted": sparsity(moved) if moved else None},
        **scored(learner, test, steps),
    }


def adaptation_times(learners: dict[str, Learner], task: Any, n_steps: int | None) -> dict[str, Any]:
    """Return the milliseconds of adapting to a task, and the ratios to the first learner's, of all in turns."""
    x, y, n_way = task.support_x, task.support_y, task.n_way
    functions = {
        name: lambda learner=learner: learner.adapt(x, y, n_way=n_way, n_steps=n_steps)
        for name, learner in learners.items()
    }
    with torch.no_grad():
        found = costs.compare_times(functions, N_TIMED)
    return {
        name: {"milliseconds": 1e3 * times.cpu_seconds, "ratio": list(vars(times.cpu_ratio).values())}
        for name, times in found.items()
    }


def as_they_are() -> list[dict[str, Any]]:
    """Return a row for each learner and compression with nothing trained, and times of adaptation."""
    rows = []
    for label in LEARNERS:
        learner, test, train = shipped(label)
        made = list(compressed(learner))
        mine = [row(label, kind, size, hold, found, test) for kind, size, hold, found in made]
        named = {str(i): found.learner for i, (*_, found) in enumerate(made)}
        times = adaptation_times(named, test(seeded(0))[0], mine[0]["n_steps"])
        mine = [{**one, "measured_again": False, **times[str(i)]} for i, one in enumerate(mine)]
        if label == "Prototypical":
            for kind, size, hold, found in made[2:]:
                measure_again(found.learner, train)
                mine.append({**row(label, kind, size, hold, found, test), "measured_again": True})
        rows += mine
        print(label, [(one["kind"], one["size"], one["hold"], round(one["mean"], 3)) for one in mine], flush=True)
    return rows


def retrained() -> list[dict[str, Any]]:
    """Return a row for each compressed learner of glyphs after some more steps of meta-training, by seed of these."""
    rows = []
    for label in ("MAML", "Prototypical"):
        learner, test, train = shipped(label)
        for kind, size, make in (("pruned", 0.8, prune), ("low rank", 0.5, factorise)):
            for seed in SEEDS:
                found = make(learner, size)
                fit(found.learner, train, N_RETRAINED, seed=seed, **FIT)
                rows.append({**row(label, kind, size, True, found, test), "seed": seed, "n_retrained": N_RETRAINED})
                print("retrained", label, kind, seed, round(rows[-1]["mean"], 3), flush=True)
    return rows


def students() -> list[dict[str, Any]]:
    """Return a row for each small prototypical network, trained alone and with a teacher, by seed."""
    teacher, test, train = shipped("Prototypical")
    rows = []
    for channels in CHANNELS:
        for seed in SEEDS:
            for taught in (False, True):
                seeded(seed)
                student = Prototypical(Conv4(channels=channels, downsample="stride", norm="frozen"))
                told = distillation_backward(student, teacher, temperature=TEMPERATURE, weight=WEIGHT)
                begun = time.process_time()
                fit(student, train, N_STUDENT, seed=seed, backward=told if taught else None, **FIT)
                seconds, found = time.process_time() - begun, Compressed(student, stored_bytes(student))
                kind = "distilled" if taught else "alone"
                rows.append({**row("Prototypical", kind, channels, True, found, test), "seed": seed})
                rows[-1]["training_seconds"] = seconds
                print(kind, channels, seed, round(rows[-1]["mean"], 3), f"{seconds:.0f} s", flush=True)
    return rows


def main() -> None:
    """Measure all compressions, and write the record after each part of them."""
    begun = time.process_time()
    parts = {"rows": as_they_are, "students": students, "layer_by_layer": layer_by_layer, "retrained": retrained}
    sizes = {"n_tasks": N_TASKS, "n_retrained": N_RETRAINED, "n_student_steps": N_STUDENT, "n_timed": N_TIMED}
    options = {"temperature": TEMPERATURE, "weight": WEIGHT}
    before = so_far("compression")
    found, earlier = {key: before.get(key, []) for key in parts}, before.get("cpu_seconds", 0.0)
    for key, measure in parts.items():
        found[key] = found[key] or measure()
        write("compression", begun, earlier, seeds=list(SEEDS), **sizes, **options, **found)


if __name__ == "__main__":
    main()
