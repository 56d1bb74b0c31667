"""Many clients for nothing to download: scikit-learn's digits in as many handwritings as are asked for."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from metalearn._given import at_least_one
from metalearn.augment import sampling_grid
from metalearn.data.digits import digits
from metalearn.episodes import Episode
from metalearn.runtime import stream

SHARES = {"train": 0.6, "validation": 0.15, "test": 0.25}  # of the images


def styled_digits(
    n_clients: int,
    *,
    part: str = "train",
    sizes: tuple[int, int] = (10, 80),
    n_query: int = 20,
    rotation: float = 60.0,
    skew: float = 1.0,
    seed: int = 0,
) -> list[Episode]:
    """Draw clients that write scikit-learn's digits each in a style of their own.

    A client's images are all turned by one angle, slanted by one shear and widened by one factor, and its digits have
    shares of their own, though it has one training example of each at least. Numbers of examples differ: they are
    log-uniform between the two ``sizes``. Images are split
    into three parts first, so that no image of a test client was ever seen in training, in any style. Within a client
    no image comes twice; clients of one part share images, in different styles.

    Args:
        n_clients: Number of clients.
        part: Whose images: ``"train"``, ``"validation"`` or ``"test"``.
        sizes: Fewest and most training examples of a client, at least 10.
        n_query: Test examples of each.
        rotation: Largest angle in degrees, to either side.
        skew: Power to which an exponential variate for each digit is raised, to give the digit's share; 0: all digits
            come as often as in the data, 1: shares are uniform over all that sum to 1, more: more unequal.
        seed: Of the clients.

    Returns:
        A task for each client: vectors ``[n, 64]`` with values in [0, 1], labels 0…9; support: its training examples.

    Raises:
        ValueError: If the part is unknown, a number is out of its range, or a client needs more images than there are.
        ImportError: If scikit-learn is not installed.

    Example:
        >>> from metalearn.federated import styled_digits
        >>> clients = styled_digits(20)
        >>> clients[0].query_x.shape, len({len(client.support_y) for client in clients}) > 5
        (torch.Size([20, 64]), True)
    """
    images, labels = _images(part)
    at_least_one(n_clients=n_clients, n_query=n_query)
    if not 10 <= sizes[0] <= sizes[1] <= len(labels) // 2 - n_query or skew < 0:
        raise ValueError(
            f"expected sizes (low, high) with 10 <= low <= high <= {len(labels) // 2 - n_query}, and skew >= 0, got"
            f" {sizes} and {skew}"
        )
    generator = stream(seed, f"styled digits {part}")
    return [_client(images, labels, sizes, n_query, rotation, skew, generator) for _ in range(n_clients)]


def _images(part: str) -> tuple[Tensor, Tensor]:
    """Return images ``[n, 1, 8, 8]`` in [0, 1] and labels of one part."""
    if part not in SHARES:
        raise ValueError(f"part must be one of {list(SHARES)}, got {part!r}")
    splits = digits()
    pools = ((splits.train, 0), (splits.validation, 5), (splits.test, 7))
    x = torch.cat([pool.x.float() / 255 for pool, _ in pools])
    y = torch.cat([pool.y + first for pool, first in pools])
    order = torch.randperm(len(y), generator=torch.Generator().manual_seed(0))
    n_train, n_held = (round(SHARES[name] * len(y)) for name in ("train", "validation"))
    start = {"train": 0, "validation": n_train, "test": n_train + n_held}[part]
    end = {"train": n_train, "validation": n_train + n_held, "test": len(y)}[part]
    return x[order[start:end]], y[order[start:end]]


def _client(
    images: Tensor,
    labels: Tensor,
    sizes: tuple[int, int],
    n_query: int,
    rotation: float,
    skew: float,
    generator: torch.Generator,
) -> Episode:
    style = torch.rand(4, generator=generator)
    low, high = math.log(sizes[0]), math.log(sizes[1])
    n = round(math.exp(low + (high - low) * style[0].item()))
    shares = torch.empty(10).exponential_(generator=generator) ** skew
    order = torch.randperm(len(labels), generator=generator)
    first = torch.stack([order[labels[order] == digit][0] for digit in range(10)])
    weights = (shares[labels] + 1e-6).index_fill(0, first, 0)
    rows = torch.cat([first, torch.multinomial(weights, n + n_query - 10, generator=generator)])  # no row twice
    angle = math.radians(rotation) * (2 * style[1] - 1)
    shear, scale = 0.5 * (2 * style[2] - 1), 1 + 0.25 * (2 * style[3] - 1)
    x, one = images[rows], torch.ones(len(rows))
    grid = sampling_grid(x, torch.zeros(len(rows), 2), angle * one, scale * one, shear * one)
    x = F.grid_sample(x, grid, align_corners=False).clamp(0, 1).flatten(1)
    y = labels[rows]
    return Episode(x[:n], y[:n], x[n:], y[n:], 10)
