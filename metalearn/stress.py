"""What practice does to tasks: unequal shots, wrong labels, changed inputs, queries that come one by one."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from metalearn._modes import evaluating
from metalearn._torch import tree_map
from metalearn.episodes import Episode
from metalearn.evaluation import Score, accuracy
from metalearn.learners._base import Learner

Change = Callable[[Tensor], Tensor]


def keep_shots(tasks: Episode, shots: Sequence[int]) -> Episode:
    """Keep the first few support examples of each class, as many as ``shots`` says; queries stay.

    Args:
        tasks: A batch of tasks whose support is one tensor ``[n_tasks, n_support, ...]``.
        shots: Support examples of class 0, of class 1, and so on, at least 1 and at most what there is.

    Raises:
        ValueError: If there is no number for each class, or a class has fewer examples.

    Example:
        >>> from metalearn import sample_episodes, stress
        >>> from metalearn.data import digits
        >>> tasks = sample_episodes(digits().train, n_tasks=2, n_way=3, n_shot=5, n_query=1)
        >>> stress.keep_shots(tasks, (5, 2, 1)).support_y.sort(1).values.tolist()
        [[0, 0, 0, 0, 0, 1, 1, 2], [0, 0, 0, 0, 0, 1, 1, 2]]
    """
    rank, n_way = _rank(tasks)
    there = F.one_hot(tasks.support_y, n_way).sum(1).amin(0).tolist()
    if len(shots) != n_way or any(not 1 <= k <= most for k, most in zip(shots, there, strict=True)):
        raise ValueError(f"expected shots from 1 to {there} of the {n_way} classes, got {list(shots)}")
    keep = rank < torch.tensor(shots, device=rank.device)[tasks.support_y]
    rows = keep.int().argsort(dim=1, descending=True, stable=True)[:, : sum(shots)]  # [n_tasks, n_kept]
    task = torch.arange(len(rows), device=rows.device).unsqueeze(1)
    return Episode(tasks.support_x[task, rows], tasks.support_y[task, rows], tasks.query_x, tasks.query_y, n_way)


def swap_labels(tasks: Episode, n_wrong: int) -> Episode:
    """Give the first ``n_wrong`` support examples of each class the labels of other classes; queries stay.

    The first goes to the next class, the second to the one after it, and so on, so that each class loses and gains as
    many examples: the shots stay equal where they were.

    Args:
        tasks: A batch of tasks ``[n_tasks, n_support, ...]``.
        n_wrong: Wrong labels of each class, from 0 to ``n_way - 1``.

    Raises:
        ValueError: If ``n_wrong`` is out of range.

    Example:
        >>> from metalearn import sample_episodes, stress
        >>> from metalearn.data import digits
        >>> tasks = sample_episodes(digits().train, n_tasks=1, n_way=3, n_shot=5, n_query=1)
        >>> int((stress.swap_labels(tasks, 1).support_y != tasks.support_y).sum())
        3
    """
    rank, n_way = _rank(tasks)
    if not 0 <= n_wrong < n_way:
        raise ValueError(f"expected n_wrong from 0 to {n_way - 1}, one less than the classes, got {n_wrong}")
    y = torch.where(rank < n_wrong, (tasks.support_y + 1 + rank) % n_way, tasks.support_y)
    return Episode(tasks.support_x, y, tasks.query_x, tasks.query_y, n_way)


def change_queries(tasks: Episode, change: Change) -> Episode:
    """Change the queries and leave the support as it is.

    Args:
        tasks: A batch of tasks with inputs ``[n_tasks, n, ...]``.
        change: From inputs ``[n_tasks * n_query, ...]`` to inputs of the same shape.

    Example:
        >>> from metalearn import sample_episodes, stress
        >>> from metalearn.data import digits
        >>> tasks = sample_episodes(digits().train, n_tasks=1, n_way=3, n_shot=1, n_query=1)
        >>> bool((stress.change_queries(tasks, lambda x: 1 - x).query_x == 1 - tasks.query_x).all())
        True
    """
    x = change(tasks.query_x.flatten(0, 1)).reshape(tasks.query_x.shape)
    return Episode(tasks.support_x, tasks.support_y, x, tasks.query_y, tasks.n_way)


def ask_in_groups(learner: Learner, tasks: Episode, size: int) -> Score:
    """Return the accuracy where the queries of each task are predicted in groups, not all together.

    A deployed classifier meets its queries one at a time. A learner whose normalisation reads the queries answers
    otherwise then; for others the size of the groups makes no difference.

    Args:
        learner: Any learner that classifies; it runs in ``eval`` mode and is left as it was.
        tasks: A batch of tasks.
        size: Queries that are predicted together, at least 1.

    Raises:
        ValueError: If ``size`` is below 1.

    Example:
        >>> from metalearn.data import glyphs
        >>> from metalearn.learners import Pixels
        >>> from metalearn.stress import ask_in_groups
        >>> tasks = glyphs().test.episodes(n_tasks=2, n_way=3, n_shot=1, n_query=2)(None)
        >>> ask_in_groups(Pixels(), tasks, size=1).n_tasks
        2
    """
    if size < 1:
        raise ValueError(f"size must be at least 1, got {size}")
    values = []
    with evaluating(learner):
        for task in (tasks[i] for i in range(len(tasks))):
            adapted = learner.adapt(task.support_x, task.support_y, n_way=task.n_way)
            starts = range(0, len(task.query_y), size)
            groups = [tree_map(lambda leaf, i=i: leaf[i : i + size], task.query_x) for i in starts]
            logits = torch.cat([learner.predict(adapted, group) for group in groups])
            values.append(accuracy(logits, task.query_y))
    return Score.of(torch.stack(values))


def augment_support(tasks: Episode, changes: Sequence[Change]) -> Episode:
    """Add a changed copy of each support example for each change, with its label; queries stay.

    Args:
        tasks: A batch of tasks with inputs ``[n_tasks, n, ...]``.
        changes: Each from inputs ``[n_tasks * n_support, ...]`` to inputs of the same shape.

    Example:
        >>> from metalearn import sample_episodes, stress
        >>> from metalearn.data import digits
        >>> tasks = sample_episodes(digits().train, n_tasks=2, n_way=3, n_shot=1, n_query=1)
        >>> stress.augment_support(tasks, [lambda x: 1 - x]).support_x.shape
        torch.Size([2, 6, 1, 8, 8])
    """
    flat, shape = tasks.support_x.flatten(0, 1), tasks.support_x.shape
    x = torch.cat([tasks.support_x, *(change(flat).reshape(shape) for change in changes)], dim=1)
    y = tasks.support_y.repeat(1, 1 + len(changes))
    return Episode(x, y, tasks.query_x, tasks.query_y, tasks.n_way)


def _rank(tasks: Episode) -> tuple[Tensor, int]:
    """Return each support example's place within its class ``[n_tasks, n_support]``, from 0, and the number of classes.

    Raises:
        ValueError: If this is no batch of tasks with classes.
    """
    if tasks.n_way is None or tasks.support_y.ndim != 2:
        raise ValueError(f"expected a batch of tasks with classes, support_y [n_tasks, n_support], got {tasks}")
    member = F.one_hot(tasks.support_y, tasks.n_way)  # [n_tasks, n_support, n_way]
    return member.cumsum(1).gather(2, tasks.support_y.unsqueeze(2)).squeeze(2) - 1, tasks.n_way
