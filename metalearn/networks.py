"""Small networks of the few-shot literature, and normalisation as a choice that is spelled out."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from itertools import pairwise
from typing import Any, Literal, cast, get_args

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm

StatisticsPolicy = Literal["batch", "support", "frozen"]
Collected = dict["BatchStatistics", list[tuple[int, Tensor, Tensor]]]  # layer -> (count, mean, variance) of each pass

_collecting: ContextVar[Collected | None] = ContextVar("collecting", default=None)


class BatchStatistics(nn.Module):
    """Normalise channels by statistics over examples, under a policy that says whose statistics.

    * ``"batch"``: those of the batch at hand. Queries that are normalised together influence one another.
    * ``"support"``: at each pass, those of the support set at the same weights, for the queries too.
    * ``"frozen"``: stored ones in ``eval`` mode (:func:`set_statistics` estimates them), those of the batch in
      ``train`` mode. The layer itself never writes them.

    Args:
        n_channels: Size of axis 1 of the input ``[n, n_channels, ...]``.
        policy: ``"batch"``, ``"support"`` or ``"frozen"``.
        eps: Added to the variance.

    Reference:
        Ioffe, Szegedy: Batch Normalization, 2015, arXiv 1502.03167. Bronskill, Gordon, Requeima, Nowozin, Turner:
        TaskNorm: Rethinking Batch Normalization for Meta-Learning, 2020, arXiv 2003.03284, compares such policies.

    Example:
        >>> import torch
        >>> from metalearn.networks import BatchStatistics
        >>> BatchStatistics(3, "batch")(torch.randn(10, 3)).mean(0).abs().max() < 1e-6
        tensor(True)
    """

    mean: Tensor
    var: Tensor

    def __init__(self, n_channels: int, policy: StatisticsPolicy, eps: float = 1e-5) -> None:
        super().__init__()
        self.policy, self.eps = policy, eps
        self.weight = nn.Parameter(torch.ones(n_channels))
        self.bias = nn.Parameter(torch.zeros(n_channels))
        stored = n_channels if policy == "frozen" else 0  # empty: nothing stored, use the batch's own
        self.register_buffer("mean", torch.zeros(stored))
        self.register_buffer("var", torch.ones(stored))

    def forward(self, x: Tensor) -> Tensor:
        """Return ``x`` normalised, of the same shape ``[n, n_channels, ...]``."""
        own = self.training if self.policy == "frozen" else self.mean.numel() == 0
        collected = _collecting.get()
        if collected is not None:
            own = True
            axes = [axis for axis in range(x.ndim) if axis != 1]
            statistics = x.numel() // x.shape[1], x.mean(axes), x.var(axes, correction=0)
            collected.setdefault(self, []).append(statistics)
        if own:
            return F.batch_norm(x, None, None, self.weight, self.bias, training=True, eps=self.eps)
        scale = self.weight * torch.rsqrt(self.var + self.eps)
        shift = self.bias - self.mean * scale
        channels = [-1] + [1] * (x.ndim - 2)
        return x * scale.reshape(channels) + shift.reshape(channels)

    def extra_repr(self) -> str:
        """Show the policy."""
        return f"{len(self.weight)}, policy={self.policy!r}"


def make_norm(policy: str, n_channels: int) -> nn.Module:
    """Return a normalisation layer for ``[n, n_channels, ...]`` under the named policy.

    Args:
        policy: ``"batch"``, ``"support"``, ``"frozen"`` (see :class:`BatchStatistics`), ``"group"`` (each example by
            itself, 8 groups of channels or fewer), ``"none"``.
        n_channels: Number of channels.

    Raises:
        ValueError: If the policy is unknown; the message lists the known ones.

    Example:
        >>> from metalearn.networks import make_norm
        >>> make_norm("group", 64).num_groups
        8
    """
    if policy in get_args(StatisticsPolicy):
        return BatchStatistics(n_channels, cast(StatisticsPolicy, policy))
    if policy == "group":
        return nn.GroupNorm(math.gcd(8, n_channels), n_channels)
    if policy == "none":
        return nn.Identity()
    raise ValueError(f"norm must be one of {[*get_args(StatisticsPolicy), 'group', 'none']}, got {policy!r}")


def convert_norms(model: nn.Module, policy: str) -> nn.Module:
    """Return a copy of a model whose BatchNorm layers follow the named policy; weights and statistics are kept.

    Use it for a module of your own, such as a torchvision backbone: ``nn.BatchNorm2d`` writes its running statistics
    at each pass in ``train`` mode, which a pure ``adapt`` must not do.

    Args:
        model: Any module.
        policy: As in :func:`make_norm`.

    Raises:
        ValueError: If the policy is unknown.

    Example:
        >>> from torch import nn
        >>> from metalearn.networks import convert_norms
        >>> convert_norms(nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3)), "batch")[1]
        BatchStatistics(3, policy='batch')
    """
    model = copy.deepcopy(model)
    if isinstance(model, _BatchNorm | BatchStatistics):
        return _converted(model, policy)
    for module in model.modules():
        for name, child in module.named_children():
            if isinstance(child, _BatchNorm | BatchStatistics):
                setattr(module, name, _converted(child, policy))
        if isinstance(module, MLP | Conv4 | RelationModule) and module.config["norm"] in get_args(StatisticsPolicy):
            module.config["norm"] = policy
    return model


def _converted(layer: _BatchNorm | BatchStatistics, policy: str) -> nn.Module:
    tensor = next(layer.buffers(), torch.empty(0)) if layer.weight is None else layer.weight
    n_channels = layer.num_features if isinstance(layer, _BatchNorm) else len(layer.weight)
    new = make_norm(policy, n_channels).to(tensor.device)
    new.train(layer.training)
    if layer.weight is not None and not isinstance(new, nn.Identity):
        new.load_state_dict({"weight": layer.weight, "bias": layer.bias}, strict=False)
    if isinstance(new, BatchStatistics):
        new.eps = layer.eps
        mean, var = (
            (layer.running_mean, layer.running_var) if isinstance(layer, _BatchNorm) else (layer.mean, layer.var)
        )
        if policy == "frozen" and mean is not None and var is not None and mean.numel():
            new.mean, new.var = mean.clone(), var.clone()
    return new


def norm_policies(model: nn.Module) -> set[str]:
    """Return the policies of a model's normalisation layers, to be stored with every number measured on it.

    Besides the names of :func:`make_norm`, ``"running"`` stands for a BatchNorm layer of torch that writes running
    statistics, and the class name for other normalisations (``"LayerNorm"``).

    Example:
        >>> from metalearn.networks import Conv4, norm_policies
        >>> norm_policies(Conv4(norm="support"))
        {'support'}
    """
    names = set()
    for layer in model.modules():
        if isinstance(layer, BatchStatistics):
            names.add(str(layer.policy))
        elif isinstance(layer, _BatchNorm):
            names.add("running" if layer.track_running_stats else "batch")
        elif isinstance(layer, nn.GroupNorm):
            names.add("group")
        elif type(layer).__name__.endswith("Norm"):
            names.add(type(layer).__name__)
    return names or {"none"}


@contextmanager
def _collect() -> Iterator[Collected]:
    found: Collected = {}
    token = _collecting.set(found)
    try:
        yield found
    finally:
        _collecting.reset(token)


def support_statistics(model: nn.Module, params: Mapping[str, Tensor], *inputs: Any) -> dict[str, Tensor]:
    """Return what the ``"support"`` layers of a model measure on a support set, by buffer name.

    Together with the weights, the result is all that ``functional_call(model, {**params, **statistics}, (x,))`` needs
    to predict one query without seeing another. Gradients flow through it.

    Args:
        model: A network; without ``"support"`` layers the result is empty and nothing is computed.
        params: Weights at which to measure, by name.
        *inputs: What the model's forward pass takes: as a rule the support inputs ``[n_support, ...]``.

    Example:
        >>> import torch
        >>> from metalearn.networks import MLP, support_statistics
        >>> model = MLP([1, 8, 1], norm="support")
        >>> statistics = support_statistics(model, dict(model.named_parameters()), torch.randn(10, 1))
        >>> {name: list(tensor.shape) for name, tensor in statistics.items()}
        {'1.mean': [8], '1.var': [8]}
    """
    layers = {layer: name for name, layer in model.named_modules() if _policy(layer) == "support"}
    if not layers:
        return {}
    with _collect() as found:
        functional_call(model, dict(params), inputs)
    statistics = {}
    for layer, passes in found.items():
        if layer in layers:
            prefix = f"{layers[layer]}." if layers[layer] else ""
            statistics[f"{prefix}mean"], statistics[f"{prefix}var"] = passes[-1][1:]
    return statistics


@torch.no_grad()
def set_statistics(model: nn.Module, batches: Iterable[Any], forward: Callable[[Any], object] | None = None) -> None:
    """Estimate the stored statistics of a model's ``"frozen"`` layers over batches of inputs.

    Args:
        model: A network; without ``"frozen"`` layers nothing happens.
        batches: Inputs ``[n, ...]`` each; the result is their mean and total variance, layer by layer, with each
            batch normalised by its own statistics on the way ("precise" batch normalisation).
        forward: What runs the model on one batch, where calling the model does not.

    Example:
        >>> import torch
        >>> from metalearn.networks import make_norm, set_statistics
        >>> layer = make_norm("frozen", 1)
        >>> set_statistics(layer, [torch.tensor([[1.0], [3.0]]), torch.tensor([[5.0], [7.0]])])
        >>> layer.mean, layer.var
        (tensor([4.]), tensor([5.]))
    """
    if not any(_policy(layer) == "frozen" for layer in model.modules()):
        return
    with _collect() as found:
        for batch in batches:
            (forward or model)(batch)
    for layer, passes in found.items():
        if layer.policy == "frozen":
            counts = layer.mean.new_tensor([count for count, _, _ in passes])
            means = torch.stack([mean for _, mean, _ in passes])  # [n_passes, n_channels]
            variances = torch.stack([var for _, _, var in passes])  # [n_passes, n_channels]
            share = (counts / counts.sum()).unsqueeze(1)
            layer.mean.copy_((share * means).sum(0))
            layer.var.copy_((share * (variances + (means - layer.mean).square())).sum(0))


def _policy(layer: nn.Module) -> str | None:
    return layer.policy if isinstance(layer, BatchStatistics) else None


class MLP(nn.Sequential):
    """A multilayer perceptron with ReLU.

    Args:
        sizes: Numbers of units from input to output; ``[1, 40, 40, 1]`` is MAML's sinusoid network.
        norm: Normalisation after each hidden layer, as in :func:`make_norm`.
        init_std: Standard deviation of the initial weights, biases zero; ``None``: PyTorch's default.

    Attributes:
        config: The arguments above by name, from which a saved network is built again.

    Raises:
        ValueError: If there are fewer than two sizes, or the norm is unknown.

    Example:
        >>> import torch
        >>> from metalearn.networks import MLP
        >>> MLP([1, 40, 40, 1])(torch.zeros(10, 1)).shape
        torch.Size([10, 1])
    """

    def __init__(self, sizes: Sequence[int], *, norm: str = "none", init_std: float | None = None) -> None:
        if len(sizes) < 2:
            raise ValueError(f"sizes must name at least input and output, got {list(sizes)}")
        layers: list[nn.Module] = []
        for i, (n_in, n_out) in enumerate(pairwise(sizes)):
            linear = nn.Linear(n_in, n_out)
            if init_std is not None:
                nn.init.normal_(linear.weight, std=init_std)
                nn.init.zeros_(linear.bias)
            layers.append(linear)
            if i < len(sizes) - 2:
                layers += [make_norm(norm, n_out), nn.ReLU()] if norm != "none" else [nn.ReLU()]
        super().__init__(*layers)
        self.config: dict[str, Any] = {"sizes": list(sizes), "norm": norm, "init_std": init_std}
        self.n_features = sizes[-1]


class Conv4(nn.Module):
    """Four blocks of 3×3 convolution, normalisation and ReLU: the field's standard small network.

    Args:
        n_outputs: Number of logits; ``None`` returns the features, for an encoder.
        in_channels: Channels of the images.
        image_size: Height and width of the images.
        channels: Channels of each block.
        norm: ``"batch"``, ``"support"``, ``"frozen"``, ``"group"`` or ``"none"``; see :func:`make_norm`.
        downsample: ``"pool"``: 2×2 max-pooling after each block, features flattened; ``"stride"``: convolutions of
            stride 2 and the mean over positions at the end, as MAML has it for Omniglot; ``"maps"``: pooling after the
            first two blocks only, features kept as maps ``[n, channels, image_size // 4, image_size // 4]``, as
            relation networks have it.

    Attributes:
        config: The arguments above by name, from which a saved network is built again.
        n_features: Size of the features; of maps, the number of channels.

    Raises:
        ValueError: If an option is unknown or the images are too small.

    Reference:
        Vinyals, Blundell, Lillicrap, Kavukcuoglu, Wierstra: Matching Networks for One Shot Learning, 2016,
        arXiv 1606.04080, section 4.1. Strided: Finn, Abbeel, Levine, 2017, arXiv 1703.03400, section 5.2.

    Example:
        >>> import torch
        >>> from metalearn.networks import Conv4
        >>> Conv4(5)(torch.zeros(2, 1, 28, 28)).shape, Conv4().n_features
        (torch.Size([2, 5]), 64)
    """

    def __init__(
        self,
        n_outputs: int | None = None,
        *,
        in_channels: int = 1,
        image_size: int = 28,
        channels: int = 64,
        norm: str = "batch",
        downsample: str = "pool",
    ) -> None:
        super().__init__()
        if downsample not in ("pool", "stride", "maps"):
            raise ValueError(f"downsample must be 'pool', 'stride' or 'maps', got {downsample!r}")
        if downsample == "maps" and n_outputs is not None:
            raise ValueError(f"downsample='maps' returns feature maps, leave n_outputs out, got n_outputs={n_outputs}")
        if downsample == "pool" and image_size < 16:
            raise ValueError(f"four poolings need images of at least 16 pixels, got image_size={image_size}")
        stride = 2 if downsample == "stride" else 1
        blocks: list[nn.Module] = []
        for i, n_in in enumerate((in_channels, channels, channels, channels)):
            blocks += [nn.Conv2d(n_in, channels, 3, stride, padding=1), make_norm(norm, channels), nn.ReLU()]
            if downsample == "pool" or (downsample == "maps" and i < 2):
                blocks.append(nn.MaxPool2d(2))
        end = nn.AdaptiveAvgPool2d(1) if downsample == "stride" else nn.Identity()
        self.blocks = nn.Sequential(*blocks, end, nn.Identity() if downsample == "maps" else nn.Flatten())
        self.n_features = channels * (image_size // 16) ** 2 if downsample == "pool" else channels
        self.head = nn.Identity() if n_outputs is None else nn.Linear(self.n_features, n_outputs)
        self.config: dict[str, Any] = {
            "n_outputs": n_outputs,
            "in_channels": in_channels,
            "image_size": image_size,
            "channels": channels,
            "norm": norm,
            "downsample": downsample,
        }

    def forward(self, x: Tensor) -> Tensor:
        """Return features or logits ``[n, n_features or n_outputs]`` of images ``[n, in_channels, height, width]``."""
        logits: Tensor = self.head(self.blocks(x))
        return logits


class RelationModule(nn.Module):
    """Two convolutional blocks and two dense layers that score how alike two feature maps are.

    Args:
        channels: Channels of each of the two maps, and of the blocks.
        map_size: Height and width of the maps; at least 4.
        n_hidden: Units of the hidden dense layer.
        norm: Normalisation of the blocks, as in :func:`make_norm`.

    Attributes:
        config: The arguments above by name, from which a saved network is built again.

    Reference:
        Sung, Yang, Zhang, Xiang, Torr, Hospedales: Learning to Compare: Relation Network for Few-Shot Learning, 2018,
        arXiv 1711.06025, figure 2.

    Example:
        >>> import torch
        >>> from metalearn.networks import RelationModule
        >>> RelationModule(64)(torch.zeros(10, 128, 7, 7)).shape
        torch.Size([10, 1])
    """

    def __init__(self, channels: int = 64, *, map_size: int = 7, n_hidden: int = 8, norm: str = "batch") -> None:
        super().__init__()
        if map_size < 4:
            raise ValueError(f"two poolings need maps of at least 4 pixels, got map_size={map_size}")
        blocks: list[nn.Module] = []
        for n_in in (2 * channels, channels):
            blocks += [nn.Conv2d(n_in, channels, 3, padding=1), make_norm(norm, channels), nn.ReLU(), nn.MaxPool2d(2)]
        dense = [nn.Linear(channels * (map_size // 4) ** 2, n_hidden), nn.ReLU(), nn.Linear(n_hidden, 1)]
        self.layers = nn.Sequential(*blocks, nn.Flatten(), *dense)
        self.config: dict[str, Any] = {"channels": channels, "map_size": map_size, "n_hidden": n_hidden, "norm": norm}

    def forward(self, x: Tensor) -> Tensor:
        """Return scores ``[n, 1]`` of pairs of maps, stacked along their channels ``[n, 2 * channels, size, size]``."""
        scores: Tensor = self.layers(x)
        return scores


class LSTMCell(nn.Module):
    """A long short-term memory cell as one matrix product, so that ``torch.func.vmap`` has rules for all of it.

    ``nn.LSTMCell`` computes the same, but vmap refuses it.

    Args:
        n_inputs: Size of the input.
        n_hidden: Size of the hidden state and of the cell state.

    Reference:
        Hochreiter, Schmidhuber: Long Short-Term Memory, 1997, with the forget gate of Gers, Schmidhuber, Cummins, 2000.

    Example:
        >>> import torch
        >>> from metalearn.networks import LSTMCell
        >>> cell, state = LSTMCell(3, 5), (torch.zeros(2, 5), torch.zeros(2, 5))
        >>> hidden, memory = cell(torch.zeros(2, 3), state)
        >>> hidden.shape, memory.shape
        (torch.Size([2, 5]), torch.Size([2, 5]))
    """

    def __init__(self, n_inputs: int, n_hidden: int) -> None:
        super().__init__()
        self.n_hidden = n_hidden
        self.gates = nn.Linear(n_inputs + n_hidden, 4 * n_hidden)  # input, forget, candidate, output

    def forward(self, x: Tensor, state: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        """Return the new hidden and cell state ``[n, n_hidden]`` after an input ``[n, n_inputs]``."""
        hidden, cell = state
        enter, keep, candidate, leave = self.gates(torch.cat([x, hidden], -1)).chunk(4, -1)
        cell = keep.sigmoid() * cell + enter.sigmoid() * candidate.tanh()
        return leave.sigmoid() * cell.tanh(), cell
