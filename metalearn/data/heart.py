"""Heart disease at four hospitals: few patients, missing values, and populations that differ."""

from __future__ import annotations

import hashlib
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from metalearn._files import write_whole
from metalearn.data._cache import find, offline, place_for, refuse

FOLDER = "medical/heart"
HOME = "https://archive.ics.uci.edu/ml/machine-learning-databases/heart-disease"
COLUMNS = (
    "age", "sex", "cp", "trestbps", "chol", "fbs", "restecg", "thalach", "exang", "oldpeak", "slope", "ca", "thal"
)  # fmt: skip
CATEGORIES = ("cp", "restecg", "slope", "thal")
FILES = {  # hospital: file, patients, SHA-256
    "Cleveland": ("cleveland", 303, "a74b7efa387bc9d108d7d0115d831fe9b414b29ae7124f331b622b4efa0427c8"),
    "Hungary": ("hungarian", 294, "d1ad108f785768cd3d7e82dc522e6f5a61eea93cccfb3a46ee8076f73fc3d796"),
    "Switzerland": ("switzerland", 123, "834a405ccf5b66ab4056bb77794adc8df0b7125186454c0a1d002d33c6c3b314"),
    "Long Beach": ("va", 200, "e7c93d8d0d2acdadfa4c5e8de768e2191e7f618b952e29623f1f0d5949ff6b8f"),
}


@dataclass(frozen=True, eq=False)
class Hospital:
    """The patients of one hospital.

    Attributes:
        name: Of the hospital.
        x: The 13 features of ``COLUMNS`` ``[n, 13]``, NaN where they are missing.
        diagnosis: 0 for no narrowed vessel, 1 to 4 for disease ``[n]``.

    Example:
        >>> import torch
        >>> from metalearn.data import Hospital
        >>> Hospital("here", torch.zeros(3, 13), torch.tensor([0, 1, 4]))
        Hospital('here', 3 patients, 2 with disease)
    """

    name: str
    x: Tensor
    diagnosis: Tensor

    @property
    def y(self) -> Tensor:
        """1 for disease, 0 for none ``[n]``."""
        return (self.diagnosis > 0).long()

    @property
    def missing(self) -> dict[str, float]:
        """Share of the patients without each feature."""
        return dict(zip(COLUMNS, self.x.isnan().double().mean(0).tolist(), strict=True))

    def __len__(self) -> int:
        """Return the number of patients."""
        return len(self.diagnosis)

    def __repr__(self) -> str:
        """Show sizes."""
        return f"Hospital({self.name!r}, {len(self)} patients, {int(self.y.sum())} with disease)"


def heart() -> dict[str, Hospital]:
    """Return the heart-disease data of four hospitals: Cleveland, Hungary, Switzerland and Long Beach.

    A blood pressure or a cholesterol of 0 is a missing value: at the Swiss hospital cholesterol is missing for all. The
    files are read from ``$METALEARN_DATA/medical/heart`` where they are, else downloaded from the UCI repository.

    Raises:
        ValueError: If a file is cut or altered, or lacks a column.
        ConnectionError: If a file is missing and cannot be downloaded.

    Reference:
        Detrano, Janosi, Steinbrunn, Pfisterer, Schmid, Sandhu, Guppy, Lee, Froelicher: International application of a
        new probability algorithm for the diagnosis of coronary artery disease, 1989,
        doi 10.1016/0002-9149(89)90524-9. Licence of the data: CC BY 4.0.

    Example:
        >>> from metalearn.data import heart
        >>> heart()["Switzerland"]  # doctest: +SKIP
        Hospital('Switzerland', 123 patients, 115 with disease)
    """
    return {name: _hospital(name) for name in FILES}


def encoder(hospitals: Sequence[Hospital]) -> Any:
    """Return what makes inputs of patients, fitted to some hospitals: scikit-learn's imputer, scaler and one-hot.

    A missing number is replaced by the mean of these hospitals and marked by an input of its own; a category that is
    missing has no mark set. ``encoder(training).transform(hospital.x.numpy())`` gives ``[n, n_inputs]``.

    Args:
        hospitals: Those that are trained on.

    Raises:
        ValueError: If a feature is missing at all of them: nothing can be learned about it.
        ImportError: If scikit-learn is not installed.

    Example:
        >>> import torch
        >>> from metalearn.data.heart import Hospital, encoder
        >>> x = torch.rand(20, 13).round(decimals=1)
        >>> encoder([Hospital("here", x, torch.arange(20) % 2)]).transform(x.numpy()).shape[0]
        20
    """
    from sklearn.compose import make_column_transformer
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    x = torch.cat([hospital.x for hospital in hospitals]).numpy()
    if lost := [name for name, gone in zip(COLUMNS, np.isnan(x).all(0), strict=True) if gone]:
        names = ", ".join(hospital.name for hospital in hospitals)
        raise ValueError(f"no patient of {names} has a value of {', '.join(lost)}: leave that out, or add a hospital")
    kinds = [[i for i, name in enumerate(COLUMNS) if (name in CATEGORIES) is kind] for kind in (False, True)]
    numbers = make_pipeline(StandardScaler(), SimpleImputer(add_indicator=True))
    one_hot = make_pipeline(
        SimpleImputer(strategy="constant", fill_value=-1),
        OneHotEncoder(handle_unknown="ignore", sparse_output=False, categories=_known(x[:, kinds[1]])),
    )
    return make_column_transformer((numbers, kinds[0]), (one_hot, kinds[1])).fit(x)


def _known(x: Any) -> list[Any]:
    """Return the categories of each column that occur; a missing one is none."""
    return [np.unique(column[~np.isnan(column)]) for column in x.T]


def _hospital(name: str) -> Hospital:
    stem, n_patients, sha256 = FILES[name]
    file = f"{FOLDER}/processed.{stem}.data"
    path = find(file) or _download(file)
    content = path.read_bytes()
    rows = parse(content.decode("ascii", errors="replace"), path)
    if len(rows) != n_patients:
        refuse(path, f"{len(rows)} of {n_patients} patients")
    if (found := hashlib.sha256(content).hexdigest()) != sha256:
        refuse(path, f"other values, with the SHA-256 {found}")
    return Hospital(name, rows[:, :-1], rows[:, -1].long())


def parse(text: str, path: Path) -> Tensor:
    """Return the table of a file ``[n, 14]``, NaN where a value is missing.

    Raises:
        ValueError: Naming the line that has other columns, or a word that is no number.

    Example:
        >>> from pathlib import Path
        >>> from metalearn.data.heart import parse
        >>> parse("63,1,1,145,0,1,2,150,0,2.3,3,0,?,2", Path("a.data"))[0, [0, 4, 12, 13]].tolist()
        [63.0, nan, nan, 2.0]
    """
    rows, names = [], (*COLUMNS, "diagnosis")
    for number, line in enumerate(text.splitlines(), 1):
        words = line.strip().split(",")
        if len(words) != len(names):
            raise ValueError(
                f"{path}, line {number}: expected {len(names)} columns ({', '.join(names)}), got {len(words)}"
            )
        try:
            rows.append([float("nan") if word == "?" else float(word) for word in words])
        except ValueError as err:
            raise ValueError(f"{path}, line {number}: expected numbers or ?, got {line!r}") from err
    table = torch.tensor(rows, dtype=torch.float32).reshape(-1, len(names))
    for name in ("trestbps", "chol"):  # nobody alive has 0
        column = table[:, COLUMNS.index(name)]
        column[column == 0] = float("nan")
    return table


def _download(file: str) -> Path:
    url = f"{HOME}/{Path(file).name}"
    try:
        with urllib.request.urlopen(url, timeout=60) as answer:
            content = answer.read()
    except OSError as err:
        raise ConnectionError(offline(url, file, err)) from err
    path = place_for(file)
    write_whole(path, lambda target: target.write(content))
    return path
