"""Pools keep their data as it is; episodes are drawn as the protocol says."""

import numpy as np
import pytest
import torch

from metalearn import Episode, Pool, sample_episodes


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
