"""Checks that learners share: of numbers, of labels, of batches, and of what a network's forward pass changes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from metalearn._torch import AnyBatchNorm, is_traced, is_transformed, tree_leaves
from metalearn.episodes import Batch, Episode

CHANGES = (
    "the model's forward pass changes {}, which adapt and predict must not do. For BatchNorm with running statistics:"
    " metalearn.networks.convert_norms(model, policy); for steps in place (x.sub_(...)): write x = x - ..."
)


def positive(name: str, value: float) -> float:
    """Return a value that must be above 0, or say so."""
    if not value > 0:
        raise ValueError(f"{name} must be above 0, got {value}")
    return value


def at_least_one(**numbers: int | None) -> None:
    """Say which of some named numbers is below 1; ``None`` passes."""
    for name, number in numbers.items():
        if number is not None and number < 1:
            raise ValueError(f"{name} must be at least 1, got {number}")


def count_classes(support_y: Tensor, n_way: int | None) -> int:
    """Return ``n_way``, or the number of classes that labels 0…n_way-1 imply (not under vmap)."""
    return int(support_y.max()) + 1 if n_way is None else n_way


def check_labels(support_y: Tensor, n_way: int) -> None:
    """Refuse labels that are not 0…n_way-1; not under a transform, where labels are not known."""
    if is_transformed() or is_traced() or support_y.is_meta:
        return
    if ((support_y < 0) | (support_y >= n_way)).any():
        raise ValueError(f"expected labels 0…{n_way - 1}, got {sorted(set(support_y.tolist()))[:10]}")


def member_of(support_y: Tensor, n_way: int | None) -> Tensor:
    """Return which support example belongs to which class, bool ``[n_way, n_support]``.

    Raises:
        ValueError: If a label is out of range or a class has no example; not under a transform, where labels are not
            known.
    """
    n_way = count_classes(support_y, n_way)
    member = support_y == torch.arange(n_way, device=support_y.device).unsqueeze(1)
    if not (is_transformed() or is_traced() or member.is_meta) and not (member.any(1).all() and member.any(0).all()):
        raise ValueError(
            f"expected labels 0…{n_way - 1} with at least one support example of each class, got"
            f" {sorted(set(support_y.tolist()))[:10]}: number the classes of a task from 0"
            " (torch.unique(y, return_inverse=True)), and give n_way where it is more than the largest label says"
        )
    return member


def class_means(vectors: Tensor, y: Tensor, n_way: int | None) -> Tensor:
    """Return the mean vector of each class ``[n_way, size]``, of vectors ``[n, size]`` and labels ``[n]``.

    Example:
        >>> import torch
        >>> from metalearn.learners._checks import class_means
        >>> class_means(torch.tensor([[1.0], [3.0], [7.0]]), torch.tensor([0, 0, 1]), 2).tolist()
        [[2.0], [7.0]]
    """
    vectors = floating(vectors)
    member = member_of(y, n_way).to(vectors.dtype)  # [n_way, n]
    return member @ vectors / member.sum(1, keepdim=True)


def floating(x: Tensor) -> Tensor:
    """Return integers as float32, since sums and squares of bytes overflow; floats as they are."""
    return x if x.is_floating_point() else x.float()


def check_values(batch: Episode | Batch) -> None:
    """Refuse labels that are not 0…n_way-1, classes without support and values that are not finite."""
    batch.check()


def refuse_running_statistics(name: str, module: nn.Module) -> None:
    """Refuse a network with BatchNorm layers in ``train`` mode that write running statistics."""
    if any(layer.training for layer in running_norms(module)):
        raise ValueError(
            f"{name} has BatchNorm layers that write running statistics, which adapt and predict must not do: convert"
            " it with metalearn.networks.convert_norms(model, policy), or call its eval() first to keep what it has"
            " stored"
        )


def running_norms(module: nn.Module) -> list[nn.Module]:
    """Return torch's BatchNorm layers that keep running statistics."""
    return [layer for layer in module.modules() if isinstance(layer, AnyBatchNorm) and layer.track_running_stats]


@contextmanager
def unchanged(module: nn.Module, inputs: Any = ()) -> Iterator[None]:
    """Refuse a forward pass, run inside the context, that changes the module or its inputs; put both back."""
    state = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    given = [(leaf, leaf.clone()) for leaf in tree_leaves(inputs)]
    try:
        yield
    except RuntimeError as error:
        if "in-place" not in str(error):  # what a transform of torch says of a write to a tensor from outside
            raise
        raise ValueError(CHANGES.format("the model itself or its input, it seems")) from error
    changed = [name for name, tensor in module.state_dict().items() if not _same(tensor, state[name])]
    if changed:
        module.load_state_dict(state)
        raise ValueError(CHANGES.format(f"the model itself ({changed[0]})"))
    for leaf, before in given:
        if not _same(leaf, before):
            leaf.copy_(before)
            raise ValueError(CHANGES.format("its input"))


def _same(tensor: Tensor, before: Tensor) -> bool:
    return torch.equal(tensor.nan_to_num(), before.nan_to_num()) if tensor.is_floating_point() else tensor.equal(before)


def episodes_only(learner: nn.Module, batch: Episode | Batch) -> Episode:
    """Return a batch of episodes, or say that a labelled batch is none."""
    if isinstance(batch, Batch):
        raise ValueError(
            f"{type(learner).__name__} learns from episodes, got a labelled batch: sample with pool.episodes(...)"
        )
    return batch
