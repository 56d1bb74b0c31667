"""The living picture of chapter 16: the drives are the package's physics under recorded steering."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from playwright.sync_api import Browser, Page

from metalearn.control import Lane
from tests.browsing import PHONE, check_phone_and_themes, choose, page_with, slide, state, without_scripts
from tools import living_lane

pytestmark = pytest.mark.slow
PAGE = page_with("lane_page")
ROOT = "[data-living~=lane_page]"


def test_the_stored_drives_are_those_that_are_written(tmp_path: Path) -> None:
    size = living_lane.write(tmp_path / "runs.js")
    stored = living_lane.TARGET.read_text(encoding="utf-8")
    assert (tmp_path / "runs.js").read_text(encoding="utf-8") == stored, "run python -m tools.living_lane"
    assert size < 20_000


def test_the_drives_are_the_packages_physics(living: Page) -> None:
    content, system = living_lane.content(), Lane()
    for i, car in enumerate(content["cars"]):
        choose(living, str(i + 1))
        shown = state(living, "lane")
        assert shown["car"] == i
        here = torch.tensor([car["start"]] * 2, dtype=torch.float64)
        drives = torch.tensor(shown["drives"], dtype=torch.float64)
        torch.testing.assert_close(drives[:, 0], here)
        for k, action in enumerate(torch.tensor(car["actions"], dtype=torch.float64).T):
            context = torch.tensor(car["before"] if k < content["fails"] else car["later"], dtype=torch.float64)
            here = system.step(context, here, action.unsqueeze(1))
            torch.testing.assert_close(drives[:, k + 1], here, atol=1e-5, rtol=1e-5)


def test_time_moves_the_cars_and_the_sentence_says_where_they_are(living: Page) -> None:
    places = set()
    for k in (0, 40, 60, 80):
        slide(living, "Time", k)
        shown = state(living, "lane")
        assert shown["step"] == k
        offsets = [abs(states[k][0]) for states in shown["drives"]]
        text = living.locator(f"{ROOT} [role=status]").inner_text()
        assert f"{offsets[1]:.2f} m adapted, {offsets[0]:.2f} m not adapted" in text
        assert ("slippery" in text) == (k > 40)
        places.add(living.locator(f"{ROOT} .living-car").nth(1).get_attribute("transform"))
    assert len(places) == 4


def test_the_car_drives_and_stops_where_the_reader_wants(living: Page) -> None:
    living.get_by_role("button", name="Drive").click()
    living.wait_for_function("living.lane.step > 3 && living.lane.step < 60")
    slide(living, "Time", 7)
    living.wait_for_timeout(300)
    assert state(living, "lane")["step"] == 7
    living.emulate_media(reduced_motion="reduce")
    living.get_by_role("button", name="Drive").click()
    assert state(living, "lane")["step"] == 80


def test_the_road_bends_as_its_curvature_says(living: Page) -> None:
    places = living.evaluate("[10, 20, 30].map((s) => living.roadFrom(37.5, 5, 40)(37.5 + s, 0))")
    x = y = angle = 0.0
    for k in range(3000):
        angle += 0.01 * float(Lane().curvature(torch.tensor(37.5 + 0.01 * (k + 0.5), dtype=torch.float64)))
        x, y = x + 0.01 * torch.tensor(angle).cos().item(), y + 0.01 * torch.tensor(angle).sin().item()
        if k == 999:
            assert places[0] == pytest.approx([x, y, angle], abs=0.01)
    assert places[2] == pytest.approx([x, y, angle], abs=0.02)


def test_it_fits_a_phone_and_is_accessible_in_both_themes(living: Page) -> None:
    living.set_viewport_size(PHONE)
    living.reload()
    living.wait_for_function("living.lane")
    check_phone_and_themes(living, ROOT, "getComputedStyle(document.querySelector('.living-lane .living-now')).stroke")


def test_without_scripts_a_sentence_stands_there(browser: Browser) -> None:
    with without_scripts(browser, PAGE) as page:
        text = page.locator(ROOT).inner_text()
    assert re.search(r"needs the page's scripts", text.replace("\n", " ").replace("’", "'"))
