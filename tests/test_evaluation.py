"""The interval covers what it says, and evaluation leaves everything as it was."""

import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from metalearn import Episode, EpisodeList, Pool, Score, evaluate, sample_episodes
from metalearn.data import sinusoids
from metalearn.evaluation import accuracy, adapt_each, mean_squared_error
from metalearn.learners import MAML, Prototypical
from metalearn.networks import MLP
from metalearn.runtime import stream


def test_interval_by_hand():
    score = Score.of(torch.tensor([0.2, 0.4, 0.9]))
    assert score.mean == pytest.approx(0.5) and score.median == pytest.approx(0.4)
    deviation = math.sqrt((0.3**2 + 0.1**2 + 0.4**2) / 2)
    assert score.ci95 == pytest.approx(1.96 * deviation / math.sqrt(3)) and score.n_tasks == 3
    assert str(score) == "0.500 ± 0.408 (3 tasks)"


def test_the_median_stands_when_tasks_diverge():
    score = Score.of(torch.tensor([math.nan, 1.0, 2.0, math.inf, 1.5]), higher_is_better=False)
    assert score.median == 2.0 and math.isnan(score.mean)


@pytest.mark.parametrize(("higher", "worst"), [(False, math.inf), (True, -math.inf)])
def test_nan_counts_as_the_worst_value(higher, worst):
    def median(*values):
        return Score.of(torch.tensor(values), higher_is_better=higher).median

    assert median(1.0, math.nan, 2.0) == (2.0 if not higher else 1.0)
    assert median(1.0, math.nan, worst, math.nan) == median(1.0, math.nan) == worst
    assert median(0.1, 0.4) == torch.tensor([0.1, 0.4]).double().quantile(0.5).item()


def test_numbers_of_numpy_are_numbers():
    assert Score.of(torch.tensor([0.9, 0.8])).above(np.float32(0.5))


@pytest.mark.parametrize(
    ("metric", "prediction", "y"),
    [(mean_squared_error, torch.ones(3, 1), torch.ones(3)), (accuracy, torch.eye(3), torch.arange(3).unsqueeze(1))],
)
def test_metrics_pair_each_prediction_with_its_own_target(metric, prediction, y):
    with pytest.raises(ValueError, match=r"expected one prediction for each target \[3"):
        metric(prediction, y)


def test_fixed_tasks_are_counted_once():
    tasks = sinusoids().sample(16, 5, 10, torch.Generator().manual_seed(0))
    assert evaluate(maml(), lambda generator: tasks, 16).n_tasks == 16
    with pytest.raises(ValueError, match=r"the same 16 tasks again.* Give n_tasks=16, or a sample that draws"):
        evaluate(maml(), lambda generator: tasks, 32)


def test_tasks_of_unequal_size_are_scored_one_by_one():
    generator = torch.Generator().manual_seed(0)
    tasks = []
    for n_way, n_query in ((2, 3), (3, 7), (2, 4)):
        x, y = torch.randn(n_way + n_query, 2, generator=generator), torch.arange(n_way + n_query) % n_way
        tasks.append(Episode(x[:n_way], y[:n_way], x[n_way:], y[n_way:], n_way))
    learner = Prototypical(nn.Identity())
    expected = []
    for task in tasks:
        distances = torch.cdist(task.query_x, task.support_x)  # one support example of each class, in order
        expected.append((distances.argmin(1) == task.query_y).float().mean())
    score = evaluate(learner, lambda generator: EpisodeList(tasks), 3)
    torch.testing.assert_close(score.per_task, torch.stack(expected))
    assert 0 < score.mean < 1 and score.n_tasks == 3
    alike = evaluate(learner, lambda generator: EpisodeList([tasks[0], tasks[2]]), 5)  # drawn three times
    torch.testing.assert_close(alike.per_task, torch.stack(expected)[[0, 2, 0, 2, 0]])


def test_supports_of_one_size_are_adapted_to_at_once():
    batch, calls = sinusoids().sample(6, 5, 4, torch.Generator().manual_seed(0)), []
    torch.manual_seed(0)
    learner = MAML(MLP([1, 8, 1]), 0.1, 2, loss_fn=F.mse_loss)
    inner = learner.adapt
    learner.adapt = lambda *args, **options: calls.append(1) or inner(*args, **options)
    with torch.no_grad():
        unequal = EpisodeList([Episode(t.support_x, t.support_y, t.query_x[:k], t.query_y[:k]) for k, t in
                               zip((1, 2, 3, 4, 1, 2), (batch[i] for i in range(6)), strict=True)])  # fmt: skip
        together = adapt_each(learner, unequal, n_steps=1)
        assert len(calls) == 1
        for task, adapted in zip(unequal, together, strict=True):
            alone = inner(task.support_x, task.support_y, n_steps=1)
            assert adapted.keys() == alone.keys()
            for name in alone:
                torch.testing.assert_close(adapted[name], alone[name])


def test_interval_covers_the_truth_in_95_of_100_cases():
    values = torch.rand(2000, 200, generator=torch.Generator().manual_seed(0))
    scores = [Score.of(row) for row in values]
    covered = sum(abs(score.mean - 0.5) < score.ci95 for score in scores) / 2000
    assert 0.93 < covered < 0.97


def test_better_than():
    low, high, nan = (
        Score(1, 0, 2, torch.empty(0)),
        Score(2, 0, 2, torch.empty(0)),
        Score(math.nan, 0, 2, torch.empty(0)),
    )
    assert high.better_than(low) and not low.better_than(high) and low.better_than(None) and low.better_than(nan)
    assert not nan.better_than(low) and not nan.better_than(None)
    assert Score(1, 0, 2, torch.empty(0), higher_is_better=False).better_than(high)


def points(size=20):
    return Pool(torch.arange(10 * size).float().unsqueeze(1) // size * 10, torch.arange(10 * size) // size)


def test_an_exact_learner_scores_one_and_tasks_are_counted_exactly():
    learner = Prototypical(nn.Identity())
    score = evaluate(learner, lambda g: sample_episodes(points(), 32, 3, 1, 4, g), 70)
    assert score.mean == 1 and score.ci95 == 0 and score.n_tasks == len(score.per_task) == 70 and score.higher_is_better


def maml():
    torch.manual_seed(0)
    return MAML(MLP([1, 8, 1]), 0.01, loss_fn=F.mse_loss)


def waves(generator):
    return sinusoids().sample(16, 5, 10, generator)


def test_several_numbers_of_steps_at_once_are_those_one_by_one():
    together = evaluate(maml(), waves, 32, [0, 1, 3])
    for n_steps, score in together.items():
        assert torch.equal(score.per_task, evaluate(maml(), waves, 32, n_steps).per_task)
    assert torch.equal(together[1].per_task, evaluate(maml(), waves, 32).per_task) and not together[0].higher_is_better
    first = waves(stream(0, "test"))
    zero = maml().model(first.query_x) - first.query_y
    torch.testing.assert_close(together[0].per_task[:16], zero.square().mean((1, 2)))


def test_evaluation_leaves_the_learner_and_its_mode_alone():
    learner = MAML(nn.Sequential(nn.Linear(1, 8), nn.Dropout(0.9), nn.Linear(8, 1)), 0.1, loss_fn=F.mse_loss)
    first, second = (evaluate(learner, waves, 32).per_task for _ in range(2))
    assert torch.equal(first, second) and learner.training  # dropout was off
    learner.model[1].eval()
    evaluate(learner, waves, 32)
    assert learner.training and learner.model[0].training and not learner.model[1].training
    assert all(p.grad is None for p in learner.parameters())


def test_a_metric_of_ones_own():
    def worst(prediction, y):
        return (prediction - y).abs().amax()

    score = evaluate(maml(), waves, 16, metric=worst, higher_is_better=False)
    assert score.mean > evaluate(maml(), waves, 16).mean ** 0.5 and not score.higher_is_better
    learner = maml()
    learner.how = "loop"
    numbers = evaluate(learner, waves, 16, metric=lambda prediction, y: worst(prediction, y).item())
    torch.testing.assert_close(numbers.per_task, score.per_task)


@pytest.mark.parametrize("own", [False, True])
def test_of_a_loss_lower_is_better(own):
    def fourth_power(prediction, y):
        return (prediction - y).pow(4).mean()

    learner = MAML(MLP([1, 8, 1]), 0.01, loss_fn=fourth_power if own else F.mse_loss)
    assert not evaluate(learner, waves, 16, metric=F.l1_loss).higher_is_better
    assert evaluate(learner, waves, 16, metric=fourth_power).higher_is_better is not own


def test_no_steps_to_count_and_no_tasks_to_score():
    with pytest.raises(ValueError, match="n_steps is an empty sequence"):
        evaluate(maml(), waves, 16, [])
    with pytest.raises(ValueError, match="sample gave no tasks"):
        evaluate(maml(), lambda generator: waves(generator)[:0], 16)


def test_too_few_tasks():
    with pytest.raises(ValueError, match="n_tasks must be at least 2 for an interval, got 1"):
        evaluate(maml(), waves, 1)
