"""What a run writes down as it goes: losses and validations, as a CSV or for TensorBoard."""

from __future__ import annotations

import csv
import time
from pathlib import Path
from typing import Any, Literal

from torch import Tensor

from metalearn.evaluation import Score


class Log:
    """Writes a line for every so many steps and for each validation; handed to :func:`metalearn.runs.train`.

    Args:
        folder: Of the run.
        kind: ``"csv"``: the file ``log.csv`` with the columns step, loss (mean since the line before), validation,
            ci95 and seconds; ``"tensorboard"``: event files, for the program of that name.
        every: Steps between lines.
        done: Steps of earlier sittings; lines of later steps are taken out, since the run goes on from there.

    Raises:
        ImportError: If TensorBoard is asked for and is not installed.
        ValueError: If ``kind`` is another.

    Example:
        >>> import tempfile, torch
        >>> from metalearn.runs import Log
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     log = Log(folder, every=2)
        ...     for _ in range(4):
        ...         _ = log.step(torch.tensor(1.5))
        ...     log.close()
        ...     (log.path).read_text().splitlines()[1].split(",")[:2]
        ['2', '1.5']
    """

    def __init__(
        self, folder: str | Path, kind: Literal["csv", "tensorboard"] = "csv", *, every: int = 50, done: int = 0
    ) -> None:
        if kind not in ("csv", "tensorboard"):
            raise ValueError(f"a log is written as 'csv' or for 'tensorboard', got {kind!r}")
        self.path, self.every, self.n_steps = Path(folder, "log.csv"), every, done
        self._losses: list[float] = []
        self._begun = time.perf_counter()
        self._board: Any = _board(folder) if kind == "tensorboard" else None
        if self._board is None:
            kept = _rows_until(self.path, done)
            self._file = self.path.open("w", newline="")
            self._rows = csv.writer(self._file)
            self._rows.writerows([["step", "loss", "validation", "ci95", "seconds"], *kept])

    def step(self, loss: Tensor) -> Tensor:
        """Take note of a step's loss, and return it: what ``fit`` calls as ``after_backward``."""
        self.n_steps += 1
        self._losses.append(float(loss))
        if self.n_steps % self.every == 0:
            self._write(sum(self._losses) / len(self._losses))
            self._losses = []
        return loss

    def validation(self, score: Score) -> Score:
        """Take note of a validation, and return it."""
        self._write(None, score)
        return score

    def close(self) -> None:
        """Write what is left."""
        (self._file if self._board is None else self._board).close()

    def _write(self, loss: float | None, score: Score | None = None) -> None:
        if self._board is not None:
            for name, value in (("loss", loss), ("validation", None if score is None else score.mean)):
                if value is not None:
                    self._board.add_scalar(name, value, self.n_steps)
            return
        numbers = [f"{value:.6g}" for value in (() if score is None else (score.mean, score.ci95))] or ["", ""]
        shown = "" if loss is None else f"{loss:.6g}"
        self._rows.writerow([self.n_steps, shown, *numbers, f"{time.perf_counter() - self._begun:.1f}"])
        self._file.flush()


def _rows_until(path: Path, done: int) -> list[list[str]]:
    if not done or not path.exists():
        return []
    with path.open(newline="") as file:
        return [row for row in list(csv.reader(file))[1:] if row and row[0].isdigit() and int(row[0]) <= done]


def _board(folder: str | Path) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise ImportError("TensorBoard is not installed: pip install tensorboard, or log as csv") from error
    return SummaryWriter(str(folder))
