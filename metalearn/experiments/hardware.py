"""What pays on this machine: threads, vmap, compiling, bf16, channels last, recomputing, int8, side by side in one run.

python -m metalearn.experiments.hardware     measure again and write the record, which a chapter shows
"""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Callable
from copy import deepcopy
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from metalearn import costs
from metalearn.compiled import compile_backward
from metalearn.data import glyphs, sinusoids
from metalearn.experiments._rows import seeded, tasks, write
from metalearn.learners import MAML, Learner, Prototypical
from metalearn.networks import MLP, Conv4

N_TURNS = 9
Work = Callable[[], Any]


def threaded(work: Work, n_threads: int = 1) -> None:
    """Do the work with so many threads."""
    torch.set_num_threads(n_threads)
    work()


def step(learner: Learner, batch: Any, *, how: str = "loop", bf16: bool = False, last: bool = False) -> Work:
    """Return a step of meta-training without the optimiser's, of a copy of the learner."""
    twin = deepcopy(learner)
    twin.how = how  # type: ignore[assignment]
    if last:
        twin.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def work() -> Tensor:
        twin.zero_grad()
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=bf16):
            return twin.backward(batch)

    work.learner = twin  # type: ignore[attr-defined]
    return work


def compiled(learner: Learner, batch: Any) -> Work:
    """Return the compiled step."""
    twin = deepcopy(learner)
    backward = compile_backward(twin)

    def work() -> Tensor:
        twin.zero_grad()
        return backward(batch)

    work.learner = twin  # type: ignore[attr-defined]
    return work


def workloads() -> dict[str, dict[str, tuple[Work, int]]]:
    """Return for each workload its variants, the plain one first, and with how many threads each runs."""
    generator = seeded(0)
    waves = sinusoids().sample(25, 10, 10, generator)
    pictures = tasks(glyphs().train, 8)(generator)
    wide = glyphs().train.episodes(n_tasks=1, n_way=20, n_shot=1, n_query=5)(generator)
    small = MAML(MLP([1, 40, 40, 1]), inner_lr=0.01, loss_fn=F.mse_loss)
    network: dict[str, Any] = {"channels": 32, "downsample": "stride"}
    maml = MAML(Conv4(5, norm="support", **network), inner_lr=0.1)
    plain = MAML(Conv4(5, norm="support", **network), 0.1, 10)
    again = deepcopy(plain)
    again.recompute = True
    proto = Prototypical(Conv4(norm="frozen", **network))
    return {
        "MAML on sine waves, 25 tasks": {
            "plain": (step(small, waves), 1),
            "vmap": (step(small, waves, how="vmap"), 1),
            "bf16": (step(small, waves, bf16=True), 1),
            "compiled": (compiled(small, waves), 1),
        },
        "MAML on glyphs, 8 tasks": {
            "plain": (step(maml, pictures), 1),
            "vmap": (step(maml, pictures, how="vmap"), 1),
            "bf16": (step(maml, pictures, bf16=True), 1),
            "channels last": (step(maml, pictures, last=True), 1),
        },
        "MAML on glyphs, 1 task, 10 inner steps": {
            "plain": (step(plain, pictures[:1]), 1),
            "recompute": (step(again, pictures[:1]), 1),
        },
        "Prototypical on glyphs, 120 images": {
            "plain": (step(proto, wide), 1),
            "bf16": (step(proto, wide, bf16=True), 1),
            "channels last": (step(proto, wide, last=True), 1),
            "compiled": (compiled(proto, wide), 1),
        },
        "a dense network's forward pass, 784-1024-1024-5, 25 inputs": dense(),
        "Prototypical on glyphs, threads": on_two_threads(),
    }


def dense() -> dict[str, tuple[Work, int]]:
    """Return the forward pass of a dense network in float, and with int8 weights by torch's dynamic quantisation."""
    model, x = MLP([784, 1024, 1024, 5]).eval(), torch.randn(25, 784)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch.ao says that it will move to torchao
        quantize: Any = torch.ao.quantization.quantize_dynamic
        rounded = quantize(nn.Sequential(*model), {nn.Linear}, dtype=torch.qint8)

    def run(network: nn.Module) -> Tensor:
        with torch.no_grad():
            out: Tensor = network(x)
        return out

    return {"plain": (partial(run, model), 1), "int8": (partial(run, rounded), 1)}


def on_two_threads() -> dict[str, tuple[Work, int]]:
    """Return a step on one thread and on two, apart from the rest: waiting threads would slow down what comes next."""
    wide = glyphs().train.episodes(n_tasks=1, n_way=20, n_shot=1, n_query=5)(seeded(0))
    work = step(Prototypical(Conv4(norm="frozen", channels=32, downsample="stride")), wide)
    return {"plain": (work, 1), "2 threads": (work, 2)}


def gradient(work: Work) -> Tensor:
    """Return the gradient that a step leaves, as one vector."""
    work()
    found = work.learner.parameters()  # type: ignore[attr-defined]
    return torch.cat([parameter.grad.flatten() for parameter in found if parameter.grad is not None])


def main() -> None:
    """Measure all workloads, and write the record."""
    begun, before, rows = time.process_time(), list(os.getloadavg()), []
    for on, variants in workloads().items():
        compiling, functions = {}, {}
        for name, (work, n_threads) in variants.items():
            start = time.perf_counter()
            work()  # the first call compiles
            compiling[name] = time.perf_counter() - start
            functions[name] = partial(threaded, work, n_threads)
        found = costs.compare_times(functions, N_TURNS)
        for name, times in found.items():
            work = variants[name][0]
            row: dict[str, Any] = {"on": on, "what": name, "ratio": times.ratio.middle, "low": times.ratio.low}
            row |= {"high": times.ratio.high, "cpu_ratio": list(vars(times.cpu_ratio).values())}
            row |= {"seconds": times.seconds, "cpu_seconds": times.cpu_seconds, "first_call_seconds": compiling[name]}
            if hasattr(work, "learner"):
                torch.set_num_threads(1)
                base, mine = gradient(variants["plain"][0]).double(), gradient(work).double()
                row |= {"cosine": F.cosine_similarity(base, mine, dim=0).item()}
            if name in ("plain", "recompute"):
                row |= {"peak_bytes": costs.count(work).peak_bytes}
            rows.append(row)
        print(on, [(row["what"], round(row["ratio"], 2)) for row in rows if row["on"] == on], flush=True)
    torch.set_num_threads(1)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    write("hardware", begun, seeds=[0], n_turns=N_TURNS, cores=cores, load_before=before, rows=rows)


if __name__ == "__main__":
    main()
