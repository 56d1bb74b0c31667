"""What adapts may be small: low-rank additions to layers, and small layers between them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import deepcopy

import torch
from torch import Tensor, nn

from metalearn._layers import AnyModule, Layer, refuse_shared, replaced, two_layers


class LoRA(nn.Module):
    r"""Add a product of two thin layers to a layer: :math:`h' = W h + U V^\top h`, with :math:`U = 0` at the start.

    Of a convolution, :math:`V^\top` has the layer's kernel, stride and padding, and :math:`U` looks at one position at
    a time; the sum is a convolution again (:meth:`delta`).

    Args:
        layer: A linear layer, or a convolution in one group; used as it is, frozen or not.
        rank: Rank of the addition, at least 1; at full rank it can be any change of the weight.

    Raises:
        ValueError: If the rank is below 1, or a convolution is in groups.

    Reference:
        Hu, Shen, Wallis, Allen-Zhu, Li, Wang, Wang, Chen: LoRA: Low-Rank Adaptation of Large Language Models, 2021,
        arXiv 2106.09685, section 4.1.

    Differs from the paper:
        No factor :math:`\alpha / r`, which a learning rate can stand for; :math:`V` starts as torch starts a layer.

    Taught in:
        What learning to learn costs.

    Example:
        >>> import torch
        >>> from metalearn.adapters import LoRA
        >>> layer = torch.nn.Linear(8, 4)
        >>> x = torch.randn(3, 8)
        >>> torch.equal(LoRA(layer, rank=2)(x), layer(x))
        True
    """

    def __init__(self, layer: Layer, rank: int) -> None:
        super().__init__()
        self.layer = layer
        self.down, self.up = two_layers(layer, rank)
        nn.init.zeros_(self.up.weight)

    def forward(self, x: Tensor) -> Tensor:
        """Return the layer's output and the addition's."""
        out: Tensor = self.layer(x) + self.up(self.down(x))
        return out

    def delta(self) -> Tensor:
        """Return the change of the layer's weight that the addition stands for, in its shape."""
        return (self.up.weight.flatten(1) @ self.down.weight.flatten(1)).view_as(self.layer.weight)


class Adapter(nn.Module):
    r"""Put a small residual layer behind a layer: :math:`h' + U\,\mathrm{relu}(V^\top h')`; :math:`U = 0` at first.

    Of a convolution, both look at one position of its output at a time.

    Args:
        layer: A linear layer or a convolution; used as it is, frozen or not.
        n_hidden: Size of the middle, at least 1.

    Raises:
        ValueError: If the size is below 1.

    Reference:
        Houlsby, Giurgiu, Jastrzebski, Morrone, de Laroussilhe, Gesmundo, Attariyan, Gelly: Parameter-Efficient Transfer
        Learning for NLP, 2019, arXiv 1902.00751, section 2.1.

    Differs from the paper:
        Behind each layer of any network, not inside transformers; no biases; the last matrix starts at zero.

    Taught in:
        What learning to learn costs.

    Example:
        >>> import torch
        >>> from metalearn.adapters import Adapter
        >>> layer = torch.nn.Conv2d(1, 4, 3)
        >>> x = torch.randn(2, 1, 8, 8)
        >>> torch.equal(Adapter(layer, n_hidden=2)(x), layer(x))
        True
    """

    def __init__(self, layer: Layer, n_hidden: int) -> None:
        super().__init__()
        if n_hidden < 1:
            raise ValueError(f"n_hidden must be at least 1, got {n_hidden}")
        self.layer = layer
        self.down, self.up = _at_each_position(layer, n_hidden)
        nn.init.zeros_(self.up.weight)

    def forward(self, x: Tensor) -> Tensor:
        """Return the layer's output with the adapter's addition."""
        h = self.layer(x)
        out: Tensor = h + self.up(torch.relu(self.down(h)))
        return out


def add_lora(model: AnyModule, rank: int, *, train: Sequence[str] = ("head",)) -> AnyModule:
    """Return a copy in which only a :class:`LoRA` at each layer trains, and some parts as a whole.

    All else has ``requires_grad=False``, so that neither loop of a learner moves it.

    Args:
        model: A network.
        rank: Rank of each addition; no higher than the layer's own.
        train: Names of parts that train as they are, with no addition.

    Raises:
        ValueError: If a part is not in the model, or the model has additions already, or weights that parts share.

    Example:
        >>> from metalearn.adapters import add_lora, n_trained
        >>> from metalearn.networks import Conv4
        >>> model = Conv4(5, channels=32, downsample="stride", norm="support")
        >>> n_trained(model), n_trained(add_lora(model, rank=2))
        (28485, 2167)
    """
    return _added(model, lambda layer: LoRA(layer, min(rank, *layer.weight.flatten(1).shape)), train)


def add_adapters(model: AnyModule, n_hidden: int, *, train: Sequence[str] = ("head",)) -> AnyModule:
    """Return a copy in which only an :class:`Adapter` behind each layer trains, and some parts as a whole.

    Args:
        model: A network.
        n_hidden: Size of each adapter's middle.
        train: Names of parts that train as they are, with no adapter.

    Raises:
        ValueError: If a part is not in the model, or the model has additions already, or weights that parts share.

    Example:
        >>> from metalearn.adapters import add_adapters, n_trained
        >>> from metalearn.networks import Conv4
        >>> n_trained(add_adapters(Conv4(5, channels=32, downsample="stride"), n_hidden=4))
        1189
    """
    return _added(model, lambda layer: Adapter(layer, n_hidden), train)


def only(model: AnyModule, train: Sequence[str] = ("head",)) -> AnyModule:
    """Return a copy in which only some parts train; all else has ``requires_grad=False``.

    Args:
        model: A network.
        train: Names of the parts.

    Raises:
        ValueError: If a part is not in the model.

    Example:
        >>> from metalearn.adapters import n_trained, only
        >>> from metalearn.networks import Conv4
        >>> n_trained(only(Conv4(5, channels=32, downsample="stride")))
        165
    """
    return _frozen(model, train)


def merge_lora(model: AnyModule) -> AnyModule:
    """Return a copy in which each :class:`LoRA` is one layer again, whose weight has the addition in it.

    It predicts the same, up to rounding, and costs what the network cost before. What was frozen stays frozen: it
    predicts the same with the weights at hand, and adapts only what trained as a whole.

    Args:
        model: A network, or a learner.

    Example:
        >>> from metalearn.adapters import add_lora, merge_lora
        >>> from metalearn.networks import MLP
        >>> model = MLP([1, 40, 1])
        >>> repr(merge_lora(add_lora(model, rank=1, train=()))) == repr(model)
        True
    """
    twin = deepcopy(model)
    for name, part in list(twin.named_modules()):
        if isinstance(part, LoRA):
            with torch.no_grad():
                part.layer.weight.add_(part.delta())
            path, _, last = name.rpartition(".")
            if not name:
                return part.layer  # type: ignore[return-value]
            setattr(twin.get_submodule(path), last, part.layer)
    return twin


def n_trained(module: nn.Module) -> int:
    """Return the number of weights with ``requires_grad``: those that a learner adapts or trains.

    Example:
        >>> from torch import nn
        >>> from metalearn.adapters import n_trained
        >>> n_trained(nn.Linear(3, 2)), n_trained(nn.Linear(3, 2).requires_grad_(False))
        (8, 0)
    """
    return sum(parameter.numel() for parameter in module.parameters() if parameter.requires_grad)


def _added(model: AnyModule, make: Callable[[Layer], nn.Module], train: Sequence[str]) -> AnyModule:
    if there := [name for name, part in model.named_modules() if isinstance(part, LoRA | Adapter)]:
        raise ValueError(f"{there} have additions already: merge_lora(model) first, or add to the model without them")
    refuse_shared(model, "add to")
    return replaced(_frozen(model, train), lambda name, layer: layer if _is_in(name, train) else make(layer))


def _frozen(model: AnyModule, train: Sequence[str]) -> AnyModule:
    """Return a copy in which nothing trains but some parts."""
    names = [name for name, _ in model.named_modules()]
    if missing := [name for name in train if name not in names]:
        raise ValueError(f"the model has no part {missing}; it has {names[1:]}")
    frozen = deepcopy(model)
    for name, parameter in frozen.named_parameters():
        parameter.requires_grad_(_is_in(name, train))
    return frozen


def _is_in(name: str, parts: Sequence[str]) -> bool:
    return any(name == part or name.startswith(f"{part}.") for part in parts)


def _at_each_position(layer: Layer, n_hidden: int) -> tuple[Layer, Layer]:
    """Return layers from a layer's outputs to ``n_hidden`` and back, without bias."""
    like = {"device": layer.weight.device, "dtype": layer.weight.dtype, "bias": False}
    if isinstance(layer, nn.Linear):
        width = layer.out_features
        return nn.Linear(width, n_hidden, **like), nn.Linear(n_hidden, width, **like)  # type: ignore[arg-type]
    width = layer.out_channels
    return nn.Conv2d(width, n_hidden, 1, **like), nn.Conv2d(n_hidden, width, 1, **like)  # type: ignore[arg-type]
