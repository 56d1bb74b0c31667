"""What a user hands over, read as tensors: images, vectors, tokens, or a tuple or dictionary of such."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from metalearn._given import check_levels
from metalearn._torch import tree_flatten, tree_leaves, tree_map
from metalearn.episodes import Inputs


@dataclass(frozen=True, repr=False)
class Leaf:
    """The form of one tensor: its shape, and whether it holds integers (or truth values)."""

    shape: tuple[int, ...]
    integer: bool

    def __repr__(self) -> str:
        """Show the shape, as messages do."""
        return f"{'integers ' if self.integer else ''}{list(self.shape)}"


Form = Any  # a Leaf, or a tuple or dictionary of forms: the form of one example


def read_inputs(examples: Any) -> Inputs:
    """Return one example, a batch, or a list of examples as tensors; uint8 is scaled to [0, 1], as pools do.

    A tuple or a dictionary stands for one input of several tensors (tokens with a mask), as in a pool.

    Raises:
        ValueError: If examples differ in shape, are no images, vectors or tokens, or hold NaN.

    Example:
        >>> read_inputs([torch.tensor([[0, 255]], dtype=torch.uint8)]).tolist()
        [[[[0.0, 1.0]]]]
        >>> read_inputs([[7, 2, 0], [4, 0, 0]])
        tensor([[7, 2, 0],
                [4, 0, 0]])
    """
    x = _stack([_read(example) for example in examples]) if isinstance(examples, list) else _read(examples)
    if not tree_leaves(x):
        raise ValueError(f"expected at least one tensor in each example, got {x}")
    if not all(leaf.isfinite().all() for leaf in tree_leaves(x)):
        raise ValueError("the images hold NaN or infinite values: clean the data")
    return x


def _read(example: Any) -> Inputs:
    if isinstance(example, tuple):
        return tuple(_read(part) for part in example)
    if isinstance(example, Mapping):
        return {name: _read(part) for name, part in example.items()}
    return _read_image(example) if hasattr(example, "getbands") else _read_tensor(example)


def _read_image(image: Any) -> Tensor:
    """Return a PIL image as float ``[channels, height, width]``."""
    if image.mode not in ("L", "RGB"):
        raise ValueError(f"expected PIL images of mode 'L' or 'RGB', got {image.mode!r}: image.convert('RGB')")
    array = np.array(image)
    return _read_tensor(array[None] if array.ndim == 2 else array.transpose(2, 0, 1))


def _read_tensor(value: Any) -> Tensor:
    try:
        x = value if isinstance(value, Tensor) else torch.as_tensor(np.asarray(value))
    except (TypeError, ValueError) as error:  # text, None, nested lists of several lengths
        what = f"the text {value!r}" if isinstance(value, str) else f"{value!r:.80}"
        raise ValueError(
            f"expected an image, a vector or tokens, got {what}: read an image file (metalearn.data.read_image),"
            " turn text into tokens of one length"
        ) from error
    if x.dtype == torch.uint8:
        return x.float() / 255
    return x if x.is_floating_point() or x.dtype == torch.bool else x.long()


def _stack(parts: list[Inputs]) -> Inputs:
    # A list may hold grey images without their axis of channels: [height, width] becomes [1, height, width].
    parts = [part.unsqueeze(0) if _is_grey(part) else part for part in parts]
    shapes = sorted({str(form_of(part)) for part in parts})
    if len(shapes) != 1:
        raise ValueError(
            f"expected at least one example, all of one shape, got shapes {shapes[:3]}: resize images, pad tokens"
        )
    return tree_map(lambda *leaves: torch.stack(leaves), *parts)


def _is_grey(x: Inputs) -> bool:
    return isinstance(x, Tensor) and x.ndim == 2 and x.is_floating_point()


def form_of(x: Inputs) -> Form:
    """Return the form of an input.

    Example:
        >>> form_of((torch.zeros(2, 7, dtype=torch.long), torch.zeros(2, 7)))
        (integers [2, 7], [2, 7])
    """
    return tree_map(lambda leaf: Leaf(tuple(leaf.shape), not leaf.is_floating_point()), x)


def example_form(x: Inputs) -> Form:
    """Return the form of one example of a batch."""
    return form_of(tree_map(lambda leaf: leaf[0], x))


def as_batch(x: Inputs, form: Form) -> tuple[Inputs, bool]:
    """Return a batch, or one example as a batch of one, and whether it was one example.

    Raises:
        ValueError: If the examples have another form than ``form``.
    """
    forms, wanted = tree_leaves(form_of(x)), tree_leaves(form)
    pairs = [(a.shape, b.shape) for a, b in zip(forms, wanted, strict=False)]
    grey = len(pairs) == 1 and (1, *pairs[0][0]) == pairs[0][1]
    single = grey or all(shape == goal for shape, goal in pairs)
    alike = tree_flatten(x)[1] == tree_flatten(form)[1] and [a.integer for a in forms] == [b.integer for b in wanted]
    if not alike or not (single or all(shape == (*forms[0].shape[:1], *goal) for shape, goal in pairs)):
        raise ValueError(
            f"expected one example {form}, as in the support set ([channels, height, width] for an image), or a batch"
            f" [n, ...] of such, got shape {form_of(x)}: prepare examples by the function that prepared the support"
            " set (size, grey or colour, channels first)"
        )
    x = tree_map(lambda leaf, goal: leaf.reshape(1, *goal.shape), x, form) if single else x
    if isinstance(x, Tensor):
        check_levels(x)
    return x, single


def describe(form: Form) -> Any:
    """Return a form as JSON: a list stands for a tuple.

    Example:
        >>> described = describe((Leaf((7,), True), {"mask": Leaf((7,), False)}))
        >>> described
        [{'shape': [7], 'integer': True}, {'parts': {'mask': {'shape': [7], 'integer': False}}}]
        >>> described_form(described)
        (integers [7], {'mask': [7]})
    """
    if isinstance(form, tuple):
        return [describe(part) for part in form]
    if isinstance(form, dict):
        return {"parts": {name: describe(part) for name, part in form.items()}}
    return {"shape": list(form.shape), "integer": form.integer}


def described_form(described: Any) -> Form:
    """Return the form that :func:`describe` described."""
    if isinstance(described, list):
        return tuple(described_form(part) for part in described)
    if "parts" in described:
        return {name: described_form(part) for name, part in described["parts"].items()}
    return Leaf(tuple(described["shape"]), described["integer"])
