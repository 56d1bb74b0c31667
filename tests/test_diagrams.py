"""Diagrams say what the methods do: their arrows lead where the computation leads."""

from functools import cache, partial

import numpy as np
import pytest
import torch

from metalearn.data import glyphs
from metalearn.learners import MAML, HyperNetwork, MetaNetwork, NeuralProcess
from metalearn.networks import MLP
from tools import render_glyphs

pyplot = pytest.importorskip("matplotlib.pyplot")
from matplotlib.colors import to_hex, to_rgba  # noqa: E402

from metalearn import diagrams, learners, plotting  # noqa: E402

FONTS_OF_LETTERS = cache(render_glyphs.fonts_of_letters)


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


def test_images_stay_left_of_the_wire_and_who_drops_out_sends_nothing(axes):
    images = torch.rand(4, 2, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    diagrams.draw_federated(axes, list(images[:3]), images[3], n_lost=1)
    (wire,) = {float(x) for line in axes.lines if line.get_linestyle() == ":" for x in line.get_xdata()}
    assert len(axes.get_images()) == 8 and all(image.get_extent()[1] < wire for image in axes.get_images())
    boxes = {text.get_position(): text.get_text().split("\n")[0] for text in axes.texts if text.get_bbox_patch()}
    joined = [(boxes.get(start), boxes[end]) for start, end, _ in arrows_of(axes)]
    assert joined.count(("client 3", "server")) == 0 and joined.count(("server", "client 3")) == 1
    assert {("client 1", "server"), ("client 2", "server"), ("server", "published")} <= set(joined)
    assert {start for start, end in joined if end == "adapted"} == {None, "published"}, "a support set and the weights"
    with pytest.raises(ValueError, match="expected n_lost from 0 to 2, as 3 clients exist, got 3"):
        diagrams.draw_federated(axes, list(images[:3]), images[3], n_lost=3)


@pytest.mark.parametrize("split", range(3))
def test_outlines_are_those_that_the_letters_were_rendered_from(split):
    letters = {render_glyphs.class_name(letter): letter for letter in FONTS_OF_LETTERS()}
    shown = glyphs()[split].class_names[::5]
    for name in shown:
        rendered = render_glyphs.outlines(letters[name], FONTS_OF_LETTERS()[letters[name]])
        drawn = diagrams.outlines_of(name)
        assert len(drawn) == len(rendered), name
        for path, pixels in zip(drawn, rendered, strict=True):  # as wide and high; hinting moves an edge
            rows, columns = np.nonzero(pixels > 0.5)
            width, height = np.ptp(path.get_extents().get_points(), axis=0) * 80
            assert abs(width - np.ptp(columns) - 1) <= 3 and abs(height - np.ptp(rows) - 1) <= 3, name


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


def joined_by_arrows(axes):
    """Return the texts of the two boxes that each arrow joins, and whether it is dashed."""
    names = {text.get_position(): text.get_text() for text in axes.texts if text.get_bbox_patch()}
    arrows = [text for text in axes.texts if getattr(text, "arrow_patch", None)]
    return {(names[a.get_position()], names[a.xy]): a.arrow_patch.get_linestyle() == "--" for a in arrows}


def test_the_gated_step_keeps_by_one_gate_and_adds_by_the_other(axes):
    diagrams.draw_gated_step(axes)
    arrows = {(start[:14], end[:14]) for start, end in joined_by_arrows(axes)}
    assert {(r"$\theta'_k$", r"$\times f_k$"), (r"$-\nabla_k$", r"$\times i_k$")} <= arrows
    assert {start for start, end in arrows if end == "$+$"} == {r"$\times f_k$", r"$\times i_k$"}
    read = {start for start, end in arrows if end == "LSTM and gates"}
    assert read == {r"$\theta'_k$", r"$\pi(\nabla_k)$,"[:14]}


@pytest.mark.parametrize("n_steps", [1, 3])
def test_only_the_way_to_gradient_and_loss_is_cut(axes, n_steps):
    diagrams.draw_unrolled_rule(axes, n_steps)
    cut = {pair for pair, dashed in joined_by_arrows(axes).items() if dashed}
    assert cut == {(rf"$\theta'_{k}$", rf"$\nabla_{k}$, loss") for k in range(n_steps)}
    assert (rf"$\theta'_{n_steps}$", "query\nloss") in joined_by_arrows(axes)


def test_the_three_directions_are_those_of_the_methods(axes):
    matrix = torch.tensor([[[2.0, 0.6], [0.6, 1.0]], [[1.0, 0.0], [0.0, 3.0]], [[2.5, -0.8], [-0.8, 1.5]]]).double()
    ends, theta, rate = torch.tensor([[1.0, 0], [1, 1], [0, 1]]).double(), torch.zeros(2).double(), 0.2
    losses = [lambda w, h=h, end=end: 0.5 * (w - end) @ h @ (w - end) for h, end in zip(matrix, ends, strict=True)]
    diagrams.draw_directions(axes, losses, theta, rate)
    arrows = [text for text in axes.texts if getattr(text, "arrow_patch", None)]
    tips = {text.arrow_patch.get_facecolor(): torch.tensor(text.xy).double() for text in arrows[3:]}
    steps = [torch.tensor(text.xy) - torch.tensor(text.get_position()) for text in arrows[:3]]
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


def test_strips_leave_the_machines_that_agree_with_every_measurement(axes):
    machines = torch.tensor([[0.0, 0.0], [1.0, 1.0], [1.0, 3.0], [4.0, 1.0]])
    directions, values = torch.tensor([[1.0, 0.0], [1.0, 2.0]]), torch.tensor([1.0, 3.0])  # as the second would measure
    diagrams.draw_strips(axes, machines, directions, values, width=0.4)
    strips, grey, left = axes.collections[:-2], *axes.collections[-2:]
    assert torch.as_tensor(left.get_offsets()).tolist() == [[1.0, 1.0]] and len(grey.get_offsets()) == 3
    assert axes.get_title() == "1 of 4 agree"
    seen = [[strip.contains_points([point]).any() for strip in map(paths_of, strips)] for point in machines.tolist()]
    assert seen == [[False, False], [True, True], [True, False], [False, False]]


def paths_of(collection):
    """Return the outline of a filled contour."""
    (path,) = collection.get_paths()
    return path


def test_without_measurements_every_machine_is_left(axes):
    diagrams.draw_strips(axes, torch.rand(7, 2), torch.empty(0, 2), torch.empty(0), width=0.1)
    assert axes.get_title() == "7 of 7 agree"


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


def test_the_vote_is_drawn_to_scale_with_the_sum_of_each_class(axes):
    labels, weights = torch.tensor([0, 1, 0]), torch.tensor([0.5, 0.2, 0.3])
    diagrams.draw_vote(axes, torch.rand(1, 4, 4), torch.rand(3, 1, 4, 4), labels, weights)
    heights = [bar.get_height() for bar in axes.patches]
    assert [height / heights[0] for height in heights] == pytest.approx([1.0, 0.6, 0.4])  # by class: 0, 0, 1
    assert [t.get_text() for t in axes.texts if "class" in t.get_text()] == ["class 0\n0.80", "class 1\n0.20"]


def test_borders_of_prototypes_run_halfway_between_the_means(axes):
    support, y = torch.tensor([[-3.0, 1.0], [-1.0, -1.0], [4.0, 0.0]]), torch.tensor([0, 0, 1])
    diagrams.draw_prototypes(axes, support, y, torch.tensor([[0.0, 2.0]]), torch.tensor([0]))
    stars = [tuple(map(float, line.get_xydata()[0])) for line in axes.lines if line.get_marker() == "*"]
    assert stars == [(-2.0, 0.0), (4.0, 0.0)] and axes.get_aspect() == 1
    (image,) = axes.get_images()
    named = torch.as_tensor(image.get_array().filled())
    left, right, *_ = image.get_extent()
    border = left + (right - left) * (named[0] == 0).float().mean()
    assert (named == named[0]).all() and border == pytest.approx(1.0, abs=0.02)


def test_the_best_representative_is_the_mean_for_squares_and_a_direction_for_cosines(axes):
    examples = torch.tensor([[0.4, 3.2], [0.5, 0.15], [0.9, 0.3], [1.4, 0.2]])
    diagrams.draw_representative(axes, examples, lambda u, v: (u - v).square().sum(-1))
    circle = axes.lines[0].get_xydata()
    assert circle.shape == (1, 2) and torch.as_tensor(circle[0]) == pytest.approx(examples.mean(0), abs=0.03)
    axes.clear()
    diagrams.draw_representative(axes, examples, lambda u, v: 1 - torch.cosine_similarity(u, v, dim=-1))
    (_, end), directions = axes.lines[0].get_xydata(), torch.nn.functional.normalize(examples, dim=1).mean(0)
    assert end[1] / end[0] == pytest.approx(float(directions[1] / directions[0]), rel=0.05)


def maml_arrows_of(axes):
    """Return each arrow as its two ends and whether it is drawn in the colour of MAML."""
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
    arrows = maml_arrows_of(axes)
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


def test_trial_and_error_goes_on_from_the_variant_with_the_lowest_loss(axes):
    diagrams.draw_trial_and_error(axes)
    lengths = {round(bar.get_y() + bar.get_height() / 2, 3): bar.get_width() for bar in axes.patches}
    best = min(lengths, key=lengths.get)
    tint = to_hex(plotting.COLOURS["MAML"])
    marked = [text for text in axes.texts if (p := text.get_bbox_patch()) and to_hex(p.get_edgecolor()) == tint]
    assert [text.get_position()[1] for text in marked] == [best]
    (back,) = [line for line in axes.lines if line.get_color() == plotting.COLOURS["MAML"]]
    assert back.get_ydata()[0] == best
    boxes = {text.get_text(): text.get_position() for text in axes.texts if text.get_bbox_patch()}
    assert back.get_xdata()[-1] == boxes["learning\nmethod"][0]
    starts = [start for start, end, _ in arrows_of(axes) if end == boxes["the same\ntasks"]]
    assert len(starts) == len(lengths) == 3, "all variants are tried on the same tasks"


def test_the_cloud_moves_as_an_evolution_strategy_with_ranks_does(axes):
    diagrams.draw_cloud(axes, n_pairs=9)
    (cloud,) = axes.collections[-1:]
    points = torch.as_tensor(np.asarray(cloud.get_offsets()))
    torch.testing.assert_close(points[:9], -points[9:])
    losses = (points[:, 0] - 2.4) ** 2 + 2 * (points[:, 1] - 1) ** 2
    ranks = losses.argsort().argsort() / 17 - 0.5
    torch.testing.assert_close(torch.as_tensor(cloud.get_array().filled()), ranks.double())
    step = -(ranks[:, None] * points).sum(0)
    ((start, end, _),) = arrows_of(axes)
    assert start == (0, 0)
    assert torch.cosine_similarity(step, torch.tensor(end).double(), dim=0) > 1 - 1e-6


def test_only_a_learner_that_acts_has_an_arrow_into_its_support_set(axes):
    diagrams.draw_own_support(axes)
    boxes = {text.get_position(): text.get_text() for text in axes.texts if text.get_bbox_patch()}
    steps = [(boxes[start], boxes[end], colour) for start, end, colour in arrows_of(axes)]
    (into,) = [step for step in steps if step[2] == plotting.COLOURS["MAML"]]
    assert into[0] == r"$\theta$" and "collected" in into[1]
    assert [end for start, end, _ in steps if "given" in end] == [r"$\mathcal{S}$ is given"]  # from the task alone
    assert sum(start == r"$\theta$" and "adapt" in end for start, end, _ in steps) == 2


def test_the_diagram_of_unlabelled_tasks_marks_its_errors(axes):
    """Four clusters: one right, one of two classes, one of a single image, which makes no class, one right."""
    images = torch.arange(8).reshape(8, 1, 1, 1).expand(8, 1, 4, 4) / 10
    clusters, labels = torch.tensor([0, 0, 1, 1, 2, 3, 3, 3]), torch.tensor([5, 5, 6, 7, 5, 7, 7, 5])
    chosen = torch.tensor([0, 2, 3])
    diagrams.draw_unlabelled_tasks(axes, images, chosen, images[chosen] / 2, clusters, labels)
    shown = {
        (round(sum(image.get_extent()[:2]) / 2, 2), round(sum(image.get_extent()[2:]) / 2, 2)): round(
            10 * (1 - float(image.get_array().max())), 2
        )
        for image in axes.get_images()
    }
    pile, task = ({place: v for place, v in shown.items() if (place[0] < 3.5) == left} for left in (True, False))
    assert list(pile.values()) == list(range(8))
    columns = {
        x: [v for place, v in sorted(task.items(), key=lambda item: -item[0][1]) if place[0] == x] for x, _ in task
    }
    assert columns[9.0] == [0, 2, 3, 0, 2, 5] and columns[10.3] == [0, 1, 1.5, 1, 3, 6], "support and query"
    assert columns[5.1] == [4, 7], "the single image and the third of the last cluster are left over"
    signs = {text.get_text(): text.get_position() for text in axes.texts if text.get_text() in ("=", "≠")}
    assert set(signs) == {"≠"} and any(y == signs["≠"][1] and v == 2 for (x, y), v in task.items() if x == 9.0)
    axes.clear()
    diagrams.draw_unlabelled_tasks(axes, images, torch.tensor([2, 0, 1]), images[:3], clusters, clusters)
    (sign,) = [text for text in axes.texts if text.get_text() in ("=", "≠")]
    heights = sorted({y for x, y in task if x == 9.0}, reverse=True)[1:3]
    assert sign.get_text() == "=" and sign.get_position()[1] == pytest.approx(sum(heights) / 2)


def test_the_rim_of_a_cloud_is_one_standard_deviation_away(axes):
    means = torch.tensor([[0.0, 1.0], [2.0, 3.0], [4.0, 5.0]])
    covariances = torch.tensor([[[4.0, 1.0], [1.0, 1.0]]]).repeat(3, 1, 1)
    diagrams.draw_clouds(axes, means, covariances, "tab:red", every=2)
    way, *rims = axes.lines
    assert [tuple(point) for point in way.get_xydata()] == [tuple(mean) for mean in means.tolist()]
    assert len(rims) == 2
    for rim, mean in zip(rims, means[::2], strict=True):
        away = torch.as_tensor(rim.get_xydata()) - mean
        distance = (away @ covariances[0].double().inverse() * away).sum(1)  # squared, of Mahalanobis
        torch.testing.assert_close(distance, torch.ones(61).double(), atol=1e-6, rtol=0)


def test_both_ways_to_handle_tasks_cross_where_the_preparation_is_earned(axes):
    diagrams.draw_break_even(axes, once=60, each=1, alone=5, n_tasks=30)
    ours, theirs, mark, _ = axes.lines
    n = float(mark.get_xdata()[0])
    assert n == 15 and float(mark.get_ydata()[0]) == pytest.approx(60 + 1 * n) == 5 * n
    for line, once, slope in ((ours, 60, 1), (theirs, 0, 5)):
        assert [float(y) for y in line.get_ydata()] == pytest.approx([once + slope * x for x in (0, 30)])
    words = {text.get_text(): text.get_position()[0] for text in axes.texts}
    assert words["still to\nbe earned"] < n < words["earned"] and "never" not in words
    axes.clear()
    diagrams.draw_break_even(axes, once=60, each=5.5, alone=5, n_tasks=30)
    assert [text.get_text() for text in axes.texts] == ["still to\nbe earned", "never"] and len(axes.lines) == 2
    axes.clear()
    diagrams.draw_break_even(axes, once=60, each=1, alone=5, n_tasks=10)  # the crossing is further to the right
    assert [text.get_text() for text in axes.texts] == ["still to\nbe earned"] and len(axes.lines) == 2
