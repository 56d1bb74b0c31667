"""Searches over settings against hand-made scores, and their statistics against simulation."""

import math

import pytest
import torch

from metalearn.data import sinusoids
from metalearn.search import (
    Choice,
    LogUniform,
    Race,
    Search,
    Trial,
    Uniform,
    draw,
    n_tasks_needed,
    numbered_tasks,
    race,
    random_search,
    successive_halving,
    trial_and_error,
    vary,
)

SPACE = {"lr": LogUniform(1e-4, 1.0), "decay": Uniform(-1.0, 3.0), "kind": Choice(("a", "b", "c"))}


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def bowl(settings, tasks):
    """Return losses that depend on the task, alike for all settings, and on how far the settings are from the best."""
    away = (settings["decay"] - 1) ** 2 + (math.log10(settings["lr"]) + 2) ** 2 + (settings["kind"] != "b")
    return away + torch.tensor([math.sin(number) for number in tasks])


def noisy(means, spread=1.0, seed=0):
    """Return a score whose tasks are common to all candidates, each with its own mean and noise of its own."""
    hard = torch.randn(5000, generator=seeded(seed))
    own = torch.randn(len(means), 5000, generator=seeded(seed + 1))

    def score(settings, tasks):
        i = settings["i"]
        return means[i] + 10 * hard[list(tasks)] + spread * own[i, list(tasks)]

    return score, [{"i": i} for i in range(len(means))]


def test_draws_lie_in_their_ranges_uniformly():
    generator = seeded()
    drawn = [draw(SPACE, generator) for _ in range(4000)]
    logs = torch.tensor([math.log10(settings["lr"]) for settings in drawn])
    assert logs.min() > -4 and logs.max() < 0
    for share in (0.25, 0.5, 0.75):
        assert logs.quantile(share).item() == pytest.approx(-4 + 4 * share, abs=0.1)
        decays = torch.tensor([settings["decay"] for settings in drawn])
        assert decays.quantile(share).item() == pytest.approx(-1 + 4 * share, abs=0.1)
    counts = [sum(settings["kind"] == kind for settings in drawn) for kind in "abc"]
    assert min(counts) > 1200
    assert draw(SPACE, seeded()) == drawn[0]


def test_a_variation_changes_one_setting_and_stays_in_its_range():
    generator, changed = seeded(), dict.fromkeys(SPACE, 0)
    for _ in range(600):
        before = {"lr": 0.9, "decay": -0.99, "kind": "b"}
        after = vary(before, SPACE, generator, scale=0.5)
        different = [name for name in SPACE if after[name] != before[name]]
        assert len(different) <= 1  # none where a bound held it
        for name in different:
            changed[name] += 1
        assert 1e-4 <= after["lr"] <= 1 and -1 <= after["decay"] <= 3
    assert changed["kind"] > 150 and min(changed.values()) > 80
    steps = [math.log10(LogUniform(1e-4, 1.0).vary(1e-2, generator, 0.1)) + 2 for _ in range(3000)]
    assert torch.tensor(steps).std().item() == pytest.approx(0.4, rel=0.05)  # a tenth of four decades


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Uniform(1, 1), r"low must be below high, got \(1, 1\)"),
        (lambda: LogUniform(0, 1), r"low must be above 0 and below high, got \(0, 1\)"),
        (lambda: Choice(("a",)), r"at least two values .* got \['a'\]"),
        (lambda: draw({}), "a space of at least one setting"),
        (lambda: vary({"lr": 1}, SPACE), r"got \['lr'\]"),
        (lambda: Search.of([]), "at least one trial"),
        (lambda: successive_halving([], bowl, n_tasks=2), "factor of at least 2 and a candidate, got 2 and 0"),
        (lambda: successive_halving([{}], bowl, n_tasks=2, factor=1), "got 1 and 1"),
        (lambda: race([{}], bowl), "two candidates at least"),
        (lambda: race([{}, {}], bowl, n_tasks=5), "n_tasks must be at least 10 and at most max_tasks, got 5"),
        (lambda: race([{}, {}], bowl, level=1.0), r"level in \(0, 1\)"),
        (lambda: n_tasks_needed(1.0, 0.0), "gap > 0"),
        (lambda: numbered_tasks(lambda g: None, range(0)), "numbers of some tasks, got none"),
        (lambda: random_search(SPACE, lambda s, t: torch.zeros(3), n_trials=1, n_tasks=2), r"\[2\], got \[3\]"),
        (lambda: random_search(SPACE, bowl, n_trials=0, n_tasks=2), "n_trials must be at least 1, got 0"),
    ],
)
def test_what_cannot_be_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_a_trial_summarises_its_losses():
    trial = Trial({}, torch.tensor([1.0, 2.0, 3.0, 6.0]))
    assert trial.mean == 3.0
    assert trial.ci95 == pytest.approx(1.96 * math.sqrt(14 / 3) / 2)
    assert Trial({}, torch.tensor([1.0, math.nan])).mean == math.inf
    assert Trial({}, torch.tensor([1.0, -math.inf])).mean == math.inf


def test_random_search_keeps_every_trial_on_the_same_tasks():
    found = random_search(SPACE, bowl, n_trials=50, n_tasks=4, generator=seeded())
    assert len(found.trials) == 50 and found.n_tasks == 200
    generator = seeded()
    assert [trial.settings for trial in found.trials] == [draw(SPACE, generator) for _ in range(50)]
    hardness = found.trials[0].losses - found.trials[0].losses.mean()
    for trial in found.trials:
        torch.testing.assert_close(trial.losses - trial.losses.mean(), hardness, atol=1e-4, rtol=0)
    assert found.best.mean == min(trial.mean for trial in found.trials)


def test_trial_and_error_varies_the_best_so_far():
    start = {"lr": 0.5, "decay": 3.0, "kind": "a"}
    found = trial_and_error(start, SPACE, bowl, n_trials=150, n_tasks=3, generator=seeded())
    assert found.trials[0].settings == start and len(found.trials) == 150 and found.n_tasks == 450
    generator, best, loss = seeded(), start, bowl(start, range(3)).mean()
    for trial in found.trials[1:]:
        other = vary(best, SPACE, generator)
        assert trial.settings == other
        if bowl(other, range(3)).mean() < loss:
            best, loss = other, bowl(other, range(3)).mean()
    assert found.best.settings == best
    assert best["kind"] == "b" and abs(best["decay"] - 1) < 0.3 and abs(math.log10(best["lr"]) + 2) < 0.3


def test_halving_spends_alike_in_each_round_and_runs_no_task_twice():
    seen = []

    def score(settings, tasks):
        seen.extend((settings["i"], number) for number in tasks)
        return torch.full((len(tasks),), float(settings["i"]))

    found = successive_halving([{"i": i} for i in (3, 0, 2, 1, 5, 4, 7, 6)], score, n_tasks=4)
    assert len(seen) == len(set(seen)) == found.n_tasks == 8 * 4 + 4 * 4 + 2 * 8 + 16
    rounds = [[trial.settings["i"] for trial in found.trials if trial.round == k] for k in range(4)]
    assert [sorted(part) for part in rounds] == [list(range(8)), [0, 1, 2, 3], [0, 1], [0]]
    assert found.best.settings == {"i": 0} and len(found.best.losses) == 32
    thirds = successive_halving([{"i": i} for i in range(9)], score, n_tasks=2, factor=3)
    assert [sum(trial.round == k for trial in thirds.trials) for k in range(3)] == [9, 3, 1]


def test_a_race_drops_the_worse_early_and_counts_what_it_spent():
    score, candidates = noisy([0.0, 3.0, 0.4, 0.02])
    found = race(candidates, score, n_tasks=20, max_tasks=400)
    assert isinstance(found, Race) and found.alive == [0, 3]
    assert found.dropped_at[1] == 20 and found.dropped_at[1] < found.dropped_at[2] < 400
    survivors = sum(400 for _ in found.alive)
    assert found.n_tasks == survivors + found.dropped_at[1] + found.dropped_at[2]
    assert max(len(trial.losses) for trial in found.trials) == 400


def test_common_tasks_are_what_makes_a_race_short():
    score, candidates = noisy([0.0, 1.0])

    def unpaired(settings, tasks):  # each candidate on tasks of its own
        return score(settings, [2000 * settings["i"] + number for number in tasks])

    paired, apart = race(candidates, score, max_tasks=400), race(candidates, unpaired, max_tasks=400)
    assert paired.dropped_at == [None, 40] or paired.dropped_at == [None, 20]
    assert apart.dropped_at == [None, None]


def test_a_race_keeps_the_best_as_often_as_it_says():
    lost = 0
    for seed in range(200):
        score, candidates = noisy([0.0] * 4, seed=2 * seed)  # all alike: whoever is dropped is dropped wrongly
        lost += len(race(candidates, score, n_tasks=20, max_tasks=100).alive) < 4
    assert lost <= 20  # 5 % of 200 are 10; more than 20 happen once in a thousand


def test_a_candidate_that_diverges_is_dropped():
    def score(settings, tasks):
        return torch.full((len(tasks),), math.nan if settings["i"] else 1.0)

    assert race([{"i": 0}, {"i": 1}], score).dropped_at == [None, 20]


def test_so_many_tasks_show_the_gap_so_often():
    n = n_tasks_needed(2.0, 0.5, level=0.05, power=0.8)
    assert n == 126
    draws = 0.5 + 2 * torch.randn(20_000, n, generator=seeded())
    seen = (draws.mean(1).abs() > 1.96 * 2 / math.sqrt(n)).double().mean().item()
    assert seen == pytest.approx(0.8, abs=0.01)
    assert n_tasks_needed(0.0, 0.5) == 2


def test_a_number_names_a_task():
    one = sinusoids().episodes(n_tasks=1, n_shot=5, n_query=3)
    some, others = numbered_tasks(one, range(6)), numbered_tasks(one, range(4, 8))
    assert torch.equal(some.query_y[4:], others.query_y[:2])
    assert len(some) == 6 and some.support_x.shape == (6, 5, 1) and some.n_way is None
    assert not torch.equal(some.support_x[0], some.support_x[1])
    assert not torch.equal(some.support_x, numbered_tasks(one, range(6), seed=1).support_x)
    assert not torch.equal(some.support_x, numbered_tasks(one, range(6), stream="test").support_x)
