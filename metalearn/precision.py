"""Fewer digits for matrix products, as an option of training: bfloat16 anywhere, TF32 on GPUs that have it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal, get_args

import torch
from torch import nn

__all__ = ["Precision", "check_precision", "reduced"]

Precision = Literal["bf16", "tf32"]


def check_precision(precision: Precision | None, module: nn.Module) -> None:
    """Refuse a precision that would do nothing for a module where it lies.

    Args:
        precision: ``"bf16"``, ``"tf32"``, or ``None`` for that of the parameters.
        module: What is to be trained.

    Raises:
        ValueError: If the precision is unknown, the parameters are not float32, or TF32 is asked for off a GPU.

    Example:
        >>> from torch import nn
        >>> from metalearn.precision import check_precision
        >>> check_precision("bf16", nn.Linear(2, 2))
    """
    if precision is None:
        return
    if precision not in get_args(Precision):
        raise ValueError(f"precision must be one of {list(get_args(Precision))} or None, got {precision!r}")
    kinds = {(parameter.dtype, parameter.device.type) for parameter in module.parameters()}
    if others := {dtype for dtype, _ in kinds} - {torch.float32}:
        raise ValueError(f"precision={precision!r} needs parameters in float32, got {sorted(map(str, others))}")
    if precision == "tf32" and {place for _, place in kinds} != {"cuda"}:
        places = sorted({place for _, place in kinds})
        raise ValueError(f"precision='tf32' acts on NVIDIA GPUs only, the parameters are on {places}: leave it out")


@contextmanager
def reduced(precision: Precision | None, device: torch.device | str = "cpu") -> Iterator[None]:
    """Compute matrix products and convolutions with fewer digits in the context; parameters stay in float32.

    ``"bf16"`` is torch's autocast: products take bfloat16, with 8 bits of precision in place of float32's 24;
    normalisations, losses and the sums of optimisers stay in float32. ``"tf32"`` rounds the factors of float32 products
    to 11 bits on a GPU.

    Args:
        precision: ``"bf16"``, ``"tf32"``, or ``None``, which changes nothing.
        device: Where the parameters lie.

    Example:
        >>> import torch
        >>> from metalearn.precision import reduced
        >>> with reduced("bf16"):
        ...     (torch.ones(2, 2) @ torch.ones(2, 2)).dtype
        torch.bfloat16
    """
    if precision == "bf16":
        # no cache: a weight that was cast inside vmap or grad must not be met again outside
        with torch.autocast(torch.device(device).type, dtype=torch.bfloat16, cache_enabled=False):
            yield
        return
    if precision is None:
        yield
        return
    cudnn: Any = torch.backends.cudnn
    switches = (torch.backends.cuda.matmul, cudnn.conv)
    before = [switch.fp32_precision for switch in switches]
    try:
        for switch in switches:
            switch.fp32_precision = "tf32"
        yield
    finally:
        for switch, value in zip(switches, before, strict=True):
            switch.fp32_precision = value
