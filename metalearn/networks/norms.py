"""Normalisation as a choice that is spelled out: whose statistics normalise, and where they are stored."""

from __future__ import annotations

import copy
import math
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Literal, cast, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from metalearn._torch import AnyBatchNorm

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

    Raises:
        ValueError: If the policy is unknown.

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
        if policy not in get_args(StatisticsPolicy):
            raise ValueError(f"policy must be one of {list(get_args(StatisticsPolicy))}, got {policy!r}")
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
    """Return a copy of a model whose BatchNorm layers follow the named policy.

    Scale and shift are kept, except by ``"none"``, and stored statistics by ``"frozen"``; a layer without scale and
    shift gets both, at 1 and 0.

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
    if isinstance(model, AnyBatchNorm | BatchStatistics):
        return _converted(model, policy)
    for module in model.modules():
        for name, child in module.named_children():
            if isinstance(child, AnyBatchNorm | BatchStatistics):
                setattr(module, name, _converted(child, policy))
        config = getattr(module, "config", None)  # of the package's networks, which are built again from it
        if isinstance(config, dict) and config.get("norm") in get_args(StatisticsPolicy):
            config["norm"] = policy
    return model


def _converted(layer: AnyBatchNorm | BatchStatistics, policy: str) -> nn.Module:
    known = [*layer.parameters(), *layer.buffers()]
    like = next((tensor for tensor in known if tensor.is_floating_point()), torch.empty(0))
    n_channels = layer.num_features if isinstance(layer, AnyBatchNorm) else len(layer.weight)
    new = make_norm(policy, n_channels).to(like.device, like.dtype)
    new.train(layer.training)
    if layer.weight is not None and not isinstance(new, nn.Identity):
        new.load_state_dict({"weight": layer.weight, "bias": layer.bias}, strict=False)
        for name in ("weight", "bias"):
            new.get_parameter(name).requires_grad_(layer.get_parameter(name).requires_grad)
    if isinstance(new, BatchStatistics):
        new.eps = layer.eps
        mean, var = (
            (layer.running_mean, layer.running_var) if isinstance(layer, AnyBatchNorm) else (layer.mean, layer.var)
        )
        if policy == "frozen" and mean is not None and var is not None and mean.numel():
            new.mean, new.var = mean.clone(), var.clone()
    return new


def norm_policies(model: nn.Module) -> set[str]:
    """Return the policies of a model's normalisation layers, to be stored with every number measured on it.

    Besides the names of :func:`make_norm`, ``"running"`` stands for a BatchNorm layer of torch that writes running
    statistics, and the class name for other normalisations (``"LayerNorm"``, ``"InstanceNorm2d"``).

    Example:
        >>> from metalearn.networks import Conv4, norm_policies
        >>> norm_policies(Conv4(norm="support"))
        {'support'}
    """
    names = set()
    for layer in model.modules():
        if isinstance(layer, BatchStatistics):
            names.add(str(layer.policy))
        elif isinstance(layer, AnyBatchNorm):
            names.add("running" if layer.track_running_stats else "batch")
        elif isinstance(layer, nn.GroupNorm):
            names.add("group")
        elif re.search(r"Norm([123]d)?$", type(layer).__name__):
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


def measured_on_support(module: nn.Module, predict: Callable[[], object]) -> dict[str, Tensor]:
    """Return what the ``"support"`` layers of a module measure while a support set is predicted, by buffer name.

    Together with the weights, the result is all that ``functional_call(module, {**params, **statistics}, (x,))`` needs
    to predict one query without seeing another. Gradients flow through it.

    Args:
        module: A network, or a learner with all its networks; without ``"support"`` layers the result is empty and
            nothing is computed.
        predict: Runs the module on a support set; each layer's last pass counts.

    Example:
        >>> import torch
        >>> from metalearn.networks import MLP, measured_on_support
        >>> model = MLP([1, 8, 1], norm="support")
        >>> statistics = measured_on_support(model, lambda: model(torch.randn(10, 1)))
        >>> {name: list(tensor.shape) for name, tensor in statistics.items()}
        {'1.mean': [8], '1.var': [8]}
    """
    layers = {layer: name for name, layer in module.named_modules() if _policy(layer) == "support"}
    if not layers:
        return {}
    with _collect() as found:
        predict()
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
