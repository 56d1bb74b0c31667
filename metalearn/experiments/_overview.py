"""The one table: every learner on every source of images, with what each costs, gathered from studies."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from metalearn import plotting, tables
from metalearn.evaluation import Score
from metalearn.experiments import _store
from metalearn.experiments._published import LEFT_OUT, OMNIGLOT, TESTS
from metalearn.experiments._record import Record, training_text
from metalearn.tables import Cell

SOURCES = {
    "glyphs": "table_glyphs",
    "Omniglot, Vinyals' split": "table_omniglot",
    "Omniglot, own split": "table_official",
    "photographs": "table_natural",
}
PRINTED = "Omniglot, Vinyals' split"  # the source whose split is closest to the papers'
LEAST = 5  # methods of a ranking


class Overview:
    """The one table: rows are methods, columns are tests on four sources of images, and costs.

    A cell is empty where nothing was run. A score is the mean over all seeds that were trained, with the 95 % interval
    over test tasks; the spread over seeds stands apart from it.

    Args:
        home: Folder that has ``results/`` and ``analyses/``.

    Attributes:
        methods: Labels, in the order of the rows.
        records: The study of each source that has one, by the source's name.
        published: What papers print for Omniglot in percent, by method: ``"source"``, ``"note"``, ``"values"`` by test.
        left_out: Learners of the package that the table lacks, with the reason.

    Example:
        >>> from metalearn import experiments
        >>> overview = experiments.Overview()
        >>> overview.score("raw pixels", "glyphs", "5-way 1-shot").n_tasks
        600
        >>> "SoftKMeans" in overview.left_out
        True
    """

    def __init__(self, home: Path = _store.HERE) -> None:
        self.home, self.published, self.left_out = home, OMNIGLOT, LEFT_OUT
        self.records = {
            name: Record(study, home)
            for name, study in SOURCES.items()
            if (home / "results" / f"{study}.json").exists()
        }
        labels = [label for record in self.records.values() for label in record.methods]
        self.methods = tuple(dict.fromkeys(label for label in labels if not label.endswith("-way")))
        self._values = {name: _store.read_values(record.name, home) for name, record in self.records.items()}
        path = home / "analyses" / "table_costs.json"
        rows = _store.read_analysis("table_costs", home)["rows"] if path.exists() else []
        self._costs = {(row["data"], row["method"]): row for row in rows}

    def _known(self, method: str, source: str, test: str) -> bool:
        """Return whether a source has a study; refuse names that nothing has."""
        for kind, name, names in (("method", method, self.methods), ("source", source, SOURCES), ("test", test, TESTS)):
            if name not in names:
                raise ValueError(f"expected a {kind} of {list(names)}, got {name!r}")
        return source in self.records

    def label(self, method: str, source: str, test: str) -> str:
        """Return the label under which a study holds a method: some are trained for each number of classes."""
        own = f"{method}, {test.split()[0]}"
        return own if own in self.records[source].methods else method

    def by_seed(self, method: str, source: str = "glyphs", test: str = "5-way 1-shot") -> dict[int, Score]:
        """Return the score of each seed that was trained, after the largest number of inner steps that was tested.

        Raises:
            ValueError: If nothing has such a method, source or test.
        """
        if not self._known(method, source, test):
            return {}
        record, label, found = self.records[source], self.label(method, source, test), {}
        for part in record.parts(label):
            rows = [row for row in part["rows"] if row["test"] == test and row.get("at") is None]
            if rows:
                row = max(rows, key=lambda row: row["n_steps"] or 0)
                found[part["seed"]] = Score.of(_store.unpack(part, row, self._values[source][part["values"]]))
        return found

    def score(self, method: str, source: str = "glyphs", test: str = "5-way 1-shot") -> Score | None:
        """Return a method's score, each task's mean over the seeds; ``None``: it was not run."""
        found = list(self.by_seed(method, source, test).values())
        return Score.of(torch.stack([score.per_task.double() for score in found]).mean(0)) if found else None

    def scores(self, source: str = "glyphs", test: str = "5-way 1-shot") -> dict[str, Score]:
        """Return the scores of a column by method: those that there are, in the order of the rows.

        Example:
            >>> from metalearn import experiments
            >>> next(iter(experiments.Overview().scores("glyphs")))
            'raw pixels'
        """
        found = {method: self.score(method, source, test) for method in self.methods}
        return {method: score for method, score in found.items() if score is not None}

    def agreement(self, test: str = "5-way 1-shot") -> dict[str, dict[str, float]]:
        """Return Kendall's tau between the rankings of methods on each two sources, over the methods that both have.

        Where fewer than five methods are shared, that is no ranking to speak of, and tau is NaN.

        Example:
            >>> from metalearn import experiments
            >>> round(experiments.Overview().agreement()["glyphs"]["glyphs"], 3)
            1.0
        """
        columns, found = {name: self.scores(name, test) for name in self.records}, {}
        for one, rows in columns.items():
            found[one] = {two: _tau(rows, others) for two, others in columns.items()}
        return found

    def training(self, method: str, source: str = "glyphs", test: str = "5-way 1-shot") -> dict[str, Any] | None:
        """Return how a method was trained with its first seed: ``"n_steps"``, ``"cpu_seconds"``, ``"stopped"``."""
        known = self._known(method, source, test)
        parts = self.records[source].parts(self.label(method, source, test)) if known else []
        return min(parts, key=lambda part: part["seed"]) if parts else None

    def costs(self, method: str, source: str = "glyphs", test: str = "5-way 1-shot") -> dict[str, Any]:
        """Return what a method costs on a source, as counted and timed; what is not known is missing.

        ``"parameters"``, ``"training_operations"``, ``"operations"`` and ``"peak_bytes"`` of an adaptation to one task,
        ``"milliseconds"`` of it on one core, ``"norm"``. Omniglot has the costs of glyphs, whose images are as large;
        there the head of Transfer, of all training classes, is larger than what was counted.
        """
        kind = "photographs" if source == "photographs" else "glyphs"
        own = (kind, f"{method}, {test.split()[0]}")
        row: dict[str, Any] = self._costs.get(own) or self._costs.get((kind, method), {})
        part = self.training(method, source, test)
        found: dict[str, Any] = {key: row[key] for key in ("parameters", "norm") if key in row}
        found |= row.get("tests", {}).get(test, {})
        if part is not None and "step_operations" in row:
            found["training_operations"] = part["n_steps"] * row["step_operations"]
        return found

    def cell(self, method: str, source: str, test: str) -> Cell:
        """Return a cell of the table: the score with its interval, and apart from it the seeds and their spread."""
        found, score = self.by_seed(method, source, test), self.score(method, source, test)
        if score is None:
            return Cell()
        means = [100 * one.mean for one in found.values()]
        spread = f"{len(means)} seeds: {min(means):.1f} to {max(means):.1f}" if len(means) > 1 else "1 seed"
        return Cell(f"{score:%}", score.mean, (spread,))

    def printed(self, method: str, test: str) -> Cell:
        """Return a cell with a paper's number for Omniglot."""
        paper = self.published.get(method, {"values": {}})
        mean, half = paper["values"].get(test, (None, None))
        if mean is None:
            return Cell()
        notes = (paper["note"],) if paper["note"] else ()
        return Cell(f"{mean:.1f}" + (f" ± {half:.1f}" if half else ""), mean, notes)

    def seeds(self, source: str = "glyphs", test: str = "5-way 1-shot") -> Any:
        """Return a table of the methods of which more than one training is recorded: their spread, and the interval."""
        rows = []
        for method, score in self.scores(source, test).items():
            means = [100 * one.mean for one in self.by_seed(method, source, test).values()]
            if len(means) > 1:
                spread = f"{min(means):.1f} to {max(means):.1f}"
                rows.append([method, len(means), spread, f"± {100 * score.ci95:.1f}"])
        return plotting.table(["method", "seeds", "spread over seeds, %", "interval over tasks, %"], rows)

    def table(self, *sources: str) -> Any:
        """Return the table as a notebook shows it; on a page of the book its columns sort.

        Args:
            *sources: Names of sources; none: all.
        """
        names = sources or tuple(SOURCES)
        columns: dict[str, list[str]] = {"": ["method"]}
        for name in names:
            columns[f"{name}, %"] = [*TESTS, "training"]
            if name == PRINTED:
                columns["Omniglot, papers, %"] = list(TESTS)
        columns["5-way 1-shot, costs"] = list(COSTS)
        rows = [[method, *self._scores(method, names), *self._paid(method, names[0])] for method in self.methods]
        return tables.sortable(columns, rows, "Learners of the package, by source and test")

    def _scores(self, method: str, names: tuple[str, ...]) -> list[Cell]:
        cells = []
        for name in names:
            part = self.training(method, name) or {}
            cells += [self.cell(method, name, test) for test in TESTS]
            steps, _, ended = training_text(part).partition(", ") if part else ("", "", "")
            cells.append(Cell(steps, part["n_steps"], (ended,) if ended else ()) if part else Cell())
            cells += [self.printed(method, test) for test in (TESTS if name == PRINTED else ())]
        return cells

    def _paid(self, method: str, source: str) -> list[Cell]:
        found = {**self.costs(method, source), "cpu_seconds": (self.training(method, source) or {}).get("cpu_seconds")}
        cells = []
        for key, scale, pattern in COSTS.values():
            value = found.get(key)
            number = value / scale if isinstance(value, int | float) else None
            cells.append(Cell(str(value or "")) if number is None else Cell(pattern.format(number), number))
        return cells


def _tau(first: dict[str, Score], second: dict[str, Score]) -> float:
    from scipy.stats import kendalltau

    shared = [method for method in first if method in second]
    if len(shared) < LEAST:
        return float("nan")
    return float(kendalltau([first[m].mean for m in shared], [second[m].mean for m in shared]).statistic)


COSTS: dict[str, tuple[str, float, str]] = {  # columns: key, unit, format
    "norm": ("norm", 1, ""),
    "parameters": ("parameters", 1, "{:,.0f}"),
    "training, 10¹² operations": ("training_operations", 1e12, "{:.2f}"),
    "training, processor s": ("cpu_seconds", 1, "{:.0f}"),
    "a task, 10⁶ operations": ("operations", 1e6, "{:.1f}"),
    "a task, ms": ("milliseconds", 1, "{:.1f}"),
    "a task, peak MB": ("peak_bytes", 1e6, "{:.2f}"),
}
