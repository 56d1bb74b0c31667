"""How good a ranking is: NDCG, recall, hit rate, AUC and reciprocal rank, exact where scores are tied."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from metalearn._given import at_least_one
from metalearn._modes import evaluating
from metalearn.episodes import EpisodeList
from metalearn.evaluation import Metric, Score, adapt_each
from metalearn.learners._base import Learner

RELEVANT = 4.0  # stars from which an item counts as liked
LOWER_IS_BETTER = ("rmse",)


def ndcg(scores: Tensor, gains: Tensor, k: int | None = None, *, mask: Tensor | None = None) -> Tensor:
    r"""Return the normalised discounted cumulative gain of the first k items, in [0, 1] where gains are at least 0.

    The gain of the item at place j counts :math:`1 / \log_2(j + 1)`; the sum is divided by that of the best order.
    Tied items share their places: the result is the mean over all their orders.

    Args:
        scores: What items are ranked by, the highest first ``[..., n]``.
        gains: What an item is worth ``[..., n]``, such as :math:`2^r - 1` of a rating r.
        k: Places that count; ``None``: all.
        mask: Which items there are ``[..., n]``, where lists are unequal; ``None``: all.

    Returns:
        One number for each list ``[...]``; NaN where no item has a gain.

    Reference:
        Järvelin, Kekäläinen: Cumulated gain-based evaluation of IR techniques, 2002, doi 10.1145/582415.582418. Ties:
        McSherry, Najork: Computing Information Retrieval Performance Measures Efficiently in the Presence of Tied
        Scores, 2008, doi 10.1007/978-3-540-78646-7_38.

    Example:
        >>> import torch
        >>> from metalearn.ranking import ndcg
        >>> ndcg(torch.tensor([3.0, 2.0, 1.0]), torch.tensor([0.0, 1.0, 0.0]))
        tensor(0.6309)
    """
    scores, gains, there = _checked(scores, gains, k, mask)
    discount = 1 / torch.arange(2, scores.shape[-1] + 2, dtype=gains.dtype, device=gains.device).log2()
    if k is not None:
        discount[k:] = 0
    best = (gains.sort(-1, descending=True).values * discount).sum(-1)  # what is not there has gain 0, and comes last
    return (_by_place(scores, gains, there) * discount).sum(-1) / best


def recall(scores: Tensor, relevant: Tensor, k: int, *, mask: Tensor | None = None) -> Tensor:
    """Return the share of the relevant items that are among the first k, the mean over all orders of tied items.

    Args:
        scores: What items are ranked by, the highest first ``[..., n]``.
        relevant: Which items are relevant, bool ``[..., n]``; of numbers, all but 0.
        k: Places that count.
        mask: Which items there are ``[..., n]``; ``None``: all.

    Returns:
        One number for each list ``[...]``; NaN where no item is relevant.

    Example:
        >>> import torch
        >>> from metalearn.ranking import recall
        >>> recall(torch.tensor([3.0, 2.0, 1.0]), torch.tensor([True, False, True]), k=1)
        tensor(0.5000)
    """
    scores, hits, there = _checked(scores, relevant.bool().to(scores.dtype), k, mask)
    return _by_place(scores, hits, there)[..., :k].sum(-1) / hits.sum(-1)


def hit_rate(scores: Tensor, relevant: Tensor, k: int, *, mask: Tensor | None = None) -> Tensor:
    """Return the chance that a relevant item is among the first k, over all orders of tied items.

    Arguments and result are those of :func:`recall`.

    Example:
        >>> import torch
        >>> from metalearn.ranking import hit_rate
        >>> hit_rate(torch.tensor([1.0, 1.0, 0.0]), torch.tensor([True, False, True]), k=1)
        tensor(0.5000)
    """
    scores, hits, there = _checked(scores, relevant.bool().to(scores.dtype), k, mask)
    last = scores.sort(-1, descending=True).values[..., min(k, scores.shape[-1]) - 1].unsqueeze(-1)
    above, tied = (scores > last) & there, (scores == last) & there
    places = (k - above.sum(-1)).clamp_min(0)  # that the tied items share
    n, misses = tied.sum(-1), (tied & (hits == 0)).sum(-1)
    chance_of_none = (_log_choose(misses, places) - _log_choose(n, torch.minimum(places, n))).exp()
    chance_of_none = torch.where(places > misses, torch.zeros_like(chance_of_none), chance_of_none)
    found = torch.where((hits * above).sum(-1) > 0, torch.ones_like(chance_of_none), 1 - chance_of_none)
    found = torch.where((places >= n) & ((hits * (above | tied)).sum(-1) == 0), torch.zeros_like(found), found)
    return torch.where(hits.sum(-1) > 0, found, torch.nan).to(scores.dtype)


def reciprocal_rank(scores: Tensor, relevant: Tensor, *, mask: Tensor | None = None) -> Tensor:
    """Return 1 over the place of the first relevant item, the mean over all orders of tied items.

    Arguments and result are those of :func:`recall`, without k.

    Example:
        >>> import torch
        >>> from metalearn.ranking import reciprocal_rank
        >>> reciprocal_rank(torch.tensor([1.0, 1.0, 0.0]), torch.tensor([True, False, False]))
        tensor(0.7500)
    """
    scores, hits, there = _checked(scores, relevant.bool().to(scores.dtype), None, mask)
    top = torch.where(hits > 0, scores, torch.full_like(scores, -torch.inf)).amax(-1, keepdim=True)
    tied = (scores == top) & there
    before, n, m = ((scores > top) & there).sum(-1), tied.sum(-1), (hits * tied).sum(-1)
    place = torch.arange(1, scores.shape[-1] + 1, device=scores.device)  # of the first relevant among the tied
    n, m, before = n.unsqueeze(-1), m.unsqueeze(-1), before.unsqueeze(-1)
    possible = place <= n - m + 1
    chance = (_log_choose((n - place).clamp_min(0), (m - 1).clamp_min(0)) - _log_choose(n, m)).exp() * possible
    found = (chance / (before + place)).sum(-1)
    return torch.where(hits.sum(-1) > 0, found, torch.nan).to(scores.dtype)


def auc(scores: Tensor, relevant: Tensor, *, mask: Tensor | None = None) -> Tensor:
    """Return the chance that a relevant item has a higher score than another one; ties count half.

    Arguments and result are those of :func:`recall`, without k; NaN also where all items are relevant.

    Example:
        >>> import torch
        >>> from metalearn.ranking import auc
        >>> auc(torch.tensor([3.0, 2.0, 1.0]), torch.tensor([False, True, False]))
        tensor(0.5000)
    """
    scores, hits, there = _checked(scores, relevant.bool().to(scores.dtype), None, mask)
    others = (there & (hits == 0)).to(scores.dtype)
    left, right = scores.unsqueeze(-1), scores.unsqueeze(-2)  # [..., n, 1] and [..., 1, n]
    won = (left > right).to(scores.dtype) + 0.5 * (left == right).to(scores.dtype)
    pairs = hits.unsqueeze(-1) * others.unsqueeze(-2)
    return (won * pairs).sum((-1, -2)) / pairs.sum((-1, -2))


def metric(name: str, *, threshold: float = RELEVANT) -> Metric:
    """Return a metric of predicted ratings by its name, as ``evaluate`` takes it.

    Args:
        name: ``"rmse"``, ``"auc"``, ``"mrr"``, or with a number of places ``"ndcg@10"``, ``"recall@10"``, ``"hit@10"``.
            NDCG has the gains :math:`2^r - 1`.
        threshold: Rating from which an item is relevant, for all others.

    Raises:
        ValueError: If there is no such metric.

    Example:
        >>> import torch
        >>> from metalearn.ranking import metric
        >>> metric("mrr")(torch.tensor([[3.1], [4.0]]), torch.tensor([[5.0], [1.0]]))
        tensor(0.5000)
    """
    kind, _, places = name.partition("@")
    plain: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
        "rmse": lambda p, y: (p - y).square().mean().sqrt(),
        "auc": lambda p, y: auc(p, y >= threshold),
        "mrr": lambda p, y: reciprocal_rank(p, y >= threshold),
    }
    if kind in plain and not places:
        chosen = plain[kind]
    elif kind in ("ndcg", "recall", "hit") and places.isdigit() and int(places):
        k = int(places)
        chosen = {
            "ndcg": lambda p, y: ndcg(p, 2**y - 1, k),
            "recall": lambda p, y: recall(p, y >= threshold, k),
            "hit": lambda p, y: hit_rate(p, y >= threshold, k),
        }[kind]
    else:
        raise ValueError(f"expected one of {list(plain)}, or 'ndcg@10', 'recall@10', 'hit@10', got {name!r}")
    return lambda prediction, y: chosen(prediction.flatten(), y.flatten())


def judge(
    learner: Learner, tasks: EpisodeList, metrics: Sequence[str] = ("rmse", "ndcg@10", "auc", "recall@10", "mrr")
) -> dict[str, Score]:
    """Adapt a learner to each user once, and return all metrics, with intervals over the users.

    A user for whom a metric is not defined (without a relevant item, say) does not count in it; who that is depends on
    the ratings alone, so that learners stay comparable user by user.

    Args:
        learner: Any learner of ratings.
        tasks: Users, as ``raters.tasks`` returns them.
        metrics: Names as :func:`metric` takes them.

    Raises:
        ValueError: If a prediction is not finite: such a user would else be left out of the mean.

    Example:
        >>> from metalearn.data import ratings
        >>> from metalearn.learners import MatrixFactorization
        >>> from metalearn.ranking import judge
        >>> scores = judge(MatrixFactorization(300, 0), ratings().validation.tasks(n_shot=5), ["rmse", "auc"])
        >>> scores["auc"].mean  # all items are predicted alike
        0.5
    """
    measures = [metric(name) for name in metrics]

    with evaluating(learner):
        tasks = learner.take(tasks)
        rows = []
        for task, adapted in zip(tasks, adapt_each(learner, tasks), strict=True):
            prediction = learner.predict(adapted, task.query_x)
            if not prediction.isfinite().all():
                raise ValueError("predictions must be finite: the learner has diverged, or an input is not finite")
            rows.append(torch.stack([measure(prediction, task.query_y) for measure in measures]))
    values = torch.stack(rows).cpu()  # [n_users, n_metrics]
    columns = zip(metrics, values.unbind(1), strict=True)
    return {
        name: Score.of(column[~column.isnan()], higher_is_better=name not in LOWER_IS_BETTER)
        for name, column in columns
    }


def _checked(scores: Tensor, worth: Tensor, k: int | None, mask: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    """Return scores, of items that are not there minus infinity, what they are worth, there 0, and which are there."""
    if k is not None:
        at_least_one(k=k)
    if scores.shape != worth.shape or (mask is not None and mask.shape != scores.shape):
        shapes = [list(part.shape) for part in (scores, worth, mask) if part is not None]
        raise ValueError(f"scores, what items are worth and the mask must have one shape, got {shapes}")
    there = torch.ones_like(scores, dtype=torch.bool) if mask is None else mask
    if not scores[there].isfinite().all():
        raise ValueError("scores must be finite: clean the predictions")
    nothing = torch.zeros((), dtype=worth.dtype, device=worth.device)
    return torch.where(there, scores, -torch.inf), torch.where(there, worth, nothing), there


def _by_place(scores: Tensor, worth: Tensor, there: Tensor) -> Tensor:
    """Return what the item at each place is worth, of tied items the mean ``[..., n]``."""
    tied = (scores.unsqueeze(-1) == scores.unsqueeze(-2)) & there.unsqueeze(-1) & there.unsqueeze(-2)
    weight = tied.to(worth.dtype)
    mean = (weight @ worth.unsqueeze(-1)).squeeze(-1) / weight.sum(-1).clamp_min(1)
    return mean.gather(-1, scores.argsort(-1, descending=True))


def _log_choose(n: Tensor, k: Tensor) -> Tensor:
    n, k = n.double(), k.double()
    return torch.lgamma(n + 1) - torch.lgamma(k + 1) - torch.lgamma((n - k).clamp_min(0) + 1)
