"""Pages with letters at random places, some of them the wanted one: small tasks of few-shot detection."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from metalearn._given import at_least_one
from metalearn.pools import Pool

TRIES = 100  # of a page, before it counts as too full


@dataclass(frozen=True, eq=False)
class Page:
    """A page of pictures pasted side by side, and one picture of the class that is wanted on it.

    Args:
        given: Another instance of the wanted class ``[1, channels, size, size]``.
        image: The page ``[channels, height, width]``, 0 where nothing is pasted.
        places: Row and column of each pasted picture's upper left pixel ``[n_pasted, 2]``.
        wanted: Which of them are of the wanted class, bool ``[n_pasted]``.

    Example:
        >>> import torch
        >>> from metalearn.data import Page
        >>> page = Page(torch.zeros(1, 1, 4, 4), torch.zeros(1, 8, 8), torch.tensor([[2, 3]]), torch.tensor([True]))
        >>> page.image[:, 2:6, 3:7].shape
        torch.Size([1, 4, 4])
    """

    given: Tensor
    image: Tensor
    places: Tensor
    wanted: Tensor


def pages(
    pool: Pool,
    n_pages: int,
    *,
    n_wanted: int = 2,
    n_others: int = 6,
    height: int = 112,
    width: int = 168,
    generator: torch.Generator | None = None,
) -> list[Page]:
    """Draw pages on which pictures of a pool lie at random places, none over another.

    Each page has a wanted class of its own; all others on it are of further classes, one picture of each.

    Args:
        pool: Square pictures ``[n, channels, size, size]``, ink bright on 0.
        n_pages: Number of pages, at least 1.
        n_wanted: Pictures of the wanted class on a page, at least 1; one more of it is given beside the page.
        n_others: Pictures of other classes on a page, at least 1.
        height: Of a page, in pixels.
        width: Of a page, in pixels.
        generator: Source of randomness, on the CPU; the same state draws the same pages.

    Raises:
        ValueError: If a number is below 1, the pool has too few classes or pictures, its pictures are not square or
            larger than the page, or the page is too small for them all.

    Example:
        >>> import torch
        >>> from metalearn.data import glyphs, pages
        >>> page = pages(glyphs().test, 1, generator=torch.Generator().manual_seed(0))[0]
        >>> list(page.image.shape), len(page.places), int(page.wanted.sum())
        ([1, 112, 168], 8, 2)
    """
    at_least_one(n_pages=n_pages, n_wanted=n_wanted, n_others=n_others, height=height, width=width)
    _check_pool(pool, n_wanted, n_others)
    found = []
    for _ in range(n_pages):
        classes = torch.randperm(pool.n_classes, generator=generator)[: 1 + n_others].tolist()
        first = _instances(pool, classes[0], 1 + n_wanted, generator)
        rest = [_instances(pool, other, 1, generator) for other in classes[1:]]
        pictures = pool.read(torch.cat([first, *rest]), generator)
        places = _scatter(len(pictures) - 1, pictures.shape[-1], height, width, generator)
        wanted = torch.arange(len(places)) < n_wanted
        found.append(Page(pictures[:1], _paste(pictures[1:], places, height, width), places, wanted))
    return found


def _check_pool(pool: Pool, n_wanted: int, n_others: int) -> None:
    shape = list(pool.x.shape) if isinstance(pool.x, Tensor) else []
    if len(shape) != 4 or shape[2] != shape[3]:
        raise ValueError(f"expected square pictures [n, channels, size, size], got a pool of {shape}")
    if pool.n_classes <= n_others:
        raise ValueError(f"{1 + n_others} classes on a page need as many in the pool, it has {pool.n_classes}")
    if pool.class_sizes.min() <= n_wanted:
        raise ValueError(
            f"n_wanted={n_wanted} and the given picture need {n_wanted + 1} of a class, the smallest has"
            f" {int(pool.class_sizes.min())}"
        )


def _instances(pool: Pool, label: int, n: int, generator: torch.Generator | None) -> Tensor:
    """Return the rows of ``n`` different examples of a class."""
    order = torch.randperm(int(pool.class_sizes[label]), generator=generator)[:n]
    return pool.class_starts[label] + order


def _scatter(n: int, size: int, height: int, width: int, generator: torch.Generator | None) -> Tensor:
    """Return upper left pixels ``[n, 2]`` of squares that do not overlap: each uniform among those still free."""
    for _ in range(TRIES if min(height, width) >= size else 0):
        free = torch.ones(height - size + 1, width - size + 1, dtype=torch.bool)
        places: list[list[int]] = []
        while len(places) < n and free.any():
            choices = free.nonzero()
            row, column = choices[torch.randint(len(choices), (), generator=generator)].tolist()
            free[max(row - size + 1, 0) : row + size, max(column - size + 1, 0) : column + size] = False
            places.append([row, column])
        if len(places) == n:
            return torch.tensor(places)
    raise ValueError(
        f"{n} pictures of {size} pixels found no room on a page of {height} by {width}: take a larger page, or fewer"
    )


def _paste(pictures: Tensor, places: Tensor, height: int, width: int) -> Tensor:
    image = pictures.new_zeros(pictures.shape[1], height, width)
    size = pictures.shape[-1]
    for picture, (row, column) in zip(pictures, places.tolist(), strict=True):
        image[:, row : row + size, column : column + size] = picture
    return image
