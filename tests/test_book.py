"""The built book: links, sizes, and every page in a browser that may ask nothing from the network."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from functools import cache, partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
import yaml
from axe_playwright_python.sync_playwright import Axe
from bs4 import BeautifulSoup
from playwright.sync_api import Browser, Page, Route, sync_playwright

ROOT = Path(__file__).resolve().parents[1]
HTML = ROOT / "_build" / "html"
if not HTML.is_dir():
    pytest.skip("the book is not built: run `make book`", allow_module_level=True)

CHROMIUM = shutil.which("chromium")
OPTIONS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
PAGES = sorted(path.relative_to(HTML).as_posix() for path in HTML.rglob("*.html") if "_static" not in path.parts)
ARTICLE = "article.bd-article"
# Faults that no page of ours can mend, by rule and by what the element holds.
THEME_FAULTS = [
    ("label-content-name-mismatch", "<summary"),  # myst-nb: the label of a hidden input
    ("aria-allowed-role", 'role="doc-biblioentry"'),  # Sphinx: an entry of the bibliography
    ("aria-deprecated-role", 'role="doc-biblioentry"'),
    ("aria-required-children", 'class="citation-list"'),
]
MAX_BYTES = 1_500_000


@cache
def parse(page: str) -> BeautifulSoup:
    return BeautifulSoup((HTML / page).read_text(encoding="utf-8"), "html.parser")


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
    built = {page.removesuffix(".html") for page in PAGES if "/" in page}
    assert built == listed, "pages of an earlier build: run `make clean`, then `make book`"


@pytest.mark.parametrize("page", PAGES)
def test_internal_links_resolve(page: str) -> None:
    assert wrong_links(page) == []


@pytest.mark.parametrize("page", PAGES)
def test_a_page_with_its_images_is_small(page: str) -> None:
    images = {(HTML / page).parent / unquote(str(tag["src"])) for tag in parse(page).find_all("img", src=True)}
    assert sum(path.stat().st_size for path in (HTML / page, *images) if path.is_file()) < MAX_BYTES


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if CHROMIUM is None:
        pytest.skip("no program called chromium: install it to test pages in a browser")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=OPTIONS)
        yield browser
        browser.close()


class QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(QuietHandler, directory=str(HTML))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


class Opened:
    """A page with the network cut off, and what went wrong on it."""

    def __init__(self, browser: Browser, address: str, scheme: str) -> None:
        self.address, self.scheme, self.problems = address, scheme, list[str]()
        self.context = browser.new_context(color_scheme=scheme)  # type: ignore[arg-type]
        self.context.set_default_timeout(15_000)
        self.page: Page = self.context.new_page()
        self.page.route("**/*", self.only_local)
        self.page.on("pageerror", lambda error: self.problems.append(f"page error: {error}"))
        self.page.on("console", lambda m: self.problems.append(f"console: {m.text}") if m.type == "error" else None)
        self.page.on("response", lambda r: self.problems.append(f"{r.status}: {r.url}") if r.status >= 400 else None)

    def only_local(self, route: Route) -> None:
        if route.request.url.startswith((self.address, "data:", "blob:")):
            route.continue_()
        else:
            self.problems.append(f"asked the network for {route.request.url}")
            route.abort()

    def open(self, path: str) -> Page:
        self.page.goto(f"{self.address}/{path}", wait_until="load")
        self.page.evaluate("() => window.MathJax?.startup?.promise")
        return self.page


@pytest.fixture(params=["light", "dark"])
def opened(request: pytest.FixtureRequest, browser: Browser, address: str) -> Iterator[Opened]:
    opened = Opened(browser, address, request.param)
    yield opened
    opened.context.close()


def accessibility_faults(page: Page) -> list[tuple[str, str]]:
    """Return what axe finds in the article: rule and element."""
    options = {"preload": False}  # would ask the server for style sheets at wrong addresses
    violations = Axe().run(page, context=ARTICLE, options=options).response["violations"]
    found = [(violation["id"], node["html"][:200]) for violation in violations for node in violation["nodes"]]
    return [one for one in found if not any(one[0] == rule and part in one[1] for rule, part in THEME_FAULTS)]


@pytest.mark.parametrize("path", [page for page in PAGES if page != "index.html"])
def test_page_in_a_browser(path: str, opened: Opened) -> None:
    page = opened.open(path)
    if parse(path).select(".math"):
        assert page.locator("mjx-container").count() > 0
    assert page.locator("mjx-merror").count() == 0
    assert page.evaluate("document.documentElement.dataset.theme") == opened.scheme
    if "/" in path:  # ours, not an index that Sphinx generates
        assert accessibility_faults(page) == []
    page.set_viewport_size({"width": 375, "height": 667})
    assert page.evaluate("document.documentElement.scrollWidth") <= 375
    assert opened.problems == []


def test_the_first_page_leads_to_the_introduction(browser: Browser, address: str) -> None:
    page = browser.new_page()
    page.goto(f"{address}/index.html")
    page.wait_for_url("**/book/intro.html")
    page.close()


def test_search_finds_a_page(browser: Browser, address: str) -> None:
    opened = Opened(browser, address, "light")
    page = opened.open("search.html?q=transductive")
    page.locator("#search-results li a").first.wait_for()
    assert "Notation" in page.locator("#search-results").inner_text()
    assert opened.problems == []
    opened.context.close()


def test_a_request_to_the_network_is_noticed(browser: Browser, address: str) -> None:
    opened = Opened(browser, address, "light")
    page = opened.open("search.html")
    page.evaluate("fetch('http://example.invalid/').catch(() => null)")
    assert any("asked the network for http://example.invalid/" in problem for problem in opened.problems)
    opened.context.close()


def test_faults_of_a_page_are_noticed(browser: Browser, address: str) -> None:
    opened = Opened(browser, address, "light")
    page = opened.open("book/intro.html")
    page.evaluate("document.querySelector('article h1').insertAdjacentHTML('afterend', '<img src=\"no.png\">')")
    assert [rule for rule, _ in accessibility_faults(page)] == ["image-alt"]
    page.evaluate("setTimeout(() => { throw new Error('broken') })")
    page.wait_for_timeout(100)
    assert any(problem.startswith("404: ") for problem in opened.problems)
    assert any("broken" in problem for problem in opened.problems)
    opened.context.close()
