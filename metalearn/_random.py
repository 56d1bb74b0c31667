"""The state of torch's global generators, kept and brought back."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

RandomState = dict[torch.device, Tensor]  # of the CPU's generator, and of the device's in use


def random_state(tensors: Iterable[Tensor]) -> RandomState:
    """Return the global random state of the CPU and of every other device on which the tensors lie."""
    away = {tensor.device for tensor in tensors if tensor.device.type not in ("cpu", "meta")}
    return {torch.device("cpu"): torch.get_rng_state()} | {device: _read(device) for device in away}


def set_random_state(state: RandomState) -> None:
    """Go on drawing from a state that :func:`random_state` returned."""
    for device, generator_state in state.items():
        if device.type == "cpu":
            torch.set_rng_state(generator_state)
        else:
            torch.get_device_module(device).set_rng_state(generator_state, *_place(device))


@contextmanager
def replayed(state: RandomState) -> Iterator[None]:
    """Draw the same numbers again inside the context, and go on after it as if nothing had been drawn."""
    now = {device: torch.get_rng_state() if device.type == "cpu" else _read(device) for device in state}
    set_random_state(state)
    try:
        yield
    finally:
        set_random_state(now)


def _read(device: torch.device) -> Tensor:
    state: Tensor = torch.get_device_module(device).get_rng_state(*_place(device))
    return state


def _place(device: torch.device) -> tuple[torch.device, ...]:
    return () if device.type == "mps" else (device,)  # mps is one device, its functions take none
