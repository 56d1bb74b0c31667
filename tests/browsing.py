"""What tests of the built book share: a browser, a server, and pages that may ask nothing from the network."""

from __future__ import annotations

import re
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, Route, ViewportSize, sync_playwright

HTML = Path(__file__).resolve().parents[1] / "_build" / "html"
CHROMIUM = shutil.which("chromium")
OPTIONS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
ARTICLE = "article.bd-article"
PHONE: ViewportSize = {"width": 375, "height": 667}
# Faults that no page of ours can mend, by rule and by what the element holds.
THEME_FAULTS = [
    ("label-content-name-mismatch", "<summary"),  # myst-nb: the label of a hidden input
    ("aria-allowed-role", 'role="doc-biblioentry"'),  # Sphinx: an entry of the bibliography
    ("aria-deprecated-role", 'role="doc-biblioentry"'),
    ("aria-required-children", 'class="citation-list"'),
]
# Pages draw by chance, tests do not: the same numbers in every run (Park and Miller, 1988).
SEEDED = "let last = 1; Math.random = () => (last = (last * 16807) % 2147483647) / 2147483647;"


@contextmanager
def launched() -> Iterator[Browser]:
    """Yield a browser, or skip the test where there is none."""
    if CHROMIUM is None:
        pytest.skip("no program called chromium: install it to test pages in a browser")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=OPTIONS)
        yield browser
        browser.close()


class QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        pass


@contextmanager
def served() -> Iterator[str]:
    """Yield the address at which the built book is served."""
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(QuietHandler, directory=str(HTML))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


class Opened:
    """A page with the network cut off and its chance seeded, and what went wrong on it."""

    def __init__(self, browser: Browser, address: str) -> None:
        self.address, self.problems = address, list[str]()
        self.context = browser.new_context(color_scheme="light")
        self.context.set_default_timeout(15_000)
        self.context.add_init_script(SEEDED)
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


def page_with(script: str) -> str:
    """Return the page of the built book that shows the living picture of a script, or skip the tests of the module."""
    found = re.compile(rf'data-living="[^"]*\b{script}\b')
    for path in sorted(HTML.glob("[a-z]*/*.html")):
        if found.search(path.read_text(encoding="utf-8")):
            return path.relative_to(HTML).as_posix()
    pytest.skip(f"no built page asks for living/{script}.js: run `make book`", allow_module_level=True)


# What living pictures have in common; a page has one.


def state(page: Page, name: str) -> dict[str, Any]:
    """Return what a living picture has computed last."""
    found = page.evaluate(f"({{...living.{name}}})")
    assert isinstance(found, dict)
    return found


def seen(page: Page) -> str:
    """Return all that stands in the picture, without what is read out later."""
    script = "(root) => root.innerHTML.replace(/<p class=.living-status.*?<\\/p>/, '')"
    text = page.locator(".living").evaluate(script)
    values = page.locator(".living input").evaluate_all("(all) => all.map((one) => one.value + one.checked)")
    return f"{text} {values}"


def slide(page: Page, name: str, value: float) -> None:
    """Set the slider of a name."""
    slider = page.locator(".living .living-slider", has_text=name).locator("input")
    slider.evaluate("(input, value) => { input.value = value; input.dispatchEvent(new Event('input')); }", value)


def choose(page: Page, name: str) -> None:
    """Take the choice of a name."""
    page.locator(".living .living-choice").get_by_text(name, exact=True).click()


def frame_times(page: Page, handle: str) -> list[float]:
    """Return the milliseconds of fifty moves of a handle by keys, each with its layout."""
    script = """(selector) => {
      const handle = document.querySelector(selector), times = [];
      for (let k = 0; k < 60; k++) {
        const start = performance.now();
        handle.dispatchEvent(new KeyboardEvent("keydown", {key: k % 2 ? "ArrowUp" : "ArrowDown", cancelable: true}));
        document.body.getBoundingClientRect();
        times.push(performance.now() - start);
      }
      return times.slice(10);
    }"""
    return [float(time) for time in page.evaluate(script, handle)]


@contextmanager
def without_scripts(browser: Browser, path: str, address: str | None = None) -> Iterator[Page]:
    """Yield a page of the built book, opened as a file or at an address, whose scripts do not run."""
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(f"{address or HTML.as_uri()}/{path}")
    yield page
    context.close()


def check_phone_and_themes(page: Page, root: str, look: str) -> None:
    """Check that a page fits a phone, and that a picture on it is accessible in both themes and changes its colours.

    Args:
        page: As wide as a phone, in the light theme.
        root: Selector of the picture.
        look: An expression of what changes with the theme: a colour, or all that a canvas shows.
    """
    assert page.viewport_size == PHONE
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    assert accessibility_faults(page, root) == []
    light = page.evaluate(look)
    page.emulate_media(color_scheme="dark")
    page.wait_for_function("document.documentElement.dataset.theme === 'dark'")
    assert page.evaluate(look) != light
    assert accessibility_faults(page, root) == []


def accessibility_faults(page: Page, within: str = ARTICLE, **options: Any) -> list[tuple[str, str]]:
    """Return what axe finds: rule and element."""
    options = {"preload": False, "resultTypes": ["violations"], **options}  # preload would ask for wrong addresses
    violations = Axe().run(page, context=within, options=options).response["violations"]
    found = [(violation["id"], node["html"][:200]) for violation in violations for node in violation["nodes"]]
    return [one for one in found if not any(one[0] == rule and part in one[1] for rule, part in THEME_FAULTS)]
