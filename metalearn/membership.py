"""Attacks on membership: of an example in a support set, and of a task in meta-training."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from metalearn._given import at_least_one
from metalearn._torch import tree_map
from metalearn.clinical import Interval, bootstrap
from metalearn.episodes import Episode, Inputs
from metalearn.learners import Learner
from metalearn.learners._base import Adapted
from metalearn.vectorize import over_tasks


@dataclass(frozen=True, eq=False)
class Attack:
    """Scores of an attack, higher for what it takes for a member, and how well they tell members from others.

    One threshold serves all tasks; intervals are over tasks, by the bootstrap.

    Args:
        members: Scores of members ``[n_tasks, n_members]``.
        others: Scores of others ``[n_tasks, n_others]``.

    Raises:
        ValueError: If the shapes do not fit, or a score is NaN.

    Reference:
        To report the true-positive rate at low false-positive rates: Carlini, Chien, Nasr, Song, Terzis, Tramèr:
        Membership Inference Attacks From First Principles, 2022, arXiv 2112.03570, section 3.

    Taught in:
        Trust.

    Example:
        >>> import torch
        >>> from metalearn.membership import Attack
        >>> attack = Attack(torch.tensor([[3.0, 2.0], [1.0, 4.0]]), torch.tensor([[0.0, 1.0], [2.0, 0.5]]))
        >>> attack.auc().value, attack.tpr_at(0.25).value
        (0.875, 0.75)
    """

    members: Tensor
    others: Tensor

    def __post_init__(self) -> None:
        for name, scores in (("members", self.members), ("others", self.others)):
            if scores.ndim != 2 or not scores.numel() or len(scores) != len(self.members):
                raise ValueError(
                    f"expected scores [n_tasks, n] of as many tasks each, got {name} {list(scores.shape)} beside"
                    f" {len(self.members)} tasks"
                )
            if scores.isnan().any():
                raise ValueError(f"{name} holds scores that are NaN: an attack must decide")

    def auc(self, n_draws: int = 200) -> Interval:
        """Return the area under the curve: how often a member scores above another (ties half); 0.5 is chance."""
        return self._over_tasks(_auc, n_draws)

    def tpr_at(self, fpr: float, n_draws: int = 200) -> Interval:
        """Return the share of members found at a threshold above which at most a share ``fpr`` of the others lies."""
        if not 0 <= fpr <= 1:
            raise ValueError(f"fpr must be in [0, 1], got {fpr}")
        return self._over_tasks(lambda members, others: _tpr(members, others, fpr), n_draws)

    def curve(self) -> tuple[Tensor, Tensor]:
        """Return false-positive and true-positive rates at every threshold, both rising from 0 to 1 ``[n]``."""
        thresholds = torch.unique(torch.cat([self.members.flatten(), self.others.flatten()])).flip(0)
        rates = [(scores.flatten().sort().values, scores.numel()) for scores in (self.others, self.members)]
        start = torch.zeros(1, device=thresholds.device)
        fpr, tpr = (torch.cat([start, (n - torch.searchsorted(values, thresholds)).float() / n]) for values, n in rates)
        return fpr, tpr

    def _over_tasks(self, measure: Callable[[Any, Any], float], n_draws: int) -> Interval:
        return bootstrap(measure, self.members.cpu().numpy(), self.others.cpu().numpy(), n_draws=n_draws)


def _auc(members: Any, others: Any) -> float:
    ordered = np.sort(others, axis=None)
    wins = np.searchsorted(ordered, members, "left") + np.searchsorted(ordered, members, "right")
    return float(wins.mean() / 2 / ordered.size)


def _tpr(members: Any, others: Any, fpr: float) -> float:
    ordered = np.sort(others, axis=None)[::-1]
    n_allowed = int(fpr * ordered.size + 1e-9)
    return 1.0 if n_allowed >= ordered.size else float((members > ordered[n_allowed]).mean())


def loss_scores(learner: Learner, adapted: Adapted, x: Inputs, y: Tensor) -> Tensor:
    """Return minus the cross-entropy of each example ``[n]``: an adapted model knows its support best.

    Args:
        learner: A classifier.
        adapted: What it adapted to.
        x: Examples ``[n, ...]``.
        y: Their labels ``[n]``.

    Reference:
        Yeom, Giacomelli, Fredrikson, Jha: Privacy Risk in Machine Learning: Analyzing the Connection to Overfitting,
        2018, arXiv 1709.01604.

    Taught in:
        Trust.

    Example:
        >>> import torch
        >>> from metalearn.learners import Prototypical
        >>> from metalearn.membership import loss_scores
        >>> learner, x, y = Prototypical(torch.nn.Identity()), torch.tensor([[0.0], [2.0]]), torch.tensor([0, 1])
        >>> loss_scores(learner, learner.adapt(x, y), torch.tensor([[0.0], [0.9]]), torch.tensor([0, 0]))
        tensor([-0.0181, -0.5130])
    """
    with torch.no_grad():
        return -F.cross_entropy(learner.predict(adapted, x), y, reduction="none")


def distance_scores(prototypes: Tensor, features: Tensor, y: Tensor) -> Tensor:
    """Return minus the squared distance of each embedding ``[n, n_features]`` to the prototype of its class ``[n]``.

    The attack of one who holds the prototypes and the encoder. With one example of a class in the support, the distance
    of that example is 0.

    Example:
        >>> import torch
        >>> from metalearn.membership import distance_scores
        >>> distance_scores(torch.tensor([[0.0], [5.0]]), torch.tensor([[0.0], [2.0]]), torch.tensor([0, 0]))
        tensor([-0., -4.])
    """
    return -(features - prototypes[y]).square().sum(1)


def likelihood_ratio_scores(
    learner: Learner,
    adapted: Adapted,
    x: Inputs,
    y: Tensor,
    background: Episode,
    *,
    n_shadows: int = 16,
    generator: torch.Generator | None = None,
) -> Tensor:
    r"""Return the log-likelihood ratio of each example ``[n]``: adapted with it, against adapted without it.

    The attacker has the learner and other examples of the same classes. He adapts to ``n_shadows`` random support sets
    of these, each once as it is and once with one example of the class exchanged for the candidate, and looks at the
    logit of the probability that the candidate's label gets. Both groups of logits are taken for Gaussian; the score is
    the log-density of the attacked model's logit under the first, less that under the second. Adapting is cheap, so
    that each candidate gets models of its own, which for whole networks costs a training each.

    Args:
        learner: A classifier whose ``adapt`` runs in :func:`metalearn.over_tasks`.
        adapted: The attacked model.
        x: Candidates ``[n, ...]``.
        y: Their labels ``[n]``.
        background: The attacker's examples, as the queries of a task, at least as many of each class as the support
            has; its support has the sizes of the attacked one, which is all that is used of it.
        n_shadows: Support sets drawn, at least 2.
        generator: Of these.

    Raises:
        ValueError: If there are fewer than two shadows, a class has too few examples, or a candidate's class is none of
            the support.

    Reference:
        Carlini, Chien, Nasr, Song, Terzis, Tramèr: Membership Inference Attacks From First Principles, 2022,
        arXiv 2112.03570, algorithm 1.

    Differs from the paper:
        The paper adapts to an example more; here it takes the place of another one, so that all support sets are of one
        size.

    Taught in:
        Trust.

    Example:
        >>> import torch
        >>> from metalearn import Episode
        >>> from metalearn.learners import Prototypical
        >>> from metalearn.membership import likelihood_ratio_scores
        >>> y, g = torch.tensor([0, 1]), torch.Generator().manual_seed(0)
        >>> x, others = torch.tensor([[0.0], [2.0]]), torch.tensor([[0.4], [-0.6], [0.8], [1.5], [2.4], [2.9]])
        >>> known = Episode(x, y, others, torch.tensor([0, 0, 0, 1, 1, 1]), 2)
        >>> learner = Prototypical(torch.nn.Identity())
        >>> scores = likelihood_ratio_scores(learner, learner.adapt(x, y), x, y, known, generator=g)
        >>> scores.shape
        torch.Size([2])
    """
    at_least_one(n_shadows=n_shadows - 1)
    n_way = background.n_way or int(background.query_y.max()) + 1
    without = torch.stack([_draw(background, n_way, generator) for _ in range(n_shadows)])  # rows of the background
    classes = background.query_y[without[0]]
    if lacking := sorted(set(y.tolist()) - set(classes.tolist())):
        raise ValueError(f"expected candidates of the support's classes, got labels {lacking}, which it lacks")
    place = torch.stack([(classes == label).nonzero()[0, 0] for label in y])  # whom each candidate replaces [n]
    n, size = len(y), without.shape[1]
    slot = torch.arange(size, device=place.device).expand(n, n_shadows, size) == place.reshape(n, 1, 1)
    rows = without.expand(n, n_shadows, size)

    def supports(of: Tensor, candidates: Tensor) -> Tensor:
        swapped = slot.reshape(*slot.shape, *[1] * (of.ndim - 1))
        return torch.where(swapped, candidates.reshape(n, 1, 1, *candidates.shape[1:]), of[rows])

    def logits(support_x: Inputs) -> Tensor:  # [n, n_shadows]
        own = tree_map(lambda leaf: leaf.unsqueeze(1).repeat_interleave(n_shadows, 0), x)
        batch = Episode(
            tree_map(lambda leaf: leaf.flatten(0, 1), support_x),
            classes.expand(n * n_shadows, size),
            own,
            y.repeat_interleave(n_shadows).unsqueeze(1),
            n_way,
        )
        found: Tensor = over_tasks(
            lambda task: _logit(learner, _adapt(learner, task), task.query_x, task.query_y), batch
        )
        return found.reshape(n, n_shadows)

    with torch.no_grad():
        seen = logits(tree_map(supports, background.query_x, x))
        unseen = logits(tree_map(lambda leaf: leaf[rows], background.query_x))
        now = _logit(learner, adapted, x, y)
    return _log_density(now, seen) - _log_density(now, unseen)


def _adapt(learner: Learner, task: Episode) -> Adapted:
    return learner.adapt(task.support_x, task.support_y, n_way=task.n_way)


def _logit(learner: Learner, adapted: Adapted, x: Inputs, y: Tensor) -> Tensor:
    """Return the log odds of each example's label ``[n]``."""
    logits = learner.predict(adapted, x).double()
    own = logits.gather(1, y.unsqueeze(1)).squeeze(1)
    mine = torch.arange(logits.shape[1], device=y.device) == y.unsqueeze(1)
    return own - logits.masked_fill(mine, -torch.inf).logsumexp(1)


def _log_density(value: Tensor, sample: Tensor) -> Tensor:
    """Return the log-density ``[n]`` of values under Gaussians fitted to samples ``[n, n_shadows]``."""
    std = sample.std(1).clamp(min=1e-6)
    return -0.5 * ((value - sample.mean(1)) / std).square() - std.log()


def _draw(background: Episode, n_way: int, generator: torch.Generator | None) -> Tensor:
    """Return rows of the background's queries that make a support set with the class sizes of its support."""
    counts = torch.bincount(background.support_y, minlength=n_way).tolist()
    parts = []
    for label, count in enumerate(counts):
        own = (background.query_y == label).nonzero().squeeze(1)
        if len(own) < count:
            raise ValueError(f"class {label} has {len(own)} examples in the background, {count} are needed")
        parts.append(own[torch.randperm(len(own), generator=generator)[:count]])
    return torch.cat(parts)


def task_scores(learner: Learner, tasks: Any) -> Tensor:
    """Return minus the outer loss of each task ``[n_tasks]``: a high score speaks for a task of meta-training.

    Example:
        >>> import torch
        >>> from metalearn.data import sinusoids
        >>> from metalearn.learners import MAML
        >>> from metalearn.membership import task_scores
        >>> from metalearn.networks import MLP
        >>> learner = MAML(MLP([1, 40, 1]), inner_lr=0.01, loss_fn=torch.nn.functional.mse_loss)
        >>> task_scores(learner, sinusoids().sample(3, 5, 5)).shape
        torch.Size([3])
    """
    with torch.no_grad():
        losses: Tensor = over_tasks(learner.loss, tasks, learner.how, chunk_size=learner.chunk_size, module=learner)
    return -losses
