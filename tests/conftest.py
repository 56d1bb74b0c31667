"""Seeded chance, a browser, the served book and a sheet to draw on; what drives them is imported where needed only."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
import torch

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from playwright.sync_api import Browser, Page


@pytest.fixture(autouse=True)
def chance() -> None:
    """Seed what a test draws without a generator, whatever ran before it in its process."""
    torch.manual_seed(0)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    from tests.browsing import launched

    with launched() as browser:
        yield browser


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    from tests.browsing import served

    with served() as address:
        yield address


@pytest.fixture(params=["file", "http"])
def living(request: pytest.FixtureRequest, browser: Browser) -> Iterator[Page]:
    """Yield the module's PAGE over file:// and over http, at its living picture; nothing may have gone wrong on it."""
    from tests.browsing import HTML, Opened

    where = HTML.as_uri() if request.param == "file" else request.getfixturevalue("address")
    opened = Opened(browser, where)
    page = opened.open(request.module.PAGE)
    page.locator(request.module.ROOT).scroll_into_view_if_needed()
    yield page
    problems = opened.problems
    opened.context.close()
    assert problems == []


@pytest.fixture
def axes() -> Iterator[Axes]:
    """Yield axes in the book's style, which are drawn afterwards: what cannot be drawn is an error."""
    from matplotlib import pyplot

    from metalearn import plotting

    plotting.use_style()
    figure, axes = pyplot.subplots()
    yield axes
    figure.canvas.draw()
    pyplot.close(figure)
