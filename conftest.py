"""Tests and chapters run under the conditions in which the stored outputs were made."""

from __future__ import annotations

import os

import pytest
import torch

from tools.outputs import set_conditions

set_conditions()
torch.set_num_threads(1)  # the environment says so to the kernels; this process has imported torch already
GPUS = os.environ.get("CUDA_VISIBLE_DEVICES")


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Hide GPUs from chapters, whose stored outputs are a CPU's, and show them to the other tests."""
    if item.path.suffix == ".ipynb":
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
    elif GPUS is None:
        os.environ.pop("CUDA_VISIBLE_DEVICES", None)
    else:
        os.environ["CUDA_VISIBLE_DEVICES"] = GPUS
