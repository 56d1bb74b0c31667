"""A table that a page can sort: plain HTML, whole without a script."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any


@dataclass(frozen=True)
class Cell:
    """What a cell of a sortable table shows, and what it is sorted by.

    Args:
        text: What is read; empty where there is nothing.
        value: What it is sorted by, to six digits; ``None``: by its text; NaN: it comes last, like an empty cell.
        notes: Small lines under it.

    Example:
        >>> from metalearn.tables import Cell
        >>> Cell("94.6 ± 0.5", 0.946, ("3 seeds",)).html
        '<td data-value="0.946">94.6 ± 0.5<br><small>3 seeds</small></td>'
    """

    text: str = ""
    value: float | None = None
    notes: tuple[str, ...] = ()

    @property
    def html(self) -> str:
        """The cell as HTML."""
        key = "" if self.value is None else f' data-value="{_number(self.value)}"'
        notes = "".join(f"<br><small>{escape(note)}</small>" for note in self.notes)
        return f"<td{key}>{escape(self.text)}{notes}</td>"


def sortable(columns: Mapping[str, Sequence[str]], rows: Sequence[Sequence[Any]], caption: str) -> Any:
    """Return a table that a notebook shows; on a page of the book a click on a column's head sorts it.

    The table stands there without any script. With it, heads are buttons; numbers are sorted as numbers, empty cells
    come last.

    Args:
        columns: Names of the columns by the name of their group; a group ``""`` has no name. The first column names
            the rows.
        rows: One sequence of cells per row: :class:`Cell`, or what is shown as ``str`` gives it.
        caption: What the table is.

    Raises:
        ValueError: If a row has another number of cells than there are columns.

    Example:
        >>> from metalearn.tables import Cell, sortable
        >>> table = sortable({"": ["method", "accuracy"]}, [["MAML", Cell("94.6", 0.946)]], "One method")
        >>> '<th scope="row">MAML</th><td data-value="0.946">94.6</td>' in table.data
        True
    """
    from IPython.display import HTML

    names = [name for group in columns.values() for name in group]
    for row in rows:
        if len(row) != len(names):
            raise ValueError(f"expected {len(names)} cells in each row, got {len(row)} in that of {row[0]}")
    groups = "".join(
        f'<th scope="colgroup" colspan="{len(group)}">{escape(name)}</th>' if name else f'<td colspan="{len(group)}">'
        for name, group in columns.items()
    )
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in names)
    first = f"<tr>{groups}</tr>\n" if any(columns) else ""
    body = "\n".join(f"<tr>{_row(row)}</tr>" for row in rows)
    label = escape(caption, quote=True)
    return HTML(  # type: ignore[no-untyped-call]
        f'<div class="sortable" data-living="sortable" role="region" tabindex="0" aria-label="{label}"'
        f' style="overflow-x: auto">\n<table>\n<caption>{escape(caption)}</caption>\n'
        f"<thead>\n{first}<tr>{head}</tr>\n</thead>\n<tbody>\n{body}\n</tbody>\n</table>\n</div>"
    )


def _number(value: float) -> str:
    """Return a number as a browser reads it."""
    if math.isfinite(value):
        return f"{value:.6g}"
    return "" if math.isnan(value) else f"{'-' if value < 0 else ''}Infinity"


def _row(row: Sequence[Any]) -> str:
    cells = (cell if isinstance(cell, Cell) else Cell(str(cell)) for cell in row[1:])
    return f'<th scope="row">{escape(str(row[0]))}</th>' + "".join(cell.html for cell in cells)
