"""Figures of diagnosis draw the numbers that they are given."""

import numpy as np
import pytest
import torch

from metalearn import Pool, Score, charts, clinical, experiments
from metalearn.data import sinusoids
from metalearn.learners import MAML
from metalearn.networks import MLP
from metalearn.plotting import COLOURS


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


def test_errors_are_not_percentages(axes):
    scores = [Score.of(torch.tensor([0.4, 0.6]), higher_is_better=False)] * 2
    charts.lines(axes, [1, 2], {"ridge": scores})
    assert axes.containers[0].lines[0].get_ydata().tolist() == pytest.approx([0.5, 0.5])
    low, high = axes.containers[0].lines[2][0].get_segments()[0][:, 1]
    assert (high - low) / 2 == pytest.approx(scores[0].ci95)


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


def test_a_forest_has_a_row_for_each_gain_and_a_colour_for_each_rival(axes):
    score = Score.of(torch.tensor([1.0, 3.0, 2.0, 2.0]))
    charts.forest(axes, [("a", score, "law"), ("b", score, "pooled"), ("c", score, "law")], "points")
    assert [label.get_text() for label in axes.get_yticklabels()] == ["a", "b", "c"]
    drawn = [container.lines[0] for container in axes.containers]
    assert [list(line.get_xdata()) for line in drawn] == [[2.0]] * 3 and axes.yaxis_inverted()
    assert drawn[0].get_color() == drawn[2].get_color() != drawn[1].get_color()
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["law", "pooled"]


def test_accuracies_are_drawn_in_percent_with_their_intervals_and_chance(axes):
    score = Score.of(torch.tensor([0.5, 0.7, 0.9, 0.7]))
    charts.accuracies(axes, {"5-way": {"MAML": score}}, chance=20)
    interval, mean, zero, chance = (line.get_xdata() for line in axes.lines)
    assert list(interval) == pytest.approx([100 * (0.7 - score.ci95), 100 * (0.7 + score.ci95)])
    assert list(mean) == pytest.approx([70]) and list(zero) == [0, 0] and list(chance) == [20, 20]
    assert axes.get_xlabel() == "accuracy in %"


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


def test_distances_of_pairs_are_counted_by_kind(axes):
    similarity = -torch.tensor([1.0, 4.0, 9.0, 16.0, 1.0])
    charts.pair_distances(axes, similarity, torch.tensor([1, 1, 0, 0, 1]), margin=2.5)
    counts = [sum(bar.get_height() for bar in bars) for bars in axes.containers]
    assert counts == [3, 2] and axes.lines[0].get_xdata()[0] == 2.5
    reached = max(bar.get_x() + bar.get_width() for bar in axes.containers[1] if bar.get_height())
    assert reached == pytest.approx(4, abs=0.1)


def test_the_dot_of_a_roc_curve_lies_on_the_curve_and_on_the_line_of_equal_errors(axes):
    generator = torch.Generator().manual_seed(0)
    same = torch.arange(4000) % 2
    similarity = torch.randn(4000, generator=generator) + same
    charts.roc(axes, {"siamese": (similarity, same)})
    curve, dot = axes.lines[:2]
    x, y = (float(end[0]) for end in dot.get_data())
    assert x + y == pytest.approx(1) and x == pytest.approx(0.309, abs=0.02)  # the normal law's share beyond 1/2
    assert np.interp(x, *curve.get_data()) == pytest.approx(y, abs=0.01)


def test_pictures_of_like_features_stand_together_in_the_colour_of_their_class(axes):
    images = torch.zeros(24, 1, 4, 4)
    images[:, :, 0] = 1  # ink in the first row
    labels = torch.arange(24) // 12
    charts.neighbours(axes, torch.randn(24, 5) + 50 * labels[:, None], images, labels)
    shown = axes.get_images()
    places = torch.tensor([i.get_extent() for i in shown]).float().unflatten(1, (2, 2)).mean(2)
    assert torch.allclose(places.min(0).values, torch.zeros(2), atol=1e-6)
    assert torch.allclose(places.max(0).values, torch.ones(2), atol=1e-6)
    distance = torch.cdist(places, places).fill_diagonal_(torch.inf)
    assert torch.equal(labels[distance.argmin(1)], labels)
    first, second, last = (shown[i].get_array() for i in (0, 1, 23))
    assert np.allclose(first, second) and not np.allclose(first, last)
    assert first[0, :, 3].min() > 0.99 and first[1:, :, 3].max() == 0


def test_lines_in_the_plane_join_points_of_one_class_or_of_two(axes):
    pool = Pool(torch.tensor([[0.0, 0], [0, 1], [5, 0], [5, 1]]), torch.tensor([0, 0, 1, 1]))
    charts.pairs_in_plane(axes, torch.nn.Identity(), pool, n_pairs=10)
    for line in axes.lines:
        left, right = line.get_xdata()
        assert (left == right) == (line.get_linestyle() == "-")
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["equal pairs", "unequal pairs"]


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


def scores_of(*means):
    return {f"m{i}": Score.of(torch.tensor([mean - 0.1, mean + 0.1])) for i, mean in enumerate(means)}


def test_scores_of_a_group_without_a_name_stand_by_their_own_from_top_to_bottom(axes):
    charts.accuracies(axes, {"": scores_of(0.6, 0.9, 0.3)}, chance=20)
    heights = dict(zip([label.get_text() for label in axes.get_yticklabels()], axes.get_yticks(), strict=True))
    assert sorted(heights, key=heights.__getitem__, reverse=True) == ["m0", "m1", "m2"]
    dots = {line.get_ydata()[0]: line.get_xdata()[0] for line in axes.lines if line.get_marker() == "o"}
    assert [dots[heights[name]] for name in ("m0", "m1", "m2")] == pytest.approx([60, 90, 30])
    assert axes.lines[-1].get_xdata() == [20, 20]


def test_the_line_of_a_trade_off_joins_what_none_dominates(axes):
    cheap, best, beaten = scores_of(0.5, 0.9, 0.4).values()
    charts.trade_off(axes, {"best": (9.0, best), "beaten": (2.0, beaten), "cheap": (1.0, cheap)}, "ms")
    (line,) = [line for line in axes.lines if line.get_drawstyle() == "steps-post"]
    assert line.get_xdata().tolist() == [1, 9] and line.get_ydata().tolist() == pytest.approx([50, 90])
    assert axes.texts[-1].get_text() == "cheap\n  1: 50.0 %\nbest\n  9: 90.0 %" and axes.get_xscale() == "log"


def test_a_grid_shows_its_numbers_and_leaves_gaps_empty(axes):
    charts.grid(axes, [[10, float("nan")], [30, 40]], ["a", "b"], ["c", "d"])
    assert [(text.get_position(), text.get_text()) for text in axes.texts] == [
        ((0, 0), "10"),
        ((0, 1), "30"),
        ((1, 1), "40"),
    ]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["c", "d"]


def test_places_start_with_the_best_and_mark_who_moved_far(axes):
    early = {f"m{i}": -i for i in range(6)}
    charts.places(axes, {"early": early, "late": early | {"m0": -9}}, far=4)
    lines = {text.get_text(): line for text, line in zip(axes.texts, axes.lines, strict=True)}
    assert lines["m0"].get_ydata().tolist() == [1, 6] and lines["m3"].get_ydata().tolist() == [4, 3]
    assert [name for name, line in lines.items() if line.get_color() == COLOURS["MAML"]] == ["m0"]
