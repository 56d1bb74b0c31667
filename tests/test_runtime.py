"""Seeds, devices and budgets."""

import random

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
