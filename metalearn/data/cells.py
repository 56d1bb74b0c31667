"""Real blood cells of three kinds, cropped from a few hundred slides, and split by slide."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from metalearn._given import at_least_one
from metalearn.data._cache import folders, read_arrays, refuse
from metalearn.episodes import Episode
from metalearn.samplers import FamilySampler, TaskFamily

FILE = "medical/bccd_cells32.npz"
HOME = "https://github.com/Shenggan/BCCD_Dataset"
SHA256 = "1df482a9a3f658f35a89cc6dc4b689799e5b87db1971d6ca7317859869f3e755"  # of pictures, labels and slides
KINDS = ("red", "white", "platelet")
SHARES = (0.5, 0.2, 0.3)  # of the slides, for training, validation and test


@dataclass(frozen=True, eq=False)
class Cells(TaskFamily):
    """Cells with the slide that each comes from; tasks have their support and their queries on different slides.

    A task puts the slides in a random order. The support of a kind are its first cells in that order, the queries its
    last ones: the support comes from few slides, and no slide is in both.

    Attributes:
        x: Pictures ``[n, 3, 32, 32]``, uint8.
        y: Kind of each cell ``[n]``.
        slide: Number of the slide it was cut from ``[n]``.

    Raises:
        ValueError: If lengths differ.

    Example:
        >>> import torch
        >>> from metalearn.data import Cells
        >>> y, slide = torch.arange(60) % 3, torch.arange(60) // 3
        >>> cells = Cells(torch.zeros(60, 3, 32, 32, dtype=torch.uint8), y, slide)
        >>> cells.episodes(n_tasks=2, n_shot=1, n_query=4)().query_x.shape
        torch.Size([2, 12, 3, 32, 32])
    """

    x: Tensor
    y: Tensor
    slide: Tensor

    def __post_init__(self) -> None:
        if not len(self.x) == len(self.y) == len(self.slide) > 0:
            lengths = [len(part) for part in (self.x, self.y, self.slide)]
            raise ValueError(f"expected as many pictures as kinds and slides, at least one, got {lengths}")

    @property
    def n_way(self) -> int:
        """Number of kinds."""
        return int(self.y.max()) + 1

    def __len__(self) -> int:
        """Return the number of cells."""
        return len(self.y)

    def __repr__(self) -> str:
        """Show sizes."""
        return f"Cells({len(self)} cells {torch.bincount(self.y).tolist()}, {len(torch.unique(self.slide))} slides)"

    def on(self, slides: Tensor) -> Cells:
        """Return the cells of some slides."""
        rows = torch.isin(self.slide, slides)
        return Cells(self.x[rows], self.y[rows], self.slide[rows])

    def split(self, fractions: tuple[float, ...], seed: int = 0) -> list[Cells]:
        """Split the slides at random into disjoint parts of these shares."""
        slides = torch.unique(self.slide)
        order = slides[torch.randperm(len(slides), generator=torch.Generator().manual_seed(seed))]
        ends = [round(sum(fractions[: i + 1]) * len(slides)) for i in range(len(fractions) - 1)]
        return [self.on(part) for part in order.tensor_split(ends)]

    def sample(self, n_tasks: int, n_shot: int, n_query: int, generator: torch.Generator | None = None) -> Episode:
        """Draw a batch of tasks; ``n_shot`` and ``n_query`` are cells of each kind.

        Raises:
            ValueError: If a kind has too few slides for support and queries to keep apart.
        """
        at_least_one(n_tasks=n_tasks, n_shot=n_shot, n_query=n_query)
        tasks = [self.rows(n_shot, n_query, generator) for _ in range(n_tasks)]
        support, query = (torch.stack(part) for part in zip(*tasks, strict=True))
        return Episode(self.read(support), self.y[support], self.read(query), self.y[query], self.n_way)

    def episodes(
        self, *, n_tasks: int, n_shot: int, n_query: int, n_way: int = 3, device: torch.device | str = "cpu"
    ) -> FamilySampler:
        """Return a sampler of batches of tasks; ``n_way`` may be given, as for pools, and is the number of kinds."""
        if n_way != self.n_way:
            raise ValueError(f"the cells are of {self.n_way} kinds, got n_way={n_way}")
        return super().episodes(n_tasks=n_tasks, n_shot=n_shot, n_query=n_query, device=device)

    def rows(self, n_shot: int, n_query: int, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
        """Return which cells are the support of one task, and which its queries; :meth:`sample` draws with it."""
        place = torch.randperm(int(self.slide.max()) + 1, generator=generator)[self.slide]  # of a cell's slide
        order = torch.randperm(len(self), generator=generator)  # cells of one slide in any order
        order = order[place[order].argsort(stable=True)]
        by_kind = [order[self.y[order] == kind] for kind in range(self.n_way)]
        support = torch.cat([rows[:n_shot] for rows in by_kind])
        query = torch.cat([rows[-n_query:] for rows in by_kind])
        if min(map(len, by_kind)) < n_shot + n_query or place[support].max() >= place[query].min():
            raise ValueError(
                f"{n_shot} labelled cells and {n_query} queries of each kind do not come from different slides, with"
                f" {torch.bincount(self.y).tolist()} cells on {len(torch.unique(self.slide))} slides: ask for fewer"
            )
        return support, query

    def read(self, rows: Tensor) -> Tensor:
        """Return pictures in [0, 1], as tasks have them ``[..., 3, 32, 32]``."""
        return self.x[rows].float() / 255


class CellSplits(NamedTuple):
    """Cells of disjoint slides; all kinds are in each part.

    Example:
        >>> from metalearn.data import CellSplits
        >>> CellSplits._fields
        ('train', 'validation', 'test')
    """

    train: Cells
    validation: Cells
    test: Cells


def cells() -> CellSplits:
    """Return blood cells of three kinds, 4,153 red, 372 white and 361 platelets, on disjoint slides in each part.

    They are read from ``$METALEARN_DATA/medical/bccd_cells32.npz``: crops of 32×32 pixels around the boxes of the BCCD
    data set (MIT licence), with ``images`` ``[n, 32, 32, 3]``, ``label`` and ``source_image``, the slide. There is no
    download of the crops: cut them from the pictures of the data set's own address.

    Raises:
        FileNotFoundError: If the file is missing.
        ValueError: If it is cut or altered.

    Example:
        >>> from metalearn.data import cells
        >>> cells().test  # doctest: +SKIP
        Cells(1443 cells [1225, 113, 105], 109 slides)
    """
    path, arrays = read_arrays(FILE, ("images", "label", "source_image"), _missing)
    if checksum(arrays) != SHA256:
        refuse(path, f"other cells: images of shape {list(arrays['images'].shape)}")
    pictures = torch.from_numpy(arrays["images"]).permute(0, 3, 1, 2).contiguous()
    whole = Cells(pictures, *(torch.from_numpy(arrays[key].astype(np.int64)) for key in ("label", "source_image")))
    return CellSplits(*whole.split(SHARES))


def checksum(arrays: dict[str, Any]) -> str:
    """Return the SHA-256 of pictures, labels and slides."""
    parts = (np.ascontiguousarray(arrays[key]).tobytes() for key in ("images", "label", "source_image"))
    return hashlib.sha256(b"".join(parts)).hexdigest()


def _missing(_: Any) -> dict[str, Any]:
    raise FileNotFoundError(
        f"no file {FILE} in {' or '.join(map(str, folders()))}: it holds crops of the pictures of {HOME}, which have to"
        " be cut there; metalearn.data.slides draws cells without any file"
    )
