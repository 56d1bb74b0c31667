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
    """Return each arrow as its two ends and whether it is drawn in the colour of MAML."""
    from matplotlib.colors import to_hex

    found = [text for text in axes.texts if getattr(text, "arrow_patch", None)]
    colours = [to_hex(text.arrow_patch.get_edgecolor(), keep_alpha=False).upper() for text in found]
    ends = [(tuple(map(float, text.get_position())), tuple(map(float, text.xy))) for text in found]
    return [(*both, colour == plotting.COLOURS["MAML"]) for both, colour in zip(ends, colours, strict=True)]


@pytest.mark.parametrize("detach", [False, True])
@pytest.mark.parametrize("n_steps", [1, 2, 3])
def test_the_paths_through_mamls_graph_sum_to_its_derivative(axes, n_steps, detach):
    """On a parabola with curvature h, a coloured detour (two arrows) is worth -rate * h and a straight arrow 1."""
    rate, h = 0.3, 2.0
    diagrams.draw_maml_graph(axes, n_steps, detach=detach)
    arrows = arrows_of(axes)
    top = max(y for (_, y), _, _ in arrows)
    worth = {((0.6, top)): 1.0}  # of all paths from the start to a node; the arrows come in order
    for start, end, coloured in sorted(arrows, key=lambda each: (each[0][0], each[1][0])):
        into_weights = 1.0 if start[1] == top else -rate * h  # the minus and the rate stand on the way up
        carried = 0.0 if start[1] != top and not coloured else worth[start] * into_weights
        worth[end] = worth.get(end, 0.0) + carried
    loss = max(end for _, end, _ in arrows)
    start = torch.tensor(1.0, requires_grad=True)
    adapted = start
    for _ in range(n_steps):
        slope = h * adapted
        adapted = adapted - rate * (slope.detach() if detach else slope)
    assert worth[loss] == pytest.approx(torch.autograd.grad(adapted, start)[0].item())
    assert sum(coloured for *_, coloured in arrows) == (0 if detach else 2 * n_steps)
    assert len([text for text in axes.texts if text.get_text() == "detach"]) == (n_steps if detach else 0)
