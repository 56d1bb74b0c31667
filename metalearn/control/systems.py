"""Systems to be controlled: physics as pure functions of parameters, states and actions, batched over all three."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from metalearn._given import at_least_one

Parameters = Mapping[str, tuple[float, float, float]]  # by name: lowest, usual and highest value


@dataclass(frozen=True)
class System(ABC):
    """Physics with parameters that differ from system to system and are not seen: the context.

    All methods are pure, and broadcast over leading axes: a context ``[n_systems, 1, n_parameters]`` goes with states
    ``[n_systems, n, n_states]``. An action is in [-1, 1]; what lies outside is clipped.

    What a model of the dynamics is to learn is the ``targets``: the rates of change that depend on forces, in units of
    their usual size. That a position changes by its speed is known, and ``advance`` does it.

    Args:
        dt: Seconds between two actions, above 0.

    Attributes:
        parameters: For each parameter by name its lowest, usual and highest value.
        n_states: Size of a state.
        n_actions: Size of an action.
        n_inputs: Size of what a model sees of a state and an action.
        n_targets: Size of what it predicts.
        wiggle: Size of the actions that are taken at random to get to know a system, in (0, 1].

    Raises:
        ValueError: If ``dt`` is not above 0.

    Example:
        >>> import torch
        >>> from metalearn.control import Pendulum
        >>> system = Pendulum()
        >>> context = system.draw(1000, torch.Generator().manual_seed(0))
        >>> system.step(context, torch.zeros(1000, 3), torch.ones(1000, 1)).shape
        torch.Size([1000, 3])
    """

    dt: float

    parameters: ClassVar[Parameters]
    n_states: ClassVar[int]
    n_actions: ClassVar[int] = 1
    n_inputs: ClassVar[int]
    n_targets: ClassVar[int]
    wiggle: ClassVar[float] = 1.0

    def __post_init__(self) -> None:
        if not self.dt > 0:
            raise ValueError(f"dt must be above 0 s, got {self.dt}")

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the parameters, in the order of the context."""
        return tuple(self.parameters)

    def usual(self) -> Tensor:
        """Return the usual context ``[n_parameters]``."""
        return torch.tensor([usual for _, usual, _ in self.parameters.values()])

    def bounds(self, like: Tensor) -> tuple[Tensor, Tensor]:
        """Return the lowest and the highest context, each ``[n_parameters]``, in a tensor's precision."""
        low, _, high = (like.new_tensor(values) for values in zip(*self.parameters.values(), strict=True))
        return low, high

    def draw(self, n_systems: int, generator: torch.Generator | None = None) -> Tensor:
        """Draw contexts ``[n_systems, n_parameters]``, each parameter uniform in its range."""
        at_least_one(n_systems=n_systems)
        share = uniform((n_systems, len(self.parameters)), generator)
        low, high = self.bounds(share)
        return low + (high - low) * share

    def changed(self, context: Tensor, **factors: float) -> Tensor:
        """Return contexts with some parameters multiplied, given by name: ``mass=2.0``.

        Raises:
            ValueError: If a name is no parameter.
        """
        self.known(tuple(factors))
        return context * context.new_tensor([factors.get(name, 1.0) for name in self.names])

    def known(self, names: tuple[str, ...]) -> None:
        """Refuse names that are no parameters.

        Raises:
            ValueError: Naming them.
        """
        if unknown := sorted(set(names) - set(self.names)):
            raise ValueError(f"{type(self).__name__} has no parameter {unknown}; it has {list(self.names)}")

    @abstractmethod
    def start(self, n_systems: int, generator: torch.Generator | None = None) -> Tensor:
        """Draw states in which a run starts ``[n_systems, n_states]``."""

    @abstractmethod
    def anywhere(self, shape: tuple[int, ...], generator: torch.Generator | None = None) -> Tensor:
        """Draw states from all over the region where a model is to hold ``[*shape, n_states]``."""

    @abstractmethod
    def step(self, context: Tensor, state: Tensor, action: Tensor) -> Tensor:
        """Return the states ``[..., n_states]`` that follow, ``dt`` seconds later."""

    @abstractmethod
    def cost(self, state: Tensor, action: Tensor) -> Tensor:
        """Return the cost of a step ``[...]`` that is taken from a state by an action; at least 0."""

    @abstractmethod
    def inputs(self, state: Tensor, action: Tensor) -> Tensor:
        """Return what a model sees ``[..., n_inputs]``, numbers of about unit size."""

    @abstractmethod
    def targets(self, state: Tensor, following: Tensor) -> Tensor:
        """Return what a model is to predict ``[..., n_targets]`` of a step, numbers of about unit size."""

    @abstractmethod
    def advance(self, state: Tensor, action: Tensor, targets: Tensor) -> Tensor:
        """Return the states that follow ``[..., n_states]`` if the targets are these: the inverse of ``targets``."""


def uniform(shape: tuple[int, ...], generator: torch.Generator | None, low: Any = 0.0, high: Any = 1.0) -> Tensor:
    """Draw numbers uniform between bounds, on the generator's device; bounds may be lists for the last axis."""
    device = None if generator is None else generator.device
    below, above = torch.as_tensor(low, device=device), torch.as_tensor(high, device=device)
    return below + (above - below) * torch.rand(shape, generator=generator, device=device)


def stacked(*parts: Tensor) -> Tensor:
    """Return tensors that broadcast to one shape ``[...]`` as ``[..., n_parts]``."""
    shape = torch.broadcast_shapes(*(part.shape for part in parts))  # type: ignore[no-untyped-call]
    return torch.stack([part.expand(shape) for part in parts], -1)


def acting(action: Tensor, last: Tensor, delay: Tensor) -> Tensor:
    """Return the mean action over a step, where a command arrives after ``delay`` steps, at most one ``[...]``."""
    return (1 - delay) * action.clamp(-1, 1).squeeze(-1) + delay * last
