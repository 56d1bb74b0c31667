"""Make the built book self-contained: MathJax from its package, and no script that would load from elsewhere.

Pages with living pictures get their scripts. On the page "API" it also links types in signatures to their explanations,
and the source code back to the page.
"""

from __future__ import annotations

import re
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.domains.python import PythonDomain
from sphinx.environment import BuildEnvironment
from sphinx.util import logging
from sphinx.util.fileutil import copy_asset
from sphinx.util.nodes import make_refnode

logger = logging.getLogger(__name__)
SCRIPT = "tex-chtml-full.js"
FONTS = "output/chtml/fonts/woff-v2"


def copy_mathjax(app: Sphinx, exception: Exception | None) -> None:
    """Copy one script and its fonts (2 MB) instead of the whole package (24 MB)."""
    spec = find_spec("sphinx-mathjax-offline")
    if exception is not None or app.builder.format != "html" or spec is None or spec.origin is None:
        return
    source = Path(spec.origin).parent / "static" / "mathjax"
    target = Path(app.outdir) / "_static" / "mathjax"
    copy_asset(str(source / SCRIPT), str(target))
    copy_asset(str(source / FONTS), str(target / FONTS))


def drop_thebe(app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: object) -> None:
    """Leave out thebe, which Jupyter Book adds to every page and which loads from a content delivery network."""
    kept: dict[str, Any] = {}
    for script in context.get("script_files", []):
        key = str((getattr(script, "attributes", None) or {}).get("body") or getattr(script, "filename", script))
        if "thebe" not in key.lower():
            kept.setdefault(key, script)
    context["script_files"] = list(kept.values())


def add_living(app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: object) -> None:
    """Give a page with a living picture its scripts: ``<div data-living="tensors pad">`` names them, in this order."""
    names = [name for text in re.findall(r'data-living="([^"]*)"', context.get("body", "")) for name in text.split()]
    for name in dict.fromkeys(names):
        path = f"living/{name}.js"
        if not any((Path(app.confdir) / folder / path).is_file() for folder in app.config.html_static_path):
            logger.warning("page %s asks for a script that does not exist: _static/%s", page, path)
        app.add_js_file(path, loading_method="defer")
    if names:
        app.add_css_file("living/living.css")


def link_type(app: Sphinx, env: BuildEnvironment, node: pending_xref, text: nodes.Element) -> nodes.Element | None:
    """Let an annotation lead to a ``py:type``: Sphinx 7.4 has that directive, but looks for classes only."""
    domain = env.get_domain("py")
    if node.get("refdomain") != "py" or not isinstance(domain, PythonDomain):
        return None
    wanted = node["reftarget"].rsplit(".", 1)[-1]  # written with or without its module
    for name, entry in domain.objects.items():
        if entry.objtype == "type" and name.rsplit(".", 1)[-1] == wanted:
            return make_refnode(app.builder, node["refdoc"], entry.docname, entry.node_id, text, name)
    return None


def mend_back_links(app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: object) -> None:
    """Lead from the source back to the page "API", where a name may stand as part of the package or of a module.

    viewcode takes all names of a file for parts of one of the two, whichever came first.
    """
    domain = app.env.get_domain("py")
    if not page.startswith("_modules/") or not isinstance(domain, PythonDomain):
        return
    modules = page.removeprefix("_modules/").split("/")

    def mend(match: re.Match[str]) -> str:
        parts = match[1].split(".")
        names = [".".join(modules[:n] + parts[k:]) for k in range(1, len(parts)) for n in range(1, len(modules) + 1)]
        return f'#{next((name for name in [match[1], *names] if name in domain.objects), match[1])}"'

    context["body"] = re.sub(r'#([\w.]+)"', mend, context["body"])


def setup(app: Sphinx) -> dict[str, Any]:
    """Register all of them with Sphinx."""
    app.connect("missing-reference", link_type)
    app.connect("build-finished", copy_mathjax)
    app.connect("html-page-context", add_living)
    app.connect("html-page-context", drop_thebe, priority=900)
    app.connect("html-page-context", mend_back_links)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
