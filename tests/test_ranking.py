"""Ranking metrics against all orders of tied items, scikit-learn and hand computation."""

import itertools
import math

import pytest
import torch
from sklearn.metrics import ndcg_score, roc_auc_score

from metalearn import evaluate
from metalearn.data import ratings
from metalearn.learners import MatrixFactorization
from metalearn.ranking import auc, hit_rate, judge, metric, ndcg, recall, reciprocal_rank


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def orders(scores):
    """Return every order of items that their scores allow, tied items in each of their orders."""
    n = len(scores)
    return [
        o for o in itertools.permutations(range(n)) if all(scores[a] >= scores[b] for a, b in itertools.pairwise(o))
    ]


def tied_lists():
    for seed in range(12):
        scores = torch.randint(3, (6,), generator=seeded(seed)).double()
        yield scores, torch.rand(6, generator=seeded(seed + 100)) < 0.4 + 0.05 * seed


def mean_over(lists, value):
    return pytest.approx(sum(value(places) for places in lists) / len(lists))


def gain(places):
    return sum(hit / math.log2(j + 2) for j, hit in enumerate(places))


@pytest.mark.parametrize("k", [1, 2, 3, 5, 6, 9])
def test_tied_items_count_as_the_mean_over_their_orders(k):
    for scores, relevant in tied_lists():
        if relevant.any():
            lists = [[int(relevant[i]) for i in order] for order in orders(scores.tolist())]
            best = sorted(lists[0], reverse=True)[:k]
            assert recall(scores, relevant, k).item() == mean_over(lists, lambda places: sum(places[:k]) / sum(places))
            assert hit_rate(scores, relevant, k).item() == mean_over(lists, lambda places: max(places[:k]))
            assert reciprocal_rank(scores, relevant).item() == mean_over(
                lists, lambda places: 1 / (1 + places.index(1))
            )
            found = ndcg(scores, relevant.double(), k).item() * gain(best)
            assert found == mean_over(lists, lambda places: gain(places[:k]))


@pytest.mark.parametrize("k", [None, 1, 3, 10])
def test_ndcg_and_auc_are_those_of_scikit_learn(k):
    for levels in (4, 1000):  # with ties and without
        scores = torch.randint(levels, (5, 20), generator=seeded(1)).double()
        gains = torch.randint(6, (5, 20), generator=seeded(2)).double()
        found = ndcg(scores, gains, k)
        for i in range(5):
            assert found[i].item() == pytest.approx(ndcg_score(gains[i : i + 1], scores[i : i + 1], k=k))
            assert auc(scores, gains > 3)[i].item() == pytest.approx(roc_auc_score(gains[i] > 3, scores[i]))


def test_unequal_lists_are_masked():
    scores, gains = torch.randn(2, 6, generator=seeded(3)), torch.randint(2, (2, 6), generator=seeded(4)).float()
    gains[:, 0], gains[:, 1] = 1.0, 0.0
    mask = torch.tensor([[True] * 6, [True] * 4 + [False] * 2])
    for name, fn in {
        "ndcg": lambda s, g, m=None: ndcg(s, g, 2, mask=m),
        "recall": lambda s, g, m=None: recall(s, g > 0, 2, mask=m),
        "hit": lambda s, g, m=None: hit_rate(s, g > 0, 2, mask=m),
        "mrr": lambda s, g, m=None: reciprocal_rank(s, g > 0, mask=m),
        "auc": lambda s, g, m=None: auc(s, g > 0, mask=m),
    }.items():
        alone = torch.stack([fn(scores[0], gains[0]), fn(scores[1, :4], gains[1, :4])])
        torch.testing.assert_close(fn(scores, gains, mask).to(alone.dtype), alone, msg=name)
        filled = torch.where(mask, scores, 9.0), torch.where(mask, gains, 1.0)
        torch.testing.assert_close(fn(*filled, mask).to(alone.dtype), alone, msg=name)


def test_by_hand():
    scores, rating = torch.tensor([[4.0], [3.0], [2.0]]), torch.tensor([[3.0], [5.0], [1.0]])
    best = 31 + 7 / math.log2(3) + 1 / 2
    assert metric("ndcg@10")(scores, rating).item() == pytest.approx((7 + 31 / math.log2(3) + 1 / 2) / best)
    assert metric("ndcg@1")(scores, rating).item() == pytest.approx(7 / 31)
    assert metric("rmse")(scores, rating).item() == pytest.approx(math.sqrt((1 + 4 + 1) / 3))
    assert [metric(name)(scores, rating).item() for name in ("recall@1", "recall@2", "hit@1", "mrr", "auc")] == [
        *(0, 1, 0, 0.5, 0.5)
    ]
    assert metric("mrr", threshold=3)(scores, rating) == 1


def test_of_numbers_all_but_0_are_relevant():
    scores, stars = torch.tensor([1.0, 2.0, 2.0, 0.0]), torch.tensor([5.0, 0.0, 1.0, 0.0])
    for measure in (lambda r: recall(scores, r, 1), lambda r: hit_rate(scores, r, 1)):
        assert measure(stars) == measure(stars > 0)
    for measure in (reciprocal_rank, auc):
        assert measure(scores, stars) == measure(scores, stars > 0)


def test_nothing_relevant_is_not_a_number():
    scores, none = torch.tensor([2.0, 1.0]), torch.zeros(2, dtype=torch.bool)
    for value in (
        *(recall(scores, none, 1), hit_rate(scores, none, 1), reciprocal_rank(scores, none)),
        *(auc(scores, none), auc(scores, ~none), ndcg(scores, none.float())),
    ):
        assert value.isnan()


def test_users_are_judged_as_evaluate_does():
    test = ratings(n_train=10, n_validation=10, n_test=40).test
    learner = MatrixFactorization(300, 2)
    scores = judge(learner, test.tasks(5), ["rmse", "ndcg@5", "auc"])
    for name in ("rmse", "ndcg@5"):
        expected = evaluate(learner, test.users(n_shot=5), 40, metric=metric(name))
        torch.testing.assert_close(scores[name].per_task, expected.per_task)
    assert scores["ndcg@5"].higher_is_better and not scores["rmse"].higher_is_better
    undefined = sum(len((task.query_y >= 4).unique()) == 1 for task in test.tasks(5))
    assert scores["auc"].n_tasks == 40 - undefined


def test_a_learner_that_diverged_is_not_judged_by_the_users_that_are_left():
    test = ratings(n_train=10, n_validation=10, n_test=40).test
    learner = MatrixFactorization(300, 0)
    with torch.no_grad():
        learner.bias[0] = torch.nan
    with pytest.raises(ValueError, match="predictions must be finite"):
        judge(learner, test.tasks(5), ["rmse"])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: ndcg(torch.zeros(3), torch.zeros(2)), "must have one shape"),
        (lambda: recall(torch.zeros(3), torch.ones(3) > 0, 0), "k must be at least 1"),
        (lambda: auc(torch.tensor([torch.nan, 1.0]), torch.tensor([True, False])), "scores must be finite"),
        (lambda: metric("ndcg"), "expected one of"),
        (lambda: metric("rmse@3"), "expected one of"),
        (lambda: metric("hit@0"), "expected one of"),
    ],
)
def test_errors(call, message):
    with pytest.raises(ValueError, match=message):
        call()
