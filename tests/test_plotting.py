"""Figures show the numbers they are given."""

import pytest
import torch

from metalearn import Episode, Score
from metalearn.data import sinusoids

pyplot = pytest.importorskip("matplotlib.pyplot")
from metalearn import plotting  # noqa: E402


def test_images_keep_their_places(axes):
    images = torch.arange(6.0).reshape(6, 1, 1, 1).expand(6, 1, 2, 2) / 10
    plotting.show_images(axes, images, 3, labels="abc")
    sheet = torch.as_tensor(axes.get_images()[0].get_array().filled())
    torch.testing.assert_close(sheet[::2, ::2], torch.tensor([[0.0, 0.1, 0.2], [0.3, 0.4, 0.5]]))
    assert [t.get_text() for t in axes.get_xticklabels()] == ["a", "b", "c"]
    with pytest.raises(ValueError, match="6 images do not fill rows of 4"):
        plotting.show_images(axes, images, 4)


def test_scores_by_steps_have_mean_band_and_colour(axes):
    scores = {n: Score.of(torch.tensor([n, n + 2.0, n + 7.0])) for n in (0, 1, 5)}
    plotting.plot_by_steps(axes, scores, "MAML")
    (line,) = axes.lines
    assert line.get_xdata().tolist() == [0, 1, 5] and line.get_color() == plotting.COLOURS["MAML"]
    assert line.get_ydata().tolist() == pytest.approx([3, 4, 8]) and len(axes.collections) == 1
    plotting.plot_by_steps(axes, scores, "joint training", median=True)
    assert axes.lines[1].get_ydata().tolist() == pytest.approx([2, 3, 7]) and len(axes.collections) == 1


def test_losses_are_running_means(axes):
    plotting.plot_losses(axes, [1.0, 3.0, 5.0], "MAML", window=2)
    assert axes.lines[0].get_ydata().tolist() == [2, 4] and list(axes.lines[0].get_xdata()) == [2, 3]


def test_an_episode_is_shown_by_class_support_first(axes):
    order = torch.tensor([1, 0])  # shuffled rows go to their class's column
    support, query = torch.tensor([0.1, 0.2]), torch.tensor([0.3, 0.4, 0.5, 0.6])
    image = lambda values: values.reshape(-1, 1, 1, 1).expand(-1, 1, 2, 2)  # noqa: E731
    labels = torch.tensor([1, 0, 1, 0])
    plotting.show_episode(axes, Episode(image(support[order]), order, image(query), labels, n_way=2))
    sheet = torch.as_tensor(axes.get_images()[0].get_array().filled())
    torch.testing.assert_close(sheet[::2, ::2].float(), torch.tensor([[0.1, 0.2], [0.4, 0.3], [0.6, 0.5]]))


def test_a_regression_task_is_a_line_in_order_and_points(axes):
    episode = sinusoids().sample(1, 5, 30, torch.Generator().manual_seed(0))[0]
    plotting.plot_regression(axes, episode)
    line, points = axes.lines
    assert (line.get_xdata()[1:] >= line.get_xdata()[:-1]).all() and len(points.get_xdata()) == 5


def test_the_truth_of_a_regression_task_is_the_function_itself(axes):
    episode = sinusoids().sample(1, 2, 1, torch.Generator().manual_seed(0))[0]
    plotting.plot_regression(axes, episode, torch.cos)
    line = axes.lines[0]
    assert len(line.get_xdata()) == 200
    torch.testing.assert_close(torch.as_tensor(line.get_ydata()), torch.as_tensor(line.get_xdata()).cos())
