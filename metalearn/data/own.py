"""Data of your own, by a name that a command line can carry: a folder, an archive, a table, a function."""

from __future__ import annotations

import csv
import importlib
import re
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from metalearn._given import at_least_one
from metalearn.data.folder import folder
from metalearn.episodes import Episode
from metalearn.pools import Pool, Splits
from metalearn.runtime import stream
from metalearn.samplers import TaskFamily

SHARES = (0.64, 0.16, 0.20)  # of the classes, or the tasks: as miniImageNet has 64, 16 and 20 classes


@dataclass(frozen=True, eq=False)
class Tables(TaskFamily):
    """Regression tasks out of a table: all rows of a task share a name, and a draw takes some of them.

    Args:
        x: Inputs ``[n, n_inputs]``.
        y: Targets ``[n, n_targets]``.
        task: Number of the task of each row ``[n]``, 0 to n_tasks - 1.
        names: Of the tasks.

    Example:
        >>> import torch
        >>> from metalearn.data.own import Tables
        >>> tables = Tables(torch.arange(6.0)[:, None], torch.zeros(6, 1), torch.tensor([0, 0, 0, 1, 1, 1]), ("a", "b"))
        >>> tables.sample(n_tasks=4, n_shot=1, n_query=2)
        Episode(support_x=[4, 1, 1], support_y=[4, 1, 1], query_x=[4, 2, 1], query_y=[4, 2, 1], n_way=None)
    """

    x: Tensor
    y: Tensor
    task: Tensor
    names: tuple[str, ...]

    def __repr__(self) -> str:
        return f"Tables({len(self.x)} rows of {len(self.names)} tasks, {self.x.shape[1]} inputs)"

    def sample(self, n_tasks: int, n_shot: int, n_query: int, generator: torch.Generator | None = None) -> Episode:
        """Draw tasks, with replacement, and for each of them rows without.

        Args:
            n_tasks: Number of tasks.
            n_shot: Support rows of each.
            n_query: Query rows of each.
            generator: Source of randomness.

        Raises:
            ValueError: If a number is below 1, or fewer tasks than one have as many rows.
        """
        at_least_one(n_tasks=n_tasks, n_shot=n_shot, n_query=n_query)
        wanted = n_shot + n_query
        sizes = self.task.bincount(minlength=len(self.names))
        large = (sizes >= wanted).nonzero().flatten()
        if not len(large):
            raise ValueError(
                f"expected tasks of at least {n_shot} + {n_query} rows, the largest here has {int(sizes.max())}: ask"
                " for fewer support or query rows (n_shot, n_query)"
            )
        chosen = large[torch.randint(len(large), (n_tasks,), generator=generator)]
        keys = torch.rand(n_tasks, len(self.x), generator=generator)
        keys[self.task[None, :] != chosen[:, None]] = 2.0  # rows of other tasks come last
        rows = keys.topk(wanted, largest=False).indices  # [n_tasks, n_shot + n_query]
        x, y = self.x[rows], self.y[rows]
        return Episode(x[:, :n_shot], y[:, :n_shot], x[:, n_shot:], y[:, n_shot:])


class TableSplits(NamedTuple):
    """Tables of disjoint tasks: learn on ``train``, choose on ``validation``, report on ``test``."""

    train: Tables
    validation: Tables
    test: Tables


def split_classes(pool: Pool, *, seed: int = 0) -> Splits:
    """Return pools of 64, 16 and 20 percent of the classes, drawn at random and at least one each.

    Args:
        pool: Of at least three classes.
        seed: Of the draw, which is the same each time.

    Raises:
        ValueError: If there are fewer than three classes.

    Example:
        >>> import torch
        >>> from metalearn import Pool
        >>> from metalearn.data.own import split_classes
        >>> [part.n_classes for part in split_classes(Pool(torch.zeros(50, 2), torch.arange(50) // 5))]
        [6, 2, 2]
    """
    return Splits(*(pool.select(ids) for ids in _split(pool.n_classes, "classes", seed)))


def _split(n: int, what: str, seed: int) -> list[list[int]]:
    if n < 3:
        raise ValueError(
            f"expected at least 3 {what}, for training, validation and test, got {n}: no learner can be judged on"
            f" {what} that it was trained on"
        )
    order = torch.randperm(n, generator=stream(seed, "own data")).tolist()
    n_test, n_validation = max(round(SHARES[2] * n), 1), max(round(SHARES[1] * n), 1)
    return [order[n_test + n_validation :], order[n_test : n_test + n_validation], order[:n_test]]


def images(path: str | Path, image_size: int | None = None, mode: Literal["L", "RGB"] | None = None) -> Splits:
    """Return the images of a folder, one subfolder a class; or of its folders train, validation and test as they are.

    See :func:`metalearn.data.folder` for what is read, and its errors.

    Args:
        path: The folder; a name may say size and colour before it: ``"84c:photographs"``, ``"28:letters"``.
        image_size: Height and width to which images are scaled; 28 where neither says so.
        mode: ``"L"`` for grey, ``"RGB"`` for colour.
    """
    if not str(path):
        raise ValueError("expected folder:PATH, with a subfolder of images for each class, got no path")
    said = re.match(r"(\d+)(c?):(.+)", str(path))
    if said and not Path(path).exists():
        path, image_size = said[3], image_size or int(said[1])
        mode = mode or ("RGB" if said[2] else "L")
    image_size, mode = image_size or 28, mode or "L"
    parts = [Path(path, name) for name in ("train", "validation", "test")]
    if all(part.is_dir() for part in parts):
        return Splits(*(folder(part, image_size, mode) for part in parts))
    return split_classes(folder(path, image_size, mode))


def archive(path: str | Path) -> Splits:
    """Return the examples of an ``.npz`` with arrays ``x`` ``[n, ...]`` and ``y`` ``[n]`` (class of each).

    Classes are whole numbers or names. Images are uint8 ``[n, height, width]`` or with channels first or last;
    ``class_names`` is optional. No pickled object is read.

    Raises:
        ValueError: If the file is missing, cut, or lacks an array, or classes are neither numbers nor names.
    """
    if Path(path).is_file() and not zipfile.is_zipfile(path):
        raise ValueError(f"expected an .npz, as numpy.savez writes it, {path} is none, or was cut")
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except (OSError, ValueError, EOFError, KeyError) as error:
        raise ValueError(f"expected an .npz of plain arrays, could not read {path}: {error}") from error
    if not {"x", "y"} <= arrays.keys():
        raise ValueError(f"expected arrays x (examples) and y (class of each) in {path}, got {sorted(arrays)}")
    y, names = arrays["y"], [str(name) for name in arrays["class_names"]] if "class_names" in arrays else None
    if y.dtype.kind in "US":  # names in place of numbers
        found, y = np.unique(y, return_inverse=True)
        names = [str(name) for name in found]
    if y.dtype.kind not in "iu" and not (y.dtype.kind == "f" and (y == np.rint(y)).all()):
        raise ValueError(f"expected whole numbers or names as y (class of each) in {path}, got {y.dtype}: {y[:3]} …")
    x = torch.from_numpy(np.ascontiguousarray(arrays["x"]))
    if x.dtype == torch.uint8 and x.ndim == 3:
        x = x.unsqueeze(1)  # [n, 1, height, width]
    if x.dtype == torch.uint8 and x.ndim == 4 and x.shape[-1] in (1, 3) and x.shape[1] not in (1, 3):
        x = x.permute(0, 3, 1, 2).contiguous()  # [n, channels, height, width]
    x = x.float() if x.dtype == torch.float64 else x
    return split_classes(Pool(x, torch.from_numpy(y.astype(np.int64)), class_names=names))


def table(path: str | Path, *, seed: int = 0) -> TableSplits:
    """Return regression tasks of a CSV with a column ``task``, and columns whose names begin with ``x`` and ``y``.

    Inputs and targets are scaled to mean 0 and spread 1 over the training tasks; a column that is the same in all their
    rows is only shifted to 0.

    Args:
        path: The file; its first line names the columns.
        seed: Of the split of the tasks.

    Raises:
        ValueError: If a column is missing, a cell is no finite number, a row names no task, or there are fewer than
            three tasks.
    """
    try:
        with Path(path).open(newline="", encoding="utf-8-sig") as file:  # spreadsheets put a mark before the text
            rows = list(csv.DictReader(file))
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(
            f"expected a table of comma-separated text in UTF-8, could not read {path}: {error}"
        ) from error
    except OSError as error:
        raise ValueError(f"cannot read {path}: {error.strerror}") from error
    columns = list(rows[0]) if rows else []
    inputs, targets = ([name for name in columns if (name or "").startswith(letter)] for letter in "xy")
    if "task" not in columns or not inputs or not targets:
        got = f"{columns}" if rows else "no row"
        hint = ": separate columns by commas" if len(columns) == 1 else ""
        raise ValueError(f"expected columns task, x… and y… in {path}, got {got}{hint}")
    if short := [k + 2 for k, row in enumerate(rows) if not row["task"]]:
        raise ValueError(f"expected a name in column task, line {short[0]}, got nothing")
    names = sorted({row["task"] for row in rows})
    task = torch.tensor([names.index(row["task"]) for row in rows])
    x, y = (
        torch.tensor([[_number(row, name, k) for name in wanted] for k, row in enumerate(rows)], dtype=torch.float64)
        for wanted in (inputs, targets)
    )
    parts = _split(len(names), "tasks", seed)
    train = torch.isin(task, torch.tensor(parts[0]))
    x, y = (_scaled(value, value[train]) for value in (x, y))
    return TableSplits(*(_part(x, y, task, names, ids) for ids in parts))


def _scaled(values: Tensor, by: Tensor) -> Tensor:
    """Return values less the mean of others, in units of their spread where they have one."""
    mean, spread = by.mean(0), by.std(0) if len(by) > 1 else by.new_zeros(by.shape[1])
    varies = spread > 1e-12 * mean.abs()  # what is below is rounding
    return ((values - mean) / torch.where(varies, spread, 1.0)).float()


def _number(row: dict[str, Any], name: str, k: int) -> float:
    try:
        value = float(row[name])
    except (TypeError, ValueError):
        value = float("nan")
    if not np.isfinite(value):
        got = repr(row[name]) if row[name] else "nothing"
        raise ValueError(f"expected a finite number in column {name}, line {k + 2}, got {got}")
    return value


def _part(x: Tensor, y: Tensor, task: Tensor, names: list[str], ids: list[int]) -> Tables:
    kept = torch.isin(task, torch.tensor(ids))
    number = torch.full((len(names),), -1).index_copy(0, torch.tensor(ids), torch.arange(len(ids)))
    return Tables(x[kept], y[kept], number[task[kept]], tuple(names[i] for i in ids))


def called(name: str) -> Any:
    """Return what a function of your own returns: a Pool (whose classes are split), Splits, or a task family.

    The module is imported, from the folder at hand or from where Python finds it: its code runs.

    Args:
        name: ``"package.module:function"``, a function that takes nothing.

    Raises:
        ValueError: If there is no such module or function, or it returns something else.
    """
    module, _, function = name.partition(":")
    try:
        found = getattr(importlib.import_module(module), function)()
    except (ImportError, AttributeError, TypeError, ValueError) as error:
        raise ValueError(f"expected a function as module:function, could not use {name!r}: {error}") from error
    if isinstance(found, Pool):
        return split_classes(found)
    if not (isinstance(found, TaskFamily) or all(hasattr(found, part) for part in ("train", "validation", "test"))):
        raise ValueError(f"expected {name} to return a Pool, Splits or a task family, got {type(found).__name__}")
    return found
