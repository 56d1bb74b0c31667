"""The family of random linear problems: each task is a vector of weights, to be guessed from noisy products with it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from metalearn._given import at_least_one
from metalearn.episodes import Episode
from metalearn.samplers import TaskFamily


@dataclass(frozen=True)
class LinearProblems(TaskFamily):
    """A distribution over regression tasks ``y = w @ x``, with noise on the targets of the support.

    Inputs are standard normal, weights normal. Targets of the query are without noise, so that an error measures what
    is not known of ``w``: the zero predictor's is ``n_features`` where weights are standard normal.

    Args:
        n_features: Size of the inputs.
        noise: Standard deviation of the noise on the support's targets; 0 or more.
        mean: Mean of the weights over problems: one for all features, or one for each.
        spread: Their standard deviation over problems; 0 or more.

    Raises:
        ValueError: If a number is below its bound, or there are not as many means as features.

    Reference:
        Garg, Tsipras, Liang, Valiant: What Can Transformers Learn In-Context? A Case Study of Simple Function Classes,
        2022, arXiv 2208.01066, section 3: 20 features and no noise; noise in section 4.

    Example:
        >>> from metalearn.data import LinearProblems
        >>> LinearProblems(5).sample(n_tasks=64, n_shot=10, n_query=20)
        Episode(support_x=[64, 10, 5], support_y=[64, 10, 1], query_x=[64, 20, 5], query_y=[64, 20, 1], n_way=None)
    """

    n_features: int = 5
    noise: float = 0.5
    mean: float | tuple[float, ...] = 0.0
    spread: float = 1.0

    def __post_init__(self) -> None:
        at_least_one(n_features=self.n_features)
        for name in ("noise", "spread"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(f"{name} must be a standard deviation of at least 0, got {getattr(self, name)}")
        if isinstance(self.mean, tuple) and len(self.mean) != self.n_features:
            raise ValueError(f"expected one mean, or {self.n_features}, one for each feature; got {len(self.mean)}")

    def __repr__(self) -> str:
        """Return the problems as code, without what is standard normal: studies are known by it."""
        shown: dict[str, object] = {"n_features": self.n_features, "noise": self.noise}
        shown |= {} if self.mean == 0 else {"mean": self.mean}
        shown |= {} if self.spread == 1 else {"spread": self.spread}
        return f"LinearProblems({', '.join(f'{name}={value!r}' for name, value in shown.items())})"

    def sample(self, n_tasks: int, n_shot: int, n_query: int, generator: torch.Generator | None = None) -> Episode:
        """Draw a batch of problems.

        Args:
            n_tasks: Number of vectors of weights.
            n_shot: Support examples of each.
            n_query: Query examples of each.
            generator: Source of randomness; the tensors lie on its device.

        Returns:
            A batch of episodes: inputs ``[n_tasks, n_shot or n_query, n_features]``, targets of one number each.

        Raises:
            ValueError: If a number is no int, or below 1.
        """
        at_least_one(n_tasks=n_tasks, n_shot=n_shot, n_query=n_query)
        device = None if generator is None else generator.device

        def normal(*shape: int) -> torch.Tensor:
            return torch.randn(shape, generator=generator, device=device)

        mean = torch.as_tensor(self.mean, device=device).reshape(-1, 1)  # [n_features, 1] or [1, 1]
        weights = mean + self.spread * normal(n_tasks, self.n_features, 1)
        x = normal(n_tasks, n_shot + n_query, self.n_features)
        y = x @ weights
        support_y = y[:, :n_shot] + self.noise * normal(n_tasks, n_shot, 1)
        return Episode(x[:, :n_shot], support_y, x[:, n_shot:], y[:, n_shot:])


def linear_problems() -> LinearProblems:
    """Return the linear problems of the package's study: 5 features, noise of standard deviation 0.5.

    Training and test tasks come from one distribution.

    Example:
        >>> from metalearn.data import linear_problems
        >>> linear_problems()
        LinearProblems(n_features=5, noise=0.5)
    """
    return LinearProblems()
