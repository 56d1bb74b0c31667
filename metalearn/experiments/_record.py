"""Reading recorded studies: scores, curves and tables."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import torch

from metalearn import plotting
from metalearn.evaluation import Score
from metalearn.experiments import _store


class Record:
    """What a study measured; :func:`metalearn.experiments.load` returns it.

    Attributes:
        name: Of the study.
        methods: Settings of each method by its label.
        tests: Sizes of each test by its name.
        published: The literature's numbers.
        content: All that is recorded, as plain data.

    Example:
        >>> from metalearn import experiments
        >>> record = experiments.load("glyphs")
        >>> record.score("Prototypical", "5-way 1-shot").n_tasks
        600
        >>> print(record.table("5-way 1-shot").data.splitlines()[0])
        | method | inner steps | after 60 s, % | after 180 s, % | 5-way 1-shot, % | training | processor s |
    """

    def __init__(self, name: str, home: Path = _store.HERE) -> None:
        content = _store.read_record(name, home)
        assert content is not None
        self.name, self.content, self.home = name, content, home
        self.methods: dict[str, Any] = content["methods"]
        self.tests: dict[str, Any] = content["tests"]
        self.published: dict[str, Any] = content["published"]

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
            at: Processor seconds of training after which the test was made; ``None``: at the end. A method whose
                training had ended by then has its last score.

        Raises:
            ValueError: If there is none; the message lists what there is.
        """
        part, test = self.part(method, seed), test or next(iter(self.tests))
        at = None if at is not None and part["stopped"] != "cut short" and (part["cpu_seconds"] or 0) <= at else at
        found = [row for row in part["rows"] if row["test"] == test and row.get("at") == at]
        found = [row for row in found if n_steps in (None, row["n_steps"])]
        if not found:
            there = [(row["test"], row["n_steps"], row.get("at")) for row in part["rows"]]
            raise ValueError(f"no result of {method} for {(test, n_steps, at)}; there are {there} (test, steps, at)")
        return max(found, key=lambda row: row["n_steps"] or 0)

    def score(
        self, method: str, test: str | None = None, n_steps: int | None = None, seed: int = 0, at: float | None = None
    ) -> Score:
        """Return the score of a row (see :meth:`row`), with the values of all tasks."""
        part, row = self.part(method, seed), self.row(method, test, n_steps, seed, at)
        per_task = _store.unpack(part, row, _store.read_values(self.name, self.home)[part["values"]])
        higher = row.get("higher_is_better", "n_answers" in row or "returns" in row)
        return Score.of(per_task, higher_is_better=higher)

    def over_seeds(self, method: str, test: str | None = None, n_steps: int | None = None) -> Score:
        """Return the score of a row with each task's mean over all seeds that were trained; see :meth:`score`.

        Its interval says how much depends on the tasks. All seeds are tested on the same ones.

        Example:
            >>> from metalearn import experiments
            >>> experiments.load("glyphs").over_seeds("Prototypical").n_tasks
            600
        """
        seeds = [part["seed"] for part in self.parts(method)]
        scores = [self.score(method, test, n_steps, seed) for seed in seeds or [0]]
        values = torch.stack([score.per_task.double() for score in scores]).mean(0)
        return Score.of(values, higher_is_better=scores[0].higher_is_better)

    def curve(self, method: str, seed: int = 0) -> tuple[list[float], list[float], list[float]]:
        """Return how validation went: processor seconds of training, means, half-widths of their 95 % intervals.

        For errors it is the median of the tasks, which a few that diverge do not move.

        Example:
            >>> from metalearn import experiments
            >>> seconds, means, half_widths = experiments.load("glyphs").curve("Prototypical")
            >>> means[-1] > means[0]
            True
        """
        points = [
            (seconds, *(math.nan if value is None else value for value in (mean, ci95)))
            for _, mean, ci95, seconds in self.part(method, seed)["validation"]
        ]
        seconds, means, half_widths = zip(*points, strict=True) if points else ((), (), ())
        return list(seconds), list(means), list(half_widths)

    def cells(self, test: str | None = None, seed: int = 0) -> tuple[list[str], list[list[str]]]:
        """Return the header and the rows of a table.

        Accuracy is given in percent with its 95 % interval, a return with its own; of errors the median over tasks, and
        the share of tasks that diverged.

        Args:
            test: Name of a test: the scores at the end, and those that were measured on the way; ``None``: all tests.
            seed: Of the training.
        """
        columns: list[tuple[str, float | None]] = [(name, None) for name in self.tests]
        if test is not None:
            rows = [row for part in self.parts(seed=seed) for row in part["rows"] if row["test"] == test]
            columns = [(test, at) for at in sorted({row["at"] for row in rows if "at" in row})] + [(test, None)]
        header = ["method", "inner steps", *(self._title(*column) for column in columns), "training", "processor s"]
        lines = []
        for part in self.parts(seed=seed):
            for n_steps in dict.fromkeys(row["n_steps"] for row in part["rows"]):
                cells = [self._cell(part["method"], name, n_steps, seed, at) for name, at in columns]
                if any(cells):
                    seconds = "" if part["cpu_seconds"] is None else f"{part['cpu_seconds']:.0f}"
                    lines.append([part["method"], str(n_steps or ""), *cells, training_text(part), seconds])
        return header, lines

    def table(self, test: str | None = None, seed: int = 0) -> Any:
        """Return the table as a notebook shows it; see :meth:`cells`."""
        return plotting.table(*self.cells(test, seed))

    def _title(self, test: str, at: float | None) -> str:
        kinds = {
            kind for part in self.parts() for row in part["rows"] for kind in ("n_answers", "returns") if kind in row
        }
        unit = f"median {self.tests[test].get('metric', 'error')}"
        if test in {row["test"] for part in self.parts() for row in part["rows"] if "higher_is_better" in row}:
            return f"{test}, {self.tests[test]['metric']}"
        unit = "%" if "n_answers" in kinds else "return" if "returns" in kinds else unit
        return f"{test if at is None else f'after {at:g} s'}, {unit}"

    def _cell(self, method: str, test: str, n_steps: int | None, seed: int, at: float | None) -> str:
        try:
            row = self.row(method, test, n_steps, seed, at)
        except ValueError:
            return ""
        if "n_answers" in row:
            return f"{100 * row['mean']:.1f} ± {100 * row['ci95']:.1f}"
        if "higher_is_better" in row:
            return f"{row['mean']:.3f} ± {row['ci95']:.3f}"
        if "returns" in row:
            return f"{row['mean']:.2f} ± {row['ci95']:.2f}"
        text = "–" if row["median"] is None else f"{row['median']:.3g}"
        return text + (f" ({100 * row['diverged']:.1f} % diverged)" if row["diverged"] else "")


def training_text(part: dict[str, Any]) -> str:
    """Return in words how long a part was trained, and what ended it."""
    steps, of = f"{part['n_steps']:,}", f"{part['of']:,}"
    texts = {
        "untrained": "not trained",
        "steps": f"{steps} steps",
        "patience": f"{steps} steps, until validation no longer improved",
        "seconds": f"{steps} of {of} steps, the budget of time",
        "diverged": f"diverged at step {steps}",
        "cut short": f"{steps} of {of} steps, cut short",
    }
    return texts[part["stopped"]]
