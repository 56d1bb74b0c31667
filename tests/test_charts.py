"""Figures of diagnosis draw the numbers that they are given."""

import numpy as np
import pytest
import torch
from matplotlib import pyplot as plt

from metalearn import Score, charts, clinical, experiments
from metalearn.data import sinusoids
from metalearn.learners import MAML
from metalearn.networks import MLP
from metalearn.plotting import COLOURS


@pytest.fixture
def axes():
    figure, axes = plt.subplots()
    yield axes
    plt.close(figure)


def test_lines_have_their_colours_and_scores_their_intervals(axes):
    scores = [Score.of(torch.tensor([0.4, 0.6, 0.8])), Score.of(torch.tensor([0.9, 0.9, 0.6]))]
    charts.lines(axes, [1, 2], {"MAML": [3.0, 4.0], "pooled": scores}, xlabel="patients")
    first = axes.lines[0]
    assert first.get_color() == COLOURS["MAML"] and first.get_ydata().tolist() == [3, 4]
    assert axes.containers[0].lines[0].get_ydata().tolist() == pytest.approx([60, 80])
    (ends,) = axes.containers[0].lines[2]
    low, high = ends.get_segments()[0][:, 1]
    assert (high - low) / 2 == pytest.approx(100 * scores[0].ci95)
    assert axes.get_xlabel() == "patients"


def test_curves_with_positions_of_their_own(axes):
    charts.lines(axes, None, {"a": ([0, 1], [2, 3]), "b": ([5, 6, 7], [1, 1, 1])})
    assert [line.get_xdata().tolist() for line in axes.lines] == [[0, 1], [5, 6, 7]]


def test_decision_curves_are_the_net_benefit(axes):
    y, p, t = np.array([0, 1, 0, 1]), np.array([0.1, 0.8, 0.6, 0.4]), np.array([0.2, 0.5])
    charts.decisions(axes, {"pooled": (y, p)}, t)
    np.testing.assert_allclose(axes.lines[0].get_ydata(), clinical.net_benefit(y, p, t))
    np.testing.assert_allclose(axes.lines[1].get_ydata(), clinical.net_benefit(y, np.ones(4), t))


def test_calibrated_probabilities_lie_on_the_diagonal(axes):
    generator = np.random.default_rng(0)
    p = generator.random(20_000)
    charts.calibration(axes, {"pooled": ((generator.random(20_000) < p).astype(int), p)})
    x, y = axes.lines[1].get_data()
    assert len(x) == 8 and np.abs(x - y).max() < 0.03


def test_differences_are_drawn_from_top_to_bottom(axes):
    charts.differences(axes, {"here": {"MAML": (1, 0, 2)}, "there": {"MAML": (3, 2, 5)}}, "AUROC")
    assert [label.get_text() for label in axes.get_yticklabels()] == ["here: MAML", "there: MAML"]
    assert axes.lines[0].get_xdata().tolist() == [0, 2] and axes.lines[2].get_ydata()[0] < axes.lines[0].get_ydata()[0]


def test_a_race_ends_at_the_tests_score_and_says_it(axes):
    record = experiments.load("glyphs")
    charts.race(axes, record, {"prototypical": "Prototypical", "raw pixels": "raw pixels"})
    (bar,) = axes.containers
    end, at = 100 * record.score("Prototypical").mean, record.part("Prototypical")["cpu_seconds"]
    assert bar.lines[0].get_xydata()[0].tolist() == pytest.approx([at, end])
    texts = [text.get_text() for text in axes.get_legend().get_texts()]
    assert set(texts) == {f"prototypical: {end:.1f} %", f"raw pixels: {100 * record.score('raw pixels').mean:.1f} %"}
    assert axes.get_ylabel() == "accuracy in %"


def test_a_race_of_errors_is_one_of_medians(axes):
    record = experiments.load("sinusoids")
    charts.race(axes, record, {"MAML": "MAML"}, n_steps=1)
    assert axes.get_yscale() == "log" and axes.get_ylabel() == "median error"
    assert axes.containers[0].lines[0].get_ydata()[0] == pytest.approx(record.score("MAML", n_steps=1).median)


def test_predictions_are_drawn_after_each_number_of_steps(axes):
    task = sinusoids().sample(1, 5, 20, torch.Generator().manual_seed(0))[0]
    learner = MAML(MLP([1, 8, 1]), inner_lr=0.1, loss_fn=torch.nn.functional.mse_loss)
    charts.adaptation(axes, learner, task, n_steps=(1, 3), color=COLOURS["MAML"])
    assert [line.get_label() for line in axes.lines] == ["1 step", "3 steps"]
    for k, line in zip((1, 3), axes.lines, strict=True):
        x = torch.as_tensor(line.get_xdata()).reshape(-1, 1)
        there = learner.predict(learner.adapt(task.support_x, task.support_y, n_steps=k), x)
        torch.testing.assert_close(torch.as_tensor(line.get_ydata()).reshape(-1, 1), there.detach())
        assert x.max() == max(task.support_x.max(), task.query_x.max())
        assert line.get_color() == COLOURS["MAML"]


def test_a_histogram_counts_each_group_in_the_same_bins(axes):
    charts.histogram(axes, {"a": torch.tensor([0.1, 0.2, 0.9]), "b": torch.tensor([0.6])}, [0, 0.5, 1], "error")
    heights = [[patch.get_height() for patch in container] for container in axes.containers]
    assert heights == [[2, 1], [0, 1]] and axes.get_xlabel() == "error"
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["a", "b"]
