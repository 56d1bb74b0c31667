"""Drawn cells on drawn slides: an endless family of cell types, with a stain that differs from slide to slide."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from metalearn._given import at_least_one
from metalearn.episodes import Batch, Episode
from metalearn.samplers import FamilySampler, TaskFamily

SIZE = 32  # pixels of a picture's side
_RANGES = {  # of what makes a type, lowest and highest
    "radius": (4.0, 14.0), "stretch": (1.0, 1.5), "edge": (0.4, 2.0), "red": (0.55, 0.9), "green": (0.45, 0.9),
    "blue": (0.55, 0.9), "pallor": (-0.15, 0.25), "nucleus": (-0.4, 0.8), "spread": (0.0, 0.6), "grain": (0.0, 0.06),
    "nucleus_red": (0.25, 0.6), "nucleus_green": (0.15, 0.5), "nucleus_blue": (0.4, 0.8),
}  # fmt: skip
_COLUMN = {name: i for i, name in enumerate(_RANGES)}


class Stain(NamedTuple):
    """How slides look: one row for each slide.

    Attributes:
        gain: Factor of each colour ``[n_slides, 3]``.
        background: Colour beside the cells ``[n_slides, 3]``.
    """

    gain: Tensor
    background: Tensor


@dataclass(frozen=True)
class Slides(TaskFamily):
    """Tasks of drawn cells: a few types, seen on one slide with labels and to be told apart on others.

    A type has a size, a shape, colours, a nucleus of up to three lobes or none, and grains. Its cells differ in place,
    direction and size. Each slide has a gain for each colour and a background of its own. **No cell is real**: the
    family shows how methods behave under a stain shift that is known, and nothing about patients.

    Args:
        stain: Standard deviation of the logarithm of a slide's gains.
        n_types: Number of types there are; ``None``: each task has new ones.
        seed: Of these types.

    Raises:
        ValueError: If a number is out of range.

    Example:
        >>> from metalearn.data import Slides
        >>> Slides().episodes(n_tasks=2, n_way=3, n_shot=1, n_query=4)()
        Episode(support_x=[2, 3, 3, 32, 32], support_y=[2, 3], query_x=[2, 12, 3, 32, 32], query_y=[2, 12], n_way=3)
    """

    stain: float = 0.12
    n_types: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if self.stain < 0:
            raise ValueError(f"stain must be at least 0, got {self.stain}")
        if self.n_types is not None:
            at_least_one(n_types=self.n_types)

    def types(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """Draw types of cells, one row of numbers each ``[n, 13]``; where their number is fixed, of those."""
        if self.n_types is None:
            return _types(n, generator)
        return self.all_types()[torch.randint(self.n_types, (n,), generator=generator)]

    def all_types(self) -> Tensor:
        """Return the types there are, where their number is fixed ``[n_types, 13]``."""
        if self.n_types is None:
            raise ValueError("each task has new types: fix their number with Slides(n_types=64), say")
        return _types(self.n_types, torch.Generator().manual_seed(self.seed))

    def stains(self, n: int, generator: torch.Generator | None = None) -> Stain:
        """Draw what ``n`` slides look like."""
        gain = (self.stain * torch.randn(n, 3, generator=generator)).exp()
        return Stain(gain, 0.8 + 0.04 * torch.randn(n, 3, generator=generator))

    def sample(
        self, n_tasks: int, n_shot: int, n_query: int, generator: torch.Generator | None = None, n_way: int = 3
    ) -> Episode:
        """Draw tasks: the support from one slide, each query from a slide of its own.

        Args:
            n_tasks: Number of tasks.
            n_shot: Labelled cells of each type.
            n_query: Other cells of each type.
            generator: Source of randomness, on the CPU.
            n_way: Number of types of a task.
        """
        at_least_one(n_tasks=n_tasks, n_shot=n_shot, n_query=n_query, n_way=n_way)
        types = self.types(n_tasks * n_way, generator)
        parts = []
        for n, slides in ((n_shot, 1), (n_query, n_way * n_query)):
            stain = self.stains(n_tasks * slides, generator)
            each = Stain(*(part.repeat_interleave(n_way * n // slides, 0) for part in stain))
            x = draw_cells(types.repeat_interleave(n, 0), each, generator)  # [n_tasks * n_way * n, 3, 32, 32]
            y = torch.arange(n_way).repeat_interleave(n).expand(n_tasks, -1)
            parts.append((x.reshape(n_tasks, n_way * n, 3, SIZE, SIZE), y))
        return Episode(*parts[0], *parts[1], n_way)

    def episodes(
        self, *, n_tasks: int, n_shot: int, n_query: int, n_way: int = 3, device: torch.device | str = "cpu"
    ) -> FamilySampler:
        """Return a sampler of batches of tasks, with the sizes of :meth:`sample`."""
        at_least_one(n_way=n_way)
        family = _Ways(self, n_way)
        return FamilySampler(family, n_tasks, n_shot, n_query, torch.device(device))

    def batches(self, batch_size: int, n_types: int | None = None) -> SlideBatches:
        """Return a sampler of ordinary labelled batches, of ``n_types`` types that stay (``None``: of the family's)."""
        return SlideBatches(self if n_types is None else Slides(self.stain, n_types, self.seed), batch_size)


@dataclass(frozen=True)
class _Ways(TaskFamily):
    """Slides with a number of types a task."""

    slides: Slides
    n_way: int

    def sample(self, n_tasks: int, n_shot: int, n_query: int, generator: torch.Generator | None = None) -> Episode:
        return self.slides.sample(n_tasks, n_shot, n_query, generator, self.n_way)


@dataclass(frozen=True)
class SlideBatches:
    """Ordinary labelled batches of drawn cells of fixed types; made by ``slides.batches``.

    Raises:
        ValueError: If the family has new types in each task: then there are no class ids.

    Example:
        >>> from metalearn.data import Slides
        >>> Slides(n_types=64).batches(batch_size=8)()
        Batch(x=[8, 3, 32, 32], y=[8], kind='labelled')
    """

    slides: Slides
    batch_size: int

    def __post_init__(self) -> None:
        at_least_one(batch_size=self.batch_size)
        self.slides.all_types()  # refuses new types in each task

    def __call__(self, generator: torch.Generator | None = None) -> Batch:
        """Draw a batch, each cell on a slide of its own."""
        types = self.slides.all_types()
        y = torch.randint(len(types), (self.batch_size,), generator=generator)
        return Batch(draw_cells(types[y], self.slides.stains(self.batch_size, generator), generator), y)


class SlideSplits(NamedTuple):
    """Families of drawn cells: types are drawn anew in each task, so that no test type is a training type."""

    train: Slides
    validation: Slides
    test: Slides


def slides(*, stain: float = 0.12) -> SlideSplits:
    """Return the family of drawn cells for training, validation and test; draws from separate streams share no type.

    Args:
        stain: As in :class:`Slides`.

    Example:
        >>> from metalearn.data import slides
        >>> slides().test
        Slides(stain=0.12, n_types=None, seed=0)
    """
    return SlideSplits(Slides(stain), Slides(stain), Slides(stain))


def draw_cells(types: Tensor, stain: Stain, generator: torch.Generator | None = None) -> Tensor:
    """Draw one cell of each type on its slide: pictures ``[n, 3, 32, 32]`` in [0, 1].

    Args:
        types: As :meth:`Slides.types` returns them ``[n, 13]``.
        stain: A row for each picture.
        generator: Source of randomness.

    Example:
        >>> from metalearn.data.slides import Slides, draw_cells
        >>> family = Slides()
        >>> draw_cells(family.types(5), family.stains(5)).shape
        torch.Size([5, 3, 32, 32])
    """
    n = len(types)
    t = {name: types[:, i, None, None] for name, i in _COLUMN.items()}  # each [n, 1, 1]
    jitter = torch.randn(n, 4, 1, 1, generator=generator)
    angle = 2 * math.pi * torch.rand(n, 1, 1, generator=generator)
    grid = torch.arange(SIZE) - (SIZE - 1) / 2
    down, right = grid[:, None] - 1.5 * jitter[:, 0], grid[None, :] - 1.5 * jitter[:, 1]
    u, v = angle.cos() * right + angle.sin() * down, angle.cos() * down - angle.sin() * right  # along and across
    radius = t["radius"] * (1 + 0.08 * jitter[:, 2])
    distance = ((u / t["stretch"]).square() + v.square()).sqrt()
    cell = torch.sigmoid((radius - distance) / t["edge"])  # 1 inside, 0 outside
    body = _colours(t, "") + (t["pallor"] * (1 - distance / radius).clamp(min=0)).unsqueeze(1)
    nucleus = _nucleus(u, v, radius, t) * cell
    colour = _mix(body, _colours(t, "nucleus_"), nucleus)
    colour = colour + t["grain"].unsqueeze(1) * torch.randn(n, 1, SIZE, SIZE, generator=generator) * cell.unsqueeze(1)
    picture = _mix(stain.background[:, :, None, None].expand_as(colour), colour, cell) * stain.gain[:, :, None, None]
    return (picture + 0.015 * torch.randn(n, 3, SIZE, SIZE, generator=generator)).clamp(0, 1)


def _types(n: int, generator: torch.Generator | None) -> Tensor:
    low, high = torch.tensor(list(_RANGES.values())).unbind(1)
    return low + (high - low) * torch.rand(n, len(low), generator=generator)


def _nucleus(u: Tensor, v: Tensor, radius: Tensor, t: dict[str, Tensor]) -> Tensor:
    """Return where the nucleus is: three discs, apart or one upon the other; none where its share is below 0."""
    size = t["nucleus"].clamp(min=0) * radius * (1 - 0.4 * t["spread"])
    lobes = []
    for k in range(3):
        du, dv = (f(2 * math.pi * k / 3) * t["spread"] * radius for f in (math.cos, math.sin))
        lobes.append(torch.sigmoid((size - ((u - du).square() + (v - dv).square()).sqrt()) / 0.7))
    return torch.stack(lobes).amax(0) * (t["nucleus"] > 0)


def _colours(t: dict[str, Tensor], prefix: str) -> Tensor:
    return torch.stack([t[f"{prefix}{name}"] for name in ("red", "green", "blue")], 1)  # [n, 3, 1, 1]


def _mix(outside: Tensor, inside: Tensor, share: Tensor) -> Tensor:
    return outside + (inside - outside) * share.unsqueeze(1)
