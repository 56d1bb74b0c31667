"""The family of sine waves of MAML: each task is one wave, to be guessed from a few of its points."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from metalearn._given import at_least_one
from metalearn.episodes import Episode
from metalearn.samplers import TaskFamily


@dataclass(frozen=True)
class Sinusoids(TaskFamily):
    """A distribution over regression tasks ``y = amplitude * sin(x - phase)``.

    Amplitude, phase and inputs are uniform in their ranges; the defaults are the paper's.

    Args:
        amplitude: Lowest and highest amplitude.
        phase: Lowest and highest phase, in radians.
        x_range: Lowest and highest input.

    Reference:
        Finn, Abbeel, Levine: Model-Agnostic Meta-Learning for Fast Adaptation of Deep Networks, 2017,
        arXiv 1703.03400, section 5.1. The text does not write the formula out; the sign is that of the authors' code.

    Example:
        >>> from metalearn.data import Sinusoids
        >>> Sinusoids().sample(n_tasks=25, n_shot=10, n_query=10)
        Episode(support_x=[25, 10, 1], support_y=[25, 10, 1], query_x=[25, 10, 1], query_y=[25, 10, 1], n_way=None)
    """

    amplitude: tuple[float, float] = (0.1, 5.0)
    phase: tuple[float, float] = (0.0, math.pi)
    x_range: tuple[float, float] = (-5.0, 5.0)

    def __post_init__(self) -> None:
        for name in ("amplitude", "phase", "x_range"):
            low, high = getattr(self, name)
            if not low <= high:
                raise ValueError(f"{name} must be (low, high) with low <= high, got ({low}, {high})")

    def waves(self, n_tasks: int, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
        """Draw amplitudes and phases of ``n_tasks`` waves, each ``[n_tasks]``."""
        return _uniform(self.amplitude, (n_tasks,), generator), _uniform(self.phase, (n_tasks,), generator)

    def sample(self, n_tasks: int, n_shot: int, n_query: int, generator: torch.Generator | None = None) -> Episode:
        """Draw a batch of tasks with their points.

        Args:
            n_tasks: Number of waves.
            n_shot: Support points of each wave.
            n_query: Query points of each wave.
            generator: Source of randomness; the tensors lie on its device.

        Returns:
            A batch of episodes; inputs and targets are ``[n_tasks, n_shot or n_query, 1]``.

        Raises:
            ValueError: If a number is no int, or below 1.
        """
        at_least_one(n_tasks=n_tasks, n_shot=n_shot, n_query=n_query)
        amplitude, phase = (wave[:, None, None] for wave in self.waves(n_tasks, generator))  # [n_tasks, 1, 1]
        x = _uniform(self.x_range, (n_tasks, n_shot + n_query, 1), generator)
        y = amplitude * torch.sin(x - phase)
        return Episode(x[:, :n_shot], y[:, :n_shot], x[:, n_shot:], y[:, n_shot:])

    def curve(self, task: Episode) -> Callable[[Tensor], Tensor]:
        """Return the wave on which all points of a task lie, as a function of ``x`` ``[n, 1]``.

        Every wave is ``a * sin(x) + b * cos(x)``, so that two points decide it; least squares over all points find it.

        Args:
            task: One task, all four tensors ``[n, 1]``.

        Example:
            >>> import torch
            >>> from metalearn.data import sinusoids
            >>> task = sinusoids().sample(1, n_shot=5, n_query=20)[0]
            >>> torch.allclose(sinusoids().curve(task)(task.query_x), task.query_y, atol=1e-4)
            True
        """
        x, y = torch.cat([task.support_x, task.query_x]), torch.cat([task.support_y, task.query_y])
        weights = torch.linalg.lstsq(_waves(x), y.double()).solution  # [2, 1]
        return lambda at: (_waves(at) @ weights).to(at.dtype)


def sinusoids() -> Sinusoids:
    """Return the sine waves of the MAML paper: training and test tasks come from one distribution.

    Example:
        >>> from metalearn.data import sinusoids
        >>> sinusoids().amplitude
        (0.1, 5.0)
    """
    return Sinusoids()


def _waves(x: Tensor) -> Tensor:
    return torch.cat([x.double().sin(), x.double().cos()], 1)  # [n, 2]


def _uniform(bounds: tuple[float, float], shape: tuple[int, ...], generator: torch.Generator | None) -> Tensor:
    low, high = bounds
    device = None if generator is None else generator.device
    return low + (high - low) * torch.rand(shape, generator=generator, device=device)
