"""What a classifier is made from: a user's labelled examples, and a learner that fits them."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from metalearn._given import check_levels
from metalearn._torch import tree_leaves, tree_map
from metalearn.deploy.inputs import example_form, form_of, read_inputs
from metalearn.episodes import Inputs
from metalearn.learners import Learner
from metalearn.networks import norm_policies

Label = str | int

_DEPENDS = (
    "a classifier must answer one image as it does among others, but {}the answer depends on the images that are"
    " predicted together. Train the network with norm='support', 'frozen', 'group' or 'none', or convert it"
    " (metalearn.networks.convert_norms) and train it further"
)
_MISFIT = (RuntimeError, IndexError, TypeError)  # what torch raises for shapes, for tokens out of range, for a tuple


def read_support(examples: Any, labels: Sequence[Label]) -> tuple[Inputs, Tensor, tuple[Label, ...]]:
    """Return support examples ``[n, ...]``, their class ids ``[n]`` and the sorted labels.

    Raises:
        ValueError: If shapes, lengths or types are wrong, or there is one class only.

    Example:
        >>> read_support(torch.zeros(3, 28, 28), ["b", "a", "b"])[1:]
        (tensor([1, 0, 1]), ('a', 'b'))
    """
    x = read_inputs(examples)
    if isinstance(x, Tensor):
        x = x.unsqueeze(1) if x.ndim == 3 and x.is_floating_point() else x
        if x.ndim not in ((2, 4) if x.is_floating_point() else (2,)):
            raise ValueError(
                "expected support images [n, channels, height, width] or [n, height, width], of type uint8 (0 to 255)"
                " or float, vectors [n, n_features], or integer tokens [n, length], got shape"
                f" {list(x.shape)} of type {x.dtype}"
            )
        check_levels(x)
    given = [label.item() if hasattr(label, "item") else label for label in labels]
    if any(leaf.shape[:1] != (len(given),) for leaf in tree_leaves(x)):
        raise ValueError(
            f"expected a label for each support example, got {len(given)} labels for examples {form_of(x)} (a list"
            " holds examples, a tuple is one input of several tensors)"
        )
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


def like(learner: Learner, x: Inputs) -> Inputs:
    """Return inputs on the learner's device, floats in its type."""
    goal = next(learner.parameters(), torch.empty(0))
    return tree_map(lambda leaf: leaf.to(goal) if leaf.is_floating_point() else leaf.to(goal.device), x)


def prepare(learner: Learner) -> Learner:
    """Set a learner to ``eval`` mode, and refuse one under whose policy queries meet."""
    learner.eval()
    if "batch" in norm_policies(learner):
        raise ValueError(_DEPENDS.format("under the norm policy 'batch' "))
    return learner


def check_loss(learner: Learner, y: Tensor, n_classes: int) -> None:
    """Refuse a learner of values: its loss takes no logits ``[n, n_way]`` with labels ``[n]``."""
    labels = torch.cat([y, y, y])[: n_classes + 1]  # another number than columns: a loss of values cannot broadcast
    try:
        with warnings.catch_warnings(action="ignore"):
            learner.loss_fn(like(learner, torch.zeros(len(labels), n_classes)), labels)
    except (*_MISFIT, ValueError) as error:
        name = getattr(learner.loss_fn, "__name__", repr(learner.loss_fn))
        raise ValueError(
            f"a classifier needs a learner of classes, but the loss of this {type(learner).__name__}, {name}, takes no"
            f" logits [n, n_way] with labels [n]: train one with F.cross_entropy ({error})"
        ) from error


def check_outputs(learner: Learner, x: Inputs, y: Tensor, n_classes: int) -> None:
    """Refuse a learner whose network takes other examples, or that has another number of outputs."""
    n_steps = None if learner.n_inner_steps is None else 0  # a step's loss stumbles over labels beyond the outputs
    try:
        logits = learner.predict(learner.adapt(x, y, n_way=n_classes, n_steps=n_steps), x)
    except _MISFIT as error:
        raise ValueError(
            f"the learner's network does not take examples of shape {example_form(x)}: bring the support set to the"
            f" size, the channels or the vocabulary that it was trained on ({error})"
        ) from error
    if logits.ndim != 2 or logits.shape[1] != n_classes:
        raise ValueError(
            f"the learner has {logits.shape[-1]} outputs, got {n_classes} classes: give as many classes, train with"
            f" n_way={n_classes}, or use a learner that takes any number, such as Prototypical"
        )


def check_answers(adapted: Any, logits: Tensor, alone: Tensor) -> None:
    """Refuse what no name of a policy gives away: an answer to the first image that changes when it stands alone."""
    if not logits.isfinite().all() or any(leaf.isnan().any() for leaf in tree_leaves(adapted)):
        raise ValueError("the adapted learner answers NaN or infinite values: train it again, or lower its inner_lr")
    if (alone - logits[:1]).abs().max() > 0.01 * logits.abs().max():  # rounding, also on GPUs, is far below
        raise ValueError(_DEPENDS.format("in this network "))
