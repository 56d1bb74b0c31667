"""What a computation costs: operations and the most bytes that were alive at one moment, counted; times, as ratios."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import median
from typing import Any

from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from metalearn._torch import StorageWeakRef, TorchDispatchMode, tree_leaves


@dataclass(frozen=True)
class Costs:
    """What a function costs; see :func:`count`.

    Attributes:
        operations: Floating-point operations of matrix products and convolutions.
        peak_bytes: The most bytes of tensors made by the function that were alive at one moment.

    Example:
        >>> from metalearn.costs import Costs
        >>> Costs(operations=12, peak_bytes=16)
        Costs(operations=12, peak_bytes=16)
    """

    operations: int
    peak_bytes: int


def count(function: Callable[[], Any]) -> Costs:
    """Run a function twice, and count its operations and the memory of the tensors that it makes.

    A time depends on a machine and its load, the memory of a process on what ran before; both counts are the same in
    each run. Operations are those of matrix products and convolutions, nearly all that a network needs. Memory is that
    of every result of an operation, as long as anything refers to it.

    Args:
        function: Takes nothing; runs in this thread.

    Example:
        >>> import torch
        >>> from metalearn import costs
        >>> matrix = torch.ones(10, 10)
        >>> costs.count(lambda: matrix @ matrix @ matrix)
        Costs(operations=4000, peak_bytes=800)
    """
    with _Watch() as watch:
        function()
    with FlopCounterMode(display=False) as counter:
        function()
    return Costs(counter.get_total_flops(), watch.peak)


class _Watch(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Notes the storage of each result, and the largest sum of those that are alive."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.alive: dict[Any, int] = {}
        self.peak = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for leaf in (leaf for leaf in tree_leaves(out) if isinstance(leaf, Tensor)):
            storage = leaf.untyped_storage()
            self.alive[StorageWeakRef(storage)] = storage.nbytes()  # type: ignore[no-untyped-call]
        self.alive = {ref: n_bytes for ref, n_bytes in self.alive.items() if not ref.expired()}
        self.peak = max(self.peak, sum(self.alive.values()))
        return out


def relative_times(functions: Mapping[str, Callable[[], Any]], n_turns: int = 9) -> dict[str, float]:
    """Return the processor time of each function as a multiple of the first one's: ratios of medians.

    The functions take turns, so that a change in the load of the machine meets all alike; a turn before the first one
    is not counted. Unlike counts, times differ from machine to machine.

    Args:
        functions: By name; each takes nothing.
        n_turns: Timings of each function, at least 1.

    Raises:
        ValueError: If there is no function or no turn.

    Example:
        >>> import torch
        >>> from metalearn import costs
        >>> matrix = torch.ones(100, 100)
        >>> costs.relative_times({"once": lambda: matrix @ matrix, "twice": lambda: matrix @ matrix @ matrix})["once"]
        1.0
    """
    if not functions or n_turns < 1:
        raise ValueError(f"expected at least one function and one turn, got {len(functions)} and {n_turns}")
    times: dict[str, list[float]] = {name: [] for name in functions}
    for _ in range(n_turns + 1):
        for name, function in functions.items():
            start = time.process_time()
            function()
            times[name].append(time.process_time() - start)
    medians = {name: median(values[1:]) for name, values in times.items()}
    return {name: value / next(iter(medians.values())) for name, value in medians.items()}
