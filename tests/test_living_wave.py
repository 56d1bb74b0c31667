"""The living picture of chapter 5: what it computes is torch's, and everything on it can be moved."""

from __future__ import annotations

import re
import statistics
from pathlib import Path
from typing import Any

import pytest
import torch
from playwright.sync_api import Browser, Page
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap
from torch.nn import functional as F

from metalearn import inner_loop
from metalearn.data import sinusoids
from metalearn.networks import MLP
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
from tools import living_waves

pytestmark = pytest.mark.slow
PAGE = page_with("wave_page")
ROOT = "[data-living~=wave_page]"
RATE, GRID = 0.01, torch.linspace(-5, 5, 101, dtype=torch.float64).unsqueeze(1)
STARTS = ("maml", "joint", "random")


def model_of(start: str, page: Page) -> nn.Module:
    """Return the network of a start in double precision; random weights are the page's."""
    if start != "random":
        return living_waves.learner(living_waves.STARTS[start]).model.double()
    model = MLP([1, 40, 40, 1]).double()
    layers = page.evaluate(
        "living.randomNetwork([1, 40, 40, 1], 1).map(({weight, bias}) => [[...weight], [...bias]]).flat()"
    )
    for param, values in zip(model.parameters(), layers, strict=True):
        param.data = torch.tensor(values, dtype=torch.float64).view_as(param)
    return model


def steps_of(model: nn.Module, x: Tensor, y: Tensor, truth: Tensor) -> list[dict[str, Any]]:
    """Return, for 0 to 10 steps, what the page shows, computed by the package's inner loop."""

    def loss(params: inner_loop.Params, x: Tensor, y: Tensor) -> Tensor:
        return F.mse_loss(functional_call(model, params, (x,)), y)

    start = {name: param.detach() for name, param in model.named_parameters()}
    found = []
    for params in inner_loop.trajectory(start, loss, x, y, n_steps=10, inner_lr=RATE):
        pairs = [[f"{i}.weight", f"{i}.bias"] for i in (0, 2, 4)]
        before = [torch.cat([start[name].flatten() for name in pair]) for pair in pairs]
        after = [torch.cat([params[name].flatten() for name in pair]) for pair in pairs]
        found.append({
            "curve": functional_call(model, params, (GRID,)).flatten().tolist(),
            "onPoints": loss(params, x, y).item(),
            "onWave": loss(params, GRID, truth).item(),
            "moved": [((b - a).norm() / a.norm()).item() for a, b in zip(before, after, strict=True)],
        })  # fmt: skip
    return found


def compare(page: Page, start: str) -> None:
    """Compare all that the page computed with torch."""
    shown = state(page, "wave")
    points = torch.tensor(shown["points"], dtype=torch.float64)
    x, y = points[:, :1], points[:, 1:]
    truth = shown["wave"]["amplitude"] * torch.sin(GRID - shown["wave"]["phase"])
    expected = steps_of(model_of(start, page), x, y, truth)
    assert len(shown["path"]) == len(expected) == 11
    for step, (ours, theirs) in enumerate(zip(shown["path"], expected, strict=True)):
        for name, values in theirs.items():
            assert ours[name] == pytest.approx(values, rel=1e-6, abs=1e-6), f"{start}, {step} steps, {name}"


def test_the_stored_weights_are_those_that_are_written(tmp_path: Path) -> None:
    size = living_waves.write(tmp_path / "weights.js")
    stored = living_waves.TARGET.read_text(encoding="utf-8")
    assert (tmp_path / "weights.js").read_text(encoding="utf-8") == stored, "run tools/living_waves.py"
    assert size == 2 * 1761 * 4 and len(stored) < 20_000
    assert f'"innerRate": {RATE}' in stored


def test_all_that_it_computes_is_torchs(living: Page) -> None:
    compare(living, "maml")
    for name, start in (("joint training", "joint"), ("random", "random"), ("MAML", "maml")):
        choose(living, name)
        for _ in range(2):
            living.get_by_role("button", name="Another wave").click()
            compare(living, start)


def test_random_weights_are_drawn_as_torch_draws_them(living: Page) -> None:
    layers = living.evaluate(
        "[1, 2, 3, 4, 5].flatMap((seed) => living.randomNetwork([1, 40, 40, 1], seed)"
        ".map(({weight, bias}) => [...weight, ...bias]))"
    )
    for i, bound in enumerate((1, 40**-0.5, 40**-0.5)):
        numbers = torch.tensor([value for layer in layers[i::3] for value in layer])
        assert numbers.abs().max() <= bound and numbers.abs().max() > 0.98 * bound
        assert abs(numbers.mean()) < 4 * bound / (3 * len(numbers)) ** 0.5


def test_the_first_layer_moves_most_from_mamls_start_and_the_last_from_joint_trainings() -> None:
    generator = torch.Generator().manual_seed(1)
    tasks = sinusoids().sample(500, 5, 1, generator)
    most = {}
    for start in ("maml", "joint"):
        model = living_waves.learner(living_waves.STARTS[start]).model
        params = {name: param.detach() for name, param in model.named_parameters()}

        def moved(x: Tensor, y: Tensor, n_steps: int, model: nn.Module = model, params: Any = params) -> Tensor:
            def loss(params: inner_loop.Params) -> Tensor:
                return F.mse_loss(functional_call(model, params, (x,)), y)

            now = params
            for _ in range(n_steps):
                slopes = grad(loss)(now)
                now = {name: now[name] - RATE * slopes[name] for name in now}
            pairs = [[f"{i}.weight", f"{i}.bias"] for i in (0, 2, 4)]
            change = [torch.cat([(now[name] - params[name]).flatten() for name in pair]).norm() for pair in pairs]
            length = [torch.cat([params[name].flatten() for name in pair]).norm() for pair in pairs]
            return torch.stack(change) / torch.stack(length)

        for n_steps in (1, 10):
            shares = vmap(lambda x, y, n=n_steps, moved=moved: moved(x, y, n))(tasks.support_x, tasks.support_y)
            most[start, n_steps] = shares.argmax(1)
            assert start != "maml" or 0.02 < shares[:, 0].median() < 0.06  # "a few per cent of its length"
    for n_steps in (1, 10):
        assert (most["maml", n_steps] == 0).double().mean() > 0.98
        assert (most["joint", n_steps] == 2).double().mean() > 0.9


def test_from_mamls_start_one_step_is_enough_and_from_random_weights_ten_are_not(living: Page) -> None:
    first, second = state(living, "wave")["path"][:2]
    assert second["onPoints"] < 0.2 * first["onPoints"] and second["onWave"] < 0.2 * first["onWave"]
    choose(living, "random")
    path = state(living, "wave")["path"]
    assert path[10]["onPoints"] < 0.7 * path[0]["onPoints"] and path[10]["onWave"] > 0.8 * path[0]["onWave"]


def test_points_are_dragged_by_mouse(living: Page) -> None:
    for i in range(5):
        handle = living.locator(f"{ROOT} .living-handle").nth(i)
        handle.scroll_into_view_if_needed()
        box, before, looks = handle.bounding_box(), state(living, "wave"), seen(living)
        assert box is not None
        x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
        living.mouse.move(x, y)
        living.mouse.down()
        living.mouse.move(x + 12, y - 30 if before["points"][i][1] < 0 else y + 30, steps=3)
        living.mouse.up()
        after = state(living, "wave")
        moved = [a != b for a, b in zip(before["points"], after["points"], strict=True)]
        assert moved == [k == i for k in range(5)] and seen(living) != looks
    compare(living, "maml")
    living.get_by_role("button", name="Points onto the wave").click()
    shown = state(living, "wave")
    for x, y in shown["points"]:
        wave = shown["wave"]
        assert y == pytest.approx(wave["amplitude"] * torch.sin(torch.tensor(x - wave["phase"])).item(), abs=1e-5)


def test_points_are_moved_by_keys(living: Page) -> None:
    living.locator(f"{ROOT} input[type=radio]").first.focus()
    living.keyboard.press("Tab")
    for i in range(5):
        handle = living.locator(f"{ROOT} .living-handle").nth(i)
        assert handle.evaluate("(handle) => document.activeElement === handle")
        for key, axis, sign in (("ArrowRight", 0, 1), ("ArrowLeft", 0, -1), ("ArrowUp", 1, 1), ("ArrowDown", 1, -1)):
            before = state(living, "wave")["points"][i]
            living.keyboard.press(key)
            after = state(living, "wave")["points"][i]
            assert sign * (after[axis] - before[axis]) > 0 and after[1 - axis] == before[1 - axis]
        living.keyboard.press("Tab")
    steps = state(living, "wave")["steps"]
    living.keyboard.press("ArrowRight")
    assert state(living, "wave")["steps"] == steps + 1
    living.locator(f"{ROOT} input[type=radio]").first.focus()
    living.keyboard.press("ArrowRight")  # the next start
    compare(living, "joint")


def test_a_finger_drags_a_point_and_does_not_scroll(browser: Browser) -> None:
    context = browser.new_context(has_touch=True, is_mobile=True, viewport={"width": 375, "height": 667})
    page = context.new_page()
    page.goto(f"{HTML.as_uri()}/{PAGE}")
    handle = page.locator(f"{ROOT} .living-handle").nth(2)
    page.locator(f"{ROOT} .living-axes").first.evaluate("(axes) => axes.scrollIntoView({block: 'center'})")
    box, scrolled, before = handle.bounding_box(), page.evaluate("scrollY"), state(page, "wave")["points"][2]
    assert box is not None
    touch = context.new_cdp_session(page)
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    touch.send("Input.dispatchTouchEvent", {"type": "touchStart", "touchPoints": [{"x": x, "y": y}]})
    for k in range(1, 8):
        touch.send("Input.dispatchTouchEvent", {"type": "touchMove", "touchPoints": [{"x": x, "y": y - 6 * k}]})
    touch.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    page.wait_for_function(f"living.wave.points[2][1] > {before[1] + 1}")
    assert page.evaluate("scrollY") == scrolled
    context.close()


def test_every_control_changes_what_is_seen(living: Page) -> None:
    for name in ("joint training", "random", "MAML"):
        before = seen(living)
        choose(living, name)
        assert seen(living) != before, name
    for name, value in (("Gradient steps", 7), ("Amplitude", 1.5), ("Phase", 2.5)):
        before = seen(living)
        slide(living, name, value)
        assert seen(living) != before, name
    living.locator(f"{ROOT} .living-handle").first.focus()
    living.keyboard.press("ArrowUp")
    for name in ("Points onto the wave", "Other random weights", "Other random weights", "Another wave"):
        before = seen(living)
        living.get_by_role("button", name=name).click()
        assert seen(living) != before, name


def test_numbers_and_the_sentence_say_what_was_computed(living: Page) -> None:
    slide(living, "Gradient steps", 3)
    step = state(living, "wave")["path"][3]
    numbers = living.locator(f"{ROOT} .living-moved b").all_inner_texts()
    assert numbers == [f"{100 * share:.1f} %" for share in step["moved"]]
    living.wait_for_function("document.querySelector('.living-wave [role=status]').textContent.includes('3 steps')")
    text = living.locator(f"{ROOT} [role=status]").inner_text()
    assert f"{step['onPoints']:.2f} on the five points and {step['onWave']:.2f} on the whole wave" in text
    assert "Layer 1 moved most" in text


def test_a_frame_is_ready_in_time(living: Page) -> None:
    handle = ".living-wave .living-handle"
    times = frame_times(living, handle)
    print(f"\n{statistics.median(times):.1f} ms a frame, {max(times):.1f} at most")
    assert statistics.quantiles(times)[0] <= 16  # the quarter that other processes disturbed least


def test_it_fits_a_phone_and_is_accessible_in_both_themes(living: Page) -> None:
    living.set_viewport_size(PHONE)
    living.reload()
    slide(living, "Gradient steps", 10)
    colour = "getComputedStyle(document.querySelector('.living-wave .living-now')).stroke"
    check_phone_and_themes(living, ROOT, colour)


def test_without_scripts_a_sentence_stands_there(browser: Browser) -> None:
    with without_scripts(browser, PAGE) as page:
        text = page.locator(ROOT).inner_text()
    assert re.search(r"five points of a wave.* needs the page's scripts", text.replace("\n", " ").replace("’", "'"))
