"""The book's pages: what they say, links, sizes, and each in a browser that may ask nothing from the network."""

from __future__ import annotations

import ast
import doctest
import importlib
import inspect
import pkgutil
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import unquote, urlsplit

import nbformat
import numpy as np
import pytest
import yaml
from bs4 import BeautifulSoup
from PIL import Image
from playwright.sync_api import Browser

import metalearn
from metalearn import experiments
from tests.browsing import ARTICLE, HTML, Opened, accessibility_faults
from tools import landing_figure
from tools.set_address import current_address, slug

ROOT = Path(__file__).resolve().parents[1]
if not HTML.is_dir():
    pytest.skip("the book is not built: run `make book`", allow_module_level=True)

PAGES = sorted(path.relative_to(HTML).as_posix() for path in HTML.rglob("*.html") if "_static" not in path.parts)
MAX_BYTES = 1_500_000
# Code has a few dozen colours, one for each class of its spans and of what holds it: ten of each stand for all.
FEW_OF_EACH_COLOUR = """() => {
  const seen = {};
  for (const span of document.querySelectorAll(".highlight span[class]:not(:has(*))")) {
    const around = ["[class*=highlight-]", "[class*=cell]"].map((place) => span.closest(place)?.className);
    const kind = [span.className, ...around].join(" in ");
    seen[kind] = (seen[kind] ?? 0) + 1;
    if (seen[kind] > 10) span.replaceWith(span.textContent);
  }
}"""
CHAPTERS = sorted((ROOT / "chapters").glob("*.ipynb"))


@cache
def parse(page: str) -> BeautifulSoup:
    return BeautifulSoup((HTML / page).read_text(encoding="utf-8"), "html.parser")


def is_ours(page: str) -> bool:
    """Tell pages that we wrote from an index or a listing of source code, which Sphinx generates."""
    return "/" in page and not page.startswith("_modules/")


def wrong_links(page: str) -> list[str]:
    """Return the links and sources of a page that lead to no file or to no anchor of a file."""
    soup = parse(page)
    links = {str(tag[key]) for key in ("href", "src") for tag in soup.find_all(attrs={key: True})}
    wrong = []
    for link in sorted(links):
        parts = urlsplit(link)
        if parts.scheme or parts.netloc:
            continue
        target = (HTML / page).parent / unquote(parts.path) if parts.path else HTML / page
        if not target.is_file():
            wrong.append(link)
        elif parts.fragment and target.suffix == ".html":
            goal = parse(target.resolve().relative_to(HTML.resolve()).as_posix())
            if goal.find(attrs={"id": unquote(parts.fragment)}) is None:
                wrong.append(link)
    return wrong


def test_the_book_has_the_pages_of_its_contents() -> None:
    toc = yaml.safe_load((ROOT / "book" / "_toc.yml").read_text(encoding="utf-8"))
    listed = {toc["root"]} | {entry["file"] for part in toc["parts"] for entry in part["chapters"]}
    built = {page.removesuffix(".html") for page in PAGES if is_ours(page)}
    assert built == listed, "pages of an earlier build: run `make clean`, then `make book`"


@pytest.mark.parametrize("page", PAGES)
def test_internal_links_resolve(page: str) -> None:
    assert wrong_links(page) == []


@pytest.mark.parametrize("page", PAGES)
def test_a_page_with_its_images_is_small(page: str) -> None:
    images = {(HTML / page).parent / unquote(str(tag["src"])) for tag in parse(page).find_all("img", src=True)}
    assert sum(path.stat().st_size for path in (HTML / page, *images) if path.is_file()) < MAX_BYTES


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)
def test_a_chapter_has_buttons_for_colab_and_binder(path: Path) -> None:
    place, branch = slug(current_address(ROOT)), "main"
    links = {str(tag["href"]) for tag in parse(f"chapters/{path.stem}.html").find_all("a", href=True)}
    assert f"https://colab.research.google.com/github/{place}/blob/{branch}/chapters/{path.name}" in links
    assert f"https://mybinder.org/v2/gh/{place}/{branch}?urlpath=tree/chapters/{path.name}" in links


# The first page's picture.


def test_the_picture_draws_the_recorded_numbers() -> None:
    axes, study = landing_figure.draw().axes[1], experiments.load("sinusoids")
    for method, line in zip(("SGD from scratch", "joint training", "MAML"), axes.lines, strict=True):
        for k, y in zip(*line.get_data(), strict=True):
            assert y == pytest.approx(study.row(method, "5 points", int(k))["median"], rel=1e-4)


def test_the_stored_picture_is_the_one_that_is_drawn(tmp_path: Path) -> None:
    landing_figure.save(tmp_path / "result.png")
    with Image.open(tmp_path / "result.png") as drawn, Image.open(landing_figure.TARGET) as stored:
        assert drawn.size == stored.size
        difference = np.abs(np.asarray(drawn.convert("L"), float) - np.asarray(stored.convert("L"), float))
    assert difference.mean() < 0.5, "run python -m tools.landing_figure"  # of 255 grey levels
    assert landing_figure.TARGET.stat().st_size <= 80_000


def test_the_first_page_tells_the_recorded_numbers() -> None:
    text = " ".join((ROOT / "book" / "intro.md").read_text(encoding="utf-8").split())
    said = re.search(r"(\d\.\d\d) if MAML chose .*?, (\d\.\d\d) after joint .*? (\d\.\d\d) from scratch", text)
    recorded = [f"{landing_figure.medians(label)[0]:.2f}" for label in landing_figure.METHODS]
    assert said is not None and list(said.groups()) == recorded[::-1]


# The page "API".


def public_objects(module: ModuleType) -> Iterator[tuple[str, Any]]:
    """Yield the functions and classes that a module offers: those in ``__all__``, or those defined in it."""
    for name, value in vars(module).items():
        if not (inspect.isfunction(value) or inspect.isclass(value)):
            continue
        if name in getattr(module, "__all__", ()) or (
            not hasattr(module, "__all__") and not name.startswith("_") and value.__module__ == module.__name__
        ):
            yield f"{module.__name__}.{name}", value


def public_modules() -> list[ModuleType]:
    """Return the package and the modules in it whose names have no underscore; a subpackage speaks for its modules."""
    names = [found.name for found in pkgutil.iter_modules(metalearn.__path__) if not found.name.startswith("_")]
    return [metalearn, *(importlib.import_module(f"metalearn.{name}") for name in names)]


PUBLIC = {name: value for module in public_modules() for name, value in public_objects(module)}


def resolve(name: str) -> Any:
    module, _, attribute = name.rpartition(".")
    return getattr(importlib.import_module(module), attribute)


def test_every_public_name_is_on_an_api_page() -> None:
    pages = [parse(f"book/{page.stem}.html") for page in sorted((ROOT / "book").glob("api*.md"))]
    entries = [entry for page in pages for entry in page.select("dl.function > dt, dl.class > dt, dl.exception > dt")]
    documented = [resolve(str(entry["id"])) for entry in entries if entry.has_attr("id")]
    assert len(PUBLIC) > 40
    assert sorted(name for name, value in PUBLIC.items() if value not in documented) == []
    assert [value for value in documented if documented.count(value) > 1] == []


def wrong_example(name: str, value: Any) -> str | None:
    """Return what is wrong with the example in a docstring: it must run with nothing but what it imports."""
    text = inspect.getdoc(value) or ""
    if "\nExample:\n" not in text or ">>> " not in text:
        return f"{name} has no example"
    test = doctest.DocTestParser().get_doctest(text, {}, name, None, None)
    report: list[str] = []
    doctest.DocTestRunner(verbose=False).run(test, out=report.append)
    return f"{name}: {''.join(report)}" if report else None


def test_every_public_name_has_an_example_that_runs_as_it_stands() -> None:
    values = {id(value): (name, value) for name, value in PUBLIC.items()}  # some are offered twice
    assert [problem for name, value in values.values() if (problem := wrong_example(name, value))] == []


def test_a_missing_or_failing_example_is_noticed() -> None:
    def bare() -> None:
        """Do nothing."""

    def unimported() -> None:
        """Show an example that needs what it does not import.

        Example:
            >>> torch.zeros(())
            tensor(0.)
        """

    assert wrong_example("bare", bare) == "bare has no example"
    assert "NameError" in (wrong_example("unimported", unimported) or "")


# A chapter that is opened alone, on Colab say, has nothing around it.

RELATIVE_PATH = re.compile(
    r"\.{1,2}/.*|(?!https?://|/)[^\s\n]+\.(?:png|svg|jpe?g|npz|npy|csv|json|txt|md|ipynb|py|pt|safetensors)"
)

IMAGE = re.compile(r"""!\[[^\]]*\]\(([^)\s]+)|<img[^>]*src=["']([^"']+)|\{(?:figure|image)\} (\S+)""")


def relative_paths(notebook: nbformat.NotebookNode) -> list[str]:
    """Return what a notebook reads beside itself: paths in strings of its code, images of its text."""
    found = []
    for cell in notebook.cells:
        if cell.cell_type == "code":
            strings = [node.value for node in ast.walk(ast.parse(cell.source)) if isinstance(node, ast.Constant)]
            found += [text for text in strings if isinstance(text, str) and RELATIVE_PATH.fullmatch(text)]
        else:
            images = IMAGE.findall(cell.source)
            found += [source for parts in images for source in parts if source and "://" not in source]
    return found


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)
def test_a_chapter_needs_no_file_beside_it(path: Path) -> None:
    assert relative_paths(nbformat.read(path, as_version=4)) == []


def test_relative_paths_are_noticed() -> None:
    code = nbformat.v4.new_code_cell("x = load('data/images.npz')\ny = open('./a')\nz = 'Latin/letter a'")
    text = nbformat.v4.new_markdown_cell('![a](images/b.png) and <img src="c.svg"> and ![d](https://example.org/d.png)')
    notebook = nbformat.v4.new_notebook(cells=[code, text])
    assert relative_paths(notebook) == ["data/images.npz", "./a", "images/b.png", "c.svg"]
    code.source = "from pathlib import Path\nPath('../book/setup.md')"
    assert relative_paths(notebook)[:1] == ["../book/setup.md"]


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)
def test_the_set_up_cell_runs_in_an_empty_folder(path: Path, tmp_path: Path) -> None:
    source = next(cell.source for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code")
    result = subprocess.run([sys.executable, "-c", source], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (result.returncode, result.stderr) == (0, "")
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def opened(browser: Browser, address: str) -> Iterator[Opened]:
    opened = Opened(browser, address)
    yield opened
    opened.context.close()


# One listing of source code stands for all, and one group of the API, which has hundreds of like parts, for the others.
OPENED = [page for page in PAGES if page != "index.html" and not page.startswith("_modules/metalearn/")]
EXAMINED = {
    "book/api.html": "section#learners",
    "book/api_acting.html": "section#search",
    "book/api_judging.html": "section#diagnosis",
}


@pytest.mark.parametrize("path", [*OPENED, "_modules/metalearn/episodes.html"])
def test_page_in_a_browser(path: str, opened: Opened) -> None:
    page, within = opened.open(path), EXAMINED.get(path, ARTICLE)
    if parse(path).select(".math"):
        assert page.locator("mjx-container").count() > 0
    assert page.locator("mjx-merror").count() == 0
    assert page.evaluate("document.documentElement.dataset.theme") == "light"
    if path != "chapters/05_maml.html":  # MathJax sets all formulas alike: one chapter's stand for all, for speed
        page.evaluate("document.querySelectorAll('mjx-container').forEach(formula => formula.remove())")
        page.evaluate(FEW_OF_EACH_COLOUR)
    if is_ours(path):
        assert accessibility_faults(page, within) == []
    page.set_viewport_size({"width": 375, "height": 667})
    assert page.evaluate("document.documentElement.scrollWidth") <= 375
    page.emulate_media(color_scheme="dark")
    page.wait_for_function("document.documentElement.dataset.theme === 'dark'")
    if is_ours(path):
        assert accessibility_faults(page, within, runOnly=["color-contrast"]) == []
    assert opened.problems == []


def test_the_first_page_leads_to_the_introduction(browser: Browser, address: str) -> None:
    page = browser.new_page()
    page.goto(f"{address}/index.html")
    page.wait_for_url("**/book/intro.html")
    page.close()


@pytest.mark.parametrize(("word", "title"), [("prototype", "Glossary"), ("transductive", "Notation")])
def test_search_finds_a_page_and_opens_it(word: str, title: str, browser: Browser, address: str) -> None:
    opened = Opened(browser, address)
    page = opened.open(f"search.html?q={word}")
    page.locator("#search-results li a").first.wait_for()
    page.get_by_role("link", name=title, exact=True).first.click()
    page.wait_for_url(f"**/{title.lower()}.html*")
    assert page.locator("article h1").inner_text().startswith(title)
    assert word in page.locator(ARTICLE).inner_text().lower()
    assert opened.problems == []
    opened.context.close()


def test_a_request_to_the_network_is_noticed(browser: Browser, address: str) -> None:
    opened = Opened(browser, address)
    page = opened.open("search.html")
    page.evaluate("fetch('http://example.invalid/').catch(() => null)")
    assert any("asked the network for http://example.invalid/" in problem for problem in opened.problems)
    opened.context.close()


def test_faults_of_a_page_are_noticed(browser: Browser, address: str) -> None:
    opened = Opened(browser, address)
    page = opened.open("book/intro.html")
    page.evaluate("document.querySelector('article h1').insertAdjacentHTML('afterend', '<img src=\"no.png\">')")
    assert [rule for rule, _ in accessibility_faults(page)] == ["image-alt"]
    page.evaluate("setTimeout(() => { throw new Error('broken') })")
    page.wait_for_timeout(100)
    assert any(problem.startswith("404: ") for problem in opened.problems)
    assert any("broken" in problem for problem in opened.problems)
    opened.context.close()
