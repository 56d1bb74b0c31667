"""The file of a saved classifier: tensors, and JSON in the header, in the safetensors format, which holds no code."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from metalearn._files import write_whole
from metalearn.learners import Learner
from metalearn.learners._settings import from_settings, is_network

Model = nn.Module | Mapping[str, nn.Module] | None

FORMAT = "1"  # raise it when the content changes
KEY = "metalearn classifier"  # of the format in the header


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


def rebuild(settings: dict[str, Any], state: Mapping[str, Tensor], model: Model, path: Any) -> Learner:
    """Return the learner of a file, with its weights; ``model`` replaces the networks that the file names.

    Raises:
        ValueError: If the network is a user's own and no model is given, or the model does not fit the weights.
    """
    arguments = dict(settings["arguments"])
    networks = {key: value for key, value in arguments.items() if is_network(value)}
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
    with torch.device("meta"):  # no memory, no random numbers: the weights come from the file
        learner = from_settings(settings, models=given)
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
