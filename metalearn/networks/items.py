"""Small networks for items that are known by a number and by features: ``{"item": [n], "features": [n, n_side]}``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from metalearn._given import at_least_one
from metalearn.networks.mlp import MLP

INIT_STD = 0.3  # of an item's own vector: items start alike


class Part(nn.Module):
    """Take one entry of inputs that have several, such as the features of items.

    Args:
        name: Of the entry.

    Attributes:
        config: The argument above by name, from which a saved network is built again.

    Example:
        >>> import torch
        >>> from metalearn.networks import Part
        >>> Part("features")({"item": torch.tensor([7]), "features": torch.ones(1, 2)})
        tensor([[1., 1.]])
    """

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name
        self.config: dict[str, Any] = {"name": name}

    def forward(self, x: Mapping[str, Tensor]) -> Tensor:
        """Return the entry."""
        return x[self.name]

    def extra_repr(self) -> str:
        """Show the name."""
        return repr(self.name)


class ItemEncoder(nn.Module):
    """Give each item a vector: one of its own, plus what an MLP makes of its side features.

    Args:
        n_items: Number of items.
        n_side: Number of side features.
        n_features: Size of the vectors.
        n_hidden: Units of the MLP's hidden layer.

    Attributes:
        config: The arguments above by name, from which a saved network is built again.

    Raises:
        ValueError: If a number is below 1.

    Example:
        >>> import torch
        >>> from metalearn.networks import ItemEncoder
        >>> encoder = ItemEncoder(n_items=300, n_side=8)
        >>> encoder({"item": torch.tensor([7, 9]), "features": torch.ones(2, 8)}).shape
        torch.Size([2, 16])
    """

    def __init__(self, n_items: int, n_side: int, n_features: int = 16, *, n_hidden: int = 32) -> None:
        super().__init__()
        at_least_one(n_items=n_items, n_side=n_side, n_features=n_features, n_hidden=n_hidden)
        self.own = nn.Embedding(n_items, n_features)
        nn.init.normal_(self.own.weight, std=INIT_STD)
        self.side = MLP([n_side, n_hidden, n_features])
        self.n_features = n_features
        self.config: dict[str, Any] = {
            **{"n_items": n_items, "n_side": n_side, "n_features": n_features},
            "n_hidden": n_hidden,
        }

    def forward(self, x: Mapping[str, Tensor]) -> Tensor:
        """Return vectors ``[n, n_features]``."""
        vectors: Tensor = self.own(x["item"]) + self.side(x["features"])
        return vectors


class UserHead(nn.Module):
    r"""Predict what all users give to an item, plus a user's own part: :math:`g(h) + u_0 + u^\top W h`.

    The user's vector starts at zero. As the head of :class:`metalearn.learners.ANIL` with a rate of 0 for all but
    ``"head.user"``, a task moves that vector alone, as CAVIA moves its context.

    Args:
        n_features: Size of the items' vectors h.
        n_user: Size of u.
        n_hidden: Units of the hidden layer of g.

    Attributes:
        config: The arguments above by name, from which a saved network is built again.

    Raises:
        ValueError: If a number is below 1.

    Reference:
        Zintgraf, Shiarlis, Kurin, Hofmann, Whiteson: Fast Context Adaptation via Meta-Learning, 2018, arXiv 1810.03642.

    Differs from the paper:
        The context multiplies the item's vector in place of being one of a layer's inputs.

    Example:
        >>> import torch
        >>> from metalearn.networks import UserHead
        >>> UserHead(n_features=16)(torch.ones(2, 16)).shape
        torch.Size([2, 1])
    """

    def __init__(self, n_features: int, n_user: int = 8, *, n_hidden: int = 32) -> None:
        super().__init__()
        at_least_one(n_user=n_user)
        self.user = nn.Parameter(torch.zeros(1 + n_user))
        self.all = MLP([n_features, n_hidden, 1])
        self.weight = nn.Parameter(torch.eye(n_user, n_features))
        self.config: dict[str, Any] = {"n_features": n_features, "n_user": n_user, "n_hidden": n_hidden}

    def forward(self, items: Tensor) -> Tensor:
        """Return ratings ``[n, 1]`` of items ``[n, n_features]``."""
        own = self.user[0] + items @ self.weight.T @ self.user[1:]
        rating: Tensor = self.all(items) + own.unsqueeze(1)
        return rating
