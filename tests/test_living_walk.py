"""The living picture of chapter 11: what it computes is the package's, and everything on it can be moved."""

from __future__ import annotations

import re
import statistics
from pathlib import Path
from typing import Any

import pytest
import torch
from playwright.sync_api import Browser, Page
from torch import Tensor

from metalearn.rl import Navigation, Trajectories
from tests.browsing import (
    HTML,
    PHONE,
    check_phone_and_themes,
    frame_times,
    page_with,
    seen,
    slide,
    state,
    without_scripts,
)
from tools import living_walk

pytestmark = pytest.mark.slow
PAGE = page_with("walk_page")
ROOT = "[data-living~=walk_page]"
HORIZON, EPISODES, STEPS = 100, 20, 3
READ = """() => ({...living.walk, steps: living.walk.steps.map(({policy, episodes}) => ({
  numbers: [...policy.network.flatMap(({weight, bias}) => [...weight, ...bias]), ...policy.logStd],
  episodes: episodes.map(({places, moves, rewards}) => ({places, moves: moves.map((m) => [...m]), rewards})),
}))})"""


def finished(page: Page) -> dict[str, Any]:
    """Return all that the page has computed, once it has."""
    page.wait_for_function("living.walk?.done")
    found = page.evaluate(READ)
    assert isinstance(found, dict)
    return found


def params_of(numbers: list[float]) -> dict[str, Tensor]:
    """Return a page's policy as parameters of one task, in double precision."""
    rest = torch.tensor(numbers, dtype=torch.float64)
    params = {}
    own = living_walk.learner().policy.own()
    for name in [*(name for name in own if name != "log_std"), "log_std"]:
        part, rest = rest[: own[name].numel()], rest[own[name].numel() :]
        params[name] = part.reshape(1, *own[name].shape)
    assert len(rest) == 0
    return params


def trajectories_of(episodes: list[dict[str, Any]]) -> Trajectories:
    """Return a page's episodes, padded to the horizon."""
    observations, actions = (torch.zeros(1, EPISODES, HORIZON, 2).double() for _ in range(2))
    rewards, mask = (torch.zeros(1, EPISODES, HORIZON).double() for _ in range(2))
    for e, episode in enumerate(episodes):
        n = len(episode["moves"])
        observations[0, e, :n] = torch.tensor(episode["places"], dtype=torch.float64)[:n]
        actions[0, e, :n] = torch.tensor(episode["moves"], dtype=torch.float64)
        rewards[0, e, :n] = torch.tensor(episode["rewards"], dtype=torch.float64)
        mask[0, e, :n] = 1
    return Trajectories(observations, actions, rewards, mask)


def compare(page: Page) -> None:
    """Compare the episodes with the environment and the policy, and each step with the learner's."""
    shown, learner, env = finished(page), living_walk.learner(), Navigation()
    goal = torch.tensor([shown["goal"]], dtype=torch.float64)
    count = sum(2 * len(episode["moves"]) for step in shown["steps"] for episode in step["episodes"])
    draws = f"((normal) => Array.from({{length: {count}}}, () => normal()))(living.normalNumbers({shown['seed']}))"
    noise = iter(torch.tensor(page.evaluate(draws), dtype=torch.float64).split(2))
    assert len(shown["steps"]) == STEPS + 1
    for k, step in enumerate(shown["steps"]):
        params = params_of(step["numbers"])
        played = trajectories_of(step["episodes"])
        law = learner.policy(params, played.observations)
        for e, episode in enumerate(step["episodes"]):
            n = len(episode["moves"])
            drawn = torch.stack([next(noise) for _ in range(n)]).double()
            expected = law.mean[0, e, :n] + law.base_dist.scale[0, e, :n] * drawn
            assert torch.allclose(played.actions[0, e, :n], expected, rtol=1e-6, atol=1e-6)
            places = torch.tensor(episode["places"], dtype=torch.float64)
            after, rewards, done = env.step(goal, places[None, :-1], played.actions[:, e, :n])
            assert torch.allclose(after[0], places[1:]) and torch.allclose(rewards[0], played.rewards[0, e, :n])
            assert not done[0, :-1].any() and (done[0, -1] or n == HORIZON)
        assert shown["means"][k] == pytest.approx(played.returns.mean().item(), abs=1e-9)
        if k < STEPS:
            seen = learner._experience(params, played)
            moved = learner._step(params, seen, k)
            for name, value in params_of(shown["steps"][k + 1]["numbers"]).items():
                assert torch.allclose(value, moved[name], rtol=1e-5, atol=1e-7), (k, name)


def test_the_stored_weights_are_those_that_are_written(tmp_path: Path) -> None:
    size = living_walk.write(tmp_path / "weights.js")
    stored = living_walk.TARGET.read_text(encoding="utf-8")
    assert (tmp_path / "weights.js").read_text(encoding="utf-8") == stored, "run python -m tools.living_walk"
    assert size == 4 * (2 * 100 + 100 + 100 * 100 + 100 + 100 * 2 + 2 + 2) and len(stored) < 60_000


def test_all_that_it_computes_is_the_packages(living: Page) -> None:
    compare(living)
    for name in ("Another goal", "Other chances"):
        living.get_by_role("button", name=name).click()
        compare(living)


def test_normal_numbers_are_normal(living: Page) -> None:
    script = "((normal) => Array.from({length: 20000}, () => normal()))(living.normalNumbers(1))"
    numbers = torch.tensor(living.evaluate(script))
    assert abs(numbers.mean()) < 0.03 and abs(numbers.std() - 1) < 0.03
    assert abs((numbers.abs() < 1).double().mean() - 0.683) < 0.015
    assert abs((numbers[1:] * numbers[:-1]).mean()) < 0.03


def test_one_step_brings_it_near_goals_of_its_square(living: Page) -> None:
    before, after = [], []
    for _ in range(12):
        living.get_by_role("button", name="Another goal").click()
        means = finished(living)["means"]
        before.append(means[0])
        after.append(means[1])
    assert statistics.mean(after) > 0.6 * statistics.mean(before) and statistics.mean(before) < -15


def test_the_goal_is_dragged_by_mouse_and_moved_by_keys(living: Page) -> None:
    finished(living)
    handle = living.locator(f"{ROOT} .living-handle")
    handle.scroll_into_view_if_needed()
    box, before = handle.bounding_box(), state(living, "walk")["goal"]
    assert box is not None
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    living.mouse.move(x, y)
    living.mouse.down()
    living.mouse.move(x - 60, y + 80, steps=4)
    living.mouse.up()
    after = finished(living)["goal"]
    assert after[0] < before[0] - 0.05 and after[1] < before[1] - 0.05
    for key, axis, sign in (("ArrowRight", 0, 1), ("ArrowLeft", 0, -1), ("ArrowUp", 1, 1), ("ArrowDown", 1, -1)):
        before = finished(living)["goal"]
        living.keyboard.press(key)
        after = finished(living)["goal"]
        assert sign * (after[axis] - before[axis]) > 0 and after[1 - axis] == before[1 - axis]
    compare(living)


def test_a_finger_drags_the_goal_and_does_not_scroll(browser: Browser) -> None:
    context = browser.new_context(has_touch=True, is_mobile=True, viewport={"width": 375, "height": 667})
    page = context.new_page()
    page.goto(f"{HTML.as_uri()}/{PAGE}")
    page.locator(f"{ROOT} .living-axes").first.evaluate("(axes) => axes.scrollIntoView({block: 'center'})")
    box, scrolled = page.locator(f"{ROOT} .living-handle").bounding_box(), page.evaluate("scrollY")
    before = state(page, "walk")["goal"]
    assert box is not None
    touch = context.new_cdp_session(page)
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    touch.send("Input.dispatchTouchEvent", {"type": "touchStart", "touchPoints": [{"x": x, "y": y}]})
    for k in range(1, 8):
        touch.send("Input.dispatchTouchEvent", {"type": "touchMove", "touchPoints": [{"x": x, "y": y + 8 * k}]})
    touch.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    page.wait_for_function(f"living.walk.goal[1] < {before[1] - 0.1}")
    assert page.evaluate("scrollY") == scrolled
    context.close()


def test_the_steps_choose_the_paths_and_the_walk_ends_where_they_end(living: Page) -> None:
    finished(living)
    looks = set()
    for k in range(STEPS + 1):
        slide(living, "Policy-gradient steps", k)
        looks.add(seen(living))
        assert state(living, "walk")["shown"] == k
    assert len(looks) == STEPS + 1
    living.emulate_media(reduced_motion="reduce")
    living.get_by_role("button", name="Walk").click()
    marks = living.locator(f"{ROOT} .living-walker").evaluate_all(
        "(all) => all.map((one) => [one.getAttribute('visibility'), Number(one.getAttribute('cx')),"
        " Number(one.getAttribute('cy'))])"
    )
    paths = living.locator(f"{ROOT} .living-line").evaluate_all("(all) => all.map((one) => one.getAttribute('d'))")
    ends = [[float(value) for value in path.split("L")[-1].split(",")] for path in paths if path and "," in path[3:]]
    for visibility, x, y in marks:
        assert visibility == "visible" and any([x, y] == pytest.approx(end, abs=0.01) for end in ends)


def test_the_walk_moves(living: Page) -> None:
    finished(living)
    living.get_by_role("button", name="Walk").click()
    at = "document.querySelectorAll('.living-walker')[1].getAttribute('cx')"
    living.wait_for_function(f"{at} !== null")
    first = living.evaluate(at)
    living.wait_for_function(f"{at} !== '{first}'")
    slide(living, "Policy-gradient steps", 2)
    assert living.locator(f"{ROOT} .living-walker").evaluate_all(
        "(all) => all.map((one) => one.getAttribute('visibility'))"
    ) == ["hidden", "hidden"]


def test_numbers_and_the_sentence_say_what_was_computed(living: Page) -> None:
    shown = finished(living)
    slide(living, "Policy-gradient steps", 1)
    numbers = living.locator(f"{ROOT} .living-moved b").all_inner_texts()
    assert numbers == [f"{mean:.1f}".replace("-", "−") for mean in shown["means"]]
    text = living.locator(f"{ROOT} [role=status]").inner_text()
    assert f"Before any step the mean return is {numbers[0]}, after 1 step {numbers[1]}" in text
    ends = [torch.tensor(episode["places"][-1]) for episode in shown["steps"][1]["episodes"]]
    near = sum(bool((end - torch.tensor(shown["goal"])).norm() < 0.1) for end in ends)
    assert f"{near} of 20 episodes end within 0.1 of the goal" in text


def test_a_frame_is_ready_in_time(living: Page) -> None:
    finished(living)
    times = frame_times(living, ".living-walk .living-handle")
    script = """async () => {
      const times = [];
      for (let k = 0, before = performance.now(); k < 40; k++) {
        await new Promise(requestAnimationFrame);
        times.push(performance.now() - before);
        before = performance.now();
      }
      return times;
    }"""
    living.get_by_role("button", name="Other chances").click()
    while_computing = [float(time) for time in living.evaluate(script)]
    print(f"\n{statistics.median(times):.1f} ms a move, {statistics.median(while_computing):.1f} a frame at work")
    assert statistics.quantiles(times)[0] <= 16  # the quarter that other processes disturbed least
    assert statistics.quantiles(while_computing)[0] <= 20


def test_it_fits_a_phone_and_is_accessible_in_both_themes(living: Page) -> None:
    living.set_viewport_size(PHONE)
    living.reload()
    finished(living)
    colour = "getComputedStyle(document.querySelector('.living-walk .living-line.living-now')).stroke"
    check_phone_and_themes(living, ROOT, colour)


def test_without_scripts_a_sentence_stands_there(browser: Browser) -> None:
    with without_scripts(browser, PAGE) as page:
        text = page.locator(ROOT).inner_text()
    assert re.search(r"goal.* needs the page's scripts", text.replace("\n", " ").replace("’", "'"))
