"""Checks of what users give: numbers that count something, labels, inputs."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral
from typing import Any

import numpy as np
import torch
from torch import Tensor

from metalearn._torch import tree_leaves


def only_ints(**counts: Any) -> None:
    """Refuse a number that is no int.

    Raises:
        ValueError: Naming the number.

    Example:
        >>> only_ints(n_way="3")
        Traceback (most recent call last):
        ValueError: n_way must be an int, got '3' (str)
    """
    for name, value in counts.items():
        if isinstance(value, bool) or not isinstance(value, Integral):
            raise ValueError(f"{name} must be an int, got {value!r} ({type(value).__name__})")


def at_least_one(**counts: Any) -> None:
    """Refuse a number that is no int, or below 1.

    Raises:
        ValueError: Naming the number.

    Example:
        >>> at_least_one(n_way=5, n_shot=0)
        Traceback (most recent call last):
        ValueError: n_shot must be at least 1, got 0
    """
    only_ints(**counts)
    for name, value in counts.items():
        if value < 1:
            raise ValueError(f"{name} must be at least 1, got {value}")


def dims(x: Tensor) -> list[int]:
    """Return a shape as messages show it."""
    return list(x.shape)


def int64(y: Tensor) -> Tensor:
    """Return integer labels and booleans as int64; floats are left to the checks."""
    return y if y.is_floating_point() else y.long()


def class_ids(y: Tensor | Sequence[int]) -> Tensor:
    """Return class labels as an int64 tensor, or say what they should be."""
    array = None if isinstance(y, Tensor) else np.asarray(y)
    if array is not None and array.size and array.dtype.kind not in "iu":
        raise ValueError(f"y must hold integers [n], got values of type {array.dtype}: Pool.from_arrays takes text")
    ids = torch.as_tensor(y if array is None else array.astype(np.int64))
    if ids.is_floating_point() or ids.is_complex():
        raise ValueError(f"y must hold integers [n], one class id for each example, got {ids.dtype}")
    return ids.long()


def check_inputs(x: Any, y: Tensor) -> None:
    """Refuse examples of a pool that are no tensors, do not match the labels, or are images not scaled."""
    leaves = tree_leaves(x)
    if not leaves or not all(isinstance(leaf, Tensor) for leaf in leaves):
        kinds = sorted({type(leaf).__name__ for leaf in leaves})
        raise ValueError(
            f"x must be a tensor or a pytree of tensors, got {kinds}: Pool.from_arrays takes arrays and lists"
        )
    for leaf in leaves:
        if leaf.ndim == 0 or y.ndim != 1 or len(leaf) != len(y) or len(y) == 0:
            raise ValueError(f"expected x [n, ...] and y [n] with n > 0, got shapes {dims(leaf)} and {dims(y)}")
    if len(leaves) == 1:
        check_levels(leaves[0])


def check_levels(x: Tensor) -> None:
    """Refuse floats that are surely images of levels 0 to 255: two axes of space, whole numbers, some above 2."""
    if not x.is_floating_point() or x.ndim not in (3, 4) or min(x.shape[-2:]) < 2 or not x.numel():
        return
    low, high = x.aminmax()
    if low >= 0 and 2 < high <= 255 and (x == x.round()).all():
        raise ValueError(
            f"float images must lie in [0, 1], got levels from 0 to {high.item():g}: divide them by 255, or pass them"
            " as uint8"
        )


def check_finite(parts: dict[str, Any], counted: str) -> None:
    """Refuse NaN and infinite values; ``counted`` is what the first axis counts."""
    for name, part in parts.items():
        for leaf in tree_leaves(part):
            if leaf.is_floating_point() and not leaf.isfinite().all():
                bad = (~leaf.isfinite()).reshape(len(leaf), -1).any(1).nonzero().flatten().tolist()
                raise ValueError(
                    f"{name} holds NaN or infinite values, in {counted} {bad[:5]} of the batch: clean the data"
                )
