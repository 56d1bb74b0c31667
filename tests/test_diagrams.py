"""Diagrams say what the methods do: their arrows lead where the computation leads."""

from functools import partial

import pytest
import torch

from metalearn.learners import MAML, HyperNetwork, MetaNetwork, NeuralProcess
from metalearn.networks import MLP

pyplot = pytest.importorskip("matplotlib.pyplot")
from matplotlib.colors import to_rgba  # noqa: E402

from metalearn import diagrams, plotting  # noqa: E402


@pytest.fixture
def axes():
    plotting.use_style()
    figure, axes = pyplot.subplots()
    yield axes
    figure.canvas.draw()
    pyplot.close(figure)


def test_the_diagram_of_adaptation_points_at_each_task(axes):
    diagrams.draw_adaptation(axes)
    ends = [tuple(map(float, (*line.get_xdata(), *line.get_ydata()))) for line in axes.lines]
    *tasks, start = ends
    assert start == (0, 0) and axes.lines[-1].get_color() == plotting.COLOURS["MAML"]
    steps = [text.xy for text in axes.texts if getattr(text, "arrow_patch", None) and text.get_position() == start]
    assert len(steps) == len(tasks) == 3
    for (x, y), (end_x, end_y) in zip(steps, tasks, strict=True):  # part of the way to the task's own best weights
        assert x / end_x == pytest.approx(y / end_y) and 0 < x / end_x < 1


def test_the_diagram_of_the_process_leads_from_box_to_box(axes):
    diagrams.draw_process(axes)
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
    diagrams.draw_attention(axes, sees, n_support=2)
    shown = torch.as_tensor(axes.get_images()[0].get_array().filled())
    assert torch.equal(shown.bool(), sees)
    assert [t.get_text() for t in axes.get_yticklabels()] == ["$(x_{1}, y_{1})$", "$(x_{2}, y_{2})$", "$x_a$", "$x_b$"]


def test_the_three_directions_are_those_of_the_methods(axes):
    matrix = torch.tensor([[[2.0, 0.6], [0.6, 1.0]], [[1.0, 0.0], [0.0, 3.0]], [[2.5, -0.8], [-0.8, 1.5]]]).double()
    ends, theta, rate = torch.tensor([[1.0, 0], [1, 1], [0, 1]]).double(), torch.zeros(2).double(), 0.2
    losses = [lambda w, h=h, end=end: 0.5 * (w - end) @ h @ (w - end) for h, end in zip(matrix, ends, strict=True)]
    diagrams.draw_directions(axes, losses, theta, rate)
    arrows = [text for text in axes.texts if getattr(text, "arrow_patch", None)]
    tips = {text.arrow_patch.get_facecolor(): torch.tensor(text.xy).double() for text in arrows[3:]}
    steps = [torch.tensor(text.xy) - torch.tensor(text.get_position()) for text in arrows[:3]]
    to_rgba = pyplot.matplotlib.colors.to_rgba
    tips = {name: tips[to_rgba(plotting.COLOURS[name])] for name in ("Reptile", "first-order MAML", "MAML")}
    torch.testing.assert_close(tips["Reptile"], torch.tensor(arrows[2].xy).double())  # where the walk ends
    torch.testing.assert_close(tips["first-order MAML"], steps[2].double())  # the last step, from the start
    jacobian = (torch.eye(2).double() - rate * matrix[0]) @ (torch.eye(2).double() - rate * matrix[1])
    torch.testing.assert_close(tips["MAML"], jacobian @ steps[2].double())  # turned by the steps before


def test_who_writes_whose_weights_is_what_the_learners_do(axes):
    mlp, square = partial(MLP, [1, 4, 1]), {"loss_fn": torch.nn.functional.mse_loss}
    bare = {"encoder": torch.nn.Identity(), "n_features": 1}
    learners = {
        "MAML": MAML(mlp(), 0.1, **square),
        "hypernetwork": HyperNetwork(model=mlp(), **bare, **square),
        "neural process": NeuralProcess(**bare),
        "meta network": MetaNetwork(**bare, **square),
    }
    diagrams.draw_writers(axes)
    boxes = [text for text in axes.texts if text.get_bbox_patch()]
    arrows = [text for text in axes.texts if getattr(text, "arrow_patch", None)]
    for name, learner in learners.items():
        (title,) = [text for text in axes.texts if text.get_text() == name]
        tint, y = title.get_color(), title.get_position()[1] - 1
        row = {text.get_position()[0]: text.get_text() for text in boxes if abs(text.get_position()[1] - y) < 0.1}
        written = row[sorted(row)[2]]
        keys = learner.adapt(torch.zeros(3, 1), torch.zeros(3, 1)).keys()
        assert (written == "all\nweights") == (keys <= learner.state_dict().keys())  # its own tensors are replaced
        assert (written == "one\nvector") == (keys == {"embedding"})
        trained = [text for text in boxes if text.get_bbox_patch().get_edgecolor() == to_rgba(tint)]
        back = [text for text in arrows if text.arrow_patch.get_edgecolor() == to_rgba(tint)]
        assert len(back) == len(trained) > 0
        own = any("decoder" in n or n.startswith("base.") for n, _ in learner.named_parameters())
        assert own == any(text.get_position()[0] == sorted(row)[3] for text in trained)  # predicts by its own


def test_a_diagram_of_writers_has_the_rows_that_were_asked_for(axes):
    diagrams.draw_writers(axes, ["neural process"])
    assert not [text for text in axes.texts if text.get_text() == "MAML"]
    with pytest.raises(KeyError):
        diagrams.draw_writers(axes, ["nobody"])
