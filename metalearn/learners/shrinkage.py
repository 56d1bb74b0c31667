"""Shrinkage: a linear model for each task, drawn towards one that all tasks share."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from metalearn.episodes import Inputs
from metalearn.learners._base import Adapted, TaskLoss
from metalearn.learners._checks import at_least_one, check_labels, positive
from metalearn.learners._encoder import EncoderLearner, feature_size

HALVINGS = 6  # of a Newton step that would lead uphill


class Shrinkage(EncoderLearner):
    r"""Fit a linear model to the support under a Gaussian prior around weights that all tasks share.

    On the features :math:`h` of an encoder (``nn.Identity()``: the inputs as they are) the adapted weights minimise
    :math:`\sum_i \ell(W h_i + b, y_i) + \frac12 \sum_j \lambda_j (w_j - w_{0,j})^2` over
    all entries :math:`w_j` of :math:`W` and :math:`b`: the most probable weights of the task under the prior
    :math:`w_j \sim \mathcal{N}(w_{0,j}, 1/\lambda_j)`. Without a shared start, :math:`w_0 = 0`, it is ridge regression
    on the support alone; with a strong prior it is the shared model. As the losses are summed, one prior serves support
    sets of any size.

    The outer loop learns :math:`w_0`, and the precision :math:`\lambda_j` for each feature and for the bias, through
    the minimum (the implicit derivative, which the last Newton step gives). With ``n_inner_steps=0`` it trains the
    shared weights on the queries of all tasks: the pooled model.

    Args:
        encoder: Any module from inputs ``[n, ...]`` to vectors ``[n, n_features]``; it stays as it is in a task.
        n_outputs: Number of classes, or of targets.
        n_features: Size of the encoder's vectors; ``None``: ``encoder.n_features``.
        strength: Precision of the prior, or its initial value where it is learned; above 0.
        n_inner_steps: Newton steps, at least 0; for the squared loss one is enough.
        loss_fn: ``F.cross_entropy``, or ``F.mse_loss``, whose :math:`\ell` is then half the squared error.

    Raises:
        ValueError: If an option is out of range, or features have another size.

    Reference:
        Efron, Morris: Stein's Estimation Rule and Its Competitors: An Empirical Bayes Approach, 1973,
        doi 10.1080/01621459.1973.10481350. As the linear case of MAML: Grant, Finn, Levine, Darrell, Griffiths:
        Recasting Gradient-Based Meta-Learning as Hierarchical Bayes, 2018, arXiv 1801.08930.

    Taught in:
        Medicine.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> from metalearn.learners import Shrinkage
        >>> learner = Shrinkage(nn.Identity(), n_outputs=2, n_features=1, strength=0.1)
        >>> adapted = learner.adapt(torch.tensor([[-1.0], [1.0]]), torch.tensor([0, 1]))
        >>> learner.predict(adapted, torch.tensor([[-3.0], [2.0]])).argmax(1)
        tensor([0, 1])
    """

    n_inner_steps: int

    def __init__(
        self,
        encoder: nn.Module,
        n_outputs: int = 2,
        *,
        n_features: int | None = None,
        strength: float = 1.0,
        n_inner_steps: int = 8,
        loss_fn: TaskLoss = F.cross_entropy,
    ) -> None:
        super().__init__(encoder, loss_fn)
        at_least_one(n_outputs=n_outputs, n_features=n_features)
        if n_inner_steps < 0:
            raise ValueError(f"n_inner_steps must be at least 0, got {n_inner_steps}")
        if loss_fn not in (F.cross_entropy, F.mse_loss):
            raise ValueError(f"loss_fn must be F.cross_entropy or F.mse_loss, got {loss_fn}")
        self.n_features, self.n_outputs = feature_size(encoder, n_features), n_outputs
        self.strength = positive("strength", strength)
        self.n_inner_steps = n_inner_steps
        self.weight = nn.Parameter(torch.zeros(n_outputs, self.n_features))
        self.bias = nn.Parameter(torch.zeros(n_outputs))
        self.log_precision = nn.Parameter(torch.zeros(self.n_features + 1))  # relative to strength; the bias last

    def precision(self) -> Tensor:
        """Return the precision of the prior for each feature, and last for the bias ``[n_features + 1]``."""
        return self.strength * self.log_precision.exp()

    def adapt(
        self, support_x: Inputs, support_y: Tensor, *, n_way: int | None = None, n_steps: int | None = None
    ) -> Adapted:
        """Return the most probable ``"weight"`` and ``"bias"`` of one task.

        Args:
            support_x: Inputs ``[n_support, ...]``.
            support_y: Labels ``[n_support]`` or targets ``[n_support, n_outputs]``.
            n_way: Not needed: the number of outputs is fixed.
            n_steps: Number of Newton steps, at least 0; ``None``: ``n_inner_steps``.

        Raises:
            ValueError: If ``n_steps`` is below 0, or a label out of range.
        """
        n_steps = self.n_inner_steps if n_steps is None else n_steps
        if n_steps < 0:
            raise ValueError(f"n_steps must be at least 0, got {n_steps}")
        if n_steps == 0:
            return self.with_statistics({"weight": self.weight, "bias": self.bias}, support_x)
        x = self._with_one(self.encode({}, support_x))  # [n_support, n_features + 1]
        target = support_y.to(x.dtype) if self.loss_fn is F.mse_loss else self._one_hot(support_y, x)
        centre, precision = torch.cat([self.weight, self.bias.unsqueeze(1)], 1), self.precision()
        fixed = centre.detach(), precision.detach(), x.detach(), target
        w = centre.detach()  # [n_outputs, n_features + 1]
        for _ in range(n_steps - 1):
            w = _best_of_line(w, self._newton(w, *fixed), self._objective, *fixed)
        w = w + self._newton(w, centre, precision, x, target)  # at the minimum, its derivative is the minimum's
        return self.with_statistics({"weight": w[:, :-1], "bias": w[:, -1]}, support_x)

    def predict(self, adapted: Adapted, x: Inputs) -> Tensor:
        """Return logits or values ``[n, n_outputs]``."""
        return F.linear(self.encode(adapted, x), adapted["weight"], adapted["bias"])

    def _with_one(self, features: Tensor) -> Tensor:
        if features.ndim != 2 or features.shape[1] != self.n_features:
            raise ValueError(f"expected features [n, {self.n_features}] (n_features), got {list(features.shape)}")
        return torch.cat([features, features.new_ones(len(features), 1)], 1)

    def _one_hot(self, y: Tensor, x: Tensor) -> Tensor:
        check_labels(y, self.n_outputs)
        return (y.unsqueeze(1) == torch.arange(self.n_outputs, device=y.device)).to(x.dtype)

    def _newton(self, w: Tensor, centre: Tensor, precision: Tensor, x: Tensor, target: Tensor) -> Tensor:
        """Return the Newton step at ``w`` ``[n_outputs, n_features + 1]``."""
        n_outputs, n_inputs = w.shape
        z = x @ w.T  # [n_support, n_outputs]
        mean = z if self.loss_fn is F.mse_loss else z.softmax(1)
        gradient = (mean - target).T @ x + precision * (w - centre)
        eye = torch.eye(n_outputs, dtype=x.dtype, device=x.device)
        curvature = eye.expand(len(x), -1, -1)  # of the loss in the outputs [n_support, n_outputs, n_outputs]
        if self.loss_fn is F.cross_entropy:
            curvature = mean.unsqueeze(2) * (eye - mean.unsqueeze(1))
        hessian = torch.einsum("nab,ni,nj->aibj", curvature, x, x).reshape(n_outputs * n_inputs, -1)
        hessian = hessian + torch.diag(precision.repeat(n_outputs))
        step: Tensor = -torch.linalg.solve(hessian, gradient.reshape(-1, 1))
        return step.reshape(n_outputs, n_inputs)

    def _objective(self, w: Tensor, centre: Tensor, precision: Tensor, x: Tensor, target: Tensor) -> Tensor:
        """Return the objective ``[n_tries]`` of weights ``[n_tries, n_outputs, n_features + 1]``."""
        z = torch.einsum("ni,tai->tna", x, w)
        each = 0.5 * (z - target).square() if self.loss_fn is F.mse_loss else -target * z.log_softmax(2)
        return each.sum((1, 2)) + 0.5 * (precision * (w - centre).square()).sum((1, 2))


def _best_of_line(w: Tensor, step: Tensor, objective: Callable[..., Tensor], *fixed: Tensor) -> Tensor:
    """Return the weights after the whole step, or after that half, quarter, … of it with the lowest objective."""
    sizes = 0.5 ** torch.arange(HALVINGS, dtype=w.dtype, device=w.device)
    tries = w + sizes.reshape(-1, 1, 1) * step  # [HALVINGS, n_outputs, n_features + 1]
    best = objective(tries, *fixed).argmin() == torch.arange(HALVINGS, device=w.device)
    return (best.to(w.dtype).reshape(-1, 1, 1) * tries).sum(0)
