"""What a reader needs beside the text: buttons, numbers of exercises, descriptions, the keyboard, width, search."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from bs4 import BeautifulSoup
from playwright.sync_api import Browser

from tests.browsing import HTML, Opened
from tools import pdf
from tools.set_address import current_address, slug

ROOT = Path(__file__).resolve().parents[1]
if not HTML.is_dir():
    pytest.skip("the book is not built: run `make book`", allow_module_level=True)

CHAPTERS = [path.stem for path in sorted((ROOT / "chapters").glob("*.ipynb"))]
TOO_WIDE = """() => [...document.querySelectorAll("article pre")]
  .filter((code) => code.scrollWidth > code.clientWidth + 1).map((code) => code.textContent)"""
FOCUS = """() => {
  const style = getComputedStyle(document.activeElement);
  return [document.activeElement.tagName, style.outlineStyle, parseFloat(style.outlineWidth)];
}"""


def parse(page: str) -> BeautifulSoup:
    return BeautifulSoup((HTML / page).read_text(encoding="utf-8"), "html.parser")


@pytest.fixture
def opened(browser: Browser, address: str) -> Iterator[Opened]:
    opened = Opened(browser, address)
    yield opened
    opened.context.close()


@pytest.mark.parametrize("page", ["book/intro", *(f"chapters/{stem}" for stem in CHAPTERS)])
def test_the_way_to_a_notebook_stands_under_the_title(page: str) -> None:
    title = parse(f"{page}.html").select_one("article h1")
    assert title is not None
    buttons = title.find_next_sibling("p", class_="open-notebook")
    assert buttons is not None
    colab, file = buttons.find_all("a")
    notebook = page if page != "book/intro" else f"chapters/{CHAPTERS[0]}"
    assert str(colab["href"]).endswith(f"/{slug(current_address(ROOT))}/blob/main/{notebook}.ipynb")
    assert ((HTML / page).parent / str(file["href"])).is_file()
    assert ("placeholder" in buttons.get_text()) == ("OWNER" in slug(current_address(ROOT)))


@pytest.mark.parametrize("stem", CHAPTERS)
def test_exercises_are_numbered_by_chapter(stem: str) -> None:
    page = parse(f"chapters/{stem}.html")
    numbers = [tag.get_text().strip() for tag in page.select(".exercise .caption-number")]
    assert numbers == [f"Exercise {int(stem[:2])}.{k}" for k in range(1, len(numbers) + 1)] and len(numbers) >= 3
    solved = [tag.get_text() for tag in page.select(".solution .admonition-title a")]
    assert [found[1] for text in solved if (found := re.match(r" (Exercise [\d.]+) ", text))] == numbers


def test_every_page_says_what_it_is_about() -> None:
    for page in [*HTML.glob("book/*.html"), *HTML.glob("chapters/*.html")]:
        (tag,) = parse(page.relative_to(HTML).as_posix()).select('meta[name="description"]')
        assert 40 < len(str(tag["content"])) < 180, page.name


def test_the_book_has_an_icon() -> None:
    (icon,) = parse("book/intro.html").select('link[rel~="icon"]')
    assert (HTML / "book" / str(icon["href"])).is_file()


def test_who_moves_by_the_keyboard_sees_where_they_are(opened: Opened) -> None:
    page = opened.open("chapters/05_maml.html")
    for _ in range(60):
        page.keyboard.press("Tab")
        name, style, width = page.evaluate(FOCUS)
        assert style != "none" and width >= 2, name


def test_formulas_are_no_stops_on_the_way_of_the_tab_key(opened: Opened) -> None:
    page = opened.open("chapters/05_maml.html")
    assert page.locator("mjx-container").count() > 50
    assert page.locator('mjx-container[tabindex="0"]').count() == 0


@pytest.mark.parametrize("stem", CHAPTERS)
def test_code_fits_its_column_on_a_small_laptop(stem: str, opened: Opened) -> None:
    page = opened.open(f"chapters/{stem}.html")
    page.set_viewport_size({"width": 1280, "height": 800})
    assert page.evaluate(TOO_WIDE) == []


@pytest.mark.parametrize(
    ("one", "other"), [("optimiser", "optimizer"), ("neighbour", "neighbor"), ("labelled", "labeled")]
)
def test_both_spellings_find_the_same_pages(one: str, other: str, opened: Opened) -> None:
    found = []
    for word in (one, other):
        page = opened.open(f"search.html?q={word}")
        page.locator("#search-results li a").first.wait_for()
        page.wait_for_function("document.querySelector('#search-results h2').textContent !== 'Searching'")
        links = page.locator("#search-results li a").evaluate_all("links => links.map(link => link.pathname)")
        found.append({link for link in links if "/chapters/" in link})
    assert found[0] == found[1] and found[0]


@pytest.mark.parametrize("word", ["overfitting", "hyperparameter", "kNN", "uncertainty", "dropout"])
def test_the_words_people_use_lead_somewhere(word: str, opened: Opened) -> None:
    page = opened.open(f"search.html?q={word}")
    page.locator("#search-results li a").first.wait_for()


def test_the_single_page_that_is_printed_has_every_page_and_no_broken_link(tmp_path: Path) -> None:
    pdf.write_single_page(tmp_path / "whole.html")
    whole = BeautifulSoup((tmp_path / "whole.html").read_text(encoding="utf-8"), "html.parser")
    printed = [page for page in pdf.pages() if page not in pdf.LEFT_OUT]
    assert [str(tag["id"]) for tag in whole.select("section.page[id]")] == [pdf.mark(page) for page in printed]
    ids = [str(tag["id"]) for tag in whole.select("[id]")]
    assert len(ids) == len(set(ids))
    links = [str(tag["href"]) for tag in whole.select("a[href]")]
    assert [link for link in links if link.startswith("#") and link[1:] not in ids] == []
    assert all(link.startswith(("#", "http")) for link in links)
    images = [str(tag["src"]) for tag in whole.select("img[src]") if not str(tag["src"]).startswith("data:")]
    assert images and all((HTML / source).is_file() for source in images)
