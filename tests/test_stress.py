"""Tasks changed as practice changes them: what stays, what moves, and what is refused."""

from __future__ import annotations

import pytest
import torch

from metalearn import Episode, Pool, evaluate, sample_episodes
from metalearn.learners import MAML
from metalearn.networks import MLP
from metalearn.stress import ask_in_groups, augment_support, change_queries, keep_shots, swap_labels


@pytest.fixture
def tasks() -> Episode:
    """Return two tasks of four classes whose inputs say which example they are."""
    pool = Pool(torch.arange(120.0).reshape(120, 1), torch.arange(120) // 20)
    return sample_episodes(pool, 2, n_way=4, n_shot=5, n_query=3, generator=torch.Generator().manual_seed(0))


def rows_of(tasks: Episode, task: int, label: int) -> list[float]:
    return tasks.support_x[task][tasks.support_y[task] == label].flatten().tolist()


def test_the_first_of_each_class_are_kept(tasks: Episode) -> None:
    shots = (5, 3, 1, 2)
    kept = keep_shots(tasks, shots)
    assert kept.support_x.shape == (2, 11, 1) and torch.equal(kept.query_x, tasks.query_x)
    for task in range(2):
        for label, k in enumerate(shots):
            assert rows_of(kept, task, label) == rows_of(tasks, task, label)[:k]


def test_swapped_labels_keep_the_shots_and_go_to_different_classes(tasks: Episode) -> None:
    assert torch.equal(swap_labels(tasks, 0).support_y, tasks.support_y)
    swapped = swap_labels(tasks, 2)
    assert torch.equal(swapped.support_x, tasks.support_x) and torch.equal(swapped.query_y, tasks.query_y)
    for task in range(2):
        assert torch.bincount(swapped.support_y[task]).tolist() == [5, 5, 5, 5]
        for label in range(4):
            now = swapped.support_y[task][tasks.support_y[task] == label].tolist()
            assert now == [(label + 1) % 4, (label + 2) % 4, label, label, label]


def test_queries_change_and_the_support_stays(tasks: Episode) -> None:
    changed = change_queries(tasks, lambda x: -x)
    assert torch.equal(changed.query_x, -tasks.query_x) and torch.equal(changed.support_x, tasks.support_x)


def test_copies_of_the_support_carry_its_labels(tasks: Episode) -> None:
    more = augment_support(tasks, [lambda x: x + 1000, lambda x: x + 2000])
    assert more.support_x.shape == (2, 60, 1)
    for task in range(2):
        own = rows_of(tasks, task, 3)
        assert rows_of(more, task, 3) == [x + shift for shift in (0, 1000, 2000) for x in own]


def test_wrong_sizes_are_refused(tasks: Episode) -> None:
    with pytest.raises(ValueError, match=r"shots from 1 to \[5, 5, 5, 5\] of the 4 classes, got \[6, 1, 1, 1\]"):
        keep_shots(tasks, (6, 1, 1, 1))
    with pytest.raises(ValueError, match=r"of the 4 classes, got \[1, 1\]"):
        keep_shots(tasks, (1, 1))
    with pytest.raises(ValueError, match=r"n_wrong from 0 to 3, .* got 4"):
        swap_labels(tasks, 4)
    with pytest.raises(ValueError, match=r"expected a batch of tasks with classes"):
        swap_labels(tasks[0], 1)


@pytest.mark.parametrize(("policy", "same"), [("support", True), ("batch", False)])
def test_company_matters_to_a_learner_that_normalises_by_its_queries(policy: str, same: bool) -> None:
    torch.manual_seed(0)
    pool = Pool(torch.randn(120, 3) + torch.arange(120).unsqueeze(1) // 20, torch.arange(120) // 20)
    tasks = sample_episodes(pool, 8, n_way=4, n_shot=5, n_query=3, generator=torch.Generator().manual_seed(0))
    learner = MAML(MLP([3, 8, 4], norm=policy), inner_lr=0.3, n_inner_steps=5)
    together, few = ask_in_groups(learner, tasks, 12), ask_in_groups(learner, tasks, 2)
    assert torch.equal(together.per_task, evaluate(learner, lambda generator: tasks, 8).per_task)
    assert torch.equal(together.per_task, few.per_task) == same
    assert learner.training
    with pytest.raises(ValueError, match="size must be at least 1, got 0"):
        ask_in_groups(learner, tasks, 0)
