"""The file of a saved classifier: tensors, and JSON in the header, in the safetensors format, which holds no code."""

from __future__ import annotations

import inspect
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn
from torch.nn import functional as F

from metalearn import learners
from metalearn._files import write_whole
from metalearn.learners import Learner
from metalearn.networks import MLP, Conv4, RelationModule

Model = nn.Module | Mapping[str, nn.Module] | None

FORMAT = "1"  # raise it when the content changes
KEY = "metalearn classifier"  # of the format in the header
LEARNERS = {name: getattr(learners, name) for name in learners.__all__ if name != "Learner"}
NETWORKS: dict[str, type[Conv4 | MLP | RelationModule]] = {"Conv4": Conv4, "MLP": MLP, "RelationModule": RelationModule}


def write_file(path: Path, settings: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
    """Write settings and tensors to one safetensors file."""
    apart = {name: tensor.detach().cpu().clone().contiguous() for name, tensor in tensors.items()}
    data = save(apart, {KEY: FORMAT, "settings": json.dumps(settings)})
    write_whole(path, lambda file: file.write(data))


def read_file(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Return the settings and the tensors of a file.

    Raises:
        ValueError: If the file is cut, of another version, or not of a classifier.
    """
    try:
        with safe_open(path, framework="pt") as file:
            header = file.metadata() or {}
            tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118 - not a mapping
    except SafetensorError as error:
        raise ValueError(
            f"{path} is no whole classifier file ({error}): it was cut, or something else wrote it. Copy it again, or"
            " save the classifier again"
        ) from error
    if KEY not in header:
        raise ValueError(f"{path} holds tensors but no classifier: expected a file that Classifier.save wrote")
    if header[KEY] != FORMAT:
        raise ValueError(
            f"{path} has classifier format {header[KEY]}, this version of metalearn reads {FORMAT}: use the version"
            " that wrote it, or fit and save the classifier again"
        )
    return json.loads(header["settings"]), tensors


def settings_of(learner: Learner) -> dict[str, Any]:
    """Return what :func:`rebuild` needs: the learner's class and its constructor's arguments, networks by theirs.

    A learner of the package keeps each argument as an attribute of the same name.

    Raises:
        ValueError: If the learner is none of the package's, or an argument is no number.

    Example:
        >>> settings_of(learners.MAML(MLP([2, 3]), 0.1))["arguments"]["inner_lr"]
        0.1
    """
    name = type(learner).__name__
    if LEARNERS.get(name) is not type(learner):
        raise ValueError(f"save knows the learners {sorted(LEARNERS)}, got {name}: save its state_dict yourself")
    arguments = {}
    for key in inspect.signature(type(learner)).parameters:
        value = getattr(learner, key)
        try:
            arguments[key] = _network(value) if isinstance(value, nn.Module) and key != "loss_fn" else _plain(value)
        except TypeError as error:
            raise ValueError(
                f"save keeps numbers, lists of numbers and the loss F.cross_entropy, but {name}'s {key} is {value!r}:"
                " save its state_dict yourself"
            ) from error
    return {"learner": name, "arguments": arguments}


def _plain(value: Any) -> Any:
    if value is F.cross_entropy:
        return "cross_entropy"
    json.dumps(value)
    return value


def _network(model: nn.Module) -> dict[str, Any]:
    name = type(model).__name__
    ours = NETWORKS.get(name) is type(model)
    if ours and repr(_build(name, config := model.config)) == repr(model):  # type: ignore[arg-type]
        return {"network": name, "config": config}
    return {"network": name, "config": None}  # a user's module, or one of ours that was changed after it was built


def _build(name: str, config: dict[str, Any]) -> nn.Module:
    with torch.device("meta"):  # no memory, no random numbers: the weights come from the file
        return NETWORKS[name](**config)


def rebuild(settings: dict[str, Any], state: Mapping[str, Tensor], model: Model, path: Any) -> Learner:
    """Return the learner of a file, with its weights; ``model`` replaces the networks that the file names.

    Raises:
        ValueError: If the network is a user's own and no model is given, or the model does not fit the weights.
    """
    arguments = dict(settings["arguments"])
    networks = {key: v for key, v in arguments.items() if isinstance(v, dict) and v.keys() == {"network", "config"}}
    given = dict(model) if isinstance(model, Mapping) else {} if model is None else {next(iter(networks)): model}
    if given.keys() - networks.keys() or (len(networks) > 1 and isinstance(model, nn.Module)):
        form = ", ".join(f"{key!r}: ..." for key in networks)
        raise ValueError(f"{settings['learner']} has the networks {list(networks)}: give them as model={{{form}}}")
    for key, value in networks.items():
        if key not in given and value["config"] is None:
            raise ValueError(
                f"{path} holds the weights of a {value['network']} that is not the package's own: build it and"
                f" call Classifier.load(path, model=...){'' if len(networks) == 1 else f', for {key!r}'}"
            )
        arguments[key] = given[key] if key in given else _build(value["network"], value["config"])
    arguments = {key: F.cross_entropy if value == "cross_entropy" else value for key, value in arguments.items()}
    with torch.device("meta"):
        learner: Learner = LEARNERS[settings["learner"]](**arguments)
    weights = {name[8:]: tensor for name, tensor in state.items() if name.startswith("learner.")}
    mine = {name: list(tensor.shape) for name, tensor in learner.state_dict().items()}
    theirs = {name: list(tensor.shape) for name, tensor in weights.items()}
    for name in sorted(mine.keys() | theirs.keys()):
        if mine.get(name) != theirs.get(name):
            raise ValueError(
                f"the weights in {path} do not fit the model: {name} has shape {theirs.get(name)} in the file and"
                f" {mine.get(name)} in the model (None: not there)"
            )
    learner.load_state_dict(weights, assign=True)
    return learner
