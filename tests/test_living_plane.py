"""The living plane: its probabilities and regions are torch's, and every point of it can be moved."""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch
from matplotlib.path import Path as Outline
from PIL import Image
from playwright.sync_api import Browser, Page
from torch import Tensor, nn

from metalearn.data import glyphs
from metalearn.learners import Prototypical
from tests.browsing import HTML, PHONE, check_phone_and_themes, page_with, seen, without_scripts
from tools import living_plane
from tools.living_figure import stored

pytestmark = pytest.mark.slow
PAGE = page_with("plane_page")
ROOT = "[data-living~=plane_page]"
DATA = stored("planeOfGlyphs")
Kind = Literal["euclidean", "cosine"]


def learner(kind: Kind) -> Prototypical:
    if kind == "cosine":
        return Prototypical(nn.Identity(), distance="cosine", temperature=living_plane.COSINE_TEMPERATURE)
    return Prototypical(nn.Identity())


def logits_of(classes: Tensor, queries: Tensor, kind: Kind) -> Tensor:
    """Return torch's logits of queries ``[n, 2]`` from examples ``[n_way, n_shot, 2]``."""
    labels = torch.arange(len(classes)).repeat_interleave(classes.shape[1])
    trained = learner(kind)
    return trained.predict(trained.adapt(classes.flatten(0, 1), labels, n_way=len(classes)), queries)


def press(page: Page, name: str) -> None:
    page.locator(ROOT).get_by_role("button", name=name, exact=True).click()


def pick(page: Page, text: str) -> None:
    page.locator(f"{ROOT} .living-choice label", has_text=text).click()


def probabilities(page: Page) -> list[float]:
    return [float(text) for text in page.locator(f"{ROOT} .living-number").all_inner_texts()]


# Files.


def test_the_stored_places_are_those_that_are_trained(tmp_path: Path) -> None:
    living_plane.write(tmp_path / "plane.js")
    text = (tmp_path / "plane.js").read_text("utf-8")
    written = living_plane.parse(text)
    np.testing.assert_allclose(written["tasks"], DATA["tasks"], atol=0.01)  # rounding differs between processors
    assert written["images"] == DATA["images"] and written["accuracy"].keys() == DATA["accuracy"].keys()
    for name, values in written["accuracy"].items():
        assert values == pytest.approx(DATA["accuracy"][name], abs=1)
    assert len(text) <= 100_000


def test_the_stored_picture_is_the_one_that_is_drawn(tmp_path: Path) -> None:
    living_plane.save(tmp_path / "plane.png")
    with Image.open(tmp_path / "plane.png") as drawn, Image.open(living_plane.PICTURE) as kept:
        assert drawn.size == kept.size
        difference = np.abs(np.asarray(drawn.convert("L"), float) - np.asarray(kept.convert("L"), float))
    assert difference.mean() < 0.5, "run tools/living_plane.py"  # of 255 grey levels


def test_letters_are_of_the_test_split_and_no_query_is_an_example() -> None:
    rows = living_plane.drawn_rows(glyphs().test)
    assert len(rows.flatten().unique()) == rows.numel()
    assert (glyphs().test.y[rows] == glyphs().test.y[rows[..., :1]]).all()
    assert len(glyphs().test.y[rows[..., 0]].unique()) == living_plane.N_TASKS * living_plane.N_WAY


def test_the_page_tells_what_was_measured(living: Page) -> None:
    told = " ".join(living.locator("article").inner_text().split())
    folded = " ".join(living.locator("article").text_content().split())  # type: ignore[union-attr]
    accuracy = DATA["accuracy"]
    for one, five in accuracy.values():
        assert f"{one}" in folded and f"{five}" in folded
    (one, five), (one_cosine, five_cosine), (one_all, five_all) = (accuracy[k] for k in ("euclidean", "cosine", "all"))
    assert f"names {one} of 100 rightly from one example and {five} from five" in folded
    assert f"not trained, {one_cosine} and {five_cosine}" in folded and f"name {one_all} and {five_all}" in folded
    assert "Nearest by" in told


# What the page computes.


@pytest.mark.parametrize("kind", ["euclidean", "cosine"])
@pytest.mark.parametrize("n_shot", [1, 5])
def test_probabilities_are_torchs(living: Page, kind: Kind, n_shot: int) -> None:
    generator = torch.Generator().manual_seed(n_shot)
    for _ in range(20):
        classes = 2 * torch.randn(3, n_shot, 2, generator=generator, dtype=torch.float64)
        query = 2 * torch.randn(1, 2, generator=generator, dtype=torch.float64)
        script = "([c, q, kind]) => living.probabilities(q, living.prototypesOf(c), kind)"
        found = living.evaluate(script, [classes.tolist(), query[0].tolist(), kind])
        expected = logits_of(classes, query, kind).softmax(1)[0]
        torch.testing.assert_close(torch.tensor(found, dtype=torch.float64), expected, atol=1e-10, rtol=1e-8)


@pytest.mark.parametrize("kind", ["euclidean", "cosine"])
def test_regions_are_where_torch_predicts_each_class(living: Page, kind: Kind) -> None:
    generator = torch.Generator().manual_seed(0)
    line = torch.linspace(-2.95, 2.95, 60, dtype=torch.float64)
    grid = torch.stack(torch.meshgrid(line, line, indexing="xy"), -1).view(-1, 2)
    for _ in range(10):
        prototypes = 2 * torch.randn(3, 2, generator=generator, dtype=torch.float64)
        script = "([p, kind]) => living.regions(p, kind, 3)"
        polygons = living.evaluate(script, [prototypes.tolist(), kind])
        logits = logits_of(prototypes.unsqueeze(1), grid, kind)
        top = logits.topk(2, 1)
        clear = (top.values[:, 0] - top.values[:, 1] > 1e-3).numpy()
        for label, polygon in enumerate(polygons):
            inside = Outline(polygon).contains_points(grid) if polygon else np.zeros(len(grid), bool)
            assert (inside == (top.indices[:, 0] == label).numpy())[clear].all()


def test_what_is_shown_is_what_torch_makes_of_the_places_shown(living: Page) -> None:
    for task in range(living_plane.N_TASKS):
        for n_shot, shots in ((5, "five"), (1, "one")):
            pick(living, shots)
            for kind, words in (("cosine", "cosine"), ("euclidean", "squared distance")):
                pick(living, words)
                classes = torch.tensor(living.evaluate("living.plane.classes()"))
                torch.testing.assert_close(classes, torch.tensor(DATA["tasks"][task])[:, :n_shot])
                query = torch.tensor([living.evaluate("living.plane.stage().query.at")])
                logits = logits_of(classes, query, kind)[0]  # type: ignore[arg-type]
                assert probabilities(living) == pytest.approx(logits.softmax(0).tolist(), abs=0.0051)
                shown = [float(text.split()[-1].replace("−", "-")) for text in sources(living)]
                similarity = living_plane.COSINE_TEMPERATURE * logits if kind == "cosine" else -logits
                assert shown == pytest.approx(similarity.tolist(), abs=0.0051)
        press(living, "Other letters")
    assert living.evaluate("living.plane.state.task") == 0


def sources(page: Page) -> list[str]:
    return page.locator(f"{ROOT} .living-bars small").all_inner_texts()


# What a reader does on the page.


def test_every_letter_moves_something_by_keys(living: Page) -> None:
    handles = living.locator(f"{ROOT} [role=slider]")
    assert handles.count() == 16
    for i in range(16):
        handles.nth(i).focus()
        scrolled = living.evaluate("scrollY")
        for key in ("ArrowUp", "ArrowLeft", "Shift+ArrowDown", "Shift+ArrowRight"):
            before = seen(living)
            living.keyboard.press(key)
            assert seen(living) != before, (i, key)
        assert living.evaluate("scrollY") == scrolled
        assert handles.nth(i).locator(".living-reach").evaluate("(ring) => getComputedStyle(ring).stroke") != "none"
    press(living, "Start over")
    places = living.evaluate("living.plane.classes()")
    np.testing.assert_allclose(places, np.array(DATA["tasks"][0])[:, :5])


def test_a_prototype_follows_a_dragged_example_by_a_fifth(living: Page) -> None:
    script = "living.prototypesOf(living.plane.classes())[2]"
    before, at = living.evaluate(script), living.evaluate("living.plane.classes()[2][0]")
    drag(living, "Example 1 of C", -60, 80)
    moved = np.array(living.evaluate("living.plane.classes()[2][0]")) - at
    assert np.abs(moved).min() > 0.3 and moved[0] < 0 and moved[1] < 0
    np.testing.assert_allclose(np.array(living.evaluate(script)) - before, moved / 5, atol=1e-9)


def drag(page: Page, label: str, dx: float, dy: float) -> None:
    box = page.locator(f'{ROOT} [aria-label="{label}"] rect').bounding_box()
    assert box is not None
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + dx, y + dy, steps=6)
    page.mouse.up()


def test_the_query_gets_the_class_it_is_dragged_to(living: Page) -> None:
    for name in "ABC":
        letter = "ABC".index(name)
        target = living.evaluate(f"living.prototypesOf(living.plane.classes())[{letter}]")
        handle = living.evaluate("living.plane.stage().query.at")
        box = living.locator(f"{ROOT} .living-frame").bounding_box()
        assert box is not None
        scale = box["width"] / (2 * living.evaluate("living.plane.stage().side"))
        drag(living, "Query", (target[0] - handle[0]) * scale, (handle[1] - target[1]) * scale)
        assert int(np.argmax(probabilities(living))) == letter
        living.wait_for_function(f"document.querySelector('{ROOT} [role=status]').textContent.includes('for {name},')")


def test_by_cosine_only_the_direction_counts(living: Page) -> None:
    pick(living, "cosine")
    pick(living, "one")
    regions = "[...document.querySelectorAll('.living-region')].map((path) => path.getAttribute('d'))"
    outwards = "(k) => { const one = living.plane.stage().handles[1][0]; one.place(one.at.map((v) => v * k)); }"
    before, shown = living.evaluate(regions), probabilities(living)
    living.evaluate(f"({outwards})(1.3); living.plane.show()")
    after = living.evaluate(regions)
    numbers = [np.array([part.split(",") for path in paths for part in path[1:-1].split("L")], float)
               for paths in (before, after)]  # fmt: skip
    np.testing.assert_allclose(*numbers, atol=1e-6)
    assert probabilities(living) == shown
    pick(living, "squared distance")
    assert living.evaluate(regions) != before


def test_buttons_and_choices_change_something(living: Page) -> None:
    for action in (
        lambda: pick(living, "cosine"),
        lambda: pick(living, "one"),
        lambda: press(living, "Another query"),
        lambda: press(living, "Other letters"),
        lambda: drag(living, "Query", 40, -30),
        lambda: press(living, "Start over"),
    ):
        before = seen(living)
        action()
        assert seen(living) != before
    assert living.locator(f"{ROOT} [role=slider]:visible").count() == 4  # one example each, and the query
    queries = {living.evaluate("living.plane.stage().query.at.join()")}
    for _ in range(6):
        press(living, "Another query")
        queries.add(living.evaluate("living.plane.stage().query.at.join()"))
    assert len(queries) == 6


def test_the_choices_work_by_keys(living: Page) -> None:
    living.locator(f"{ROOT} input[value=euclidean]").focus()
    living.keyboard.press("ArrowRight")
    assert living.evaluate("living.plane.state.kind") == "cosine" and "cosine" in sources(living)[0]


def test_a_finger_drags_and_does_not_scroll(browser: Browser) -> None:
    context = browser.new_context(has_touch=True, is_mobile=True, viewport=PHONE)
    page = context.new_page()
    page.goto(f"{HTML.as_uri()}/{PAGE}")
    page.locator(f"{ROOT} .living-frame").scroll_into_view_if_needed()
    box, scrolled = page.locator(f'{ROOT} [aria-label="Query"] rect').bounding_box(), page.evaluate("scrollY")
    before = page.evaluate("living.plane.stage().query.at")
    assert box is not None
    touch = context.new_cdp_session(page)
    points = [{"x": box["x"] + 14 + 3 * i, "y": box["y"] + 14 - 3 * i} for i in range(15)]
    touch.send("Input.dispatchTouchEvent", {"type": "touchStart", "touchPoints": points[:1]})
    for point in points[1:]:
        touch.send("Input.dispatchTouchEvent", {"type": "touchMove", "touchPoints": [point]})
    touch.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    page.wait_for_function("(x) => living.plane.stage().query.at[0] > x + 0.3", arg=before[0])
    assert page.evaluate("scrollY") == scrolled
    context.close()


def test_a_movement_is_drawn_within_a_frame(living: Page) -> None:
    script = """() => Array.from({ length: 60 }, (_, i) => {
      const start = performance.now();
      living.plane.stage().handles[i % 3][i % 5].place([Math.sin(i), Math.cos(i)]);
      living.plane.show();
      document.body.getBoundingClientRect(); // lay out
      return performance.now() - start;
    })"""
    times = living.evaluate(script)
    print(f"\n{statistics.median(times):.2f} ms a movement, {max(times):.2f} at most")
    assert statistics.median(times) < 16


def test_it_fits_a_phone_and_is_accessible_in_both_themes(living: Page) -> None:
    living.set_viewport_size(PHONE)
    press(living, "Other letters")
    check_phone_and_themes(living, ROOT, f"document.querySelector('{ROOT} image').getAttribute('href')")


def test_without_scripts_a_picture_and_a_text_stand_there(browser: Browser, address: str) -> None:
    with without_scripts(browser, PAGE, address) as page:
        assert page.locator(f"{ROOT} p").first.is_visible() and page.locator(f"{ROOT} .living-still").is_visible()
        image = page.locator(f"{ROOT} .living-still").evaluate("(node) => getComputedStyle(node).backgroundImage")
        assert page.request.get(image[5:-2]).status == 200
