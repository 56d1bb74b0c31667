"""Which support example counts for which query: by leaving it out, in closed form, and by a gradient of its weight."""

from __future__ import annotations

import copy
from typing import Literal

import torch
from torch import Tensor

from metalearn._modes import evaluating
from metalearn._torch import tree_map
from metalearn.episodes import Episode, Inputs
from metalearn.evaluation import Score
from metalearn.learners import ANIL, Learner, Prototypical
from metalearn.learners._base import Adapted, TaskLoss
from metalearn.learners._checks import member_of
from metalearn.learners._steps import DescentLearner
from metalearn.networks import BatchStatistics


def leave_one_out(
    learner: Learner, task: Episode, *, n_steps: int | None = None, of: Literal["loss", "logits"] = "loss"
) -> Tensor:
    """Adapt once without each support example, and return what becomes of each query: the definition of influence.

    Args:
        learner: Any learner.
        task: One task, with at least two examples of each class.
        n_steps: Inner steps; ``None``: as trained.
        of: ``"loss"``: the query's loss without the example minus its loss with it, above 0 where the example helped;
            ``"logits"``: the same difference of all its logits.

    Returns:
        ``[n_query, n_support]``, or of logits ``[n_query, n_support, n_way]``.

    Raises:
        ValueError: If a class has a single example, which cannot be left out.

    Taught in:
        Trust.

    Example:
        >>> import torch
        >>> from metalearn import Episode
        >>> from metalearn.explain import leave_one_out
        >>> from metalearn.learners import Prototypical
        >>> x = torch.tensor([[0.0], [2.0], [5.0], [5.0]])
        >>> task = Episode(x, torch.tensor([0, 0, 1, 1]), torch.tensor([[0.0]]), torch.tensor([0]), 2)
        >>> leave_one_out(Prototypical(torch.nn.Identity()), task, of="logits")[0, :, 0]
        tensor([-3.,  1.,  0.,  0.])
    """
    _check_shots(task)
    rows = torch.arange(len(task.support_y), device=task.support_y.device)
    with evaluating(learner):

        def answer(keep: Tensor) -> Tensor:
            x = tree_map(lambda leaf: leaf[keep], task.support_x)
            adapted = learner.adapt(x, task.support_y[keep], n_way=task.n_way, n_steps=n_steps)
            logits = learner.predict(adapted, task.query_x)
            return logits if of == "logits" else each_loss(learner.loss_fn, logits, task.query_y)

        whole = answer(rows)
        return torch.stack([answer(rows[rows != i]) - whole for i in rows.tolist()], 1)


def prototype_influence(learner: Prototypical, task: Episode) -> Tensor:
    r"""Return how the logit of an example's own class changes when the example leaves the mean of its class.

    The mean :math:`c` of :math:`K` examples moves by :math:`d = (c - f(x_i)) / (K - 1)` when example :math:`i` leaves,
    and the logit of a query :math:`q` by :math:`2(q - c)^\top d - \lVert d \rVert^2`, over the temperature. The logits
    of the other classes stay. This is exact, and costs one pass over the support.

    Args:
        learner: Prototypical networks with squared Euclidean distances, whose features of an example do not depend on
            the other examples (norm policies ``"frozen"``, ``"group"``, ``"none"``).
        task: One task, with at least two examples of each class.

    Returns:
        Logit without the example minus logit with it ``[n_query, n_support]``.

    Raises:
        ValueError: If a class has a single example, or the learner is another one.

    Taught in:
        Trust.

    Example:
        >>> import torch
        >>> from metalearn import Episode
        >>> from metalearn.explain import prototype_influence
        >>> from metalearn.learners import Prototypical
        >>> x = torch.tensor([[0.0], [2.0], [5.0], [5.0]])
        >>> task = Episode(x, torch.tensor([0, 0, 1, 1]), torch.tensor([[0.0]]), torch.tensor([0]), 2)
        >>> prototype_influence(Prototypical(torch.nn.Identity()), task)
        tensor([[-3.,  1.,  0.,  0.]])
    """
    _check_shots(task)
    if not isinstance(learner, Prototypical) or learner.distance != "squared euclidean" or _shares_statistics(learner):
        raise ValueError(
            "the closed form is that of Prototypical with squared Euclidean distances and a norm policy that measures"
            f" nothing on the support, got {type(learner).__name__}: take leave_one_out(..., of='logits')"
        )
    with evaluating(learner):
        adapted = learner.adapt(task.support_x, task.support_y, n_way=task.n_way)
        support, query = learner.encode(adapted, task.support_x), learner.encode(adapted, task.query_x)
        mean, count = adapted["prototypes"][task.support_y], adapted["counts"][task.support_y]
        move = (mean - support) / (count - 1).unsqueeze(1)  # [n_support, n_features]
        change = 2 * (query @ move.T - (mean * move).sum(1)) - move.square().sum(1)  # [n_query, n_support]
        return change / learner.temperature


def weighted_adapt(
    learner: Learner,
    support_x: Inputs,
    support_y: Tensor,
    weights: Tensor,
    *,
    n_way: int | None = None,
    n_steps: int | None = None,
) -> Adapted:
    """Adapt with a weight on each support example, differentiable in the weights.

    Means over the support, of losses or of features of a class, become weighted means. Weights of 1 give ``adapt``,
    and a weight of 0 leaves an example out, but for the statistics of ``"support"`` and ``"batch"`` layers, in which it
    still counts.

    Args:
        learner: ``Prototypical``, or a learner that takes gradient steps (MAML, ANIL, Meta-SGD).
        support_x: Inputs ``[n_support, ...]``.
        support_y: Labels ``[n_support]`` or targets ``[n_support, n_outputs]``.
        weights: At least 0 ``[n_support]``.
        n_way: Number of classes; ``None`` counts them.
        n_steps: Inner steps; ``None``: as trained.

    Raises:
        ValueError: If the learner is another one, or there is not one weight for each example.

    Taught in:
        Trust.

    Example:
        >>> import torch
        >>> from metalearn.explain import weighted_adapt
        >>> from metalearn.learners import Prototypical
        >>> x, y = torch.tensor([[0.0], [4.0]]), torch.tensor([0, 0])
        >>> weighted_adapt(Prototypical(torch.nn.Identity()), x, y, torch.tensor([3.0, 1.0]))["prototypes"]
        tensor([[1.]])
    """
    if list(weights.shape) != [len(support_y)]:
        raise ValueError(f"expected a weight for each example, [{len(support_y)}], got {list(weights.shape)}")
    if isinstance(learner, Prototypical):
        features = learner.encode({}, support_x)
        member = member_of(support_y, n_way).to(features.dtype) * weights  # [n_way, n_support]
        counts = member.sum(1)
        prototypes = member @ features / counts.unsqueeze(1)
        return learner.with_statistics({"prototypes": prototypes, "counts": counts}, support_x)
    if not isinstance(learner, DescentLearner | ANIL):
        raise ValueError(
            f"expected Prototypical or a learner of gradient steps, such as MAML, got {type(learner).__name__}:"
            " take leave_one_out, which needs no weights"
        )
    twin, loss_fn = copy.copy(learner), learner.loss_fn  # the twin shares all weights

    def weighted(prediction: Tensor, y: Tensor) -> Tensor:
        return (weights * each_loss(loss_fn, prediction, y)).sum() / weights.sum()

    twin.loss_fn = weighted
    for option in ("first_order", "recompute"):  # both would cut the way back to the weights
        if hasattr(twin, option):
            setattr(twin, option, False)
    return twin.adapt(support_x, support_y, n_way=n_way, n_steps=n_steps)


def gradient_influence(learner: Learner, task: Episode, *, n_steps: int | None = None, mean: bool = False) -> Tensor:
    r"""Return :math:`-\partial \ell / \partial w_i` at weights of 1: leaving an example out, to first order.

    The derivative goes through the inner loop. It is above 0 where the example helped, as in :func:`leave_one_out`.

    Args:
        learner: As in :func:`weighted_adapt`.
        task: One task.
        n_steps: Inner steps; ``None``: as trained.
        mean: Take the mean loss of the queries: one backward pass for all examples.

    Returns:
        ``[n_query, n_support]``, or with ``mean`` ``[n_support]``.

    Taught in:
        Trust.

    Example:
        >>> import torch
        >>> from metalearn import Episode
        >>> from metalearn.explain import gradient_influence
        >>> from metalearn.learners import Prototypical
        >>> x = torch.tensor([[0.0], [2.0], [3.0], [3.0]])
        >>> task = Episode(x, torch.tensor([0, 0, 1, 1]), torch.tensor([[0.0]]), torch.tensor([0]), 2)
        >>> (gradient_influence(Prototypical(torch.nn.Identity()), task) > 0).tolist()
        [[True, False, False, False]]
    """

    def losses(weights: Tensor) -> Tensor:
        adapted = weighted_adapt(learner, task.support_x, task.support_y, weights, n_way=task.n_way, n_steps=n_steps)
        each = each_loss(learner.loss_fn, learner.predict(adapted, task.query_x), task.query_y)
        return each.mean() if mean else each

    like = next(learner.parameters(), task.query_x)
    ones = torch.ones(len(task.support_y), dtype=like.dtype, device=like.device)
    with evaluating(learner), torch.enable_grad():
        # Row by row: vmap over second derivatives of fused normalisations is wrong in torch 2.13.
        found = torch.func.grad(losses)(ones) if mean else torch.func.jacrev(losses, chunk_size=1)(ones)
    influence: Tensor = -found.detach()
    return influence


def rank_agreement(a: Tensor, b: Tensor) -> Tensor:
    """Return Spearman's rank correlation along the last axis; equal values share their mean rank.

    Args:
        a: Values ``[..., n]``.
        b: Others ``[..., n]``.

    Returns:
        From -1 to 1 ``[...]``; NaN where all values are equal, or one is NaN.

    Example:
        >>> import torch
        >>> from metalearn.explain import rank_agreement
        >>> rank_agreement(torch.tensor([1.0, 2.0, 3.0]), torch.tensor([1.0, 10.0, 100.0]))
        tensor(1., dtype=torch.float64)
    """
    first, second = (_ranks(part) for part in (a, b))
    return (first * second).mean(-1) / (first.square().mean(-1) * second.square().mean(-1)).sqrt()


def influence_agreement(
    learner: Learner, episodes: Episode, n_steps: int | None = None, *, mean: bool = False
) -> Score:
    """Return how well the gradient ranks support examples like leaving each out, over tasks.

    Args:
        learner: As in :func:`weighted_adapt`.
        episodes: A batch of at least two tasks.
        n_steps: Inner steps; ``None``: as trained.
        mean: Rank by the influence on the mean loss of the queries; else for each query, and average.

    Example:
        >>> import metalearn
        >>> from metalearn.data import glyphs
        >>> from metalearn.explain import influence_agreement
        >>> tasks = metalearn.sample_episodes(glyphs().test, 4, n_way=5, n_shot=5, n_query=3)
        >>> influence_agreement(metalearn.pretrained("prototypical", "glyphs"), tasks).above(0.5)
        True
    """
    found = []
    for task in (episodes[i] for i in range(len(episodes))):
        exact = leave_one_out(learner, task, n_steps=n_steps)
        cheap = gradient_influence(learner, task, n_steps=n_steps, mean=mean)
        found.append(rank_agreement(cheap, exact.mean(0) if mean else exact).nanmean())
    return Score.of(torch.stack(found))


def each_loss(loss_fn: TaskLoss, prediction: Tensor, y: Tensor) -> Tensor:
    """Return the loss of each row by itself ``[n]``."""
    return torch.stack([loss_fn(prediction[i : i + 1], y[i : i + 1]) for i in range(len(y))])


def _ranks(values: Tensor) -> Tensor:
    """Return centred mean ranks along the last axis."""
    left, right = values.unsqueeze(-1), values.unsqueeze(-2)
    ranks = (left > right).sum(-1) + 0.5 * (left == right).sum(-1).double()
    return (ranks - ranks.mean(-1, keepdim=True)).masked_fill(values.isnan().any(-1, keepdim=True), torch.nan)


def _check_shots(task: Episode) -> None:
    if task.n_way is None:
        return
    counts = torch.bincount(task.support_y, minlength=task.n_way)
    if counts.min() < 2:
        raise ValueError(
            f"leaving one out needs two examples of each class at least, got {counts.tolist()}: sample with n_shot=2"
        )


def _shares_statistics(learner: Learner) -> bool:
    layers = (layer for layer in learner.modules() if isinstance(layer, BatchStatistics))
    return any(layer.policy != "frozen" for layer in layers)
