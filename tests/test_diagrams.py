"""Diagrams say what the methods do: their arrows lead where the computation leads."""

from functools import cache

import pytest
import torch

pyplot = pytest.importorskip("matplotlib.pyplot")
from matplotlib.colors import to_hex  # noqa: E402

from metalearn import diagrams, learners, plotting  # noqa: E402
from metalearn.data import glyphs  # noqa: E402
from tools import render_glyphs  # noqa: E402

FONTS_OF_LETTERS = cache(render_glyphs.fonts_of_letters)


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


def arrows_of(axes):
    """Return start, end and colour of each arrow."""
    found = [text for text in axes.texts if getattr(text, "arrow_patch", None)]
    return [(text.get_position(), text.xy, to_hex(text.arrow_patch.get_edgecolor()).upper()) for text in found]


def test_the_diagram_of_the_process_leads_from_box_to_box(axes):
    diagrams.draw_process(axes)
    boxes = {text.get_position(): text.get_text().replace("\n", " ") for text in axes.texts if text.get_bbox_patch()}
    top, theta = max(y for _, y in boxes), r"meta-parameters $\theta$"
    named = {place: text.split()[0] + " above" * (place[1] == top) for place, text in boxes.items()}
    named[next(place for place, text in boxes.items() if text == theta)] = "theta"
    steps = [(named[start], named[end]) for start, end, _ in arrows_of(axes)]  # each starts and ends at a box
    assert steps[:3] == [("tasks above", "draw above"), ("draw above", "adapt above"), ("adapt above", "loss above")]
    assert steps[3:5] == [("new", "adapt"), ("adapt", "predict")]
    into, out = ([step for step in steps if step[i] == "theta"] for i in (1, 0))
    assert into == [("loss above", "theta")], "only the loss of meta-training changes the meta-parameters"
    assert out == [("theta", "adapt above"), ("theta", "adapt")]


def test_the_flow_shows_what_adapt_keeps_and_what_predict_says(axes):
    task = glyphs().test.episodes(n_tasks=1, n_way=3, n_shot=2, n_query=1)(torch.Generator().manual_seed(0))[0]
    diagrams.draw_flow(axes, task, learners.Pixels())
    shown = [1 - torch.as_tensor(image.get_array().filled()) for image in axes.get_images()]
    assert len(shown) == 3 * 2 + 3 + 1
    means = [task.support_x[task.support_y == n].mean(0) for n in range(3)]
    for n, mean in enumerate(means):
        torch.testing.assert_close(shown[3 * n + 2].float(), mean[0])
    torch.testing.assert_close(shown[-1].float(), task.query_x[0, 0])
    words = {text.get_text(): text for text in axes.texts if ": " in text.get_text()}
    (bold,) = [name for name, text in words.items() if text.get_weight() == "bold"]
    nearest = (task.query_x[0] - torch.stack(means)).flatten(1).square().sum(1).argmin()
    assert bold.startswith(f"{nearest}: ")
    named = {text.get_position(): text.get_text() for text in axes.texts if text.get_bbox_patch()}
    ends = {end: colour for _, end, colour in arrows_of(axes) if colour == plotting.COLOURS["prototypical"]}
    assert [named[end] for end in ends] == ["predict"], "a query never enters adapt"


@pytest.mark.parametrize("split", range(3))
def test_outlines_are_those_that_the_letters_were_rendered_from(split):
    fonts = {render_glyphs.class_name(letter): (letter, names) for letter, names in FONTS_OF_LETTERS().items()}
    for name in glyphs()[split].class_names[5::40]:
        assert len(diagrams.outlines_of(name)) == len(render_glyphs.outlines(*fonts[name])), name


def test_letters_are_drawn_with_two_of_their_outlines_and_five_of_their_images(axes):
    pool = glyphs().test
    diagrams.draw_letters(axes, pool, [0, 80])
    assert len(axes.patches) == 2 * 2 and len(axes.get_images()) == 2 * 5
    second = 1 - torch.as_tensor(axes.get_images()[6].get_array().filled())
    torch.testing.assert_close(second.float(), pool.read(pool.class_starts[80:81] + 1)[0, 0])
    counts = [text.get_text() for text in axes.texts if "outlines" in text.get_text()]
    assert counts[1] == f"Tifinagh\n{len(diagrams.outlines_of(pool.class_names[80]))} outlines"


def test_who_sees_whom_is_drawn_cell_by_cell_with_names(axes):
    sees = torch.tensor([[1, 1, 0, 0], [1, 1, 0, 0], [1, 1, 1, 0], [1, 1, 0, 1]]).bool()
    diagrams.draw_attention(axes, sees, n_support=2)
    shown = torch.as_tensor(axes.get_images()[0].get_array().filled())
    assert torch.equal(shown.bool(), sees)
    assert [t.get_text() for t in axes.get_yticklabels()] == ["$(x_{1}, y_{1})$", "$(x_{2}, y_{2})$", "$x_a$", "$x_b$"]
