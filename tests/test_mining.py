"""Mined negatives are wrong, near, and as far as they are asked to be."""

import torch
from torch import nn

from metalearn import Pool
from metalearn.mining import MinedTriplets

POOL = Pool(torch.randn(60, 3, generator=torch.Generator().manual_seed(0)), torch.arange(60) // 6)


def distances(batch):
    anchor, positive, negative = batch.sides
    return (anchor - positive).norm(dim=1), (anchor - negative).norm(dim=1)


def classes(x):
    return torch.stack([POOL.y[(POOL.x == row).all(1)][0] for row in x])


def test_the_hard_negative_is_the_nearest_wrong_positive():
    batch = MinedTriplets(nn.Identity(), POOL.triplets(20), semi_hard=False)(torch.Generator().manual_seed(1))
    anchor, positive, negative = batch.sides
    for a, found, y in zip(anchor, negative, batch.y, strict=True):
        best = min((p for p, other in zip(positive, batch.y, strict=True) if other != y), key=lambda p: (a - p).norm())
        assert torch.equal(found, best)


def test_the_semi_hard_negative_is_farther_than_the_positive_where_one_is():
    batch = MinedTriplets(nn.Identity(), POOL.triplets(20))(torch.Generator().manual_seed(1))
    anchor, positive, negative = batch.sides
    near, far = distances(batch)
    distance, wrong = torch.cdist(anchor, positive), batch.y[:, None] != batch.y
    farther = wrong & (distance > near[:, None])
    assert torch.equal(far > near, farther.any(1)) and farther.any(1).any()
    torch.testing.assert_close(far[farther.any(1)], distance.masked_fill(~farther, torch.inf).amin(1)[farther.any(1)])
    assert (classes(negative) != batch.y).all()


def test_where_no_wrong_one_is_farther_the_farthest_is_taken_and_a_batch_of_one_class_keeps_its_own():
    pool = Pool(torch.tensor([[0.0], [9.0], [1.0], [2.0]]), torch.tensor([0, 0, 1, 1]))
    batch = MinedTriplets(nn.Identity(), pool.triplets(50))(torch.Generator().manual_seed(0))
    assert all((negative in (1, 2)) == (y == 0) for negative, y in zip(batch.sides[2][:, 0], batch.y, strict=True))
    single = MinedTriplets(nn.Identity(), pool.triplets(1))(torch.Generator().manual_seed(0))
    drawn = pool.triplets(1)(torch.Generator().manual_seed(0))
    assert torch.equal(single.sides[2], drawn.sides[2]) and single.y == drawn.y


def test_inputs_of_several_tensors_stay_together():
    pool = Pool({"x": POOL.x, "row": torch.arange(60)}, POOL.y)
    batch = MinedTriplets(lambda inputs: inputs["x"], pool.triplets(20))(torch.Generator().manual_seed(1))
    alone = MinedTriplets(nn.Identity(), POOL.triplets(20))(torch.Generator().manual_seed(1))
    for side, expected in zip(batch.sides, alone.sides, strict=True):
        assert torch.equal(side["x"], expected) and torch.equal(POOL.x[side["row"]], expected)
