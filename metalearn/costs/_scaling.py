"""How fast many processes train together: a model of the step from what one process and one link need."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

RANKS = (1, 2, 4, 8, 16, 32, 64)


@dataclass(frozen=True)
class Scale:
    """What the model of :func:`scaling` says of a number of processes.

    Attributes:
        ranks: Number of processes.
        n_tasks: Tasks of a step, of all processes together.
        seconds: Of a step.
        tasks_per_second: Of all processes together.
        efficiency: Tasks a second, as a share of as many times one process's.
        communication: Share of the step in which gradients are averaged.

    Example:
        >>> from metalearn.costs import scaling
        >>> scaling((1,), n_tasks=4, task_seconds=0.25, gradient_bytes=8e6, latency=1e-3, bandwidth=1e9)[0].seconds
        1.0
    """

    ranks: int
    n_tasks: int
    seconds: float
    tasks_per_second: float
    efficiency: float
    communication: float


def all_reduce_seconds(ranks: int, n_bytes: float, latency: float, bandwidth: float) -> float:
    r"""Return how long an all-reduce along a ring takes.

    Each of :math:`p` processes sends a :math:`p`-th of the :math:`B` bytes to its neighbour in each of
    :math:`2 (p - 1)` rounds, first to add up and then to hand round: :math:`2 (p - 1) (\alpha + B / (p \beta))`, with
    the latency :math:`\alpha` of a message and the bandwidth :math:`\beta` of a link.

    Args:
        ranks: Number :math:`p` of processes, at least 1.
        n_bytes: Bytes :math:`B` that are averaged.
        latency: Seconds that a message takes whatever its size.
        bandwidth: Bytes a second of a link, in each direction.

    Raises:
        ValueError: If a number is out of range.

    Reference:
        Pitch Patarasuk and Xin Yuan, "Bandwidth optimal all-reduce algorithms for clusters of workstations", Journal of
        Parallel and Distributed Computing 69 (2009).

    Example:
        >>> from metalearn.costs import all_reduce_seconds
        >>> all_reduce_seconds(2, 1e6, 0.0, 1e6), all_reduce_seconds(1, 1e6, 1.0, 1e6)
        (1.0, 0.0)
    """
    if ranks < 1 or n_bytes < 0 or latency < 0 or not bandwidth > 0:
        raise ValueError(
            "expected at least 1 rank, bytes and a latency of at least 0, and a bandwidth above 0, got"
            f" {ranks}, {n_bytes}, {latency} and {bandwidth}"
        )
    return 2 * (ranks - 1) * (latency + n_bytes / (ranks * bandwidth))


def scaling(
    ranks: Sequence[int] = RANKS,
    *,
    n_tasks: int,
    task_seconds: float,
    gradient_bytes: float,
    latency: float,
    bandwidth: float,
    fixed_seconds: float = 0.0,
    divide: bool = False,
) -> list[Scale]:
    r"""Return tasks a second and efficiency for numbers of processes, from a model of a training step.

    A step takes :math:`T(p) = f + n t + R(p, B)`: the optimiser and all that happens once, :math:`f`; the
    tasks of a process, :math:`n`, of :math:`t` seconds each; the all-reduce :math:`R` of the gradient's :math:`B`
    bytes (see :func:`all_reduce_seconds`).

    The model assumes that all processes are equally fast and each has a processor or GPU to itself, so that none waits
    for a slower one and none shares memory or caches; that all links are equal and used by nobody else; and that
    averaging begins when the last gradient is there, as :class:`metalearn.distributed.Workers` does it. Where an
    assumption fails the model is too hopeful, but for the last one: averaging while the gradient is still being
    computed would hide a part of it.

    Args:
        ranks: Numbers of processes.
        n_tasks: Tasks a step of each process, as in ``torchrun -m metalearn train --tasks``.
        task_seconds: Seconds a task.
        gradient_bytes: Bytes that are averaged: 8 for each trained parameter, since ``Workers`` adds up in float64.
        latency: Seconds that a message takes whatever its size.
        bandwidth: Bytes a second of a link.
        fixed_seconds: Seconds of a step that do not depend on the tasks.
        divide: ``n_tasks`` is the number of all processes together, which they divide among them; the busiest decides.

    Raises:
        ValueError: If a number is out of range.

    Example:
        >>> from metalearn.costs import scaling
        >>> link = {"latency": 50e-6, "bandwidth": 1.25e9}  # ten gigabits a second
        >>> found = scaling((1, 8, 64), n_tasks=4, task_seconds=0.02, gradient_bytes=8 * 113_000, **link)
        >>> [f"{each.tasks_per_second:.0f} ({each.efficiency:.0%})" for each in found]
        ['50 (100%)', '390 (98%)', '2918 (91%)']
    """
    if any(p < 1 for p in ranks):
        raise ValueError(f"expected at least 1 process, got ranks={list(ranks)}")
    if n_tasks < 1 or task_seconds < 0 or fixed_seconds < 0 or task_seconds + fixed_seconds == 0:
        raise ValueError(
            "expected at least 1 task, seconds of at least 0, and a step that takes time, got"
            f" n_tasks={n_tasks}, task_seconds={task_seconds}, fixed_seconds={fixed_seconds}"
        )
    link = {"latency": latency, "bandwidth": bandwidth}
    alone = n_tasks / (fixed_seconds + n_tasks * task_seconds)  # tasks a second
    found = []
    for p in ranks:
        own = -(-n_tasks // p) if divide else n_tasks
        together = n_tasks if divide else p * n_tasks
        talk = all_reduce_seconds(p, gradient_bytes, **link)
        seconds = fixed_seconds + own * task_seconds + talk
        rate = together / seconds
        found.append(Scale(p, together, seconds, rate, rate / (p * alone), talk / seconds))
    return found


def scaling_table(scales: Sequence[Scale]) -> tuple[list[str], list[list[str]]]:
    """Return column names and rows of what :func:`scaling` found, as :func:`metalearn.plotting.table` takes them.

    Args:
        scales: What :func:`scaling` returned.

    Example:
        >>> from metalearn.costs import scaling, scaling_table
        >>> link = {"latency": 50e-6, "bandwidth": 1.25e9}
        >>> header, rows = scaling_table(scaling((1, 64), n_tasks=4, task_seconds=0.02, gradient_bytes=9e5, **link))
        >>> rows[-1]
        ['64', '256', '2,918', '91 %', '9 %']
    """
    header = ["processes", "tasks a step", "tasks a second", "efficiency", "time spent averaging"]
    return header, [
        [
            *(str(each.ranks), f"{each.n_tasks:,}"),
            f"{each.tasks_per_second:,.0f}" if each.tasks_per_second >= 100 else f"{each.tasks_per_second:.1f}",
            *(f"{100 * each.efficiency:.0f} %", f"{100 * each.communication:.0f} %"),
        ]
        for each in scales
    ]
