"""Verification: the two errors of a threshold, and where they are equal."""

import pytest
import torch
from sklearn.metrics import roc_curve
from torch import nn

from metalearn import Pool, verification
from metalearn.learners import Siamese


def drawn(n=2_000):
    same = torch.arange(n) % 2
    return torch.randn(n, generator=torch.Generator().manual_seed(1)) + 1.5 * same, same


def test_errors_at_a_threshold_by_hand():
    similarity, same = torch.tensor([5.0, 4.0, 3.0, 2.0, 1.0]), torch.tensor([1, 0, 1, 1, 0])
    accepts, rejects = verification.errors_at(3.0, similarity, same)
    assert accepts == 0.5 and rejects == pytest.approx(1 / 3)
    assert verification.errors_at(9.0, similarity, same) == (0, 1)
    assert verification.errors_at(0.0, similarity, same) == (1, 0)


def test_the_equal_error_is_what_its_threshold_gives_and_where_the_roc_curve_crosses_the_diagonal():
    similarity, same = drawn()
    error, threshold = verification.equal_error(similarity, same)
    accepts, rejects = verification.errors_at(threshold, similarity, same)
    assert error == pytest.approx((accepts + rejects) / 2) and abs(accepts - rejects) < 2 / len(same) + 1e-6
    false_accepts, true_accepts, _ = roc_curve(same, similarity)
    assert error == pytest.approx(false_accepts[abs(false_accepts + true_accepts - 1).argmin()], abs=2e-3)
    assert error == pytest.approx(0.2266, abs=0.02)  # the normal law's share beyond 3/4


def test_pairs_without_both_kinds_or_without_a_similarity_are_refused():
    for function in (verification.equal_error, lambda *pairs: verification.errors_at(0.0, *pairs)):
        with pytest.raises(ValueError, match="all equal or all unequal"):
            function(torch.rand(4), torch.ones(4))
        with pytest.raises(ValueError, match=r"got shapes \[3\] and \[4\]"):
            function(torch.rand(3), torch.arange(4) % 2)
        with pytest.raises(ValueError, match="1 similarities are NaN"):
            function(torch.tensor([0.1, torch.nan, 0.3, 0.5]), torch.arange(4) % 2)


def test_similarities_are_the_learners_and_leave_it_as_it_was():
    pool = Pool(torch.randn(40, 3), torch.arange(40) // 4)
    learner = Siamese(nn.Sequential(nn.Linear(3, 2), nn.Dropout(0.9)))
    learner.train()
    first, again, other = (verification.similarities(learner, pool, 100, seed)[0] for seed in (0, 0, 1))
    assert torch.equal(first, again) and not torch.equal(first, other) and learner.training
    embedded = pool.encoded(learner.eval().encoder)
    similarity, same = verification.similarities(Siamese(nn.Identity()), embedded, 100, 0)
    torch.testing.assert_close(similarity, first)
    assert same.sum() == 50 and not first.requires_grad
