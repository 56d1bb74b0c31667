"""A digest of data, for records that must know on what they were made."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import torch

from metalearn._torch import tree_flatten
from metalearn.pools import Pool, Splits
from metalearn.samplers import TaskFamily


def digest(data: Splits | Pool | TaskFamily) -> str:
    """Return the SHA-256 of the pools' tensors and class names, or of a task family's repr."""
    result = hashlib.sha256()
    if not isinstance(data, Splits | Pool):
        return hashlib.sha256(repr(data).encode()).hexdigest()
    for pool in data if isinstance(data, Splits) else [data]:
        for part in _parts(pool):
            result.update(part)
    return result.hexdigest()


def _parts(pool: Pool) -> Iterator[bytes]:
    leaves, form = tree_flatten((pool.x, pool.y))
    yield repr((pool.class_names, str(form) if len(leaves) > 2 else "")).encode()
    for leaf in leaves:
        yield repr((str(leaf.dtype), list(leaf.shape))).encode()
        yield leaf.cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
