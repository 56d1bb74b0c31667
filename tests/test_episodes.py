"""Pools keep their data as it is; episodes are drawn as the protocol says."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from metalearn import Batch, Episode, EpisodeList, Pool, fit, sample_episodes, sample_pairs, sample_triplets
from metalearn.data import sinusoids
from metalearn.learners import Siamese, Transfer


def numbered(n_classes=30, size=20):
    """Return a pool whose example i is the number i, so that each drawn row names itself."""
    index = torch.arange(n_classes * size)
    return Pool(index.unsqueeze(1), index // size)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def test_support_and_query_are_disjoint_and_of_the_same_classes():
    episodes = sample_episodes(numbered(), 50, 5, 3, 4, generator())
    for i in range(50):
        task = episodes[i]
        support, query = task.support_x.flatten().tolist(), task.query_x.flatten().tolist()
        assert len(set(support)) == 15 and len(set(query)) == 20 and not set(support) & set(query)
        class_of = dict(zip([x // 20 for x in support], task.support_y.tolist(), strict=True))
        assert sorted(class_of.values()) == [0, 1, 2, 3, 4]  # five classes, one label each
        assert [class_of[x // 20] for x in query] == task.query_y.tolist()
        assert task.support_y.bincount().tolist() == [3] * 5 and task.query_y.bincount().tolist() == [4] * 5


def test_every_class_example_label_and_position_is_equally_likely():
    episodes = sample_episodes(numbered(10, 6), 20_000, 5, 1, 1, generator())
    x, y = episodes.support_x.squeeze(-1), episodes.support_y
    for counts in (x.flatten().bincount(minlength=60), (x // 6 * 5 + y).flatten().bincount(minlength=50),
                   (torch.arange(5) * 5 + y).flatten().bincount(minlength=25)):  # fmt: skip
        expected = 100_000 / len(counts)
        assert ((counts - expected).abs() < 6 * expected**0.5).all()


def test_same_seed_same_episodes_and_another_seed_others():
    draws = [sample_episodes(numbered(), 4, 5, 1, 5, generator(seed)).query_x for seed in (0, 0, 1)]
    assert torch.equal(draws[0], draws[1]) and not torch.equal(draws[0], draws[2])


def test_classes_of_unequal_size_never_run_over_their_ends():
    y = torch.repeat_interleave(torch.arange(4), torch.tensor([3, 40, 7, 3]))
    pool = Pool(torch.arange(len(y)).unsqueeze(1), y)
    episodes = sample_episodes(pool, 500, 4, 1, 2, generator())
    drawn, labels = episodes.query_x.squeeze(-1), episodes.query_y
    support = torch.zeros(500, 4, dtype=torch.long).scatter(1, episodes.support_y, y[episodes.support_x.squeeze(-1)])
    assert torch.equal(y[drawn], support.gather(1, labels))
    assert set(drawn.flatten().tolist()) == set(range(len(y)))  # and reach every example


def test_uint8_is_kept_and_becomes_float_when_drawn():
    pool = Pool(torch.full((40, 1, 4, 4), 255, dtype=torch.uint8), torch.arange(40) // 10)
    assert pool.x.dtype == torch.uint8
    assert torch.equal(sample_episodes(pool, 1, 2, 1, 1).support_x, torch.ones(1, 2, 1, 4, 4))
    tokens = Pool(torch.arange(40), torch.arange(40) // 10)
    assert sample_episodes(tokens, 1, 2, 1, 1).support_x.dtype == torch.int64


def test_pytree_inputs_stay_together():
    index = torch.arange(60)
    pool = Pool({"tokens": index.reshape(60, 1), "mask": index * 10}, index // 20)
    episode = sample_episodes(pool, 3, 2, 2, 2, generator())
    assert torch.equal(episode.support_x["tokens"].squeeze(-1) * 10, episode.support_x["mask"])


def test_a_transform_sees_each_drawn_example_once_and_gets_the_generator():
    calls = []

    def noise(x, generator):
        calls.append(len(x))
        return x + torch.rand(x.shape, generator=generator)

    pool = Pool(torch.zeros(60, 2), torch.arange(60) // 20, transform=noise)
    first, second = (sample_episodes(pool, 3, 2, 1, 4, generator()) for _ in range(2))
    assert calls == [6, 24] * 2 and torch.equal(first.query_x, second.query_x) and first.query_x.std() > 0


def test_a_pool_from_the_users_own_arrays():
    labels = np.array(["owl", "cat", "owl", "cat"])
    pool = Pool.from_arrays(np.arange(4 * 8 * 6, dtype=np.uint8).reshape(4, 8, 6), labels)
    assert pool.class_names == ("cat", "owl") and pool.x.shape == (4, 1, 8, 6)
    assert pool.x[:, 0, 0, 0].tolist() == [48, 144, 0, 96]  # sorted by class, order kept within
    colour = Pool.from_arrays(np.zeros((4, 8, 6, 3), dtype=np.uint8), labels)
    assert colour.x.shape == (4, 3, 8, 6)


def test_a_pool_from_a_dataset_of_pictures():
    image = pytest.importorskip("PIL.Image")
    dataset = [(image.new("L", (6, 8), color=i), f"class {i % 3}") for i in range(12)]
    pool = Pool.from_dataset(dataset)
    assert pool.x.shape == (12, 1, 8, 6) and pool.class_sizes.tolist() == [4, 4, 4]
    with pytest.raises(ValueError, match="all examples must have one shape"):
        Pool.from_dataset([*dataset, (image.new("L", (5, 8)), "class 0")])


def test_select_and_split_keep_classes_apart():
    pool = numbered(20, 5)
    assert pool.select(pool.class_sizes > 5 - 1).n_classes == 20
    assert pool.select([3, 1]).class_names == ("1", "3")
    splits = pool.split_classes((0.5, 0.2, 0.3), generator())
    names = [set(part.class_names) for part in splits]
    assert [len(n) for n in names] == [10, 4, 6] and len(set.union(*names)) == 20


@pytest.mark.parametrize("classes", [[3, 3], [-1], [20], [], torch.tensor([True]), torch.tensor([True] * 21)])
def test_what_names_no_classes_is_not_selected(classes):
    with pytest.raises(ValueError, match=r"expected different class ids 0…19, at least one|a mask of 20 classes"):
        numbered(20, 5).select(classes)


def test_an_ordinary_batch_has_global_class_ids():
    x, y = numbered().sample_batch(64, generator())
    assert torch.equal(x.squeeze(-1) // 20, y)


def test_a_batch_of_episodes_can_be_indexed_mapped_and_counted():
    episodes = sample_episodes(numbered(), 4, 5, 1, 2, generator())
    assert len(episodes) == 4 and episodes[1].support_x.shape == (5, 1) and len(episodes[1:3]) == 2
    assert episodes.map(lambda t: t + 1).n_way == 5


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ((1, 31, 1, 1), "n_way=31 needs as many classes, the pool has 30"),
        ((1, 5, 10, 11), r"n_shot \+ n_query = 21 needs as many examples in every class, but class '0' has 20"),
        ((0, 5, 1, 1), "n_tasks must be at least 1, got 0"),
        ((1, 5, 0, 1), "n_shot must be at least 1, got 0"),
    ],
)
def test_impossible_episodes(sizes, message):
    with pytest.raises(ValueError, match=message):
        sample_episodes(numbered(), *sizes)


def test_bad_pools():
    y = torch.arange(4) // 2
    with pytest.raises(
        ValueError, match=r"expected x \[n, ...\] and y \[n\] with n > 0, got shapes \[3, 1\] and \[4\]"
    ):
        Pool(torch.zeros(3, 1), y)
    with pytest.raises(ValueError, match="expected a name for each of 2 classes, got 3"):
        Pool(torch.zeros(4, 1), y, class_names=["a", "b", "c"])
    with pytest.raises(ValueError, match="labels must be text or integers, got an array of type float64"):
        Pool.from_arrays(np.zeros((2, 3)), np.zeros(2))
    with pytest.raises(ValueError, match="expected 3 fractions that sum to 1 and at least 3 classes"):
        Pool(torch.zeros(4, 1), y).split_classes()


def test_bad_episodes():
    x, y = torch.zeros(5, 2), torch.arange(5)
    with pytest.raises(
        ValueError, match=r"support_x and support_y must share their first axis, got shapes \[5, 2\] and \[4\]"
    ):
        Episode(x, y[:4], x, y)
    with pytest.raises(ValueError, match="support_x and query_x must hold examples of one shape"):
        Episode(torch.zeros(5, 1, 28, 28), y, torch.zeros(5, 1, 28, 32), y)
    with pytest.raises(ValueError, match="support_x has 1 tensors, query_x has 2"):
        Episode(x, y, (x, x), y)


# Batches say what they hold


class Tokens(nn.Module):
    """An encoder of (tokens, mask): the mean embedding of the tokens that count."""

    n_features = 4

    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(9, 4)

    def forward(self, x):
        tokens, mask = x
        return (self.embedding(tokens) * mask.unsqueeze(-1)).sum(1) / mask.sum(1, keepdim=True)


def sentences():
    tokens = torch.arange(60).unsqueeze(1) // 20 * 3 + torch.arange(3)
    return Pool((tokens, torch.ones(60, 3)), torch.arange(60) // 20)


def test_a_batch_counts_its_examples_and_comes_apart():
    pool = numbered()
    batches = {
        "labelled": (pool.sample_batch(64, generator()), 64, 1),
        "pairs": (sample_pairs(pool, 6, generator()), 6, 2),
        "triplets": (sample_triplets(pool, 5, generator()), 5, 3),
    }
    for kind, (batch, n, n_sides) in batches.items():
        x, y = batch
        assert x is batch.x and y is batch.y and batch.kind == kind
        assert len(batch) == n and len(batch.sides) == n_sides and all(len(side) == n for side in batch.sides)
        assert batch.to("cpu").kind == kind
    batch = sentences().sample_batch(7, generator())
    assert len(batch) == 7 and batch.kind == "labelled" and len(batch.sides) == 1 and len(batch.x) == 2
    assert repr(batch) == "Batch(x=([7, 3], [7, 3]), y=[7], kind='labelled')"


def test_pairs_of_inputs_with_a_mask_train_a_siamese_network():
    pool = sentences()
    for pair_loss, sampler in [("contrastive", pool.pairs(8)), ("triplet", pool.triplets(8))]:
        learner = Siamese(Tokens(), pair_loss=pair_loss)
        assert fit(learner, sampler, 60, outer_lr=0.1, progress=False).losses[-1] < 0.1
    batch = sample_pairs(pool, 4, generator())
    assert [len(side) for side in batch.sides] == [2, 2] and batch.sides[1][0].shape == (4, 3)


def test_inputs_with_a_mask_are_no_pairs():
    pool = sentences()
    with pytest.raises(ValueError, match=r"'contrastive' learns from pairs, got a batch of kind 'labelled'"):
        fit(Siamese(Tokens()), pool.batches(8), 1, progress=False)
    with pytest.raises(ValueError, match=r"learns from pairs, got a batch of kind 'labelled': sample with pool.pairs"):
        Siamese(nn.Identity()).batch_loss(Batch((torch.zeros(2, 1), torch.zeros(2, 1)), torch.tensor([0, 1])))
    with pytest.raises(ValueError, match=r"Transfer learns from labelled batches, got a batch of kind 'pairs'"):
        fit(Transfer(Tokens(), 3), pool.pairs(8), 1, progress=False)
    assert fit(Transfer(Tokens(), 3), pool.batches(8), 60, outer_lr=0.1, progress=False).losses[-1] < 0.1


@pytest.mark.parametrize(
    ("x", "y", "kind", "message"),
    [
        (torch.zeros(2, 1), torch.arange(2), "pair", "kind must be one of .*'pairs', 'triplets'.*, got 'pair'"),
        (torch.zeros(2, 1), torch.arange(2), "pairs", "kind='pairs' needs x to be a tuple of 2 inputs, got Tensor"),
        ((torch.zeros(2, 1),) * 2, torch.arange(2), "triplets", "a tuple of 3 inputs, got a tuple of 2"),
        (torch.zeros(3, 1), torch.arange(2), "labelled", r"share their first axis, got shapes \[3, 1\] and \[2\]"),
    ],
)
def test_wrong_batches(x, y, kind, message):
    with pytest.raises(ValueError, match=message):
        Batch(x, y, kind)


def test_batches_and_episodes_check_their_values():
    with pytest.raises(ValueError, match=r"x holds NaN or infinite values, in rows \[1\]"):
        Batch(torch.tensor([[0.0], [math.nan]]), torch.arange(2)).check()
    x, y = torch.zeros(2, 1), torch.arange(2)
    Episode(x, y, x, y, 2).check()
    with pytest.raises(ValueError, match=r"the task has no support example of class 2: each class needs one"):
        Episode(x, y, x, y, 3).check()
    with pytest.raises(
        ValueError, match=r"query_y must hold integer labels 0…1 \(n_way=2\), got torch.int64 from 0 to 2"
    ):
        Episode(x, y, x, 2 * y, 2).check()
    with pytest.raises(ValueError, match=r"query_x holds NaN or infinite values, in rows \[0, 1\]"):
        Episode(x, x, x / 0, x).check()
    with pytest.raises(ValueError, match=r"task 1 of the batch has no support example of class 0"):
        Episode(x.expand(2, 2, 1), torch.tensor([[0, 1], [1, 1]]), x.expand(2, 2, 1), y.expand(2, 2), 2).check()
    with pytest.raises(ValueError, match=r"query_y is empty, of shape \[0\]: a task needs support and query"):
        Episode(x, y, x[:0], y[:0], 2).check()


def test_a_batch_is_mapped_with_its_sides():
    pool = Pool(torch.randn(60, 2), torch.arange(60) // 20)
    batch = sample_pairs(pool, 8, generator()).map(lambda leaf: leaf.double() if leaf.is_floating_point() else leaf)
    assert batch.kind == "pairs" and [side.dtype for side in batch.sides] == 2 * [torch.float64]
    assert batch.y.dtype == torch.int64 and batch.to("cpu").sides[0].dtype == torch.float64


def test_booleans_are_labels():
    x, y = torch.zeros(2, 1), torch.tensor([False, True])
    episode = Episode(x, y, x, ~y, 2)
    episode.check()
    assert episode.support_y.tolist() == [0, 1] and episode.query_y.tolist() == [1, 0]
    assert episode.support_y.dtype == Batch(x, y).y.dtype == torch.int64


@pytest.mark.parametrize("dtype", [torch.int32, torch.uint8, torch.int16])
def test_labels_of_any_integer_type_become_int64(dtype):
    x, y = torch.zeros(4, 1), torch.tensor([3, 3, 9, 9], dtype=dtype)
    assert Pool(x, y).y.dtype == torch.int64 and Pool(x, y).class_names == ("3", "9")
    assert Batch(x, y).y.dtype == torch.int64
    episode = Episode(x, y // 4, x, y // 4, 3)
    assert episode.support_y.dtype == episode.query_y.dtype == torch.int64


# Lists of unequal tasks


def unequal():
    pool, source = numbered(), generator()
    return [sample_episodes(pool, 1, n_way, n_shot, 2, source)[0] for n_way, n_shot in [(2, 1), (3, 4), (5, 1)]]


def test_a_list_of_unequal_tasks():
    tasks = EpisodeList(unequal())
    assert [task.n_way for task in tasks] == [2, 3, 5] and len(tasks) == 3 and tasks[-1].n_way == 5
    assert isinstance(tasks[:2], EpisodeList) and len(tasks[:2]) == 2 and len(tasks.to("cpu")) == 3
    tasks.check()
    batch = sample_episodes(numbered(), 4, 2, 1, 1, generator())
    assert len(EpisodeList(list(batch))) == 4
    spoiled = EpisodeList([tasks[0], Episode(torch.zeros(2, 1), torch.arange(2), torch.zeros(1, 1), torch.zeros(1), 3)])
    with pytest.raises(ValueError, match=r"task 1 of the list: query_y must hold integer labels 0…2"):
        spoiled.check()


def test_wrong_lists_of_tasks():
    with pytest.raises(ValueError, match=r"at least one episode, got an empty list"):
        EpisodeList([])
    with pytest.raises(ValueError, match=r"expected a list of episodes, got Tensor at position 0"):
        EpisodeList([torch.zeros(1)])
    batch = sample_episodes(numbered(), 4, 2, 1, 1, generator())
    with pytest.raises(ValueError, match=r"got a batch of 4 tasks at position 1: .*list\(batch\)"):
        EpisodeList([batch[0], batch])
    waves = sinusoids().sample(4, 5, 5, generator())
    with pytest.raises(ValueError, match=r"got a batch of 4 tasks at position 0: .*list\(batch\)"):
        EpisodeList([waves])
    assert len(EpisodeList(list(waves))) == 4


# What a pool takes


def test_a_pool_takes_a_list_of_labels():
    assert Pool(torch.zeros(3, 1), [7, 9, 7]).class_names == ("7", "9")
    wrong = {
        r"y must hold integers \[n\], got values of type <U3: Pool.from_arrays takes text": (
            torch.zeros(2),
            ["owl", "cat"],
        ),
        r"y must hold integers \[n\], one class id for each example, got torch.float32": (
            torch.zeros(2),
            torch.zeros(2),
        ),
        r"x must be a tensor or a pytree of tensors, got \['float'\]": ([0.0, 1.0], torch.arange(2)),
        r"x must be a tensor or a pytree of tensors, got \['ndarray'\]: Pool.from_arrays": (
            np.zeros(2),
            torch.arange(2),
        ),
        r"expected x \[n, ...\] and y \[n\] with n > 0, got shapes \[0, 1\] and \[0\]": (torch.zeros(0, 1), []),
    }
    for message, (x, y) in wrong.items():
        with pytest.raises(ValueError, match=message):
            Pool(x, y)


@pytest.mark.parametrize("shape", [(4, 1, 5, 5), (4, 5, 5)])
def test_float_images_of_levels_to_255_are_refused(shape):
    levels, y = torch.arange(math.prod(shape)).reshape(shape).float(), torch.arange(4) // 2
    with pytest.raises(ValueError, match=r"must lie in \[0, 1\], got levels from 0 to 99: divide them by 255, or pass"):
        Pool(levels, y)
    for fine in (levels / 255, levels - 50, levels * 1.01, (levels > 50).float(), levels.long(), levels.flatten(1)):
        assert len(Pool(fine, y)) == 4


def test_float_arrays_of_three_axes_must_say_what_they_are():
    grey, labels = np.random.default_rng(0).random((4, 8, 6), np.float32), [0, 0, 1, 1]
    with pytest.raises(ValueError, match=r"\[4, 8, 6\] may be grey images .* or sequences .*: say images=True or"):
        Pool.from_arrays(grey, labels)
    assert Pool.from_arrays(grey, labels, images=True).x.shape == (4, 1, 8, 6)
    assert Pool.from_arrays(grey, labels, images=False).x.shape == (4, 8, 6)
    colour = np.stack([grey] * 3, -1)
    assert Pool.from_arrays(colour, labels, images=True).x.shape == (4, 3, 8, 6)
    assert Pool.from_arrays(colour, labels).x.shape == (4, 8, 6, 3)


def test_a_pool_is_encoded_once():
    pool = Pool(
        torch.randint(256, (30, 1, 4, 4), dtype=torch.uint8), torch.arange(30) // 10, class_names=["a", "b", "c"]
    )
    network, sizes = nn.Sequential(nn.Flatten(), nn.Linear(16, 3)), []

    def encode(x):
        sizes.append(len(x))
        return network(x)

    encoded = pool.encoded(encode, batch_size=12)
    assert sizes == [12, 12, 6] and encoded.class_names == pool.class_names and torch.equal(encoded.y, pool.y)
    torch.testing.assert_close(encoded.x, network(pool.x.float() / 255).detach())
    assert not encoded.x.requires_grad
    both = pool.encoded(lambda x: {"x": x.flatten(1), "size": torch.ones(len(x))})
    assert both.x["x"].shape == (30, 16) and both.x["size"].shape == (30,)
    noisy = Pool(torch.zeros(30, 2), pool.y, transform=lambda x, g: x + torch.rand(x.shape, generator=g))
    assert torch.equal(noisy.encoded(lambda x: x).x, noisy.encoded(lambda x: x).x)
    assert noisy.encoded(lambda x: x).transform is None
    with pytest.raises(ValueError, match=r"one row for each of 30 examples, got shapes \[\[1, 2\]\]"):
        noisy.encoded(lambda x: x.mean(0, keepdim=True))
    with pytest.raises(ValueError, match=r"batch_size must be at least 1, got 0"):
        noisy.encoded(lambda x: x, batch_size=0)
