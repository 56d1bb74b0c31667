"""Tasks from images without labels: augmentation, samplers, clusters; contrastive learning, soft k-means, labelling."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from metalearn import Batch, Episode, Pool, evaluate, fit, over_tasks
from metalearn.augment import Augment, sampling_grid
from metalearn.labelling import best_temperature, fit_temperature, pseudo_labels, self_train
from metalearn.learners import MAML, Contrastive, Learner, Prototypical, SoftKMeans, Transfer
from metalearn.learners._encoder import Distance
from metalearn.learners.contrastive import nt_xent
from metalearn.learners.soft_kmeans import Distractors
from metalearn.networks import MLP
from metalearn.unlabelled import AugmentedTasks, ClusteredTasks, PartlyLabelledTasks, Views, partitions, purity


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def moved(x: Tensor, *, shift: Any = (0.0, 0.0), angle: float = 0.0, scale: float = 1.0, shear: float = 0.0) -> Tensor:
    """Return images changed by given amounts."""
    amounts = (torch.tensor([value], dtype=x.dtype).expand(len(x)) for value in (angle, scale, shear))
    grid = sampling_grid(x, torch.tensor([shift], dtype=x.dtype).expand(len(x), -1), *amounts)
    return F.grid_sample(x, grid, align_corners=False)


@pytest.fixture
def images() -> Tensor:
    return torch.rand(3, 2, 9, 9, generator=seeded(), dtype=torch.float64)


def test_geometry_by_hand(images: Tensor) -> None:
    torch.testing.assert_close(moved(images), images)
    shifted = torch.zeros_like(images)
    shifted[:, :, :-3, 2:] = images[:, :, 3:, :-2]
    torch.testing.assert_close(moved(images, shift=(2.0, -3.0)), shifted)
    torch.testing.assert_close(moved(images, angle=math.pi / 2), torch.rot90(images, 1, (2, 3)))
    torch.testing.assert_close(moved(images, angle=math.pi), images.flip(2, 3))
    sheared = moved(images, shear=1.0)
    for row in range(9):  # a row moves by as many pixels as it lies below the centre
        expected = moved(images[:, :, row : row + 1], shift=(float(row - 4), 0.0))
        torch.testing.assert_close(sheared[:, :, row : row + 1], expected)
    torch.testing.assert_close(moved(images, scale=3.0)[:, :, 4, 1::3], images[:, :, 4, 3:6])


def test_a_wide_image_turns_in_pixels_not_in_halves() -> None:
    x = torch.zeros(1, 1, 9, 15, dtype=torch.float64)
    x[0, 0, 4, 10] = 1.0  # three pixels right of the centre
    turned = moved(x, angle=math.pi / 2)
    assert turned[0, 0, 1, 7] == pytest.approx(1.0)  # three pixels above it
    assert turned.sum() == pytest.approx(1.0)


def test_augmentation_changes_each_image_by_its_own_amount_within_bounds() -> None:
    x = torch.zeros(400, 1, 21, 21)
    x[:, :, 10, 10] = 1.0
    out = Augment(shift=4.0)(x, seeded())
    torch.testing.assert_close(out.sum((1, 2, 3)), torch.ones(400))
    across, down = ((out.sum(axis).squeeze(1) * torch.arange(-10.0, 11.0)).sum(1) for axis in (2, 3))
    assert torch.corrcoef(torch.stack([across, down]))[0, 1].abs() < 0.2  # four standard errors
    assert down.abs().max() == pytest.approx(4, abs=0.2)
    assert across.abs().max() <= 4.0001
    assert across.min() < -3.8
    assert across.max() > 3.8
    assert across.mean().abs() < 4 * 4 / math.sqrt(3 * 400)  # four standard errors of a uniform mean
    assert across.std() == pytest.approx(4 / math.sqrt(3), rel=0.1)
    assert torch.equal(out, Augment(shift=4.0)(x, seeded()))
    assert torch.equal(x, Augment()(x, seeded()))


def coordinates(width: int, height: int) -> Tensor:
    """Return an image of two channels, how far a pixel lies right of the centre and below it."""
    x, y = (torch.arange(float(size)).double() - (size - 1) / 2 for size in (width, height))
    return torch.stack(torch.meshgrid(x, y, indexing="xy")).unsqueeze(0)


@pytest.mark.parametrize(("name", "strength"), [("rotation", 30.0), ("scale", 0.4), ("shear", 0.5)])
def test_augmentation_turns_scales_and_shears_within_bounds(name: str, strength: float) -> None:
    source = Augment(**{name: strength})(coordinates(17, 21).repeat(400, 1, 1, 1), seeded())  # type: ignore[arg-type]
    right, down = ((source[:, :, 10 + j, 8 + i] - source[:, :, 10, 8]) for i, j in ((1, 0), (0, 1)))  # [400, 2]
    found = {
        "rotation": torch.atan2(right[:, 1], right[:, 0]).rad2deg(),
        "scale": 1 / right[:, 0] - 1,
        "shear": -down[:, 0],
    }[name]
    torch.testing.assert_close(source[:, :, 10, 8], torch.zeros(400, 2).double())  # the centre stays
    assert found.abs().max() <= strength * (1 + 1e-6)
    assert found.min() < -0.95 * strength
    assert found.max() > 0.95 * strength
    assert found.std() == pytest.approx(strength / math.sqrt(3), rel=0.1)


def test_pixels_vanish_and_images_flip_at_their_rates() -> None:
    x = torch.arange(1.0, 5.0).reshape(1, 1, 2, 2).repeat(5000, 1, 1, 1)
    zeroed = Augment(zeroed=0.3)(x, seeded())
    assert (zeroed == 0).float().mean() == pytest.approx(0.3, abs=0.015)
    assert torch.equal(zeroed[zeroed != 0], x[zeroed != 0])
    assert (zeroed == 0).all((1, 2, 3)).float().mean() == pytest.approx(0.3**4, abs=0.005)  # each for itself
    flipped = Augment(flip=True)(x, seeded())
    mirrored = (flipped == x.flip(3)).all(-1).all(-1)
    assert ((flipped == x).all(-1).all(-1) ^ mirrored).all()
    assert mirrored.float().mean() == pytest.approx(0.5, abs=0.03)


def test_elastic_moves_five_by_five_points_apart_and_smoothly_what_lies_between() -> None:
    x = coordinates(41, 25).repeat(500, 1, 1, 1)
    moved_by = Augment(elastic=0.5)(x, seeded()) - x  # pixels
    points = moved_by[:, :, 6:-6:6, 10:-10:10]  # [500, 2, 3, 3], those inside
    torch.testing.assert_close(points.std((0, 2, 3)), torch.full((2,), 0.5).double(), rtol=0.05, atol=0)
    assert torch.corrcoef(points.reshape(500, -1).T).fill_diagonal_(0).abs().max() < 0.2
    steps = moved_by[:, :, 6:-6, 10:-10].diff(dim=3)
    assert steps.abs().max() < 0.5


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Augment(shift=-1.0), "shift must be at least 0 and below inf, got -1.0"),
        (lambda: Augment(scale=1.0), "scale must be at least 0 and below 1, got 1.0"),
        (lambda: Augment(shift=1.0)(torch.zeros(2, 28, 28)), r"float images \[n, channels, height, width\]"),
        (lambda: AugmentedTasks(pool(), Augment(), 1, 31), "n_way=31 needs as many images, the pool has 30"),
        (lambda: Views(pool(), Augment(), 1), "batch_size must be at least 2, got 1"),
        (lambda: partitions(pool(), torch.zeros(29, 2), 3), r"expected features \[30, n_features\]"),
        (lambda: partitions(pool(), torch.zeros(30, 2), 31), "n_clusters must be between 2 and 30"),
        (lambda: ClusteredTasks([], 1, 2, 1, 1), "at least one partition, got none"),
        (lambda: ClusteredTasks([pool()], 1, 2, 5, 6), "no cluster of n_shot [+] n_query = 11 images"),
        (lambda: PartlyLabelledTasks(pool(), 1, 2, 1, 1, 1, -1), "n_distractors must be at least 0, got -1"),
        (lambda: PartlyLabelledTasks(pool(), 1, 2, 1, 1, 1, 2), "n_way=4 needs as many classes"),
        (lambda: purity(torch.zeros(2), torch.zeros(3)), r"clusters and labels \[n\] with n > 0"),
        (lambda: nt_xent(torch.zeros(1, 2), torch.zeros(1, 2)), "n >= 2 images"),
        (lambda: nt_xent(torch.zeros(3, 2), torch.zeros(3, 2), 0.0), "temperature must be above 0"),
        (lambda: Contrastive(nn.Identity(), n_features=2, n_projection=-1), "n_projection must be at least 0"),
        (lambda: Contrastive(nn.Identity(), n_features=2).backward(pool().sample_batch(4)), "learns from views, got"),
        (lambda: SoftKMeans(nn.Identity(), n_refinements=-1), "n_refinements must be at least 0"),
        (lambda: SoftKMeans(nn.Identity(), distractors="any"), "distractors must be one of"),  # type: ignore[arg-type]
        (lambda: SoftKMeans(nn.Identity()).adapt(torch.zeros(2, 1), torch.tensor([0, -2])), "expected labels 0…0"),
        (lambda: self_train(Prototypical(nn.Identity()), *[torch.zeros(1)] * 3, n_way=1, threshold=2.0), "threshold"),
        (lambda: fit_temperature(Prototypical(nn.Identity()), tasks_of_points(0.1), 0), "n_tasks must be at least 1"),
        (lambda: Batch(torch.zeros(2, 1), torch.zeros(2).long(), "views"), "needs x to be a tuple of 2 inputs"),
    ],
)
def test_errors_say_what_is_wrong(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def pool(n_classes: int = 3, n_each: int = 10) -> Pool:
    """Return a pool whose examples ``[2]`` are their row's number, and their class."""
    rows = torch.arange(float(n_classes * n_each))
    y = rows.long() // n_each
    return Pool(torch.stack([rows, y.float()], 1), y)


def add_noise(x: Tensor, generator: torch.Generator | None) -> Tensor:
    return x + 0.4 * torch.rand(x.shape, generator=generator)


def test_augmented_tasks_hold_an_image_and_its_augmentations() -> None:
    batch = AugmentedTasks(pool(), add_noise, n_tasks=50, n_way=4, n_query=3, n_shot=2)(seeded())
    batch.check()
    assert batch.n_way == 4
    assert list(batch.support_y.shape) == [50, 8]
    assert list(batch.query_y.shape) == [50, 12]
    for task in (batch[i] for i in range(50)):
        own = task.support_x[:4, 0]
        assert torch.equal(task.support_y, torch.arange(4).repeat(2))
        assert len(set(own.tolist())) == 4  # distinct images
        assert torch.equal(own, own.round())  # as they are
        for x, y in ((task.support_x[4:], task.support_y[4:]), (task.query_x, task.query_y)):
            assert torch.equal(x[:, 0].floor(), own[y])
            assert len(x.unique(dim=0)) == len(x)


def test_samplers_read_no_labels() -> None:
    one = pool()
    other = Pool(one.x, torch.zeros(30, dtype=torch.long))  # the same images in the same order, other labels
    for make in (lambda p: AugmentedTasks(p, add_noise, 3, 4, 2), lambda p: Views(p, add_noise, 8)):
        first, second = make(one)(seeded()), make(other)(seeded())
        for name in ("support_x", "query_x") if isinstance(first, Episode) else ("x",):
            torch.testing.assert_close(getattr(first, name), getattr(second, name), rtol=0, atol=0)
    parts = [partitions(p, p.x, 4, 2, seed=3) for p in (one, other)]
    for first, second in zip(*parts, strict=True):
        assert torch.equal(first.x, second.x)
        assert torch.equal(first.y, second.y)


def test_views_are_two_different_augmentations_of_one_image() -> None:
    (left, right), y = Views(pool(), add_noise, 30)(seeded())
    assert torch.equal(left[:, 0].floor(), right[:, 0].floor())
    assert len(left[:, 0].floor().unique()) == 30  # each image once
    assert not (left == right).any() and not any((side == side.round()).any() for side in (left, right))
    assert torch.equal(y, torch.arange(30))


def test_clusters_that_are_apart_are_found_and_become_classes() -> None:
    truth = pool()
    features = 100 * F.one_hot(truth.y, 3) + torch.rand(30, 3, generator=seeded())
    parts = partitions(truth, features, 3, 4)
    for part in parts:
        assert purity(part.y, part.x[:, 1]) == 1.0
        assert part.class_sizes.tolist() == [10, 10, 10]
    batch = ClusteredTasks(parts, n_tasks=20, n_way=2, n_shot=2, n_query=3)(seeded())
    batch.check()
    for task in (batch[i] for i in range(20)):
        classes = {int(y): set(task.support_x[task.support_y == y, 1].tolist()) for y in range(2)}
        assert classes[0] != classes[1]
        assert all(len(found) == 1 for found in classes.values())
        assert {float(task.query_x[i, 1]) for i in range(6) if task.query_y[i] == 0} == classes[0]
        assert not set(task.support_x[:, 0].tolist()) & set(task.query_x[:, 0].tolist())


def test_scales_make_partitions_differ_and_all_are_used() -> None:
    x = torch.rand(200, 6, generator=seeded())
    data = Pool(torch.cat([torch.arange(200.0).unsqueeze(1), x], 1), torch.zeros(200, dtype=torch.long))
    first, second = partitions(data, x, 10, 2)

    def pairs(part: Pool) -> Tensor:
        y = part.y[part.x[:, 0].argsort()]
        return y.unsqueeze(1) == y

    shared = (pairs(first) & pairs(second)).sum() / pairs(first).sum()
    assert shared < 0.9
    sampler = ClusteredTasks([pool(), pool(4)], 40, 2, 1, 1)
    assert 0.2 < (sampler(seeded()).support_x[:, :, 1] == 3).any(1).float().mean() < 0.5  # class 3: half times half


def test_small_clusters_are_left_out() -> None:
    y = torch.tensor([0] * 10 + [1] * 10 + [2] * 3)
    sampler = ClusteredTasks([Pool(y.float().unsqueeze(1), y)], 50, 2, 1, 3)
    assert set(sampler(seeded()).support_x.flatten().tolist()) == {0.0, 1.0}


def test_purity_by_hand() -> None:
    clusters, labels = torch.tensor([5, 5, 5, 9, 9, 1]), torch.tensor([0, 0, 1, 1, 0, 2])
    assert purity(clusters, labels) == pytest.approx((2 + 1 + 1) / 6)
    assert purity(torch.arange(6), labels) == 1.0
    assert purity(torch.zeros(6), labels) == pytest.approx(3 / 6)


def test_partly_labelled_tasks() -> None:
    sampler = PartlyLabelledTasks(pool(6), 30, n_way=3, n_shot=2, n_query=3, n_unlabelled=4, n_distractors=2)
    batch = sampler(seeded())
    for task in (batch[i] for i in range(30)):
        labelled = task.support_y >= 0
        classes = {n: set(task.support_x[task.support_y == n, 1].tolist()) for n in range(3)}
        assert [len(found) for found in classes.values()] == [1, 1, 1]
        assert torch.bincount(task.support_y[labelled]).tolist() == [2, 2, 2]
        there, counts = torch.unique(task.support_x[~labelled, 1], return_counts=True)
        assert counts.tolist() == [4] * 5  # three classes and two distractors
        assert set().union(*classes.values()) <= set(there.tolist())
        assert labelled.tolist() == [True] * 6 + [False] * 20
        by_class = task.support_x[6:, 1].reshape(5, 4)
        assert (by_class == by_class[:, :1]).all() and [{each} for each in by_class[:3, 0].tolist()] == [
            *classes.values()
        ]
        assert torch.bincount(task.query_y).tolist() == [3, 3, 3]
        assert all({float(x)} == classes[int(y)] for x, y in zip(task.query_x[:, 1], task.query_y, strict=True))
        rows = torch.cat([task.support_x, task.query_x])[:, 0]
        assert len(set(rows.tolist())) == len(rows)
    batch.check(unlabelled=True)
    with pytest.raises(ValueError, match="support_y must hold integer labels"):
        batch.check()


def test_nt_xent_by_hand() -> None:
    left = torch.tensor([[3.0, 0.0], [0.0, 2.0]], dtype=torch.float64)
    right = torch.tensor([[1.0, 1.0], [0.0, 5.0]], dtype=torch.float64)
    cosine = {("l0", "l1"): 0.0, ("l0", "r0"): 0.5**0.5, ("l0", "r1"): 0.0}
    cosine |= {("l1", "r0"): 0.5**0.5, ("l1", "r1"): 1.0, ("r0", "r1"): 0.5**0.5}
    both = cosine | {(b, a): value for (a, b), value in cosine.items()}
    names, partner = ("l0", "l1", "r0", "r1"), {"l0": "r0", "r0": "l0", "l1": "r1", "r1": "l1"}
    terms = [
        -math.log(
            math.exp(both[i, partner[i]] / 0.5) / sum(math.exp(both[i, k] / 0.5) for k in names if k != i)
        )
        for i in names
    ]  # fmt: skip
    assert nt_xent(left, right, 0.5).item() == pytest.approx(sum(terms) / 4, rel=1e-12)


def test_nt_xent_is_symmetric_scale_free_and_log_of_all_others_for_equal_vectors() -> None:
    left, right = torch.randn(2, 6, 3, generator=seeded(), dtype=torch.float64)
    loss = nt_xent(left, right, 0.3)
    order = torch.randperm(6, generator=seeded())
    torch.testing.assert_close(nt_xent(right, left, 0.3), loss)
    torch.testing.assert_close(nt_xent(7 * left[order], right[order], 0.3), loss)
    assert nt_xent(torch.ones(6, 3), torch.ones(6, 3)).item() == pytest.approx(math.log(11))
    left.requires_grad_()
    assert torch.autograd.gradcheck(lambda x: nt_xent(x, right, 0.3), left)


def test_contrastive_is_prototypical_in_a_task() -> None:
    encoder, x, y = MLP([2, 5, 3]), torch.randn(6, 2, generator=seeded()), torch.arange(3).repeat(2)
    distances: tuple[Distance, ...] = ("cosine", "squared euclidean")
    for distance in distances:
        ours = Contrastive(encoder, distance=distance, n_features=3)
        other = Prototypical(encoder, distance=distance)
        torch.testing.assert_close(ours.predict(ours.adapt(x, y), x), other.predict(other.adapt(x, y), x))


def nuisance(n_each: int = 20, n_classes: int = 12) -> Pool:
    """Return points of two features: the first tells the class, the second is noise that augmentation redraws."""
    y = torch.arange(n_classes).repeat_interleave(n_each)
    noise = 20 * torch.rand(len(y), generator=seeded(1))
    return Pool(torch.stack([y.float() + 0.1 * torch.randn(len(y), generator=seeded(2)), noise], 1), y)


def redraw(x: Tensor, generator: torch.Generator | None) -> Tensor:
    return torch.stack([x[:, 0], 20 * torch.rand(len(x), generator=generator)], 1)


def test_without_labels_the_nuisance_is_unlearned() -> None:
    data = nuisance()
    tasks = data.episodes(n_tasks=10, n_way=3, n_shot=1, n_query=5)
    before = evaluate(Prototypical(nn.Identity()), tasks, 100, seed=0, progress=False)
    torch.manual_seed(0)
    trained: list[tuple[Learner, Any]] = [
        (Prototypical(nn.Linear(2, 2)), AugmentedTasks(data, redraw, 4, 5, 3)),
        (Contrastive(nn.Linear(2, 2), n_projection=0, n_features=2), Views(data, redraw, 40)),
    ]
    for learner, sampler in trained:
        fit(learner, sampler, 300, outer_lr=0.02, seed=0, progress=False)
        after = evaluate(learner, tasks, 100, seed=0, progress=False)
        assert after.above(before, by=0.2), (after, before)


def test_soft_k_means_without_unlabelled_examples_is_prototypical() -> None:
    torch.manual_seed(0)
    encoder, x, y = MLP([2, 5, 3]), torch.randn(6, 2), torch.arange(3).repeat(2)
    plain = Prototypical(encoder)
    expected = plain.predict(plain.adapt(x, y), x)
    more_x, more_y = torch.cat([x, torch.randn(4, 2)]), torch.cat([y, torch.full((4,), -1)])
    variants: tuple[Distractors, ...] = ("none", "cluster", "mask")
    for distractors in variants:
        learner = SoftKMeans(encoder, distractors=distractors, n_refinements=3)
        torch.testing.assert_close(learner.predict(learner.adapt(x, y), x), expected)
        learner.n_refinements = 0
        torch.testing.assert_close(learner.predict(learner.adapt(more_x, more_y), x), expected)


def test_soft_k_means_by_hand_and_by_hard_clusters() -> None:
    learner = SoftKMeans(nn.Identity()).double()
    x, y = torch.tensor([[0.0], [2.0], [0.5]], dtype=torch.float64), torch.tensor([0, 1, -1])
    share = 1 / (1 + math.exp(0.5**2 - 1.5**2))
    expected = [[0.5 * share / (1 + share)], [(2 + 0.5 * (1 - share)) / (2 - share)]]
    torch.testing.assert_close(learner.adapt(x, y)["prototypes"], torch.tensor(expected, dtype=torch.float64))
    apart = 100.0 * torch.eye(4) + torch.rand(6, 4, 4, generator=seeded())  # [6 of each, 4 classes, features]
    hidden = torch.tensor([0, 0, 1, 1, 1, 1]).bool()[:, None].expand(-1, 4)
    labels = torch.arange(4).expand(6, 4).masked_fill(hidden, -1)
    found = SoftKMeans(nn.Identity()).adapt(apart.flatten(0, 1), labels.flatten())["prototypes"]
    torch.testing.assert_close(found, apart.mean(0))


@pytest.mark.parametrize("distractors", ["none", "cluster", "mask"])
def test_soft_k_means_is_invariant_and_the_same_under_vmap(distractors: Any) -> None:
    torch.manual_seed(0)
    learner = SoftKMeans(nn.Linear(2, 3), distractors=distractors, n_refinements=2).double()
    batch = PartlyLabelledTasks(pool(6), 3, 3, 1, 2, 3, 2)(seeded()).map(
        lambda leaf: (leaf / 10).double() if leaf.is_floating_point() else leaf
    )
    task = batch[0]
    logits = learner.predict(learner.adapt(task.support_x, task.support_y, n_way=3), task.query_x)
    rows, names = torch.randperm(len(task.support_y), generator=seeded()), torch.tensor([2, 0, 1])
    y = torch.where(task.support_y < 0, -1, names[task.support_y])
    again = learner.predict(learner.adapt(task.support_x[rows], y[rows], n_way=3), task.query_x)
    torch.testing.assert_close(again[:, names], logits)
    vmapped, looped = over_tasks(learner.loss, batch, "vmap"), over_tasks(learner.loss, batch, "loop")
    torch.testing.assert_close(vmapped, looped)
    learner.check(batch)
    learner.backward(batch)
    assert all(p.grad is not None and p.grad.isfinite().all() for p in learner.parameters())


def test_shares_with_a_cluster_for_distractors_by_hand() -> None:
    learner = SoftKMeans(nn.Identity(), distractors="cluster").double()
    nn.init.constant_(learner.log_width, math.log(3.0))
    features, prototypes = torch.tensor([[1.0], [4.0]]).double(), torch.tensor([[2.0], [5.0]]).double()
    share = learner.shares(features, prototypes, torch.tensor([False, True]))
    weights = [math.exp(-4.0), math.exp(-1.0), math.exp(-16 / 9) / 3]  # two classes of width 1, one of 3 at the origin
    assert share[0].tolist() == [0.0, 0.0]
    assert share[1].tolist() == pytest.approx([w / sum(weights) for w in weights[:2]])


def test_masks_by_hand() -> None:
    learner = SoftKMeans(nn.Identity(), distractors="mask").double()
    layer = nn.Linear(5, 2).double()
    learner.masks = nn.Sequential(layer)
    seen: list[Tensor] = []
    learner.masks.register_forward_hook(lambda module, given, out: seen.append(given[0]))
    with torch.no_grad():
        layer.weight.zero_()
        layer.bias.copy_(torch.tensor([1.5, 4.0]))
    features, prototypes = torch.tensor([[9.0], [1.0], [3.0]]).double(), torch.zeros(1, 1).double()
    share = learner.shares(features, prototypes, torch.tensor([False, True, True]))
    relative = [1 / 5, 9 / 5]  # squared distances 1 and 9 over their mean
    expected = [0.0, *(1 / (1 + math.exp(4 * (d - 1.5))) for d in relative)]
    assert share.flatten().tolist() == pytest.approx(expected)
    assert seen[0][0].tolist() == pytest.approx([0.2, 1.8, 0.64, 0.0, 1.0], abs=1e-4)


def test_distractors_are_learned_to_be_left_out() -> None:
    """The unlabelled lie around the origin, and are distractors alone: the cluster there widens and takes them."""
    torch.manual_seed(0)
    y = torch.arange(3).repeat_interleave(20)
    x = torch.tensor([[3.0, 0.0], [-3.0, 0.5], [0.0, 3.0]])[y] + torch.randn(60, 2)
    support_y = torch.cat([torch.arange(3), torch.full((60,), -1)])
    support_x = torch.cat([x[::20], torch.randn(60, 2)])
    task = Episode(support_x, support_y, x, y, n_way=3).map(lambda leaf: leaf.unsqueeze(0))
    plain, learner = SoftKMeans(nn.Identity()), SoftKMeans(nn.Identity(), distractors="cluster")
    before = learner.loss(task[0]).item()
    fit(learner, lambda generator: task, 150, outer_lr=0.05, seed=0, progress=False)
    assert learner.log_width > 0.2
    assert learner.loss(task[0]).item() < before - 0.01 < plain.loss(task[0]).item() - 0.03
    pulled = [
        found.shares(support_x, found.adapt(support_x, support_y)["prototypes"], support_y == -1).sum(1)[3:].mean()
        for found in (plain, learner)
    ]
    assert pulled[0] == pytest.approx(1.0)
    assert pulled[1] < 0.6


def tasks_of_points(spread: float) -> Any:
    return (lambda p: p.episodes(n_tasks=10, n_way=3, n_shot=1, n_query=5))(
        Pool(
            torch.arange(8.0).repeat_interleave(20).unsqueeze(1) + spread * torch.randn(160, 1, generator=seeded()),
            torch.arange(8).repeat_interleave(20),
        )
    )


def test_the_temperature_is_where_the_cross_entropy_is_least() -> None:
    logits, y = torch.randn(200, 4, generator=seeded()).double() * 6, torch.randint(4, (200,), generator=seeded(1))
    y = torch.where(torch.rand(200, generator=seeded(2)) < 0.6, logits.argmax(1), y)
    best = best_temperature(logits, y)
    losses = [F.cross_entropy(logits / (best * factor), y).item() for factor in (0.98, 1.0, 1.02)]
    assert losses[1] < min(losses[0], losses[2])
    assert best_temperature(10 * logits, y) == pytest.approx(10 * best)
    sampler = tasks_of_points(0.3)
    hot, cold = Prototypical(nn.Identity(), temperature=0.1), Prototypical(nn.Identity(), temperature=10.0)
    found = [fit_temperature(learner, sampler, 20, seed=0) for learner in (hot, cold)]
    assert found[0] == pytest.approx(100 * found[1])
    assert hot.training  # as it was
    with pytest.raises(ValueError, match="4 logits are not finite"):
        best_temperature(torch.tensor([[2.0, 0.0, -math.inf]] * 4), torch.tensor([0, 0, 0, 1]))


def test_pseudo_labels_and_rounds_by_hand() -> None:
    learner = Prototypical(nn.Identity()).eval()
    x, y = torch.tensor([[0.0], [4.0]]), torch.tensor([0, 1])
    more = torch.tensor([[1.0], [1.9], [6.0]])
    found = pseudo_labels(learner, learner.adapt(x, y), more, temperature=2.0)
    assert found.labels.tolist() == [0, 0, 1]
    expected = [1 / (1 + math.exp((a**2 - b**2) / 2)) for a, b in ((1.0, 3.0), (1.9, 2.1), (2.0, 6.0))]
    assert found.confidence.tolist() == pytest.approx(expected)
    rounds = self_train(learner, x, y, more, n_way=2, threshold=0.9, n_rounds=2)
    assert [r.kept.tolist() for r in rounds[:1]] == [[True, False, True]]
    assert rounds[1].adapted["prototypes"].flatten().tolist() == [0.5, 5.0]
    assert rounds[1].kept.tolist() == [True, True, True]  # the middle moved: 1.9 is now clear
    assert rounds[2].adapted["prototypes"].flatten().tolist() == pytest.approx([2.9 / 3, 5.0])


def test_wrong_labels_confirm_themselves() -> None:
    """A distractor that is called class 1 draws its prototype away, and with it the next labels."""
    learner = Prototypical(nn.Identity()).eval()
    x, y = torch.tensor([[0.0], [3.0]]), torch.tensor([0, 1])
    more = torch.tensor([[20.0], [20.0], [2.0]])
    rounds = self_train(learner, x, y, more, n_way=2, threshold=0.9, n_rounds=1)
    assert rounds[0].pseudo.labels.tolist() == [1, 1, 1]
    assert rounds[1].pseudo.labels.tolist() == [1, 1, 0]


def test_other_learners_self_train_too() -> None:
    torch.manual_seed(0)
    x, y, more = torch.tensor([[0.0], [4.0]]), torch.tensor([0, 1]), torch.tensor([[1.0], [6.0]])
    for learner in (MAML(MLP([1, 8, 2]), inner_lr=0.1), Transfer(nn.Identity(), 2, n_features=1)):
        rounds = self_train(learner.eval(), x, y, more, n_way=2, threshold=0.0)
        both = learner.adapt(torch.cat([x, more]), torch.cat([y, rounds[0].pseudo.labels]), n_way=2)
        torch.testing.assert_close(rounds[1].adapted, dict(both), check_device=False)
        assert not any(tensor.requires_grad for tensor in rounds[1].adapted.values())
