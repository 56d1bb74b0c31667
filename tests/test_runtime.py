"""Seeds, devices and budgets."""

import os
import random
import subprocess
import sys

import numpy as np
import pytest
import torch

from metalearn.runtime import budget, pick_device, seed_everything


def test_one_seed_seeds_everything():
    def draw():
        generator = seed_everything(3)
        numpys = np.random.rand()  # noqa: NPY002
        return random.random(), numpys, torch.rand(()).item(), torch.rand((), generator=generator).item()

    assert draw() == draw()


def test_device():
    assert pick_device("cpu") == torch.device("cpu")
    with pytest.raises(ValueError, match="device 'tpu' is not available here; available:"):
        pick_device("tpu")


def test_budget(monkeypatch):
    monkeypatch.delenv("METALEARN_BUDGET", raising=False)
    assert budget(full=3, quick=1) == 1
    monkeypatch.setenv("METALEARN_BUDGET", "full")
    assert budget(full=3, quick=1) == 3
    monkeypatch.setenv("METALEARN_BUDGET", "fast")
    with pytest.raises(ValueError, match=r"METALEARN_BUDGET must be one of \['full', 'quick'\], got 'fast'"):
        budget(full=3, quick=1)


@pytest.mark.slow
@pytest.mark.parametrize(("show", "environment", "visible"), [(True, "", True), (False, "", False), (True, "1", False)])
def test_progress_bars_can_be_hidden_by_argument_and_by_environment(show, environment, visible):
    code = f"from metalearn.runtime import progress_bar\nwith progress_bar(3, 'step', {show}) as bar: bar.update()"
    variables = {**os.environ, "TQDM_DISABLE": environment}  # read when tqdm is imported
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=variables)
    assert bool(result.stderr) == visible and not result.stdout
