"""Peak memory of 20 second-order steps of Conv4 on 84x84 images: ``recompute=True`` against storing everything."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from statistics import median

import torch
from _timing import Result, result

from metalearn import Episode
from metalearn.learners import MAML
from metalearn.networks import Conv4


def run(quick: bool = False) -> list[Result]:
    """Measure each variant in processes of its own, in turns."""
    n_steps, size, channels, repeats = (2, 32, 4, 1) if quick else (20, 84, 32, 3)
    found: dict[str, list[tuple[float, float]]] = {"stored": [], "recomputed": []}
    for _ in range(repeats):
        for name in found:
            settings = json.dumps([name == "recomputed", n_steps, size, channels])
            command = [sys.executable, "-W", "ignore", __file__, settings]
            output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
            found[name].append(json.loads(output))
    megabytes, times = ({name: median(pair[i] for pair in runs) for name, runs in found.items()} for i in (0, 1))
    what = f"Conv4 ({channels} channels) {size}x{size}x3, one 5-way 1-shot task, {n_steps} second-order steps"
    note = "Growth of the peak resident memory (VmHWM) over imports, model and a one-step warm-up on small images."
    kept, spent = (part["recomputed"] / part["stored"] for part in (megabytes, times))
    first = result(f"{what}: memory with recompute", megabytes, kept, "<= 0.35", unit="MB", note=note)
    return [first, result(f"{what}: time with recompute", times, spent, "<= 1.5", note="CPU time, one thread.")]


def measure(recompute: bool, n_steps: int, size: int, channels: int) -> tuple[float, float]:
    """Return megabytes and milliseconds of one meta-gradient."""
    torch.set_num_threads(1)
    learner = MAML(
        Conv4(5, in_channels=3, image_size=size, channels=channels), 0.01, n_inner_steps=n_steps, recompute=recompute
    )
    labels = torch.arange(5).repeat(1, 4)
    small = MAML(Conv4(5, in_channels=3, image_size=16, channels=channels), 0.01, recompute=recompute)
    small.backward(Episode(torch.rand(1, 5, 3, 16, 16), labels[:, :5], torch.rand(1, 15, 3, 16, 16), labels[:, 5:], 5))
    x = torch.rand(1, 20, 3, size, size)
    batch = Episode(x[:, :5], labels[:, :5], x[:, 5:], labels[:, 5:], n_way=5)
    before, start = peak(), time.process_time()
    learner.backward(batch)
    return peak() - before, 1000 * (time.process_time() - start)


def peak() -> float:
    """Return the peak resident memory of this process in megabytes (``ru_maxrss`` would include the parent's)."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024


if __name__ == "__main__":
    print(json.dumps(measure(*json.loads(sys.argv[1]))))
