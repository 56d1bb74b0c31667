"""Model-predictive control: plan some steps ahead with a model, take the first one, plan again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from metalearn._given import at_least_one
from metalearn.control.models import Dynamics

MIN_SPREAD = 0.05  # of the actions in a round, so that the search goes on
Cost = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class CEM:
    """Plan by the cross-entropy method: draw plans, keep the best few, draw again about their mean.

    Plans of many systems are made at once. Actions are drawn from a normal distribution for each step of the plan and
    clipped to [-1, 1]; the mean of the last round is the plan. The cost of a plan is the sum over its steps of the cost
    of the state that a step leads to, with the step's action.

    Args:
        horizon: Steps that a plan looks ahead, at least 1.
        n_samples: Plans that are drawn in a round, for each system; at least 2.
        n_elite: The best of them that are kept, from 2 to ``n_samples``.
        n_rounds: Rounds, at least 1.
        spread: Standard deviation of the actions in the first round, above 0.

    Raises:
        ValueError: If a number is out of range.

    Reference:
        Chua, Calandra, McAllister, Levine: Deep Reinforcement Learning in a Handful of Trials using Probabilistic
        Dynamics Models, 2018, arXiv 1805.12114, section 5; the method: Rubinstein, Kroese: The Cross-Entropy Method,
        2004, doi 10.1007/978-1-4757-4321-0.

    Taught in:
        Robots, roads, users.

    Example:
        >>> import torch
        >>> from metalearn.control import CEM
        >>> def dynamics(state, action):  # a point that moves by its action
        ...     return state + action
        >>> def cost(state, action):
        ...     return state.square().sum(-1)
        >>> generator = torch.Generator().manual_seed(0)
        >>> plan = CEM(horizon=2, n_rounds=10).plan(dynamics, cost, torch.tensor([[0.5]]), generator=generator)
        >>> abs(float(plan[0, 0, 0]) + 0.5) < 0.1
        True
    """

    horizon: int = 15
    n_samples: int = 64
    n_elite: int = 8
    n_rounds: int = 2
    spread: float = 0.5

    def __post_init__(self) -> None:
        at_least_one(horizon=self.horizon, n_samples=self.n_samples, n_elite=self.n_elite, n_rounds=self.n_rounds)
        if not 2 <= self.n_elite <= self.n_samples:
            raise ValueError(f"n_elite must be from 2 to n_samples={self.n_samples}, got {self.n_elite}")
        if not self.spread > 0:
            raise ValueError(f"spread must be above 0, got {self.spread}")

    @torch.no_grad()
    def plan(
        self,
        dynamics: Dynamics,
        cost: Cost,
        state: Tensor,
        start: Tensor | None = None,
        generator: torch.Generator | None = None,
        n_actions: int = 1,
    ) -> Tensor:
        """Return a plan for each system ``[n_systems, horizon, n_actions]``.

        Args:
            dynamics: The model: states ``[n_systems, n, n_states]`` and actions ``[n_systems, n, n_actions]`` to the
                states that follow.
            cost: Of a state and an action ``[n_systems, n]``.
            state: Where the systems are ``[n_systems, n_states]``.
            start: The mean of the first round, such as the rest of the last plan,
                ``[n_systems, horizon, n_actions]``; ``None``: no action.
            generator: Source of randomness.
            n_actions: Size of an action, where ``start`` does not tell it.

        Raises:
            ValueError: If ``start`` is for another number of systems, or of another length than the horizon.
        """
        shape = (len(state), self.horizon, n_actions)
        if start is not None and (start.ndim != 3 or start.shape[:2] != shape[:2]):
            raise ValueError(
                f"expected start as [n_systems, horizon, n_actions] = [{shape[0]}, {shape[1]}, …], got"
                f" {list(start.shape)}: cut it, or repeat its last action"
            )
        mean = state.new_zeros(shape) if start is None else start
        spread = torch.full_like(mean, self.spread)
        for _ in range(self.n_rounds):
            plans = self._drawn(mean, spread, generator)
            best = self.costs(dynamics, cost, state, plans).topk(self.n_elite, largest=False).indices
            elite = plans.gather(1, best[..., None, None].expand(-1, -1, *mean.shape[1:]))
            mean, spread = elite.mean(1), elite.std(1).clamp(min=MIN_SPREAD)
        return mean

    def costs(self, dynamics: Dynamics, cost: Cost, state: Tensor, plans: Tensor) -> Tensor:
        """Return what plans ``[n_systems, n_plans, horizon, n_actions]`` cost ``[n_systems, n_plans]``."""
        state = state.unsqueeze(1).expand(-1, plans.shape[1], -1)
        total = state.new_zeros(state.shape[:2])
        for action in plans.unbind(2):
            state = dynamics(state, action)
            total = total + cost(state, action)
        return total.nan_to_num(nan=torch.inf)

    def _drawn(self, mean: Tensor, spread: Tensor, generator: torch.Generator | None) -> Tensor:
        """Draw plans ``[n_systems, n_samples, horizon, n_actions]``; the first is the mean itself."""
        shape = (len(mean), self.n_samples, *mean.shape[1:])
        noise = torch.randn(shape, generator=generator, dtype=mean.dtype, device=mean.device)
        noise[:, 0] = 0
        return (mean.unsqueeze(1) + spread.unsqueeze(1) * noise).clamp(-1, 1)


def rest_of(plan: Tensor) -> Tensor:
    """Return what is left of plans after their first step, with the last one repeated.

    Example:
        >>> import torch
        >>> from metalearn.control.planning import rest_of
        >>> rest_of(torch.tensor([[[1.0], [2.0], [3.0]]])).flatten().tolist()
        [2.0, 3.0, 3.0]
    """
    return torch.cat([plan[:, 1:], plan[:, -1:]], 1)
