"""Several processes that train one learner together: each draws tasks of its own, and gradients are averaged."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from metalearn.runtime import stream

_LOST = ("Connection closed by peer", "Connection reset by peer", "Timed out waiting", "Broken pipe")  # gloo's words
TIMEOUT = timedelta(minutes=10)  # for which the others wait for one


@dataclass(frozen=True)
class Workers:
    """The processes of a run: how many there are, and which of them this one is.

    All start from the same weights, draw from the same stream of random numbers a seed of their own for each step, and
    take the same step with the mean gradient, so that they hold the same weights at all times.

    Args:
        rank: Number of this process, 0 to ``size - 1``; process 0 writes files.
        size: Number of processes.
        device: Where the learner lies: gradients are averaged there.

    Example:
        >>> from metalearn.distributed import Workers
        >>> Workers().size
        1
    """

    rank: int = 0
    size: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    @property
    def first(self) -> bool:
        """Whether this process writes files and speaks."""
        return self.rank == 0

    def generator(self, generator: torch.Generator) -> torch.Generator:
        """Return the generator of this process for a step; the common one moves on by one number.

        A run can so go on with another number of processes, from the state of the common generator.
        """
        seed = int(torch.randint(2**48, (), generator=generator, device=generator.device))
        return stream(seed, f"worker {self.rank}", generator.device)

    def average(self, module: nn.Module, loss: Tensor, *numbers: float) -> tuple[Tensor, list[float]]:
        """Put the mean over processes into ``.grad`` of each trained parameter, and return the mean loss.

        One process with a loss or a gradient that is no number gives all of them one, so that all stop. All that the
        processes have to agree on travels in one message, since small ones cost as much as large ones.

        Args:
            module: The learner, after ``backward``.
            loss: This process's loss, a scalar.
            *numbers: Others of this process.

        Returns:
            The mean loss, and the mean of each of the numbers.
        """
        if self.size == 1:
            return loss, list(numbers)
        parts = [parameter for parameter in module.parameters() if parameter.requires_grad]
        for parameter in parts:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        grads = [parameter.grad for parameter in parts if parameter.grad is not None]
        others = torch.tensor(numbers, dtype=torch.float64, device=loss.device)
        flat = torch.cat([*(grad.flatten().to(torch.float64) for grad in grads), loss.detach().double()[None], others])
        dist.all_reduce(flat)
        flat /= self.size
        *means, total, agreed = torch.split(flat, [*(grad.numel() for grad in grads), 1, len(numbers)])
        for grad, mean in zip(grads, means, strict=True):
            grad.copy_(mean.view_as(grad))
        return total[0].to(loss.dtype), agreed.tolist()

    def largest(self, value: float) -> float:
        """Return the largest of all processes' values."""
        if self.size == 1:
            return value
        found = torch.tensor([value], dtype=torch.float64, device=self.device)
        dist.all_reduce(found, op=dist.ReduceOp.MAX)
        return float(found)

    def from_first(self, content: Any) -> Any:
        """Return what process 0 holds: plain data or tensors."""
        if self.size == 1:
            return content
        buffer = io.BytesIO()
        if self.first:
            torch.save(content, buffer)
        length = torch.tensor([buffer.tell()], device=self.device)
        dist.broadcast(length, 0)
        data = torch.zeros(int(length), dtype=torch.uint8)
        if self.first:
            data = torch.frombuffer(bytearray(buffer.getvalue()), dtype=torch.uint8)
        data = data.to(self.device)
        dist.broadcast(data, 0)
        return torch.load(io.BytesIO(bytes(data.cpu().numpy())), weights_only=True)

    def check_same(self, name: str, value: str) -> None:
        """Refuse processes that do not agree.

        Args:
            name: What the text stands for, in the message.
            value: A text that must be the same in all processes.

        Raises:
            ValueError: In the processes that hold another text than process 0.
        """
        first = self.from_first(value)
        agree = self.largest(float(first != value)) == 0
        if not agree:
            mine = "" if first == value else f" process {self.rank} has {_apart(first, value)}"
            raise ValueError(f"the processes do not agree about {name}:{mine or ' another one differs from this'}")


def _apart(first: str, other: str) -> str:
    start = max(next((i for i, (a, b) in enumerate(zip(first, other, strict=False)) if a != b), 0) - 20, 0)
    return f"…{other[start : start + 60]}… where process 0 has …{first[start : start + 60]}…"


@contextmanager
def joined(device: torch.device | str = "cpu") -> Iterator[Workers]:
    """Join the processes that ``torchrun`` started, and leave them at the end; alone, be the only one.

    gloo connects processors, nccl GPUs; a process that dies ends the others with an error.

    Args:
        device: Where this process trains; of several GPUs, each process of a machine takes one.

    Raises:
        ConnectionError: If another process dies, or does not answer for ten minutes.
        ValueError: If there are more processes than GPUs on this machine.

    Example:
        >>> from metalearn.distributed import joined
        >>> with joined() as workers:
        ...     workers.size
        1
    """
    device = torch.device(device)
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield Workers(device=device)
        return
    if device.type == "cuda":
        device, there = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0"))), torch.cuda.device_count()
        if device.index >= there:
            raise ValueError(
                f"process {device.index} of this machine has no GPU, there are {there}: lower --nproc-per-node to that,"
                " or train on the CPU"
            )
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=TIMEOUT)
    try:
        yield Workers(dist.get_rank(), dist.get_world_size(), device)
    except RuntimeError as error:
        if not isinstance(error, dist.DistError) and not any(word in str(error) for word in _LOST):
            raise
        raise ConnectionError(
            "another process of the run ended with an error, which it says itself, or does not answer. The last"
            f" checkpoint is whole: start all processes again and resume ({str(error).splitlines()[0][:200]})"
        ) from error
    finally:
        dist.destroy_process_group()
