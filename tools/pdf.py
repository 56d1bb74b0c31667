"""Print the built book as one PDF: python -m tools.pdf.

All pages become one, in the order of the contents, so that a link of the book is a link of the PDF. The browser prints
it: formulas as on the page, solutions and folded cells open, living pictures as their static pictures.
"""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path
from urllib.parse import unquote, urlsplit

import yaml
from bs4 import BeautifulSoup, Tag

ROOT = Path(__file__).resolve().parents[1]
HTML = ROOT / "_build" / "html"
TARGET = ROOT / "_build" / "metalearn.pdf"
LEFT_OUT = {f"book/{page.stem}" for page in (ROOT / "book").glob("api*.md")}  # references to search in, and long
STYLE = """
@page { size: A4; margin: 18mm 17mm 20mm; }
html { font-size: 9.2pt; }
body { display: block; background: #fff; color: #000; }
section.page { break-before: page; }
h1, h2, h3 { break-after: avoid; }
pre { white-space: pre-wrap; font-size: 7.2pt !important; }
div.highlight, div[class*=highlight-], .cell, .cell_input { display: block !important; break-inside: auto !important; }
details > summary { display: none !important; }
p { orphans: 3; widows: 3; }
img, svg, figure, table, .admonition-title, mjx-container { break-inside: avoid; }
img { max-width: 100% !important; height: auto !important; }
table { font-size: 8pt; }
.headerlink, .copybtn, .open-notebook, .toggle-button, .living, button { display: none !important; }
.toggle-hidden, .dropdown.toggle-hidden * { visibility: visible !important; height: auto !important;
  opacity: 1 !important; }
.pst-scrollable-table-container, .cell_output, div.highlight { overflow: visible !important; }
a { color: #0a58a6; text-decoration: none; }
nav.contents li { margin: 0.25rem 0; }
.cover { padding-top: 40%; text-align: center; }
"""


def pages() -> list[str]:
    """Return the book's pages in the order of its contents."""
    toc = yaml.safe_load((ROOT / "book" / "_toc.yml").read_text(encoding="utf-8"))
    return [toc["root"], *(entry["file"] for part in toc["parts"] for entry in part["chapters"])]


def mark(page: str) -> str:
    """Return what stands before each anchor of a page, so that two pages share none."""
    return re.sub(r"\W", "-", page) + "--"


def target(page: str, link: str, printed: list[str]) -> str | None:
    """Return where a link of a page leads in the PDF; ``None``: to something that is not printed."""
    parts = urlsplit(link)
    if parts.scheme or parts.netloc:
        return link
    where = page
    if parts.path:
        file = (HTML / f"{page}.html").parent / unquote(parts.path)
        where = file.resolve().relative_to(HTML.resolve()).as_posix().removesuffix(".html")
    if where not in printed:
        return None
    return f"#{mark(where)}{unquote(parts.fragment)}" if parts.fragment else f"#{mark(where)}"


def section(page: str, printed: list[str]) -> Tag:
    """Return a page's article, made ready to stand beside the others."""
    soup = BeautifulSoup((HTML / f"{page}.html").read_text(encoding="utf-8"), "html.parser")
    article = soup.select_one("article.bd-article")
    assert article is not None, page
    for script in article.select("script"):
        script.decompose()
    for static in article.select("noscript"):  # what stands there without scripts
        static.unwrap()
    for fold in article.select("details"):
        fold["open"] = ""
    seen: set[str] = set()
    for tag in article.select("[id]"):  # the contents of all exercises of a page have one id
        if tag["id"] in seen:
            del tag["id"]
        else:
            seen.add(str(tag["id"]))
            tag["id"] = mark(page) + str(tag["id"])
    for tag in article.select("a[href]"):
        goal = target(page, str(tag["href"]), printed)
        if goal is None:
            tag.unwrap()
        else:
            tag["href"] = goal
    for tag in article.select("img[src]"):
        if not str(tag["src"]).startswith("data:"):
            tag["src"] = (HTML / page).parent.joinpath(unquote(str(tag["src"]))).resolve().relative_to(HTML).as_posix()
    whole = soup.new_tag("section", attrs={"class": "page", "id": mark(page)})
    whole.append(article)
    return whole


def title(page: str) -> str:
    """Return the title of a built page."""
    soup = BeautifulSoup((HTML / f"{page}.html").read_text(encoding="utf-8"), "html.parser")
    heading = soup.select_one("article h1")
    assert heading is not None, page
    return heading.get_text().removesuffix("#").strip()


def write_single_page(path: Path) -> None:
    """Write the whole book as one page beside the others, where its images and fonts are."""
    printed = [page for page in pages() if page not in LEFT_OUT]
    config = yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf-8"))
    listed = "".join(f'<li><a href="#{mark(page)}">{title(page)}</a></li>' for page in printed)
    body = "\n".join(str(section(page, printed)) for page in printed)
    # The first chapter's head has the styles and the settings of MathJax; no other script is wanted on paper.
    chapter = next(page for page in printed if page.startswith("chapters/"))
    head = BeautifulSoup((HTML / f"{chapter}.html").read_text(encoding="utf-8"), "html.parser").head
    assert head is not None
    kept = [str(tag) for tag in head.select("link[rel=stylesheet], script") if "stylesheet" in str(tag) or needed(tag)]
    styles = re.sub(r'(href|src)="\.\./', r'\1="', "\n".join(kept))
    path.write_text(
        f'<!doctype html><html lang="en" data-theme="light" data-mode="light"><head><meta charset="utf-8">'
        f"<title>{config['title']}</title>{styles}<style>{STYLE}</style></head><body>"
        f'<div class="cover"><h1>{config["title"]}</h1><p>{config["author"]}</p></div>'
        f'<section class="page"><h2>Contents</h2><nav class="contents"><ol>{listed}</ol></nav></section>'
        f"{body}</body></html>",
        encoding="utf-8",
    )


def needed(script: Tag) -> bool:
    """Tell MathJax and its settings from the scripts of the theme."""
    return "mathjax" in (str(script.get("src", "")) + script.get_text()).lower()


def save(single: Path, path: Path) -> None:
    """Print a page with the browser, with bookmarks and page numbers."""
    from playwright.sync_api import sync_playwright

    program = shutil.which("chromium")
    if program is None:
        raise FileNotFoundError("no program called chromium, which prints the book: install it (Debian: apt)")
    foot = '<div style="font-size:8px; width:100%; text-align:center"><span class="pageNumber"></span></div>'
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page()
        page.goto(single.as_uri(), wait_until="load", timeout=300_000)
        page.evaluate("() => window.MathJax?.startup?.promise")
        page.emulate_media(media="print")
        page.pdf(
            path=path, format="A4", prefer_css_page_size=True, outline=True, print_background=True,
            display_header_footer=True, header_template="<div></div>", footer_template=foot,
        )  # fmt: skip
        browser.close()


def main() -> int:
    """Print the book; say how to build it where it is not built."""
    if not (HTML / "book" / "intro.html").is_file():
        print("the book is not built: run `make book`", file=sys.stderr)
        return 1
    single, partial = HTML / "whole-book.html", TARGET.with_suffix(".part")
    try:
        write_single_page(single)
        save(single, partial)
    finally:
        single.unlink(missing_ok=True)
    partial.replace(TARGET)
    print(f"{TARGET.relative_to(ROOT)}: {TARGET.stat().st_size / 1e6:.1f} MB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
