"""Draws are those of the recorded runs, whoever asks for them; samplers are the same draws as objects."""

import hashlib

import pytest
import torch

from metalearn import Pool, TaskFamily, sample_episodes, sample_pairs, sample_triplets, sampling
from metalearn.data import sinusoids


def numbered(n_classes=30, size=20, **options):
    """Return a pool whose example i is the number i, so that each drawn row names itself."""
    index = torch.arange(n_classes * size)
    return Pool(index.unsqueeze(1), index // size, **options)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def noise(x, generator):
    return x + torch.randint(9, x.shape, generator=generator)


SIZES = {"n_tasks": 50, "n_way": 5, "n_shot": 3, "n_query": 4}
GROUPS = ["a"] * 7 + ["b"] * 4 + ["c"] * 19
UNEVEN = Pool(torch.arange(55), torch.repeat_interleave(torch.arange(4), torch.tensor([3, 40, 7, 5])))
NOISY = numbered(transform=noise)


def tensors(batch):
    if hasattr(batch, "sides"):
        return *batch.sides, batch.y
    return batch.support_x, batch.support_y, batch.query_x, batch.query_y


# What the code of state 8cc954e drew with seed 3: a checksum, and the random number that came after.
RECORDED = {
    "episodes": (
        lambda g: sample_episodes(numbered(), 50, 5, 3, 4, g),
        numbered().episodes(**SIZES),
        ("28adcc3984d2", 818736555),
    ),
    "episodes of groups": (
        lambda g: sample_episodes(numbered(), 50, 5, 1, 4, g, groups=GROUPS),
        numbered().episodes(n_tasks=50, n_way=5, n_shot=1, n_query=4, groups=GROUPS),
        ("5fbccd189d5d", 937188560),
    ),
    "episodes of uneven classes": (
        lambda g: sample_episodes(UNEVEN, 50, 3, 1, 2, g),
        UNEVEN.episodes(n_tasks=50, n_way=3, n_shot=1, n_query=2),
        ("011862a4aef5", 203831914),
    ),
    "transformed episodes": (
        lambda g: sample_episodes(NOISY, 20, 5, 1, 2, g),
        NOISY.episodes(n_tasks=20, n_way=5, n_shot=1, n_query=2),
        ("c8956d8a3fbb", 25217834),
    ),
    "pairs": (lambda g: sample_pairs(UNEVEN, 200, g), UNEVEN.pairs(200), ("3606fc0fc30b", 316954239)),
    "triplets": (lambda g: sample_triplets(UNEVEN, 200, g), UNEVEN.triplets(200), ("04ddb27cc8d0", 316954239)),
    "batches": (lambda g: NOISY.sample_batch(200, g), NOISY.batches(200), ("237e25aee390", 642385709)),
}


@pytest.mark.parametrize("name", RECORDED)
def test_draws_are_the_recorded_ones(name):
    function, sampler, expected = RECORDED[name]
    for draw in (function, sampler):
        source = generator(3)
        content = b"".join(part.contiguous().numpy().tobytes() for part in tensors(draw(source)))
        after = int(torch.randint(10**9, (), generator=source))
        assert (hashlib.sha256(content).hexdigest()[:12], after) == expected


def test_sine_waves_are_the_recorded_ones():
    for draw in (lambda g: sinusoids().sample(4, 3, 2, g), sinusoids().episodes(n_tasks=4, n_shot=3, n_query=2)):
        source = generator(3)
        episodes = draw(source)
        assert episodes.support_x.flatten().tolist()[:3] == pytest.approx([0.94421196, 3.87856674, -0.48968697])
        assert episodes.query_y.flatten().tolist()[:3] == pytest.approx([0.12069139, 0.11648490, 0.17723443], abs=1e-6)
        assert int(torch.randint(10**9, (), generator=source)) == 316790594


def test_the_curve_of_a_task_is_its_wave():
    family, source = sinusoids(), generator(3)
    amplitude, phase = family.waves(4, generator(3))
    batch, x = family.sample(4, 3, 2, source), torch.linspace(-5, 5, 50).unsqueeze(1)
    for i in range(4):
        truth = amplitude[i] * torch.sin(x - phase[i])
        torch.testing.assert_close(family.curve(batch[i])(x), truth, rtol=1e-4, atol=1e-4)


def test_samplers_say_what_they_draw_and_where():
    pool = numbered(3, 4)
    text = "Pool(12 examples [1], 3 classes of 4)"
    samplers = {
        f"EpisodeSampler(pool={text}, n_tasks=2, n_way=2, n_shot=1, n_query=1)": pool.episodes(
            n_tasks=2, n_way=2, n_shot=1, n_query=1, groups=["a"] * 3
        ),
        f"BatchSampler(pool={text}, batch_size=64)": pool.batches(64),
        f"PairSampler(pool={text}, n_pairs=4)": pool.pairs(4),
        f"TripletSampler(pool={text}, n_triplets=4)": pool.triplets(4),
        f"FamilySampler(family={sinusoids()!r}, n_tasks=4, n_shot=5, n_query=6)": sinusoids().episodes(
            n_tasks=4, n_shot=5, n_query=6
        ),
    }
    for expected, sampler in samplers.items():
        assert repr(sampler) == expected and sampler.device == torch.device("cpu")
        assert sampler in {sampler}  # can be hashed
        with pytest.raises(AttributeError):
            sampler.n_tasks = 3
    assert pool.pairs(4) == pool.pairs(4) != pool.pairs(6)


def test_a_sampler_names_the_device_of_its_pool():
    pool = numbered()
    pool.y = pool.y.to("meta")
    for sampler in (pool.batches(4), pool.pairs(4), pool.triplets(4), pool.episodes(**SIZES)):
        assert sampler.device == torch.device("meta")
    assert sinusoids().episodes(n_tasks=1, n_shot=1, n_query=1, device="cuda").device == torch.device("cuda")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda p: p.episodes(**SIZES | {"n_way": "3"}), r"n_way must be an int, got '3' \(str\)"),
        (lambda p: p.episodes(**SIZES | {"n_way": 3.0}), r"n_way must be an int, got 3.0 \(float\)"),
        (lambda p: p.episodes(**SIZES | {"n_tasks": True}), r"n_tasks must be an int, got True \(bool\)"),
        (lambda p: p.episodes(**SIZES | {"n_way": 31}), "n_way=31 needs as many classes, the pool has 30"),
        (lambda p: p.episodes(**SIZES | {"n_shot": 17}), r"n_shot \+ n_query = 21 needs as many examples"),
        (lambda p: p.episodes(**SIZES, groups=["a"]), "groups must name the group of each of 30 classes, got 1"),
        (lambda p: p.episodes(**SIZES | {"n_way": 20}, groups=GROUPS), "needs a group of as many.*the largest has 19"),
        (lambda p: p.batches(0), "batch_size must be at least 1, got 0"),
        (lambda p: p.batches(6.4), "batch_size must be an int, got 6.4"),
        (lambda p: p.pairs(5), "n_pairs must be even and at least 2.*got 5"),
        (lambda p: p.pairs(4.0), "n_pairs must be an int, got 4.0"),
        (lambda p: p.select([2]).pairs(4), "unequal pairs need at least 2 classes"),
        (lambda p: p.triplets(0), "n_triplets must be at least 1, got 0"),
        (lambda p: p.select([2]).triplets(4), "unequal pairs need at least 2 classes"),
        (lambda p: sinusoids().episodes(n_tasks=4, n_shot=0, n_query=1), "n_shot must be at least 1, got 0"),
        (lambda p: sinusoids().episodes(n_tasks="4", n_shot=1, n_query=1), "n_tasks must be an int, got '4'"),
        (lambda p: sinusoids().sample(4, 1.5, 1), "n_shot must be an int, got 1.5"),
        (lambda p: p.sample_batch("64"), "batch_size must be an int, got '64'"),
        (lambda p: sample_episodes(p, 1, "5", 1, 1), "n_way must be an int, got '5'"),
    ],
)
def test_wrong_sizes_are_refused_when_the_sampler_is_made(make, message):
    with pytest.raises(ValueError, match=message):
        make(numbered())


def test_sine_waves_are_a_task_family():
    assert isinstance(sinusoids(), TaskFamily) and not isinstance(numbered(), TaskFamily)


def test_a_transform_gets_a_generator_of_the_device_of_its_inputs(monkeypatch):
    made = []

    class Stub:  # stands for torch.Generator on a device that this machine lacks
        def __init__(self, device):
            self.device = torch.device(device)
            made.append(self)

        def manual_seed(self, seed):
            self.seed = seed
            return self

    monkeypatch.setattr(sampling.torch, "Generator", Stub)
    given = torch._C.Generator().manual_seed(5)
    assert sampling.generator_on(torch.device("cpu"), given) is given
    assert sampling.generator_on(torch.device("cuda:0"), None) is None and not made
    derived = [sampling.generator_on(torch.device("cuda:0"), given) for _ in range(2)]
    assert [g.device for g in derived] == [torch.device("cuda:0")] * 2
    assert derived[0].seed != derived[1].seed  # another one for each draw
    again = sampling.generator_on(torch.device("cuda:0"), torch._C.Generator().manual_seed(5))
    assert again.seed == derived[0].seed
