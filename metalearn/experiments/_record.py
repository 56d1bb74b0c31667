"""Reading recorded studies: scores, rows and tables."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from metalearn import plotting
from metalearn.evaluation import Score
from metalearn.experiments import _store
from metalearn.experiments._run import trained_text


class Record:
    """What a study measured.

    Attributes:
        name: Of the study.
        content: All that is recorded, as plain data.
        published: The literature's numbers.

    Example:
        >>> from metalearn import experiments
        >>> record = experiments.load("glyphs")
        >>> record.score("Prototypical", "5-way 1-shot").n_tasks
        600
    """

    def __init__(self, name: str, home: Path = _store.HERE) -> None:
        content = _store.read_record(name, home)
        assert content is not None
        self.name, self.content, self.home = name, content, home
        self.published: dict[str, Any] = content["published"]
        self.tests: dict[str, Any] = content["tests"]
        self.methods: dict[str, Any] = content["methods"]

    def parts(self, method: str | None = None, seed: int | None = None) -> list[dict[str, Any]]:
        """Return what was made, of one method or of all, with one seed or with all."""
        return [
            part for part in self.content["parts"] if method in (None, part["method"]) and seed in (None, part["seed"])
        ]

    def part(self, method: str, seed: int = 0) -> dict[str, Any]:
        """Return one part: its rows, how long it was trained, what ended it, hardware and versions.

        Raises:
            ValueError: If it was not made; the message lists what was.
        """
        found = self.parts(method, seed)
        if not found:
            made = sorted({(part["method"], part["seed"]) for part in self.parts()})
            raise ValueError(f"the study {self.name} has no {method!r} with seed {seed}; it has {made}")
        return found[0]

    def row(
        self, method: str, test: str | None = None, n_steps: int | None = None, seed: int = 0, at: float | None = None
    ) -> dict[str, Any]:
        """Return a row of results.

        Args:
            method: Label of the method.
            test: Name of the test; ``None``: the first.
            n_steps: Inner steps of the test; ``None``: the largest number there is.
            seed: Of the training.
            at: Processor seconds of training after which a test was made on the way; ``None``: after the training.

        Raises:
            ValueError: If there is none; the message lists what there is.
        """
        rows, test = self.part(method, seed)["rows"], test or next(iter(self.tests))
        found = [row for row in rows if row["test"] == test and row.get("at") == at]
        found = [row for row in found if n_steps in (None, row["n_steps"])]
        if not found:
            there = [(row["test"], row["n_steps"], row.get("at")) for row in rows]
            raise ValueError(f"no result of {method} for {(test, n_steps, at)}; there are {there} (test, steps, at)")
        return max(found, key=lambda row: row["n_steps"] or 0)

    def score(
        self, method: str, test: str | None = None, n_steps: int | None = None, seed: int = 0, at: float | None = None
    ) -> Score:
        """Return the score of a row (see :meth:`row`), with the values of all tasks."""
        part, row = self.part(method, seed), self.row(method, test, n_steps, seed, at)
        per_task = _store.unpack(part, row, _store.read_values(self.name, self.home)[part["values"]])
        return Score.of(per_task, higher_is_better="n_answers" in row)

    def cells(self, tests: Sequence[str] | None = None, seed: int = 0) -> tuple[list[str], list[list[str]]]:
        """Return the header and the rows of a table: accuracy in percent, or the median of the mean squared errors."""
        names = list(self.tests if tests is None else tests)
        header, lines = ["method", "steps", *names, "training"], []
        for part in self.parts(seed=seed):
            final = [row for row in part["rows"] if row.get("at") is None]
            for n_steps in dict.fromkeys(row["n_steps"] for row in final):
                found = {row["test"]: row for row in final if row["n_steps"] == n_steps}
                cells = [_cell(found[name]) if name in found else "" for name in names]
                lines.append([part["method"], str(n_steps or ""), *cells, trained_text(part)])
        return header, lines

    def table(self, tests: Sequence[str] | None = None, seed: int = 0) -> Any:
        """Return the table as a notebook shows it; see :meth:`cells`."""
        return plotting.table(*self.cells(tests, seed))


def _cell(row: dict[str, Any]) -> str:
    if "n_answers" in row:
        return f"{100 * row['mean']:.1f} ± {100 * row['ci95']:.1f}"
    text = "–" if row["median"] is None else f"{row['median']:.3g}"
    return text + (f" ({100 * row['diverged']:.0f} % diverged)" if row["diverged"] else "")
