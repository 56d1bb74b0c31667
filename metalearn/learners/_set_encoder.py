"""What learners share that read a whole support set at once: its embedding as a vector, and checks of what it holds."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from metalearn.learners._checks import at_least_one, class_means
from metalearn.networks import MLP


class SetEncoder(nn.Module):
    """Embed a support set as one vector that does not depend on the order of its examples.

    For values, it is the mean over the examples of an MLP of features and targets side by side. For classes, the means
    of an MLP of the features, class by class, stand one after the other in the order of the classes.

    Args:
        n_features: Size of the features.
        n_way: Number of classes; ``None``: targets are values.
        n_outputs: Size of the targets, where they are values.
        n_hidden: Units of the two hidden layers of the MLP.
        n_embedding: Size of the MLP's output.

    Attributes:
        size: Size of the vector: ``n_embedding``, or ``n_way * n_embedding``.

    Raises:
        ValueError: If a number is below 1.

    Reference:
        Garnelo, Rosenbaum, Maddison, Ramalho, Saxton, Shanahan, Rezende, Teh, Eslami: Conditional Neural Processes,
        2018, arXiv 1807.01613, section 2.2; classes one after the other: section 4.3.

    Example:
        >>> import torch
        >>> from metalearn.learners._set_encoder import SetEncoder
        >>> set_encoder = SetEncoder(64, 5, n_embedding=16)
        >>> set_encoder(torch.zeros(10, 64), torch.arange(10) % 5).shape
        torch.Size([80])
    """

    def __init__(
        self, n_features: int, n_way: int | None, n_outputs: int = 1, n_hidden: int = 128, n_embedding: int = 128
    ) -> None:
        super().__init__()
        at_least_one(n_way=n_way, n_outputs=n_outputs, n_hidden=n_hidden, n_embedding=n_embedding)
        self.n_way = n_way
        self.size = n_embedding * (1 if n_way is None else n_way)
        n_inputs = n_features + (n_outputs if n_way is None else 0)
        self.net = MLP([n_inputs, n_hidden, n_hidden, n_embedding])

    def forward(self, features: Tensor, y: Tensor) -> Tensor:
        """Return the embedding ``[size]`` of features ``[n, n_features]`` and labels ``[n]`` or values ``[n, ...]``."""
        if self.n_way is None:
            mean: Tensor = self.net(torch.cat([features, y.to(features.dtype)], 1)).mean(0)
            return mean
        return class_means(self.net(features), y, self.n_way).reshape(-1)


def refuse_both(per_class: bool, n_way: int | None) -> None:
    """Refuse a number of classes beside ``per_class``, which takes any number."""
    if per_class and n_way is not None:
        raise ValueError(f"per_class takes tasks of any number of classes, got n_way={n_way}: leave n_way out")


def check_task(name: str, built_way: int | None, n_outputs: int, n_way: int | None, support_y: Tensor) -> None:
    """Refuse a task that is not of the kind a learner is built for.

    Args:
        name: The learner's name.
        built_way: Number of classes the learner is built for; ``None``: values.
        n_outputs: Size of the targets, where they are values.
        n_way: Number of classes that the task names, if it does.
        support_y: The task's labels or targets.

    Raises:
        ValueError: With what the learner is built for and what it got.
    """
    if n_way is not None and n_way != built_way:
        kind = "regression (n_way=None)" if built_way is None else f"tasks of {built_way} classes"
        raise ValueError(
            f"this {name} is built for {kind}, got a task of {n_way} classes: build one with n_way={n_way}, or sample"
            " other tasks"
        )
    if built_way is None and (support_y.ndim != 2 or support_y.shape[1] != n_outputs):
        raise ValueError(
            f"this {name} is built for targets [n_support, {n_outputs}], got {list(support_y.shape)}: set n_outputs to"
            " the size of the targets, and n_way to the number of classes if they are labels"
        )
    if built_way is not None and (support_y.is_floating_point() or support_y.ndim != 1):
        raise ValueError(
            f"this {name} is built for labels 0…{built_way - 1} [n_support], got {support_y.dtype}"
            f" {list(support_y.shape)}: leave n_way out for targets that are values"
        )
