"""Figures show the numbers they are given."""

import pytest
import torch

from metalearn import Episode, Score
from metalearn.data import sinusoids

pyplot = pytest.importorskip("matplotlib.pyplot")
from metalearn import plotting  # noqa: E402


@pytest.fixture
def axes():
    plotting.use_style()
    figure, axes = pyplot.subplots()
    yield axes
    figure.canvas.draw()
    pyplot.close(figure)


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


def test_the_diagram_of_adaptation_points_at_each_task(axes):
    plotting.draw_adaptation(axes)
    ends = [tuple(map(float, (*line.get_xdata(), *line.get_ydata()))) for line in axes.lines]
    *tasks, start = ends
    assert start == (0, 0) and axes.lines[-1].get_color() == plotting.COLOURS["MAML"]
    steps = [text.xy for text in axes.texts if getattr(text, "arrow_patch", None) and text.get_position() == start]
    assert len(steps) == len(tasks) == 3
    for (x, y), (end_x, end_y) in zip(steps, tasks, strict=True):  # part of the way to the task's own best weights
        assert x / end_x == pytest.approx(y / end_y) and 0 < x / end_x < 1


def test_the_diagram_of_the_process_leads_from_box_to_box(axes):
    plotting.draw_process(axes)
    boxes = [(*text.get_position(), text.get_text().split()[0]) for text in axes.texts if text.get_bbox_patch()]
    arrows = [(*text.get_position(), *text.xy) for text in axes.texts if getattr(text, "arrow_patch", None)]
    level = []
    for x, y, end_x, end_y in arrows:
        if y == end_y and x < end_x:  # from a box to its right neighbour
            start = max(box for box in boxes if box[0] < x and box[1] == y)
            level.append((start[2], min(box for box in boxes if box[0] > end_x and box[1] == y)[2]))
    assert level[:3] == [("distribution", "episode:"), ("episode:", "adapt"), ("adapt", "loss")]
    assert level[3:] == [("new", "adapt"), ("adapt", "predict")]
    (back,) = [(x, end_x) for x, y, end_x, end_y in arrows if y == end_y and x > end_x and y > 1]  # the meta-update
    columns = {name: x for x, y, name in boxes if y == 1}
    assert back == (columns["loss"], columns["adapt"])


def test_who_sees_whom_is_drawn_cell_by_cell_with_names(axes):
    sees = torch.tensor([[1, 1, 0, 0], [1, 1, 0, 0], [1, 1, 1, 0], [1, 1, 0, 1]]).bool()
    plotting.draw_attention(axes, sees, n_support=2)
    shown = torch.as_tensor(axes.get_images()[0].get_array().filled())
    assert torch.equal(shown.bool(), sees)
    assert [t.get_text() for t in axes.get_yticklabels()] == ["$(x_{1}, y_{1})$", "$(x_{2}, y_{2})$", "$x_a$", "$x_b$"]
