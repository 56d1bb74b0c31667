"""Tests and chapters run under the conditions in which the stored outputs were made, unless the caller sets others."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
import torch

from tools.compare import Output, differences, tolerance_of
from tools.outputs import set_conditions

set_conditions()
# The environment says so to the kernels; this process has imported torch already.
torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
GPUS = os.environ.get("CUDA_VISIBLE_DEVICES")


def pytest_configure(config: pytest.Config) -> None:
    """Compare the outputs of chapters as text with numbers in it, and those of another seed not at all."""
    if config.pluginmanager.hasplugin("nbval"):
        from nbval.plugin import IPyNbCell

        # nbval compares what this returns with `!=`, the stored output to the left.
        IPyNbCell.sanitize = lambda item, text: Output(text, tolerance_of(item.cell)) if isinstance(text, str) else text
        if int(os.environ.get("METALEARN_SEED") or 0) != 0:
            config.option.nbval_lax = True  # runs every cell, compares none


def pytest_assertrepr_compare(left: object, right: object) -> list[str] | None:
    """Say which numbers of an output moved too far."""
    if isinstance(left, Output) and isinstance(right, Output):
        return [*differences(left, right, left.tolerance), "stored:", *left.splitlines(), "now:", *right.splitlines()]
    return None


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Hide GPUs from chapters, whose stored outputs are a CPU's, and show them to the other tests."""
    if item.path.suffix == ".ipynb":
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
    elif GPUS is None:
        os.environ.pop("CUDA_VISIBLE_DEVICES", None)
    else:
        os.environ["CUDA_VISIBLE_DEVICES"] = GPUS


@pytest.fixture
def double() -> Iterator[None]:
    """Compute in double precision, from the same random numbers in each test."""
    torch.set_default_dtype(torch.float64)
    torch.manual_seed(0)
    yield
    torch.set_default_dtype(torch.float32)
