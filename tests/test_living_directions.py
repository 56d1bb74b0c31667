"""The living picture of chapter 6: its directions are those of autograd and of the learners, and all can be moved."""

from __future__ import annotations

import math
import statistics
from typing import Any

import pytest
import torch
from playwright.sync_api import Browser, Page
from torch import Tensor, nn
from torch.nn import functional as F

from metalearn import Episode
from metalearn.learners import MAML, ImplicitMAML, Reptile
from tests.browsing import (
    HTML,
    PHONE,
    check_phone_and_themes,
    choose,
    frame_times,
    page_with,
    seen,
    slide,
    state,
    without_scripts,
)

pytestmark = pytest.mark.slow
PAGE = page_with("directions_page")
ROOT = "[data-living~=directions_page]"
METHODS = ("maml", "first", "reptile", "implicit")
SETTINGS = [
    {"alpha": 0.2, "lambda": 2.0, "steps": 1},
    {"alpha": 0.02, "lambda": 0.1, "steps": 2},
    {"alpha": 0.3, "lambda": 30.0, "steps": 3},
    {"alpha": 0.45, "lambda": 0.5, "steps": 1},
]


def batch_of(tasks: list[dict[str, Any]]) -> Episode:
    """Return tasks of a linear model without bias whose squared error is each task's loss."""
    inputs, targets = [], []
    for task in tasks:
        angle = math.radians(task["degrees"])
        c, s = math.cos(angle), math.sin(angle)
        axes = torch.tensor([[c, s], [-s, c]], dtype=torch.float64)
        curvatures, best = torch.tensor([task["curvatures"], task["best"]], dtype=torch.float64).unsqueeze(2)
        inputs.append(curvatures.sqrt() * axes)  # the mean of two squares is half their sum
        targets.append(inputs[-1] @ best)
    x, y = torch.stack(inputs), torch.stack(targets)
    return Episode(x, y, x, y)


def learned(
    model: nn.Linear, tasks: list[dict[str, Any]], theta: list[float], how: dict[str, Any]
) -> dict[str, Tensor]:
    """Return what each of the package's learners adds to ``.grad`` at a start."""
    steps = {"inner_lr": how["alpha"], "n_inner_steps": how["steps"], "loss_fn": F.mse_loss}
    rate = 1 / (how["lambda"] + 4.4)  # gets to the minimum of the pulled loss
    pulled = {"inner_lr": rate, "n_inner_steps": 500, "strength": how["lambda"], "loss_fn": F.mse_loss}
    learners = {
        "maml": MAML(model, **steps),
        "first": MAML(model, first_order=True, **steps),
        "reptile": Reptile(model, **steps),
        "implicit": ImplicitMAML(model, n_cg_steps=2, **pulled),
    }
    found = {}
    for name, learner in learners.items():
        model.weight.data = torch.tensor([theta]).double()
        learner.zero_grad()
        learner.backward(batch_of(tasks))
        assert model.weight.grad is not None
        found[name] = model.weight.grad.flatten().clone()
    return found


GRADIENTS = """([tasks, theta, settings]) => Object.fromEntries(Object.keys(living.FAMILY).map(
  (key) => [key, living.metaGradient(key, tasks, theta, settings)]))"""


def test_directions_are_those_of_the_packages_learners(living: Page) -> None:
    tasks, model = state(living, "directions")["tasks"], nn.Linear(2, 1, bias=False).double()
    for settings in SETTINGS:
        for theta in ([-0.4, 1.4], [2.0, -1.0]):
            found = living.evaluate(GRADIENTS, [tasks, theta, settings])
            expected = learned(model, tasks, theta, settings)
            assert set(found) == set(METHODS)
            for name in METHODS:
                assert found[name] == pytest.approx(expected[name].tolist(), rel=1e-5, abs=1e-6), (name, settings)


def after(task: dict[str, Any], theta: Tensor, alpha: float, steps: int) -> Tensor:
    """Return the weights after the inner steps, by autograd."""
    for _ in range(steps):
        loss = own_loss(task, theta)
        theta = theta - alpha * torch.autograd.grad(loss, theta, create_graph=True)[0]
    return theta


def own_loss(task: dict[str, Any], theta: Tensor) -> Tensor:
    one = batch_of([task])[0]
    return F.mse_loss(one.support_x @ theta, one.support_y[:, 0])


def test_the_loss_its_gradient_and_the_inner_steps_are_autograds(living: Page) -> None:
    tasks = state(living, "directions")["tasks"]
    for settings in SETTINGS:
        theta = torch.tensor([0.7, -1.3], dtype=torch.float64).requires_grad_()
        parts = [after(task, theta, settings["alpha"], settings["steps"]) for task in tasks]
        loss = torch.stack([own_loss(task, part) for task, part in zip(tasks, parts, strict=True)]).mean()
        given = [tasks, theta.tolist(), settings]
        assert living.evaluate("(given) => living.metaLoss(...given)", given) == pytest.approx(loss.item(), rel=1e-6)
        slope = torch.autograd.grad(loss, theta)[0]
        assert living.evaluate(GRADIENTS, given)["maml"] == pytest.approx(slope.tolist(), rel=1e-6)
        for task, part in zip(tasks, parts, strict=True):
            path = living.evaluate("(given) => living.innerPath(...given)", [task, theta.tolist(), settings])
            assert len(path) == settings["steps"] + 1 and path[0] == theta.tolist()
            assert path[-1] == pytest.approx(part.tolist(), rel=1e-6)
            low = living.evaluate("(given) => living.pulledMinimum(...given)", [task, theta.tolist(), settings])
            point = torch.tensor(low, dtype=torch.float64).requires_grad_()
            pulled = own_loss(task, point) + settings["lambda"] / 2 * (point - theta.detach()).square().sum()
            assert torch.autograd.grad(pulled, point)[0].abs().max() < 1e-6


def test_each_method_rests_at_its_end_and_contours_have_one_loss(living: Page) -> None:
    tasks = state(living, "directions")["tasks"]
    for settings in SETTINGS:
        for name in METHODS:
            end = living.evaluate("(given) => living.endOf(...given)", [name, tasks, settings])
            here = living.evaluate(GRADIENTS, [tasks, end["at"], settings])[name]
            assert here == pytest.approx([0, 0], abs=1e-9)
        at = living.evaluate("(given) => living.endOf(...given).at", ["maml", tasks, settings])
        lowest = living.evaluate("(given) => living.metaLoss(...given)", [tasks, at, settings])
        points = living.evaluate("(given) => living.contourOf(...given)", [tasks, settings, 0.24])
        for point in points[::10]:
            loss = living.evaluate("(given) => living.metaLoss(...given)", [tasks, point, settings])
            assert loss - lowest == pytest.approx(0.24, rel=1e-5)
    for point in living.evaluate("(task) => living.taskContour(task, 0.25)", tasks[0])[::10]:
        assert own_loss(tasks[0], torch.tensor(point).double()).item() == pytest.approx(0.25)


def test_a_way_is_plain_descent_and_leads_to_the_end(living: Page) -> None:
    tasks, theta, settings = state(living, "directions")["tasks"], [-0.4, 1.4], SETTINGS[0]
    for name in METHODS:
        way = living.evaluate("(given) => living.wayOf(...given)", [name, tasks, theta, settings, 0.1, 1200])
        slope = living.evaluate(GRADIENTS, [tasks, theta, settings])[name]
        assert way[1] == pytest.approx([a - 0.1 * b for a, b in zip(theta, slope, strict=True)])
        end = living.evaluate("(given) => living.endOf(...given)", [name, tasks, settings])
        assert end["attracts"] and len(way) == 1201 and way[-1] == pytest.approx(end["at"], abs=0.05)


def test_what_the_chapter_says_of_the_ends(living: Page) -> None:
    tasks = state(living, "directions")["tasks"]

    def end(name: str, **settings: float) -> tuple[Tensor, bool]:
        how = {"alpha": 0.2, "lambda": 2, "steps": 1, **settings}
        found = living.evaluate("(given) => living.endOf(...given)", [name, tasks, how])
        return torch.tensor(found["at"]), found["attracts"]

    at, attracts = end("first", alpha=0.25)
    assert attracts and at[0] < -2.5  # has left the picture
    assert not end("first", alpha=0.3)[1]
    assert end("maml", alpha=0.3)[1]
    assert (end("maml", steps=3)[0] - end("first", steps=3)[0]).norm() < 0.1
    assert (end("maml")[0] - end("first")[0]).norm() > 0.5
    for alpha in (0.05, 0.4):
        assert torch.equal(end("implicit", alpha=alpha)[0], end("implicit")[0])
    joint = end("reptile")[0]
    assert (end("implicit", **{"lambda": 31})[0] - joint).norm() < 0.15 * (end("implicit")[0] - joint).norm()


def test_the_start_and_the_tasks_are_dragged_by_mouse(living: Page) -> None:
    for i, label in enumerate(("Best weights of task 1", "Best weights of task 2", "Start")):
        handle = living.get_by_label(label, exact=True)
        handle.scroll_into_view_if_needed()
        box, before, looks = handle.locator(".living-dot").bounding_box(), state(living, "directions"), seen(living)
        assert box is not None
        x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
        living.mouse.move(x, y)
        living.mouse.down()
        living.mouse.move(x - 25, y + 40, steps=3)
        living.mouse.up()
        now = state(living, "directions")
        places = [[*(task["best"] for task in one["tasks"]), one["theta"]] for one in (before, now)]
        assert [a != b for a, b in zip(*places, strict=True)] == [k == i for k in range(3)]
        assert now["found"] != before["found"] and seen(living) != looks
        given = [now["tasks"], now["theta"], now["settings"]]
        gradients = living.evaluate(GRADIENTS, given)
        assert {name: now["found"][name]["gradient"] for name in METHODS} == gradients


def test_the_start_is_moved_by_keys(living: Page) -> None:
    start = living.get_by_label("Start", exact=True)
    living.locator(f"{ROOT} input[type=radio]").first.focus()
    for _ in range(3):
        living.keyboard.press("Tab")
    assert start.evaluate("(handle) => document.activeElement === handle")
    for key, axis, sign in (("ArrowRight", 0, 1), ("ArrowLeft", 0, -1), ("ArrowUp", 1, 1), ("ArrowDown", 1, -1)):
        before = state(living, "directions")["theta"]
        living.keyboard.press(key)
        now = state(living, "directions")["theta"]
        assert sign * (now[axis] - before[axis]) > 0 and now[1 - axis] == before[1 - axis]
    living.keyboard.press("Tab")
    living.keyboard.press("Space")  # the first method's box
    assert state(living, "directions")["shown"]["maml"] is False


def test_a_finger_drags_the_start_and_does_not_scroll(browser: Browser) -> None:
    context = browser.new_context(has_touch=True, is_mobile=True, viewport={"width": 375, "height": 667})
    page = context.new_page()
    page.goto(f"{HTML.as_uri()}/{PAGE}")
    page.locator(f"{ROOT} .living-axes").evaluate("(axes) => axes.scrollIntoView({block: 'center'})")
    handle = page.get_by_label("Start", exact=True).locator(".living-dot")
    box, scrolled, before = handle.bounding_box(), page.evaluate("scrollY"), state(page, "directions")["theta"]
    assert box is not None
    touch = context.new_cdp_session(page)
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    touch.send("Input.dispatchTouchEvent", {"type": "touchStart", "touchPoints": [{"x": x, "y": y}]})
    for k in range(1, 8):
        touch.send("Input.dispatchTouchEvent", {"type": "touchMove", "touchPoints": [{"x": x, "y": y + 8 * k}]})
    touch.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    page.wait_for_function(f"living.directions.theta[1] < {before[1] - 0.5}")
    assert page.evaluate("scrollY") == scrolled
    context.close()


def test_every_control_changes_what_is_seen(living: Page) -> None:
    for name in ("whole ways", "directions", "3", "2", "1"):
        before = seen(living)
        choose(living, name)
        assert seen(living) != before, name
    for name, value in (("Inner rate", 0.3), ("Pull", 1.2)):
        before = seen(living)
        slide(living, name, value)
        assert seen(living) != before, name
    for i in range(4):
        before = seen(living)
        living.locator(f"{ROOT} input[type=checkbox]").nth(i).click()
        assert seen(living) != before and not living.locator(f"{ROOT} .living-axes .living-method").nth(i).is_visible()


def test_arrows_point_downhill_and_are_told_apart_without_colour(living: Page) -> None:
    script = """(group) => {
      const shaft = group.querySelector(".living-shaft"), end = shaft.getTotalLength();
      const [a, b] = [shaft.getPointAtLength(0), shaft.getPointAtLength(end)];
      const tip = group.querySelector(".living-tip"), style = getComputedStyle(shaft);
      return [b.x - a.x, a.y - b.y, style.strokeDasharray, tip.getAttribute("d") + getComputedStyle(tip).fill];
    }"""
    arrows = [living.locator(f"{ROOT} .living-axes .living-{name}").evaluate(script) for name in METHODS]
    for name, (right, up, *_) in zip(METHODS, arrows, strict=True):
        gradient = torch.tensor(state(living, "directions")["found"][name]["gradient"])
        assert F.cosine_similarity(-gradient, torch.tensor([right, up]), dim=0) > 0.999
    assert len({dashes for _, _, dashes, _ in arrows}) == len({tip for *_, tip in arrows}) == 4
    names = living.locator(f"{ROOT} .living-axes .living-name").all_text_contents()
    assert sorted(names) == sorted(["M", "F", "R", "I"])


def test_the_table_and_the_sentence_say_what_was_computed(living: Page) -> None:
    slide(living, "Inner rate", 0.3)
    found = state(living, "directions")["found"]
    rows = living.locator(f"{ROOT} tbody tr").all()
    maml = torch.tensor(found["maml"]["gradient"])
    for row, name in zip(rows, METHODS, strict=True):
        gradient = torch.tensor(found[name]["gradient"])
        angle = math.degrees(math.acos(min(1, F.cosine_similarity(maml, gradient, dim=0).item())))
        turned, length, loss = row.locator("td").all_inner_texts()
        assert float(turned.rstrip("°")) == pytest.approx(angle, abs=1)
        assert float(length) == pytest.approx(gradient.norm().item(), abs=0.006)
        assert loss == ("runs away" if name == "first" else f"{found[name]['loss']:.3f}")
    text = "document.querySelector('.living-directions [role=status]').textContent"
    living.wait_for_function(f"{text}.includes('Descent along first-order MAML runs away')")


def test_a_frame_is_ready_in_time(living: Page) -> None:
    handle = ".living-directions .living-start"
    for show in ("directions", "whole ways"):
        choose(living, show)
        times = frame_times(living, handle)
        print(f"\n{show}: {statistics.median(times):.1f} ms a frame, {max(times):.1f} at most")
        assert statistics.quantiles(times)[0] <= 16  # the quarter that other processes disturbed least


def test_it_fits_a_phone_and_is_accessible_in_both_themes(living: Page) -> None:
    living.set_viewport_size(PHONE)
    living.reload()
    slide(living, "Inner rate", 0.3)
    assert living.locator(f"{ROOT} table").evaluate("(one) => one.scrollWidth <= one.parentElement.clientWidth")
    colour = "getComputedStyle(document.querySelector('.living-directions .living-shaft')).stroke"
    check_phone_and_themes(living, ROOT, colour)


def test_without_scripts_a_sentence_stands_there(browser: Browser) -> None:
    with without_scripts(browser, PAGE) as page:
        text = page.locator(ROOT).inner_text()
    assert "the directions of the four methods as arrows" in text and "needs the page" in text
