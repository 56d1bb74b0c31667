"""The file of a saved classifier: tensors, and JSON in the header, in the safetensors format, which holds no code."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from metalearn._files import write_whole
from metalearn.learners import Learner
from metalearn.learners._settings import from_settings, is_network, settings_of

Model = nn.Module | Mapping[str, nn.Module] | None
Kind = Learner | type[Learner] | None

FORMAT = "2"  # raise it when the content changes
KEY = "metalearn classifier"  # of the format in the header


def write_file(path: Path, settings: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
    """Write settings and tensors to one safetensors file."""
    apart = {name: tensor.detach().cpu().clone().contiguous() for name, tensor in tensors.items()}
    text = json.dumps(settings)
    data = save(apart, {KEY: FORMAT, "settings": text, "digest": _digest(text)})
    write_whole(path, lambda file: file.write(data))


def read_file(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Return the settings and the tensors of a file.

    Raises:
        ValueError: If the file is cut, edited, of another version, or not of a classifier, or holds NaN.
    """
    if path.is_dir():
        raise ValueError(f"{path} is a folder: give the file in it that Classifier.save wrote")
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
    text = header.get("settings", "")
    if header.get("digest") != _digest(text):
        raise ValueError(f"the header of {path} was edited after it was saved: copy the file again, or save it again")
    bad = [name for name, tensor in tensors.items() if tensor.isnan().any()]
    if bad:
        raise ValueError(f"{path} holds NaN in {bad[0]}: whatever wrote it had diverged; fit the classifier again")
    settings: dict[str, Any] = json.loads(text)
    return settings, tensors


def _digest(text: str) -> str:
    return sha256(text.encode()).hexdigest()


def learner_settings(learner: Learner) -> dict[str, Any]:
    """Return what :func:`rebuild` needs beside the weights: class, arguments, and which parameters are frozen.

    Raises:
        ValueError: If the learner's class or an argument cannot be told by name and numbers.
    """
    frozen = [name for name, weight in learner.named_parameters() if not weight.requires_grad]
    return {**settings_of(learner), "frozen": frozen}


def rebuild(settings: Mapping[str, Any], weights: Mapping[str, Tensor], model: Model, learner: Kind) -> Learner:
    """Return the learner of a file, with its weights.

    Args:
        settings: As :func:`learner_settings` returned them.
        weights: The learner's tensors by name.
        model: The networks of the user's own, which are copied.
        learner: A learner like the saved one, which is copied; or its class; ``None`` finds the class by its name.

    Raises:
        ValueError: If a network or the class is unknown here, or the weights do not fit.
    """
    if isinstance(learner, Learner):
        built = _like_saved(learner, settings)
    else:
        given = _networks(settings, model)
        try:
            with torch.device("meta"):  # no memory, no random numbers: the weights come from the file
                built = from_settings(settings, models=given, kind=learner)
        except TypeError as error:
            raise ValueError(f"{settings['learner']} takes other arguments than when it was saved ({error})") from error
    _fill(built, weights)
    for name, weight in built.named_parameters():
        weight.requires_grad_(name not in settings["frozen"])
    return built


def _like_saved(learner: Learner, settings: Mapping[str, Any]) -> Learner:
    """Return a copy of a given learner, or say where it differs from the saved one."""
    mine, theirs = settings_of(learner), {key: settings[key] for key in ("learner", "arguments")}
    if json.loads(json.dumps(mine)) != theirs:
        raise ValueError(f"the file holds another learner: expected {theirs}, got {mine} (learner=)")
    return copy.deepcopy(learner)


def _networks(settings: Mapping[str, Any], model: Model) -> dict[str, nn.Module]:
    """Return copies of the given networks by the names of the learner's arguments, where each finds its place."""
    networks = {key: value for key, value in settings["arguments"].items() if is_network(value)}
    given = dict(model) if isinstance(model, Mapping) else {} if model is None else {next(iter(networks)): model}
    if given.keys() - networks.keys() or (len(networks) > 1 and isinstance(model, nn.Module)):
        form = ", ".join(f"{key!r}: ..." for key in networks)
        raise ValueError(f"{settings['learner']} has the networks {list(networks)}: give them as model={{{form}}}")
    for key, value in networks.items():
        if key not in given and value["config"] is None:
            raise ValueError(
                f"the file holds the weights of a {value['network']} that is not the package's own: build it and"
                f" call Classifier.load(path, model=...){'' if len(networks) == 1 else f', for {key!r}'}"
            )
    return copy.deepcopy(given)


def _fill(learner: Learner, weights: Mapping[str, Tensor]) -> None:
    mine = {name: list(tensor.shape) for name, tensor in learner.state_dict().items()}
    theirs = {name: list(tensor.shape) for name, tensor in weights.items()}
    for name in sorted(mine.keys() | theirs.keys()):
        if mine.get(name) != theirs.get(name):
            raise ValueError(
                f"the weights in the file do not fit the model: {name} has shape {theirs.get(name)} in the file and"
                f" {mine.get(name)} in the model (None: not there)"
            )
    learner.load_state_dict(dict(weights), assign=True)
