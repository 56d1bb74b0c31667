"""Make the built book self-contained: MathJax from its package, and no script that would load from elsewhere."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx
from sphinx.util.fileutil import copy_asset

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


def setup(app: Sphinx) -> dict[str, Any]:
    """Register both with Sphinx."""
    app.connect("build-finished", copy_mathjax)
    app.connect("html-page-context", drop_thebe, priority=900)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
