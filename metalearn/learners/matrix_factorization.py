"""Matrix factorisation: items are vectors that all users share, and a new user is folded in by ridge regression."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from metalearn._given import at_least_one
from metalearn.episodes import Batch, Episode, Inputs
from metalearn.learners._base import Adapted, Learner, TaskLoss
from metalearn.learners._checks import positive

TABLE = "MatrixFactorization learns from a table of all ratings: fit(learner, raters.table(), ...)"


def fold_in(
    item_factors: Tensor, residuals: Tensor, penalty: Tensor | float, prior_mean: Tensor | None = None
) -> Tensor:
    r"""Return a new user's vector, given the vectors of the items that the user has rated.

    It minimises :math:`\sum_i (r_i - p^\top q_i)^2 + \sum_j \lambda_j (p_j - m_j)^2`: ridge regression on the items'
    vectors, and the posterior mean of p under the prior :math:`\mathcal{N}(m_j, \sigma^2 / \lambda_j)` and ratings of
    noise :math:`\sigma`.

    Args:
        item_factors: Vectors of the rated items, one row each ``[k, n_factors]``; k may be 0.
        residuals: Ratings, less what is explained otherwise ``[k]``.
        penalty: :math:`\lambda`, above 0: a number, or one for each entry ``[n_factors]``.
        prior_mean: m ``[n_factors]``; ``None``: zeros.

    Example:
        >>> import torch
        >>> from metalearn.learners.matrix_factorization import fold_in
        >>> fold_in(torch.ones(1, 1), torch.ones(1), penalty=1.0)
        tensor([0.5000])
    """
    centre = item_factors.new_zeros(item_factors.shape[1]) if prior_mean is None else prior_mean
    diagonal = torch.diag(torch.ones_like(centre) * penalty)
    moved = torch.linalg.solve(
        item_factors.T @ item_factors + diagonal, item_factors.T @ (residuals - item_factors @ centre)
    )
    folded: Tensor = centre + moved
    return folded


class MatrixFactorization(Learner):
    r"""Predict ratings as :math:`m + b_i + b_u + p_u^\top q_i`; a user finds :math:`b_u` and :math:`p_u`.

    Given the items, a user's part is ridge regression, in closed form: the *fold-in* of a new user. Given the users, so
    is each item's. Training takes the two in turn (alternating least squares), on all ratings of all training users at
    once: ``fit(learner, raters.table(), n_steps=20, optimizer=torch.optim.SGD(learner.parameters(), lr=1.0))`` makes 20
    exact sweeps: the gradient that :meth:`backward` sets is the whole way to the next sweep's items.

    Without factors it is averages: of the items, shrunk towards the mean of all, and with ``user_bias`` of the user;
    without ``item_bias`` either, the mean of all ratings.

    Args:
        n_items: Number of items.
        n_factors: Length of :math:`p_u` and :math:`q_i`; 0: averages only.
        item_bias: Whether items have averages of their own.
        user_bias: Whether users have.
        factor_penalty: :math:`\lambda` of each :math:`p_u` and :math:`q_i`, above 0.
        bias_penalty: :math:`\lambda` of each :math:`b_i` and :math:`b_u`, above 0: so many ratings weigh as much as the
            prior.
        loss_fn: Task loss, of scores only; the closed form is that of squares.

    Raises:
        ValueError: If a number is out of range; from ``fit``, if the batch is not a table of all ratings.

    Reference:
        Koren, Bell, Volinsky: Matrix Factorization Techniques for Recommender Systems, 2009, doi 10.1109/MC.2009.263.
        Alternating least squares: Zhou, Wilkinson, Schreiber, Pan: Large-Scale Parallel Collaborative Filtering for the
        Netflix Prize, 2008, doi 10.1007/978-3-540-68880-8_32.

    Differs from the paper:
        The penalty of a user or an item does not grow with the number of its ratings.

    Taught in:
        Robots, roads, users.

    Example:
        >>> import torch
        >>> from metalearn.learners import MatrixFactorization
        >>> learner = MatrixFactorization(n_items=3, n_factors=0, bias_penalty=1.0)
        >>> adapted = learner.adapt({"item": torch.tensor([0])}, torch.tensor([[4.0]]))
        >>> learner.predict(adapted, {"item": torch.tensor([1, 2])}).squeeze(1)
        tensor([2., 2.], grad_fn=<SqueezeBackward1>)
    """

    def __init__(
        self,
        n_items: int,
        n_factors: int = 5,
        *,
        item_bias: bool = True,
        user_bias: bool = True,
        factor_penalty: float = 3.0,
        bias_penalty: float = 3.0,
        loss_fn: TaskLoss = F.mse_loss,
    ) -> None:
        super().__init__(loss_fn)
        at_least_one(n_items=n_items, n_factors=n_factors + 1)
        self.n_items, self.n_factors = n_items, n_factors
        self.item_bias, self.user_bias = item_bias, user_bias
        self.factor_penalty = positive("factor_penalty", factor_penalty)
        self.bias_penalty = positive("bias_penalty", bias_penalty)
        self.mean = nn.Parameter(torch.zeros(()))
        self.bias = nn.Parameter(torch.zeros(n_items))
        self.factors = nn.Parameter(0.1 * torch.randn(n_items, n_factors))

    def adapt(
        self, support_x: Inputs, support_y: Tensor, *, n_way: int | None = None, n_steps: int | None = None
    ) -> Adapted:
        """Return the user's part ``"user"`` ``[n_factors]``, or with ``user_bias`` ``[1 + n_factors]``, its bias first.

        Args:
            support_x: ``{"item": numbers [n_support]}``, other entries are not read.
            support_y: Ratings ``[n_support, 1]``.
            n_way: Not needed.
            n_steps: Must be left out: the fold-in is exact.
        """
        self._steps(n_steps)
        item = support_x["item"]
        left = support_y.squeeze(1) - self.mean - self.bias[item]
        return {"user": fold_in(self._of_user(self.factors[item]), left, self._penalty(self.user_bias))}

    def predict(self, adapted: Adapted, x: Inputs) -> Tensor:
        """Return the ratings ``[n, 1]`` of items ``{"item": numbers [n]}``."""
        item = x["item"]
        own = self._of_user(self.factors[item]) @ adapted["user"]
        return (self.mean + self.bias[item] + own).unsqueeze(1)

    def loss(self, episode: Episode) -> Tensor:
        """Refuse: the items are learned from all ratings at once."""
        raise ValueError(TABLE)

    def batch_loss(self, batch: Batch) -> Tensor:
        """Return the mean squared error of the ratings of a table, of which all users are folded in."""
        return self._sweep(batch)[0]

    @torch.no_grad()
    def backward(self, batch: Any, generator: torch.Generator | None = None) -> Tensor:
        """Set ``.grad`` to the way to the next sweep's items; return the mean squared error before it."""
        if not isinstance(batch, Batch):
            self.loss(batch)
        loss, found = self._sweep(batch)
        for name, parameter in self.named_parameters():
            parameter.grad = parameter - found[name].to(parameter.dtype)
        return loss

    def _sweep(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """Fold all users in; return the error, and the items that fit these users best."""
        if not (isinstance(batch.x, Mapping) and {"user", "item"} <= set(batch.x)):
            raise ValueError(f"{TABLE}. Its x holds 'user' and 'item', got {batch}")
        user, item, rating = batch.x["user"], batch.x["item"], batch.y.double()
        mean, bias, factors = rating.mean(), self.bias.double(), self.factors.double()
        n_users = int(user.max()) + 1
        design = self._of_user(factors[item])  # [n_ratings, n_factors (+ 1)]
        users = ridge_of_rows(user, n_users, design, rating - mean - bias[item], self._penalty(self.user_bias))
        own = users[user]
        loss = (rating - self.mean - bias[item] - (design * own).sum(1)).square().mean()
        offset, own = (own[:, 0], own[:, 1:]) if self.user_bias else (torch.zeros_like(rating), own)
        if self.item_bias:
            own = torch.cat(
                [torch.ones_like(own[:, :1]) if self.n_factors else torch.ones(len(own), 1).to(own), own], 1
            )
        rows = ridge_of_rows(item, self.n_items, own, rating - mean - offset, self._penalty(self.item_bias))
        bias, rows = (rows[:, 0], rows[:, 1:]) if self.item_bias else (torch.zeros_like(bias), rows)
        return loss.float(), {"mean": mean, "bias": bias, "factors": rows}

    def _of_user(self, factors: Tensor) -> Tensor:
        """Return what multiplies the user's part: the items' factors, with a 1 before them for the user's bias."""
        return torch.cat([factors.new_ones(len(factors), 1), factors], 1) if self.user_bias else factors

    def _penalty(self, bias: bool) -> Tensor:
        values = bias * [self.bias_penalty] + self.n_factors * [self.factor_penalty]
        return torch.tensor(values, dtype=self.factors.dtype, device=self.factors.device)


def ridge_of_rows(row: Tensor, n_rows: int, design: Tensor, target: Tensor, penalty: Tensor) -> Tensor:
    """Return the ridge regression of each row's own examples ``[n_rows, size]``, all in one solve.

    Args:
        row: To which row each example belongs ``[n]``.
        n_rows: Number of rows; one without examples gets zeros.
        design: Inputs ``[n, size]``.
        target: Targets ``[n]``.
        penalty: Of each entry ``[size]``.

    Example:
        >>> import torch
        >>> from metalearn.learners.matrix_factorization import ridge_of_rows
        >>> ridge_of_rows(torch.tensor([0, 0, 1]), 3, torch.ones(3, 1), torch.tensor([1.0, 2.0, 2.0]), torch.ones(1))
        tensor([[1.],
                [1.],
                [0.]])
    """
    size = design.shape[1]
    gram = design.new_zeros(n_rows, size, size).index_add(0, row, design.unsqueeze(2) * design.unsqueeze(1))
    moment = design.new_zeros(n_rows, size).index_add(0, row, design * target.unsqueeze(1))
    solution: Tensor = torch.linalg.solve(gram + torch.diag(penalty.to(design)), moment)
    return solution
