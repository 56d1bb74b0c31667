"""The table that sorts: by the mouse and by keys, numbers as numbers, empty cells last; whole without scripts."""

from __future__ import annotations

import re
from itertools import pairwise

import pytest
from playwright.sync_api import Browser, Page

from metalearn import experiments
from tests.browsing import PHONE, check_phone_and_themes, page_with, without_scripts

pytestmark = pytest.mark.slow
PAGE = page_with("sortable")
ROOT = "[data-living~=sortable]"
N_ROWS = len(experiments.Overview().methods)


def head(page: Page, name: str, number: int = 0) -> tuple[int, str | None]:
    """Return a column's place and how it is sorted."""
    found = page.locator(f"{ROOT} thead tr").last.locator("th")
    names = found.all_inner_texts()
    place = [i for i, text in enumerate(names) if re.sub(r"\W+$", "", text) == name][number]
    return place, found.nth(place).get_attribute("aria-sort")


def press(page: Page, name: str) -> None:
    page.locator(f"{ROOT} thead tr").last.locator("th").nth(head(page, name)[0]).locator("button").click()


def values(page: Page, name: str) -> list[str | None]:
    """Return what each row of a column is sorted by."""
    script = "(rows, k) => rows.map((row) => row.cells[k].dataset.value ?? (row.cells[k].textContent || null))"
    found: list[str | None] = page.locator(f"{ROOT} tbody tr").evaluate_all(script, head(page, name)[0])
    return found


def test_a_click_sorts_numbers_as_numbers_and_a_second_one_turns_them(living: Page) -> None:
    before = values(living, "parameters")
    press(living, "parameters")
    falling = values(living, "parameters")
    known = [float(value) for value in falling if value is not None]
    assert all(a >= b for a, b in pairwise(known)) and known[0] >= 100_000 > known[-1]  # as text 9 comes after 100,000
    assert head(living, "parameters")[1] == "descending"
    press(living, "parameters")
    rising = [float(value) for value in values(living, "parameters") if value is not None]
    assert rising == sorted(known) and head(living, "parameters")[1] == "ascending"
    assert sorted(before, key=str) == sorted(falling, key=str) and len(falling) == N_ROWS


def test_empty_cells_come_last_either_way(living: Page) -> None:
    for _ in range(2):
        press(living, "20-way 1-shot")
        empty = [value is None for value in values(living, "20-way 1-shot")]
        assert any(empty) and empty == sorted(empty)


def test_keys_are_enough_and_names_sort_from_a(living: Page) -> None:
    button = living.locator(f"{ROOT} thead button").first
    button.focus()
    living.keyboard.press("Enter")
    names = living.locator(f"{ROOT} tbody th").all_inner_texts()
    assert names == sorted(names, key=str.lower) and head(living, "method")[1] == "ascending"
    living.keyboard.press("Tab")
    living.keyboard.press("Space")
    assert head(living, "method")[1] is None and head(living, "5-way 1-shot")[1] == "descending"
    focused = living.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    assert focused == "solid"


def test_it_scrolls_in_its_box_and_is_accessible_in_both_themes(living: Page) -> None:
    living.set_viewport_size(PHONE)
    box = living.locator(ROOT)
    assert box.evaluate("(box) => box.scrollWidth > 3 * box.clientWidth && box.clientWidth <= 375")
    box.evaluate("(box) => { box.scrollLeft = 600; }")
    name = living.locator(f"{ROOT} tbody th").first.bounding_box()
    assert name is not None and 0 <= name["x"] < 60  # the names of rows stay in sight
    check_phone_and_themes(living, ROOT, f"getComputedStyle(document.querySelector('{ROOT} td')).color")
    frame = box.evaluate("(box) => getComputedStyle(box.closest('.text_html')).backgroundColor")
    assert frame == "rgba(0, 0, 0, 0)"  # in the dark no frame of white paper is left


def test_without_scripts_the_table_stands_there(browser: Browser, address: str) -> None:
    with without_scripts(browser, PAGE, address) as page:
        assert page.locator(f"{ROOT} tbody tr").count() == N_ROWS
        assert page.locator(f"{ROOT} button").count() == 0 and page.locator(f"{ROOT} caption").is_visible()
