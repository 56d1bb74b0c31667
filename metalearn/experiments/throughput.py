"""Tasks a second of one process and of two that train together, what limits them, and what a link needs.

python -m metalearn.experiments.throughput     measure again and write the record (two minutes)

The processes share the machine's processors with whatever else runs, so that conditions take turns, and ratios are
taken turn by turn: one process alone, while the other sleeps; two that do not average; two that do; and two that do,
with a barrier before the average, which tells waiting from sending.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn import functional as F

from metalearn import fit
from metalearn.compiled import compile_backward
from metalearn.costs import scaling
from metalearn.data import glyphs, sinusoids
from metalearn.distributed import Workers, joined
from metalearn.experiments._rows import write
from metalearn.learners import MAML, Learner
from metalearn.networks import MLP, Conv4

N_TURNS, TURN_SECONDS = 15, 0.3
SIZES = (8, 1_000, 10_000, 100_000, 1_000_000, 10_000_000)  # bytes
CONDITIONS = ("alone", "beside", "together", "parted")
NOTE = (
    "Two processes of one thread each on a machine of two cores, which other programs used at the same time; alone,"
    " beside and together took turns, and ratios are of the same turn. No GPU was there: nccl was written and not run."
)


@dataclass(frozen=True)
class Timed(Workers):
    """Workers that note how long they wait for each other, and how long averaging takes after that."""

    waited: list[float] = field(default_factory=list)
    averaged: list[float] = field(default_factory=list)

    def average(self, module: nn.Module, loss: Tensor, *numbers: float) -> tuple[Tensor, list[float]]:
        """Average, with a barrier before it that tells waiting from sending."""
        begun = time.perf_counter()
        dist.barrier()
        met = time.perf_counter()
        found = super().average(module, loss, *numbers)
        self.waited.append(met - begun)
        self.averaged.append(time.perf_counter() - met)
        return found


Backward = Callable[[Any, torch.Generator], Tensor]


def workloads() -> dict[str, tuple[Learner, Any, Backward, int]]:
    """Return for each workload a learner, what draws its tasks, its gradient, and the tasks of a step."""
    torch.manual_seed(0)
    waves, letters = sinusoids().episodes, glyphs().train.episodes
    small, fast = (MAML(MLP([1, 40, 40, 1]), 0.01, loss_fn=F.mse_loss) for _ in range(2))
    large = MAML(Conv4(5, channels=32, norm="support", downsample="stride"), 0.1)
    compiled = compile_backward(fast)
    sizes: dict[str, Any] = {"n_tasks": 25, "n_shot": 10, "n_query": 10}
    return {
        "MAML on sine waves": (small, waves(**sizes), lambda batch, g: small.backward(batch), 25),
        "MAML on sine waves, compiled": (fast, waves(**sizes), lambda batch, g: compiled(batch), 25),
        "MAML on glyphs": (
            large,
            letters(n_tasks=4, n_way=5, n_shot=1, n_query=5),
            lambda batch, g: large.backward(batch),
            4,
        ),
    }


def timed(learner: Learner, sample: Any, backward: Backward, n_steps: int, workers: Workers) -> float:
    """Return the median seconds of a step of fit."""
    stamps: list[float] = []

    def stamp(loss: Tensor) -> Tensor:
        stamps.append(time.perf_counter())
        return loss

    fit(learner, sample, n_steps + 1, backward=backward, after_backward=stamp, workers=workers, progress=False)
    return median(np.diff(stamps).tolist())


def one(workers: Workers, learner: Learner, sample: Any, backward: Backward) -> dict[str, Any]:
    """Measure one workload under the conditions, in turns; process 0 has the answer."""
    seconds = workers.largest(timed(learner, sample, backward, 6, Workers()))  # and compile
    n_steps = max(4, round(TURN_SECONDS / seconds))
    steps: dict[str, list[float]] = {name: [] for name in CONDITIONS}
    parts: dict[str, list[float]] = {"waited": [], "averaged": []}
    for _ in range(N_TURNS):
        for name in CONDITIONS:
            clock = {
                "together": Workers(workers.rank, 2, workers.device),
                "parted": Timed(workers.rank, 2, workers.device),
            }.get(name, Workers(workers.rank, 1, workers.device))
            dist.barrier()
            if name != "alone" or workers.first:
                steps[name].append(timed(learner, sample, backward, n_steps, clock))
            if isinstance(clock, Timed):
                for key, medians in parts.items():
                    medians.append(median(getattr(clock, key)[1:]))
            dist.barrier()  # here the other process sleeps while one is alone
    found: dict[str, Any] = {
        "steps": steps,
        "parts": {key: median(values) for key, values in parts.items()},
        "n_steps": n_steps,
    }
    return found | {"n_parameters": sum(p.numel() for p in learner.parameters() if p.requires_grad)}


def link(workers: Workers) -> list[list[float]]:
    """Return for sizes in bytes the seconds of the fastest all-reduce: others waited for a core, too."""
    found = []
    for size in SIZES:
        data, times = torch.zeros(size // 8, dtype=torch.float64), []
        for _ in range(60):
            dist.barrier()
            begun = time.perf_counter()
            dist.all_reduce(data)
            times.append(time.perf_counter() - begun)
        found.append([size, workers.largest(min(times))])
    return found


def measure(path: Path) -> None:
    """Measure in the processes that torchrun started; process 0 writes what it found."""
    torch.set_num_threads(1)
    with joined() as workers:
        before = link(workers)
        found = {name: (one(workers, *parts[:3]), parts[3]) for name, parts in workloads().items()}
        sizes = [[size, min(a, b)] for (size, a), (_, b) in zip(before, link(workers), strict=True)]
        if workers.first:
            path.write_text(json.dumps({"workloads": found, "sizes": sizes}))
        dist.barrier()


def speed_of(sizes: list[list[float]]) -> dict[str, Any]:
    """Return latency and bandwidth of a link of two processes: those of the smallest and of the largest message."""
    latency = sizes[0][1] / 2  # a ring of two has two rounds
    bandwidth = sizes[-1][0] / (sizes[-1][1] - sizes[0][1])
    return {"latency": latency, "bandwidth": bandwidth, "sizes": sizes}


def row(name: str, found: dict[str, Any], n_tasks: int, speed: dict[str, Any]) -> dict[str, Any]:
    """Return a row of the record: three conditions, their ratio turn by turn, and what the model says of it."""
    steps, rank = found["steps"], {"alone": 1, "beside": 2, "together": 2}  # processes
    ratios = {
        key: [2 * a / b for a, b in zip(steps["alone"], steps[key], strict=True)] for key in ("beside", "together")
    }
    content: dict[str, Any] = {"on": name, "n_tasks": n_tasks, "n_parameters": found["n_parameters"]}
    content |= {"gradient_bytes": 8 * (found["n_parameters"] + 3), "n_steps": found["n_steps"]}
    for key in CONDITIONS[:3]:
        seconds = median(steps[key])
        content[key] = {"step_seconds": seconds, "tasks_per_second": rank[key] * n_tasks / seconds}
        content[key]["fastest_seconds"] = min(steps[key])
    for key, label in (("beside", "speedup_beside"), ("together", "speedup")):
        low, middle, high = np.quantile(ratios[key], [0.25, 0.5, 0.75]).tolist()
        content[label] = {"middle": middle, "low": low, "high": high}
    parts = found["parts"]
    content["together"] |= {"wait_seconds": parts["waited"], "all_reduce_seconds": parts["averaged"]}
    how = {"gradient_bytes": content["gradient_bytes"], "latency": speed["latency"], "bandwidth": speed["bandwidth"]}
    task = median(steps["alone"]) / n_tasks
    content["predicted"] = 2 * scaling((2,), n_tasks=n_tasks, task_seconds=task, **how)[0].efficiency
    slowed = median(steps["beside"]) / n_tasks  # with the other process on the same machine
    content["predicted_from_beside"] = (
        scaling((2,), n_tasks=n_tasks, task_seconds=slowed, **how)[0].tasks_per_second
        / content["alone"]["tasks_per_second"]
    )
    return content


def main() -> None:
    """Start two processes, and write the record of what they measured."""
    begun, before = time.process_time(), list(os.getloadavg())
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "found.json")
        command = [
            "-m",
            "torch.distributed.run",
            "--standalone",
            "--nproc-per-node",
            "2",
            "-m",
            "metalearn.experiments.throughput",
        ]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        subprocess.run([sys.executable, *command, str(path)], check=True, env=environment)
        found = json.loads(path.read_text())
    torch.set_num_threads(1)
    speed = speed_of(found["sizes"])
    rows = [row(name, measured, n_tasks, speed) for name, (measured, n_tasks) in found["workloads"].items()]
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    how: dict[str, Any] = {
        "n_turns": N_TURNS,
        "cores": cores,
        "load_before": before,
        "nice": os.nice(0) if hasattr(os, "nice") else None,
    }
    write("throughput", begun, **how, note=NOTE, link=speed, rows=rows)


if __name__ == "__main__":
    measure(Path(sys.argv[1])) if len(sys.argv) > 1 else main()
