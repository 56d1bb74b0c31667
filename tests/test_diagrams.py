"""Diagrams say what the methods do: their arrows lead where the computation leads."""

import pytest
import torch

pyplot = pytest.importorskip("matplotlib.pyplot")
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


def arrows_of(axes):
    """Return the texts of the two boxes that each arrow joins, and whether it is dashed."""
    names = {text.get_position(): text.get_text() for text in axes.texts if text.get_bbox_patch()}
    arrows = [text for text in axes.texts if getattr(text, "arrow_patch", None)]
    return {(names[a.get_position()], names[a.xy]): a.arrow_patch.get_linestyle() == "--" for a in arrows}


def test_the_gated_step_keeps_by_one_gate_and_adds_by_the_other(axes):
    diagrams.draw_gated_step(axes)
    arrows = {(start[:14], end[:14]) for start, end in arrows_of(axes)}
    assert {(r"$\theta'_k$", r"$\times f_k$"), (r"$-\nabla_k$", r"$\times i_k$")} <= arrows
    assert {start for start, end in arrows if end == "$+$"} == {r"$\times f_k$", r"$\times i_k$"}
    read = {start for start, end in arrows if end == "LSTM and gates"}
    assert read == {r"$\theta'_k$", r"$\pi(\nabla_k)$,"[:14]}


@pytest.mark.parametrize("n_steps", [1, 3])
def test_only_the_way_to_gradient_and_loss_is_cut(axes, n_steps):
    diagrams.draw_unrolled_rule(axes, n_steps)
    cut = {pair for pair, dashed in arrows_of(axes).items() if dashed}
    assert cut == {(rf"$\theta'_{k}$", rf"$\nabla_{k}$, loss") for k in range(n_steps)}
    assert (rf"$\theta'_{n_steps}$", "query\nloss") in arrows_of(axes)


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


def test_two_towers_share_one_encoder_and_neither_side_comes_first(axes):
    u, v = torch.tensor([[3.0, 0.0, 1.0], [0.0, 4.0, 1.0]])
    said = []
    for order in ([u, v], [v, u]):
        axes.clear()
        diagrams.draw_two_towers(axes, torch.rand(2, 1, 8, 8), torch.stack(order))
        boxes = [text.get_text() for text in axes.texts if text.get_bbox_patch()]
        said.append(boxes[0])
        assert boxes[1] == boxes[2]  # the same encoder with the same weights, twice
        strips = [image.get_array() for image in axes.get_images()[1::2]]
        for strip, vector in zip(strips, order, strict=True):
            assert torch.equal(torch.as_tensor(strip.filled())[0], vector)
    assert said == ["distance\nd = 5.0"] * 2


def test_springs_are_the_forces_of_the_contrastive_loss(axes):
    from metalearn.episodes import Batch
    from metalearn.learners import Siamese

    diagrams.draw_springs(axes)
    for arrows, equal in zip(axes.collections, (1, 0), strict=True):
        partners = torch.as_tensor(arrows.get_offsets())
        forces = torch.stack([torch.as_tensor(part) for part in (arrows.U, arrows.V)], 1)
        learner, v = Siamese(torch.nn.Identity()), partners.clone().requires_grad_()
        same = torch.full((len(v),), equal)
        loss = learner.batch_loss(Batch((torch.zeros_like(v), v), same, "pairs")) * len(v)
        torch.testing.assert_close(-torch.autograd.grad(loss, v)[0], forces)


def test_the_loss_of_a_pair_is_the_learners_and_ends_at_the_margin(axes):
    from metalearn.episodes import Batch
    from metalearn.learners import Siamese

    diagrams.draw_pair_loss(axes)
    equal, unequal, margin = axes.lines
    assert margin.get_xdata()[0] == 1
    for line, same in ((equal, 1), (unequal, 0)):
        for distance, drawn in list(zip(*line.get_data(), strict=True))[::20]:
            sides = torch.zeros(1, 1), torch.full((1, 1), float(distance))
            loss = Siamese(torch.nn.Identity()).batch_loss(Batch(sides, torch.tensor([same]), "pairs"))
            assert loss.item() == pytest.approx(drawn, abs=1e-5)
