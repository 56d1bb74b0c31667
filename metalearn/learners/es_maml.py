"""ES-MAML: a start from which steps that only ask for losses succeed, learned from losses alone."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from metalearn import inner_loop
from metalearn.episodes import Inputs
from metalearn.evolution import estimate, evolution_backward, perturbations
from metalearn.evolution.estimate import Kind
from metalearn.inner_loop import from_vector, to_vector
from metalearn.learners._base import TaskLoss
from metalearn.learners._checks import at_least_one, positive
from metalearn.learners._steps import StepsLearner

SupportScore = Literal["loss", "error"]


class ESMAML(StepsLearner):
    r"""Adapt all weights by steps of evolution strategies, from a start that evolution strategies learn.

    An inner step is :math:`\theta' = \theta - \alpha \hat g`, with :math:`\hat g` of
    :func:`metalearn.evolution.estimate` from the support's losses at :math:`\theta \pm \sigma' \epsilon_i`. Nothing is
    differentiated, in neither loop, so that ``support_score="error"`` works as well: the share of wrong answers, whose
    gradient is zero wherever it exists.

    The perturbations :math:`\epsilon_i` of the inner steps are drawn once, from ``seed``, when the learner is built:
    ``adapt`` is a function of the support set, and all tasks and candidates meet the same ones. Step k takes the k-th
    set; after the last, they start over.

    Args:
        model: Any module whose forward pass is pure.
        inner_lr: Step size :math:`\alpha` of the inner loop.
        n_inner_steps: Inner steps in training, and at test time unless told otherwise; at least 1.
        n_directions: Perturbations of an inner step; it costs two support losses for each.
        inner_sigma: Standard deviation :math:`\sigma'` of the weights perturbed in an inner step.
        kind: Of the inner perturbations, as in :func:`metalearn.evolution.perturbations`.
        support_score: What the inner loop lowers: ``"loss"``, or ``"error"``, the share of wrong answers.
        n_pairs: Antithetic pairs of the outer estimate.
        sigma: Standard deviation of the weights perturbed in an outer step.
        ranks: Put ranks in place of the losses in the outer estimate.
        seed: Of the inner perturbations.
        loss_fn: Task loss of both loops.

    Attributes:
        directions: The inner perturbations ``[n_inner_steps, n_directions, n_params]``, a buffer that is not saved.

    Raises:
        ValueError: If an option is unknown or a number is out of its range.

    Reference:
        Song, Gao, Yang, Choromanski, Pacchiano, Tang: ES-MAML: Simple Hessian-Free Meta Learning, 2020,
        arXiv 1910.01215, the zero-order variant with adaptation by ES gradients.

    Differs from the paper:
        There each adaptation draws its own perturbations, and rewards of episodes stand for the losses.

    Taught in:
        Trial and error, and evolution.

    Example:
        >>> import torch
        >>> from metalearn.learners import ESMAML
        >>> from metalearn.networks import MLP
        >>> learner = ESMAML(MLP([1, 8, 1]), inner_lr=0.01, loss_fn=torch.nn.functional.mse_loss)
        >>> adapted = learner.adapt(torch.zeros(5, 1), torch.zeros(5, 1), n_steps=3)
        >>> learner.predict(adapted, torch.zeros(2, 1)).shape
        torch.Size([2, 1])
    """

    directions: Tensor

    def __init__(
        self,
        model: nn.Module,
        inner_lr: float,
        n_inner_steps: int = 1,
        *,
        n_directions: int = 20,
        inner_sigma: float = 0.1,
        kind: Kind = "orthogonal",
        support_score: SupportScore = "loss",
        n_pairs: int = 32,
        sigma: float = 0.1,
        ranks: bool = False,
        seed: int = 0,
        loss_fn: TaskLoss = F.cross_entropy,
    ) -> None:
        at_least_one(n_inner_steps=n_inner_steps, n_directions=n_directions, n_pairs=n_pairs)
        super().__init__(model, n_inner_steps, loss_fn=loss_fn)
        if support_score not in get_args(SupportScore):
            raise ValueError(f"support_score must be one of {list(get_args(SupportScore))}, got {support_score!r}")
        self.inner_lr = inner_lr
        self.n_directions = n_directions
        self.inner_sigma = positive("inner_sigma", inner_sigma)
        self.kind = kind
        self.support_score = support_score
        self.n_pairs = n_pairs
        self.sigma = positive("sigma", sigma)
        self.ranks = ranks
        self.seed = seed
        n_params, generator = sum(p.numel() for p in model.parameters()), torch.Generator().manual_seed(seed)
        rows = [perturbations(n_directions, n_params, kind, generator=generator) for _ in range(n_inner_steps)]
        self.register_buffer("directions", torch.stack(rows), persistent=False)

    def backward(self, batch: Any, generator: torch.Generator | None = None) -> Tensor:
        """Add the outer gradient's estimate to ``.grad`` and return the population's mean loss."""
        options: dict[str, Any] = {"n_pairs": self.n_pairs, "sigma": self.sigma, "ranks": self.ranks}
        return evolution_backward(self, **options, chunk_size=self.chunk_size)(batch, generator)

    def _path(self, start: inner_loop.Params, x: Inputs, y: Tensor, n_steps: int) -> Iterator[inner_loop.Params]:
        vector, rows = to_vector(start), self._rows(start)

        def losses(candidates: Tensor) -> Tensor:
            # The targets are mapped over, too: torch 2.13's rule for mse_loss under several vmaps broadcasts targets of
            # fewer batch axes to the wrong one.
            targets = y.expand(len(candidates), *y.shape)
            score = torch.func.vmap(lambda v, y: self._score(from_vector(v, start), x, y), randomness="same")
            found: Tensor = score(candidates, targets)
            return found

        yield start
        for k in range(n_steps):
            gradient, _ = estimate(losses, vector, rows[k % self.n_inner_steps], self.inner_sigma)
            vector = vector - self.inner_lr * gradient
            yield from_vector(vector, start)

    def _rows(self, start: inner_loop.Params) -> Tensor:
        """Return the directions, without the columns of frozen weights."""
        sizes = {f"model.{name}": param.numel() for name, param in self.model.named_parameters()}
        parts = zip(sizes, torch.split(self.directions, list(sizes.values()), 2), strict=True)
        return torch.cat([part for name, part in parts if name in start], 2)

    def _score(self, params: inner_loop.Params, x: Inputs, y: Tensor) -> Tensor:
        if self.support_score == "loss":
            return self._support_loss(params, x, y)
        if y.is_floating_point():
            raise ValueError("support_score='error' counts wrong classes, got float targets: take 'loss'")
        logits = self.run("model", params, x)
        return (logits.argmax(-1) != y).to(logits.dtype).mean()
