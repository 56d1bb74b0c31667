"""What a classifier's threshold is measured on: the top logits of held-out examples of known and of unknown classes."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from metalearn._torch import tree_map
from metalearn.deploy.inputs import Form, example_form
from metalearn.deploy.support import Label, like
from metalearn.learners import Learner
from metalearn.pools import Pool
from metalearn.sampling import sample_episodes


def check_pool(pool: Pool, class_names: Sequence[Label]) -> None:
    """Refuse a pool that cannot stand in for a user's classes and for others.

    Raises:
        ValueError: If it has too few classes, or classes of the user's.
    """
    shared = sorted({name for name in class_names if isinstance(name, str)} & set(pool.class_names))
    if shared:
        raise ValueError(f"the pool must hold other classes than the support set, but both have {shared[:3]}")
    if pool.n_classes <= len(class_names):
        raise ValueError(
            f"tasks of {len(class_names)} classes with unknown ones beside them need a pool of at least"
            f" {len(class_names) + 1} classes, got {pool.n_classes}: hold out more classes, or set threshold by hand"
        )


@torch.no_grad()
def top_logits(
    learner: Learner, pool: Pool, form: Form, shots: Sequence[int], n_query: int, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Return the top logits of one task's queries: those of its classes, and those of further classes.

    Args:
        learner: A learner in ``eval`` mode.
        pool: Examples of classes that are held out.
        form: The form of the user's examples.
        shots: Support examples of each class of the task.
        n_query: Queries of each class.
        generator: Source of randomness.

    Raises:
        ValueError: If the pool's examples are of another form, or it has too few.
    """
    n_way = len(shots)
    task = sample_episodes(pool, 1, min(2 * n_way, pool.n_classes), max(shots), n_query, generator)[0]
    if (found := example_form(task.support_x)) != form:
        raise ValueError(f"the pool must hold examples {form}, as the support set, got {found}")
    of_class = [(task.support_y == label).nonzero().flatten() for label in range(n_way)]
    rows = torch.cat([row[:n_shot] for row, n_shot in zip(of_class, shots, strict=True)])
    x, query_x = (like(learner, part) for part in (tree_map(lambda leaf: leaf[rows], task.support_x), task.query_x))
    adapted = learner.adapt(x, like(learner, task.support_y[rows]), n_way=n_way)
    top = learner.predict(adapted, query_x).amax(1).cpu()
    known = task.query_y.cpu() < n_way
    return top[known], top[~known]


def rank(known: Tensor, top: Tensor) -> Tensor:
    """Return the share of the known top logits ``[n]``, rising, that are no higher than each of some logits.

    Example:
        >>> rank(torch.tensor([1.0, 2.0, 3.0, 4.0]), torch.tensor([0.0, 2.0, 9.0]))
        tensor([0.0000, 0.5000, 1.0000], dtype=torch.float64)
    """
    return torch.searchsorted(known, top.contiguous().cpu(), right=True).double() / len(known)
