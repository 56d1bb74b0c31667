"""MovieLens by the user's own download: real ratings in the form of the made-up ones."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from metalearn.data.raters import Raters
from metalearn.data.ratings import RatingSplits

HOME = "https://grouplens.org/datasets/movielens/"
GENRES_100K = 19  # the last columns of u.item
NO_GENRE = "(no genres listed)"


class _Format(NamedTuple):
    ratings: str  # files
    movies: str
    separator: str
    header: bool
    encoding: str


FORMATS = {
    "ml-100k": _Format("u.data", "u.item", "\t", False, "latin-1"),
    "ml-1m": _Format("ratings.dat", "movies.dat", "::", False, "latin-1"),
    "ml-latest-small": _Format("ratings.csv", "movies.csv", ",", True, "utf-8"),
}


def movielens(path: str | Path, *, seed: int = 0) -> RatingSplits:
    """Read ratings of MovieLens from a folder that you have downloaded and unpacked, and divide the users.

    The files of ml-100k, ml-1m and ml-latest-small are known by their names. Users are divided 60 : 15 : 25 at random;
    each one's ratings are in the order of time. Side features are the genres. Movies are numbered as they first appear
    in the list of movies; of those, some have no rating.

    MovieLens is not part of this package and nothing is downloaded: its licence asks each user to fetch it from
    https://grouplens.org/datasets/movielens/ and to name the source in publications.

    Args:
        path: The unpacked folder, such as ``"ml-100k"``.
        seed: Of the division.

    Raises:
        ValueError: If the folder holds none of the known files, or a line of them is not as it should be.

    Reference:
        Harper, Konstan: The MovieLens Datasets: History and Context, 2015, doi 10.1145/2827872.

    Example:
        >>> from metalearn.data import movielens
        >>> movielens("ml-100k").train  # doctest: +SKIP
        Raters(ml-100k, train: 566 users, 1682 items, 59,632 ratings)
    """
    folder = Path(path)
    found = [name for name, form in FORMATS.items() if (folder / form.ratings).is_file()]
    if not found:
        known = ", ".join(form.ratings for form in FORMATS.values())
        raise ValueError(f"no ratings in {folder} (none of {known}): download a set from {HOME} and unpack it there")
    name, form = found[0], FORMATS[found[0]]
    movies, genres = _movies(folder / form.movies, form)
    rows = []
    for line, fields in _lines(folder / form.ratings, form, 4):
        try:
            user, movie, rating, time = int(fields[0]), int(fields[1]), float(fields[2]), int(fields[3])
        except ValueError as error:
            raise ValueError(
                f"{form.ratings}, line {line}: expected user, movie, rating, time, got {fields}"
            ) from error
        if not 0.5 <= rating <= 5 or movie not in movies:
            raise ValueError(
                f"{form.ratings}, line {line}: expected a rating from 0.5 to 5 of a movie in {form.movies}, got"
                f" {rating} of {movie}: the files do not belong together, or are cut"
            )
        rows.append((user, time, movies[movie], rating))
    if not rows:
        raise ValueError(f"{folder / form.ratings} holds no rating: download it again from {HOME}")
    return _divided(name, rows, genres, seed)


def _divided(name: str, rows: list[tuple[int, int, int, float]], genres: Tensor, seed: int) -> RatingSplits:
    """Return the ratings of disjoint users, of each in the order of time."""
    users = sorted({row[0] for row in rows})
    if len(users) < 3:
        raise ValueError(f"expected at least 3 users to divide, got {len(users)}: the file is cut")
    order = torch.randperm(len(users), generator=torch.Generator().manual_seed(seed)).tolist()
    n_train, n_validation = max(1, round(0.6 * len(users))), max(1, round(0.15 * len(users)))
    cuts = {
        "train": (0, n_train),
        "validation": (n_train, n_train + n_validation),
        "test": (n_train + n_validation, None),
    }
    parts = []
    for part, (start, end) in cuts.items():
        chosen = {users[i] for i in order[start:end]}
        own = sorted((row for row in rows if row[0] in chosen), key=lambda row: row[:2])  # by user, then by time
        item, rating = torch.tensor([row[2] for row in own]), torch.tensor([row[3] for row in own])
        counts = Counter(row[0] for row in own)  # in the order of users
        parts.append(Raters(f"{name}, {part}", item, rating, torch.tensor(list(counts.values())), genres))
    return RatingSplits(*parts)


def _movies(path: Path, form: _Format) -> tuple[dict[int, int], Tensor]:
    """Return each movie's place in the list, and the genres ``[n_movies, n_genres]``."""
    if not path.is_file():
        raise ValueError(f"{path} is missing: unpack the whole archive")
    numbers: list[int] = []
    kinds: list[set[str]] = []
    for line, fields in _lines(path, form, 5 + GENRES_100K if form.movies == "u.item" else 3):
        if not fields[0].isdigit():
            raise ValueError(f"{path.name}, line {line}: expected a movie's number first, got {fields[0]!r}")
        numbers.append(int(fields[0]))
        if form.movies == "u.item":
            kinds.append({f"{i:02}" for i, flag in enumerate(fields[-GENRES_100K:]) if flag == "1"})
        else:
            kinds.append(set(fields[-1].split("|")) - {NO_GENRE})  # a title may hold the separator; genres come last
    names = sorted(set().union(*kinds))
    genres = torch.tensor([[float(name in kind) for name in names] for kind in kinds])
    return {number: i for i, number in enumerate(numbers)}, genres


def _lines(path: Path, form: _Format, n_fields: int) -> Iterator[tuple[int, list[str]]]:
    """Yield the number and the fields of each line; say which one has too few."""
    separator = "|" if path.name == "u.item" else form.separator
    for line, text in enumerate(path.read_text(encoding=form.encoding).splitlines(), 1):
        if not text.strip() or (form.header and line == 1):
            continue
        fields = text.split(separator)
        if len(fields) < n_fields:
            raise ValueError(
                f"{path.name}, line {line}: expected {n_fields} fields, got {len(fields)}: the file is cut"
            )
        yield line, fields
