"""What a classifier is made from: a user's own images and labels, and a learner that fits them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from metalearn.learners import Learner
from metalearn.networks import norm_policies

Label = str | int

_DEPENDS = (
    "a classifier must answer one image as it does among others, but {}the answer depends on the images that are"
    " predicted together. Train the network with norm='support', 'frozen', 'group' or 'none', or convert it"
    " (metalearn.networks.convert_norms) and train it further"
)


def read_images(images: Any) -> Tensor:
    """Return a tensor or array, a PIL image, or a list of such, as one float tensor; uint8 is scaled to [0, 1].

    Raises:
        ValueError: If the images differ in shape, are neither uint8 nor float, or hold NaN.

    Example:
        >>> read_images([torch.tensor([[0, 255]], dtype=torch.uint8)]).tolist()
        [[[[0.0, 1.0]]]]
    """
    if isinstance(images, list | tuple):
        parts = [_read_one(image) for image in images]
        parts = [part.unsqueeze(0) if part.ndim == 2 else part for part in parts]  # grey: [1, height, width]
        shapes = sorted({tuple(part.shape) for part in parts})
        if len(shapes) != 1:
            raise ValueError(
                f"expected at least one image, all of one shape, got shapes {shapes[:3]}: resize the images"
            )
        x = torch.stack(parts)
    else:
        x = _read_one(images)
    if not x.isfinite().all():
        raise ValueError("the images hold NaN or infinite values: clean the data")
    return x


def _read_one(image: Any) -> Tensor:
    """Return a PIL image as float [channels, height, width], anything else as a float tensor of its own shape."""
    if hasattr(image, "getbands"):
        if image.mode not in ("L", "RGB"):
            raise ValueError(f"expected PIL images of mode 'L' or 'RGB', got {image.mode!r}: image.convert('RGB')")
        array = np.array(image)
        image = array[None] if array.ndim == 2 else array.transpose(2, 0, 1)
    x = image if isinstance(image, Tensor) else torch.as_tensor(np.asarray(image))
    if x.dtype == torch.uint8:
        return x.float() / 255
    if not x.is_floating_point():
        raise ValueError(f"expected images of type uint8 (0 to 255) or float, got {x.dtype}: convert them to uint8")
    return x


def read_support(images: Any, labels: Sequence[Label]) -> tuple[Tensor, Tensor, tuple[Label, ...]]:
    """Return support images ``[n, ...]``, their class ids ``[n]`` and the sorted labels.

    Raises:
        ValueError: If shapes, lengths or types are wrong, or there is one class only.

    Example:
        >>> read_support(torch.zeros(3, 28, 28), ["b", "a", "b"])[1:]
        (tensor([1, 0, 1]), ('a', 'b'))
    """
    x = read_images(images)
    x = x.unsqueeze(1) if x.ndim == 3 else x
    if x.ndim not in (2, 4):
        raise ValueError(
            "expected support images [n, channels, height, width], [n, height, width] or vectors [n, n_features],"
            f" got shape {list(x.shape)}"
        )
    given = [label.item() if hasattr(label, "item") else label for label in labels]
    if len(given) != len(x):
        raise ValueError(f"expected a label for each of {len(x)} support images, got {len(given)} labels")
    kinds = {type(label) for label in given}
    if kinds not in ({str}, {int}):
        names = sorted(kind.__name__ for kind in kinds)
        raise ValueError(f"labels must be all text (str) or all integers (int), got {names}: write them in one type")
    classes = sorted(set(given))
    if len(classes) < 2:
        raise ValueError(
            f"a support set needs at least 2 classes, got only {classes[0]!r}: add images of another class"
        )
    return x, torch.tensor([classes.index(label) for label in given]), tuple(classes)


def like(learner: Learner) -> Tensor:
    """Return a tensor whose device and type the learner's inputs must have."""
    return next(learner.parameters(), torch.empty(0))


def prepare(learner: Learner) -> Learner:
    """Set a learner to ``eval`` mode without gradients, and refuse one under whose policy queries meet."""
    learner.eval().requires_grad_(False)
    if "batch" in norm_policies(learner):
        raise ValueError(_DEPENDS.format("under the norm policy 'batch' "))
    return learner


def check_outputs(learner: Learner, x: Tensor, n_classes: int) -> None:
    """Try the learner on labels that are all 0, which are in range whatever the number of its outputs."""
    labels = torch.zeros(len(x), dtype=torch.long, device=x.device)
    try:
        logits = learner.predict(learner.adapt(x, labels, n_way=n_classes), x)
    except RuntimeError as error:
        raise ValueError(
            f"the learner's network does not take images of shape {list(x.shape[1:])}: bring the support images to the"
            f" size and channels that it was trained on ({error})"
        ) from error
    if logits.ndim != 2 or logits.shape[1] != n_classes:
        raise ValueError(
            f"the learner has {logits.shape[-1]} outputs, got {n_classes} classes: give as many classes, train with"
            f" n_way={n_classes}, or use a learner that takes any number, such as Prototypical"
        )


def check_answers(logits: Tensor, alone: Tensor) -> None:
    """Refuse what no name of a policy gives away: an answer to the first image that changes when it stands alone."""
    if not logits.isfinite().all():
        raise ValueError("the adapted learner answers NaN or infinite values: train it again, or lower its inner_lr")
    if (alone - logits[:1]).abs().max() > 0.01 * logits.abs().max():  # rounding, also on GPUs, is far below
        raise ValueError(_DEPENDS.format("in this network "))
