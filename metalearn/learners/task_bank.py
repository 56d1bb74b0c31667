"""A bank of per-task parameters with a shared prior: hierarchical Bayes, exact for Gaussian linear models."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from metalearn.episodes import Episode, Inputs
from metalearn.learners._base import Adapted, TaskLoss
from metalearn.learners._checks import at_least_one, positive
from metalearn.learners._encoder import EncoderLearner, feature_size
from metalearn.vectorize import over_tasks


@dataclass(frozen=True, eq=False)
class Bank:
    """The parameters of many tasks, each with what is known of it.

    Args:
        means: Posterior mean of each task's weights ``[n_tasks, n_features]``.
        covariances: Posterior covariance of each ``[n_tasks, n_features, n_features]``.
        log_likelihoods: Mean log marginal likelihood of a task before each iteration ``[n_iterations]``.

    Example:
        >>> import torch
        >>> from metalearn.learners.task_bank import Bank
        >>> len(Bank(torch.zeros(8, 2), torch.zeros(8, 2, 2), torch.zeros(3)).means)
        8
    """

    means: Tensor
    covariances: Tensor
    log_likelihoods: Tensor


class TaskBank(EncoderLearner):
    r"""Give each task weights of its own, drawn from a prior that all tasks share and that is learned from them.

    The model of a task is :math:`y = w^\top h(x) + s\,\epsilon` with :math:`w \sim \mathcal{N}(\mu, \Sigma)`, on the
    features h of an encoder. The adapted weights are the exact posterior of w given the support: with many points the
    task's own least squares, with none the prior. No feature stands for a constant unless the encoder has one.

    What is learned is the prior, that is :math:`\mu`, :math:`\Sigma` and s, by raising the marginal likelihood of the
    tasks' points (empirical Bayes). :meth:`em` does so in closed steps, with the encoder as it is, and returns the bank
    of the training tasks' own weights; ``fit`` does so by gradients, and trains the encoder as well.

    Args:
        encoder: Any module from inputs ``[n, ...]`` to vectors ``[n, n_features]``.
        n_features: Size of the encoder's vectors; ``None``: ``encoder.n_features``.
        noise: Initial standard deviation s of a point, above 0.
        spread: Initial standard deviation of each weight, above 0.
        loss_fn: Not used: the outer objective is the marginal likelihood, scores are of mean predictions.

    Raises:
        ValueError: If a number is out of its range, or targets are not ``[n, 1]``.

    Reference:
        Harrison, Sharma, Pavone: Meta-Learning Priors for Efficient Online Bayesian Regression, 2018, arXiv 1807.08912.
        As hierarchical Bayes: Grant, Finn, Levine, Darrell, Griffiths: Recasting Gradient-Based Meta-Learning as
        Hierarchical Bayes, 2018, arXiv 1801.08930.

    Differs from the paper:
        Harrison, Sharma and Pavone raise the likelihood of the queries given the support, and fix the noise; here it is
        the likelihood of all points together, and the noise is learned.

    Taught in:
        Trial and error, and evolution.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> from metalearn.learners import TaskBank
        >>> learner = TaskBank(nn.Identity(), n_features=1, noise=1.0, spread=1.0)
        >>> learner.adapt(torch.ones(1, 1), torch.ones(1, 1))["mean"].detach()
        tensor([0.5000])
    """

    def __init__(
        self,
        encoder: nn.Module,
        *,
        n_features: int | None = None,
        noise: float = 0.1,
        spread: float = 1.0,
        loss_fn: TaskLoss = F.mse_loss,
    ) -> None:
        super().__init__(encoder, loss_fn)
        at_least_one(n_features=n_features)
        self.n_features = feature_size(encoder, n_features)
        self.noise, self.spread = positive("noise", noise), positive("spread", spread)
        self.prior_mean = nn.Parameter(torch.zeros(self.n_features))
        self.log_noise = nn.Parameter(torch.tensor(math.log(noise)))
        self.factor = nn.Parameter(math.log(spread) * torch.eye(self.n_features))  # its diagonal is a logarithm

    def prior(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return the prior's mean ``[n_features]``, its covariance's Cholesky factor, and the noise's variance."""
        root = self.factor.tril(-1) + self.factor.diagonal().exp().diag_embed()  # [n_features, n_features]
        return self.prior_mean, root, (2 * self.log_noise).exp()

    def adapt(
        self, support_x: Inputs, support_y: Tensor, *, n_way: int | None = None, n_steps: int | None = None
    ) -> Adapted:
        """Return the posterior's ``"mean"`` ``[n_features]`` and ``"covariance"`` of one task's weights.

        Args:
            support_x: Inputs ``[n_support, ...]``.
            support_y: Targets ``[n_support, 1]``.
            n_way: Not needed.
            n_steps: Must be left out: the posterior is exact.
        """
        self._steps(n_steps)
        mean, root, _ = (part.double() for part in self.prior())
        white, gram = self._whitened(self.encode({}, support_x), support_y)
        spread = torch.linalg.solve_triangular(torch.linalg.cholesky(gram), root.T, upper=False)
        dtype = self.prior_mean.dtype
        return {"mean": (mean + root @ white).to(dtype), "covariance": (spread.T @ spread).to(dtype)}

    def predict(self, adapted: Adapted, x: Inputs) -> Tensor:
        """Return the mean predictions ``[n, 1]``."""
        return (self.encode(adapted, x) @ adapted["mean"]).unsqueeze(1)

    def std(self, adapted: Adapted, x: Inputs) -> Tensor:
        """Return the standard deviation of a new point at each input ``[n, 1]``, its noise included."""
        features, variance = self.encode(adapted, x), self.prior()[2]
        of_weights = torch.einsum("ni,ij,nj->n", features, adapted["covariance"], features)
        std: Tensor = (of_weights + variance).sqrt()
        return std.unsqueeze(1)

    def log_marginal(self, x: Inputs, y: Tensor) -> Tensor:
        """Return the log density of a task's targets ``[n, 1]`` at its inputs, its weights integrated out."""
        features, (mean, root, variance) = self.encode({}, x), (part.double() for part in self.prior())
        white, gram = self._whitened(features, y)
        left = y.squeeze(1) - features.double() @ (mean + root @ white)
        distance = left.square().sum() / variance + white.square().sum()
        size = torch.linalg.cholesky(gram).diagonal().log().sum() * 2 + len(y) * variance.log()
        log_density: Tensor = -0.5 * (distance + size + len(y) * math.log(2 * math.pi))
        return log_density.to(features.dtype)

    def loss(self, episode: Episode) -> Tensor:
        """Return minus the log marginal likelihood of one task, a point: of its support and its query together."""
        x = torch.cat([episode.support_x, episode.query_x])
        y = torch.cat([episode.support_y, episode.query_y])
        return -self.log_marginal(x, y) / len(y)

    @torch.no_grad()
    def em(self, batch: Any, n_iterations: int = 20) -> Bank:
        """Fit prior and noise by expectation and maximisation, in place; the encoder stays as it is.

        Each iteration takes the posterior of every task, then the prior and the noise that fit those best. No iteration
        lowers the marginal likelihood.

        Args:
            batch: Training tasks, of unequal sizes, too; all their points count.
            n_iterations: How often, at least 1.

        Returns:
            The tasks' weights under the fitted prior.
        """
        at_least_one(n_iterations=n_iterations)
        exact, likelihoods = copy.deepcopy(self).double(), []
        batch = exact.take(batch) if isinstance(batch, Episode) else [exact.take(task) for task in batch]
        for _ in range(n_iterations):
            mean, spread, residual, n_points, log_likelihood = exact._posteriors(batch)
            likelihoods.append(log_likelihood.mean())
            away = mean - mean.mean(0)  # [n_tasks, n_features]
            covariance = spread.mean(0) + away.T @ away / len(away)
            jitter = 1e-12 * covariance.trace() * torch.eye(len(covariance), device=covariance.device)
            root = torch.linalg.cholesky(covariance + jitter)
            exact.prior_mean.copy_(mean.mean(0))
            exact.factor.copy_(root.tril(-1) + root.diagonal().log().diag_embed())
            exact.log_noise.copy_((residual.sum() / n_points.sum()).log() / 2)
        self.load_state_dict(exact.state_dict())
        mean, spread, *_ = exact._posteriors(batch)
        dtype = self.prior_mean.dtype
        return Bank(mean.to(dtype), spread.to(dtype), torch.stack(likelihoods).to(dtype))

    def _posteriors(self, batch: Any) -> tuple[Tensor, ...]:
        """Return, task by task, mean, covariance, expected sum of squared residuals, points, and log likelihood."""

        def of_task(episode: Episode) -> tuple[Tensor, ...]:
            x = torch.cat([episode.support_x, episode.query_x])
            y = torch.cat([episode.support_y, episode.query_y])
            adapted, features = self.adapt(x, y), self.encode({}, x)
            left = y.squeeze(1) - features @ adapted["mean"]
            unsure = torch.einsum("ni,ij,nj->n", features, adapted["covariance"], features)
            residual, n_points = (left.square() + unsure).sum(), left.new_tensor(len(y))
            return adapted["mean"], adapted["covariance"], residual, n_points, self.log_marginal(x, y)

        found: tuple[Tensor, ...] = over_tasks(of_task, batch, self.how, module=self)
        return found

    def _whitened(self, features: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Return the posterior mean in units of the prior's factor ``[n_features]``, and its precision there.

        In float64: with little noise the precision is too badly conditioned for less.
        """
        if features.shape[1] != self.n_features or y.shape != (len(features), 1):
            raise ValueError(
                f"expected features [n, {self.n_features}] and targets [n, 1], got {list(features.shape)} and"
                f" {list(y.shape)}"
            )
        mean, root, variance = (part.double() for part in self.prior())
        features = features.double()
        scaled = features @ root  # [n, n_features]
        gram = torch.eye(self.n_features, dtype=scaled.dtype, device=scaled.device) + scaled.T @ scaled / variance
        right = scaled.T @ (y.squeeze(1).double() - features @ mean) / variance
        return torch.cholesky_solve(right.unsqueeze(1), torch.linalg.cholesky(gram)).squeeze(1), gram
