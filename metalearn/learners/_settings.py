"""A learner as plain data: its class by name, its arguments as numbers and text, its networks by theirs."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from metalearn import learners
from metalearn.learners import Learner
from metalearn.networks import (
    MLP,
    BagOfTokens,
    BlockNet,
    Conv4,
    ItemEncoder,
    Moments,
    PaintDecoder,
    PairReader,
    Part,
    RelationModule,
    TextTransformer,
    TokenWeights,
    UserHead,
    WarpDecoder,
)
from metalearn.rl.policies import CategoricalPolicy, GaussianPolicy, TabularPolicy

LEARNERS = {name: getattr(learners, name) for name in learners.__all__ if name != "Learner"}
NETWORKS: dict[str, type[nn.Module]] = {
    "BlockNet": BlockNet,
    "Conv4": Conv4,
    "MLP": MLP,
    "Moments": Moments,
    "PaintDecoder": PaintDecoder,
    "PairReader": PairReader,
    "WarpDecoder": WarpDecoder,
    "RelationModule": RelationModule,
    "Flatten": nn.Flatten,
    "Identity": nn.Identity,
    "ReLU": nn.ReLU,
    "BagOfTokens": BagOfTokens,
    "TextTransformer": TextTransformer,
    "TokenWeights": TokenWeights,
    "Part": Part,
    "ItemEncoder": ItemEncoder,
    "UserHead": UserHead,
    "GaussianPolicy": GaussianPolicy,
    "CategoricalPolicy": CategoricalPolicy,
    "TabularPolicy": TabularPolicy,
}
_LOSS_NAMES = ["cross_entropy", "nll_loss", "multi_margin_loss", "mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss"]
LOSSES: dict[str, Callable[..., Tensor]] = {name: getattr(F, name) for name in _LOSS_NAMES}


def known_learners() -> dict[str, type[Learner]]:
    """Return the learners that a name can stand for: the package's, and all others that were imported."""
    return {**Learner.registry, **LEARNERS}


def settings_of(learner: Learner) -> dict[str, Any]:
    """Return what :func:`from_settings` needs: the learner's class and its constructor's arguments.

    A learner keeps each argument as an attribute of the same name.

    Raises:
        ValueError: If the learner's class is not known by its name, or an argument is neither a network nor a number.

    Example:
        >>> settings_of(learners.MAML(MLP([2, 3]), 0.1))["arguments"]["model"]
        {'network': 'MLP', 'config': {'sizes': [2, 3], 'norm': 'none', 'init_std': None}}
    """
    name, known = type(learner).__name__, known_learners()
    if known.get(name) is not type(learner):
        raise ValueError(
            f"a learner is found again by the name of its class, but {name} stands for {known.get(name)}, not for"
            f" {type(learner)}: give yours a name of its own, without an underscore before it"
        )
    arguments = {}
    for key in inspect.signature(type(learner)).parameters:
        if not hasattr(learner, key):
            raise ValueError(
                f"a learner is saved by its constructor's arguments, each an attribute of the same name, but {name} has"
                f" no attribute {key!r}: set self.{key} = {key} in its __init__"
            )
        value = getattr(learner, key)
        try:
            arguments[key] = network_of(value) if isinstance(value, nn.Module) and key != "loss_fn" else _plain(value)
        except TypeError as error:
            raise ValueError(
                f"settings are numbers, text, lists of such, and losses of torch.nn.functional ({', '.join(LOSSES)}),"
                f" but {name}'s {key} is {value!r}: save its state_dict yourself"
            ) from error
    return {"learner": name, "arguments": arguments}


def from_settings(
    settings: Mapping[str, Any], *, models: Mapping[str, nn.Module] | None = None, kind: type[Learner] | None = None
) -> Learner:
    """Build a learner from its settings, with fresh weights; under ``torch.device("meta")`` without any.

    Args:
        settings: As :func:`settings_of` returns them: ``{"learner": name, "arguments": {...}}``.
        models: Networks in place of those that the settings name, by the name of the argument.
        kind: The learner's class; ``None``: the one of that name, of the package or of a module that was imported.

    Raises:
        ValueError: If the learner is unknown or ``kind`` is another, or a network is none of the package's and
            ``models`` lacks it.

    Example:
        >>> network = {"network": "MLP", "config": {"sizes": [1, 40, 1]}}
        >>> settings = {"learner": "MAML", "arguments": {"model": network, "inner_lr": 0.4, "loss_fn": "mse_loss"}}
        >>> from_settings(settings).inner_lr
        0.4
    """
    name, arguments = settings["learner"], dict(settings["arguments"])
    known = known_learners() if kind is None else {kind.__name__: kind}
    if name not in known:
        raise ValueError(
            f"no learner {name!r}; known: {sorted(known)}. Import the module that defines it, or pass learner="
        )
    for key, value in arguments.items():
        if models and key in models:
            arguments[key] = models[key]
        elif is_network(value):
            arguments[key] = build_network(value)
        elif key == "loss_fn":
            arguments[key] = LOSSES[value]
    learner: Learner = known[name](**arguments)
    return learner


def is_network(value: Any) -> bool:
    """Return whether an argument stands for a network."""
    return isinstance(value, Mapping) and value.keys() == {"network", "config"}


def network_of(model: nn.Module) -> dict[str, Any]:
    """Return a network as its class's name and its arguments; the arguments of a stranger's network are ``None``."""
    name = type(model).__name__
    if type(model) is nn.Sequential:
        parts = [network_of(part) for part in model]
        return {"network": name, "config": None if any(part["config"] is None for part in parts) else {"parts": parts}}
    if NETWORKS.get(name) is type(model):
        config = getattr(model, "config", {})
        with torch.device("meta"):  # no memory, no random numbers
            as_built = repr(NETWORKS[name](**config)) == repr(model)
        if as_built:
            return {"network": name, "config": config}
    return {"network": name, "config": None}


def build_network(settings: Mapping[str, Any]) -> nn.Module:
    """Return a network of the package, or of torch's plain layers, with fresh weights.

    Raises:
        ValueError: If the network is a stranger's.
    """
    name, config = settings["network"], settings["config"]
    if config is not None and name == "Sequential":
        return nn.Sequential(*(build_network(part) for part in config["parts"]))
    if config is None or name not in NETWORKS:
        raise ValueError(
            f"a {name} is not the package's own network, so that its settings are not enough to build it: give the"
            f" network itself; known are {sorted(NETWORKS)}"
        )
    return NETWORKS[name](**config)


def _plain(value: Any) -> Any:
    if callable(value):
        value = next((name for name, loss in LOSSES.items() if loss is value), value)
    json.dumps(value)
    return value
