"""What a reader needs beside the text: a button for Colab, exercises counted by chapter, a search in both spellings."""

from __future__ import annotations

import html
import json
import re
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.search.en import SearchEnglish

PLACEHOLDER = "/OWNER/"
FIRST = "chapters/01_learning_to_learn"
# American and British spelling become one before a word is stemmed, in the index and in what is asked for.
SPELLINGS = [
    (r"^(.{4,})is(e|ed|es|er|ers|ing|ation|ations)$", r"\1iz\2"),
    (r"^(.{3,})ys(e|ed|es|er|ers|ing)$", r"\1yz\2"),
    (r"^(.{3,})our(s|ed|ing|al|hood|hoods|able)?$", r"\1or\2"),
    (r"^(.{3,})ll(ed|ing|er|ers)$", r"\1l\2"),
    (r"^centre(s|d)?$", r"center\1"),
    (r"^grey(s|er)?$", r"gray\1"),
]


class SearchBook(SearchEnglish):
    """English, where ``optimizer`` finds ``optimiser``."""

    js_stemmer_code = (
        SearchEnglish.js_stemmer_code
        + f"""
const spellings = {json.dumps([[find, put.replace(chr(92), "$")] for find, put in SPELLINGS])}
  .map(([find, put]) => [new RegExp(find), put]);
const PorterStemmer = Stemmer;
Stemmer = function() {{
  const porter = new PorterStemmer();
  this.stemWord = (word) => porter.stemWord(
    spellings.reduce((text, [find, put]) => text.replace(find, put), word.toLowerCase()));
}}
"""
    )

    def stem(self, word: str) -> str:
        """Return the stem of a word in its American spelling."""
        word = word.lower()
        for find, put in SPELLINGS:
            word = re.sub(find, put, word)
        return super().stem(word)


def colab(app: Sphinx, page: str) -> str:
    """Return the address at which Colab opens a notebook of the repository."""
    place = app.config.html_theme_options["repository_url"].removeprefix("https://github.com/")
    branch = app.config.html_theme_options["repository_branch"]
    return f"https://colab.research.google.com/github/{place}/blob/{branch}/{page}.ipynb"


def add_buttons(app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: object) -> None:
    """Put the way to a running notebook under the title of each chapter, and of the first page."""
    if not page.startswith("chapters/") and page != "book/intro":
        return
    notebook = page if page.startswith("chapters/") else FIRST
    which = "" if notebook == page else " chapter 1"
    address, file = colab(app, notebook), context["pathto"](f"_sources/{notebook}.ipynb", 1)
    note = ""
    if PLACEHOLDER in app.config.html_theme_options["repository_url"] + "/":
        note = (
            " <span>The address in the first link is a placeholder until the book is published. "
            "Until then, take the notebook.</span>"
        )
    buttons = (
        f'<p class="open-notebook"><a class="open-button" href="{address}">Open{which} in Colab</a> '
        f'<a class="open-button" href="{file}" download>Download{which} as a notebook</a>{note}</p>'
    )
    context["body"] = context["body"].replace("</h1>", "</h1>" + buttons, 1)


def number_exercises(app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: object) -> None:
    """Number exercises by chapter: the second of chapter 5 is exercise 5.2, not the seventeenth of the book."""
    chapter = re.match(r"chapters/0*(\d+)_", page)
    if chapter is None or "body" not in context:
        return
    numbers = dict.fromkeys(re.findall(r'class="caption-number">Exercise (\d+) ', context["body"]))
    for k, number in enumerate(numbers, 1):
        numbers[number] = f"{chapter[1]}.{k}"
    pattern = r'(class="caption-number">|href="#[^"]*"> )Exercise (\d+)\b'
    context["body"] = re.sub(pattern, lambda m: f"{m[1]}Exercise {numbers.get(m[2], m[2])}", context["body"])


def describe(app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: nodes.document | None) -> None:
    """Give a page the description that search engines and messengers show: its first paragraph, cut at a word."""
    if doctree is None:
        return
    text = next((p.astext() for p in doctree.findall(nodes.paragraph) if len(p.astext()) > 60), "")
    text = " ".join(text.removeprefix("The question.").split())
    short = text if len(text) <= 160 else text[:160].rsplit(" ", 1)[0] + " …"
    context["metatags"] = context.get("metatags", "") + f'<meta name="description" content="{html.escape(short)}" />\n'


def setup(app: Sphinx) -> dict[str, Any]:
    """Register all of them with Sphinx."""
    app.add_search_language(SearchBook)
    app.connect("html-page-context", describe)
    app.connect("html-page-context", number_exercises)
    app.connect("html-page-context", add_buttons)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
