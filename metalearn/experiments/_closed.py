"""What studies are compared with: solutions in closed form, which learn nothing from other tasks."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from metalearn.data import RatingWorld
from metalearn.episodes import Inputs
from metalearn.learners._base import Adapted, Learner


class RidgeRegression(Learner):
    """Fit one task's weights, without an intercept, by least squares with a penalty on their squared length.

    Args:
        penalty: 0: the shortest of the least-squares solutions.

    Example:
        >>> import torch
        >>> from metalearn.experiments._closed import RidgeRegression
        >>> RidgeRegression(1.0).adapt(torch.ones(1, 1), torch.ones(1, 1))["weight"]
        tensor([[0.5000]])
    """

    def __init__(self, penalty: float) -> None:
        super().__init__(F.mse_loss)
        self.penalty = penalty

    def adapt(
        self, support_x: Tensor, support_y: Tensor, *, n_way: int | None = None, n_steps: int | None = None
    ) -> Adapted:
        """Return ``"weight"`` ``[n_features, n_outputs]`` of one support set; there are no inner steps to count."""
        self._steps(n_steps)
        if self.penalty == 0:
            return {"weight": torch.linalg.pinv(support_x) @ support_y}
        penalty = self.penalty * torch.eye(support_x.shape[1], dtype=support_x.dtype)
        return {"weight": torch.linalg.solve(support_x.mT @ support_x + penalty, support_x.mT @ support_y)}

    def predict(self, adapted: Adapted, x: Tensor) -> Tensor:
        """Return the values ``[n, n_outputs]``."""
        return x @ adapted["weight"]


class KnownItems(Learner):
    """Guess a user's ratings as well as can be, by what only the maker of :class:`metalearn.data.RatingWorld` knows.

    Args:
        seed: Of the world; its other numbers are its defaults.

    Example:
        >>> import torch
        >>> from metalearn.experiments._closed import KnownItems
        >>> KnownItems().adapt({"item": torch.tensor([3])}, torch.tensor([[4.0]]))["rating"].shape
        torch.Size([300])
    """

    def __init__(self, seed: int = 0) -> None:
        super().__init__(F.mse_loss)
        self.seed = seed
        world = RatingWorld(seed=seed)
        self.how = "loop"
        _ = world.items(), world.types()  # drawn now, outside of any transform

    def adapt(
        self, support_x: Inputs, support_y: Tensor, *, n_way: int | None = None, n_steps: int | None = None
    ) -> Adapted:
        """Return the best guess of all items' ``"rating"`` ``[n_items]``."""
        self._steps(n_steps)
        return {"rating": RatingWorld(seed=self.seed).best_guess(support_x["item"], support_y.squeeze(1))}

    def predict(self, adapted: Adapted, x: Inputs) -> Tensor:
        """Return the ratings ``[n, 1]``."""
        return adapted["rating"][x["item"]].unsqueeze(1)
