"""The tasks of the landing page: drawn fairly, answered as the package answers them, and open to every reader."""

from __future__ import annotations

import base64
import re
from collections import Counter
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from playwright.sync_api import Browser, Page

from metalearn import experiments, pretrained
from metalearn.data import glyphs
from metalearn.learners import Learner, Pixels
from tests.browsing import HTML, PHONE, check_phone_and_themes, page_with, without_scripts
from tools import living_tasks
from tools.living_figure import stored

pytestmark = pytest.mark.slow
PAGE = page_with("guess")
ROOT = "[data-living~=guess]"
TEXT = " ".join((Path(__file__).resolve().parents[1] / "book/intro.md").read_text(encoding="utf-8").split())
TASKS = re.findall(
    r'{"script": "(\w+)", "answer": (\d), "pixels": (\d), "prototypical": (\d)}', living_tasks.TARGET.read_text("utf-8")
)
ANSWERS = [[int(value) for value in values] for _, *values in TASKS]  # the right one, pixels', the network's


def choose(page: Page, letter: int, force: bool = False) -> None:
    page.locator(".living-letters button").nth(letter).click(force=force)


def says(page: Page) -> str:
    return page.locator(f"{ROOT} [role=status]").inner_text()


def scores(page: Page) -> list[str]:
    return page.locator(".living-count").all_inner_texts()


# Files.


def test_the_stored_tasks_are_those_that_are_drawn(tmp_path: Path) -> None:
    living_tasks.write(tmp_path / "tasks.js")
    assert (tmp_path / "tasks.js").read_bytes() == living_tasks.TARGET.read_bytes(), "run tools/living_tasks.py"
    assert living_tasks.TARGET.stat().st_size <= 200_000


def test_the_stored_picture_is_the_one_that_is_drawn(tmp_path: Path) -> None:
    living_tasks.save(tmp_path / "guess.png")
    with Image.open(tmp_path / "guess.png") as drawn, Image.open(living_tasks.PICTURE) as kept:
        assert drawn.size == kept.size
        difference = np.abs(np.asarray(drawn.convert("L"), float) - np.asarray(kept.convert("L"), float))
    assert difference.mean() < 0.5, "run tools/living_tasks.py"  # of 255 grey levels
    truth, pixels, network = (answer + 1 for answer in ANSWERS[0])
    assert f"It is letter {truth}. The trained network said {network}, raw pixels said {pixels}." in TEXT


def test_tasks_are_fair() -> None:
    pool = glyphs().test
    tasks = living_tasks.draw(pool, 10)
    scripts = Counter(task.script for task in tasks)
    assert set(scripts.values()) == {10} and len(scripts) == 4
    seen = {name.partition("/")[0] for split in (glyphs().train, glyphs().validation) for name in split.class_names}
    assert not seen & set(scripts)
    assert [task.script for task in tasks[:10]] != sorted(task.script for task in tasks[:10])  # in no order
    for task in tasks:
        rows = [int((pool.x == image).flatten(1).all(1).nonzero()[0]) for image in task.images]
        labels = [int(pool.y[row]) for row in rows]
        assert len(set(rows)) == 6 and len(set(labels[:5])) == 5 and labels[5] == labels[task.answer]
        assert {pool.class_names[label].partition("/")[0] for label in labels} == {task.script}


def test_the_page_tells_what_is_measured() -> None:
    tasks = living_tasks.draw(glyphs().test, 150, seed=1)
    learners: dict[str, Learner] = {"network": pretrained("prototypical", "glyphs"), "pixels": Pixels()}
    shares = {name: np.mean([task.guess(one) == task.answer for task in tasks]) for name, one in learners.items()}
    said = re.search(r"On (\d+) further tasks it names (\d+) letters in 100, raw pixels name (\d+), guessing", TEXT)
    assert said is not None and int(said[1]) == len(tasks)
    assert float(said[2]) == pytest.approx(100 * shares["network"], abs=0.6)
    assert float(said[3]) == pytest.approx(100 * shares["pixels"], abs=0.6)
    assert (
        experiments.standing()["glyphs"].methods["Prototypical"].episodes["n_way"] == 20
        and "twenty letters a task" in TEXT
    )


def test_the_lines_to_start_with_run(capsys: pytest.CaptureFixture[str]) -> None:
    (lines,) = re.findall(r"```python\n(.*?)```", (HTML.parents[1] / "book/intro.md").read_text("utf-8"), re.DOTALL)
    exec(lines, {})
    recorded = experiments.load("glyphs").score("Prototypical", "5-way 1-shot")
    assert float(capsys.readouterr().out.split(" ± ")[0]) == pytest.approx(100 * recorded.mean, abs=1)


# What a reader does on the page.


def test_the_images_are_those_of_the_tasks(living: Page) -> None:
    script = "([task, i]) => Array.from(living.guess.imageOf(task, i).data)"
    for number, task in enumerate(living_tasks.stored_tasks()):
        if number in (0, 7, 39):
            for i in range(6):
                image = torch.tensor(living.evaluate(script, [number, i])).view(1, 28, 28)
                torch.testing.assert_close(image, task.images[i].float() / 255)


def test_forty_answers_are_counted(living: Page) -> None:
    assert scores(living) == ["–"] * 3 and "Task 1 of 40" in says(living)
    own = [truth if number % 3 else (truth + 1) % 5 for number, (truth, _, _) in enumerate(ANSWERS)]
    for number, (truth, pixels, network) in enumerate(ANSWERS):
        choose(living, own[number])
        choose(living, truth, force=True)  # too late: it is marked as disabled
        done = ANSWERS[: number + 1]
        hits = [
            sum(a == b for a, (b, _, _) in zip(own, done, strict=False)),
            sum(answer == network for answer, _, network in done),
            sum(answer == pixels for answer, pixels, _ in done),
        ]
        assert scores(living) == [f"{hit} of {number + 1}" for hit in hits]
        marked = living.locator(".living-letters li").all_inner_texts()
        assert ["✓ right" in text for text in marked] == [letter == truth for letter in range(5)]
        for word, answer in (("you", own[number]), ("network", network), ("pixels", pixels)):
            assert [word in text for text in marked] == [letter == answer for letter in range(5)]
        assert says(living).startswith("Right" if own[number] == truth else "No")
        assert ("raw pixels were right" in says(living)) == (pixels == truth)
        assert living.locator(".living-dots i.hit").count() == sum(hits)
        if number < 39:
            living.get_by_role("button", name="Next task").click()
            assert f"Task {number + 2} of 40" in says(living) and TASKS[number + 1][0] in says(living)
    assert "all the tasks" in says(living)
    living.get_by_role("button", name="Start again").click()
    assert scores(living) == ["–"] * 3 and "Task 1 of 40" in says(living)


def test_keys_are_enough(living: Page) -> None:
    assert living.evaluate("document.activeElement === document.body")
    living.get_by_role("button", name="Letter 1").focus()
    for number in range(3):
        living.keyboard.press(str(ANSWERS[number][0] + 1))
        assert scores(living)[0] == f"{number + 1} of {number + 1}"
        assert living.evaluate("document.activeElement.textContent") == "Next task"
        living.keyboard.press("Enter")
    living.keyboard.press("Tab")  # to the second letter
    focused = living.locator(".living-letters button").nth(1)
    assert focused.evaluate("(button) => document.activeElement === button")
    assert focused.evaluate("(button) => getComputedStyle(button).outlineStyle") == "solid"
    living.keyboard.press("Enter")
    assert scores(living)[0].endswith("of 4")


def test_the_next_task_waits_for_an_answer(living: Page) -> None:
    living.get_by_role("button", name="Next task").click(force=True)
    assert "Answer first" in says(living) and living.evaluate("living.guess.task()") == 0


def test_every_letter_answers_and_nothing_below_moves(living: Page) -> None:
    below = living.locator(f"{ROOT} + *").first
    places, states = [], []
    for letter in range(5):
        living.reload()
        living.wait_for_function("window.living?.guess")
        places.append(below.bounding_box())
        choose(living, letter)
        places.append(below.bounding_box())
        states.append(living.locator(ROOT).inner_text())
    assert len(set(states)) == 5
    tops = [place["y"] + scrolled for place in places if place for scrolled in [living.evaluate("scrollY")]]
    assert all(abs(a - b) < 1 for a, b in pairwise(tops))


def test_it_fits_a_phone_and_is_accessible_in_both_themes(living: Page) -> None:
    living.set_viewport_size(PHONE)
    choose(living, 0)
    check_phone_and_themes(living, ROOT, f"document.querySelector('{ROOT} canvas').toDataURL()")


def test_a_finger_answers(browser: Browser) -> None:
    context = browser.new_context(has_touch=True, is_mobile=True, viewport=PHONE)
    page = context.new_page()
    page.goto(f"{HTML.as_uri()}/{PAGE}")
    page.locator(".living-letters button").nth(ANSWERS[0][0]).tap()
    assert scores(page)[0] == "1 of 1"
    context.close()


def test_without_scripts_a_picture_stands_there(browser: Browser, address: str) -> None:
    with without_scripts(browser, PAGE, address) as page:
        picture = page.locator("noscript img")
        assert picture.is_visible() and picture.evaluate("(image) => image.naturalWidth") == 960


def test_images_take_four_bits_a_pixel() -> None:
    packed = base64.b64decode(stored("tasksOfGlyphs")["images"])
    assert len(packed) == 40 * 6 * 28 * 28 // 2
