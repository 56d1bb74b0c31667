"""From a few words to all that decides a run: the settings of a study, changed where something else was asked for."""

from __future__ import annotations

import json
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any

from metalearn import rl
from metalearn.experiments import Method, Study, standing
from metalearn.experiments._sources import FAMILIES, OWN, source
from metalearn.experiments.study import slug
from metalearn.pools import Pool
from metalearn.runs._checks import check_data, check_learner, check_sections, check_ways, nearest

SIZES = ("n_way", "n_shot", "n_query", "n_tasks")
SECTIONS = ("learner_args", "episodes", "fit", "test")  # of a method, which settings may change
SCALARS = ("learner", "data", "seed", *SIZES)
N_TEST_TASKS = 600


def read_settings(path: str | Path) -> dict[str, Any]:
    """Return the settings of a TOML file, or of the ``settings.json`` of a run.

    Args:
        path: The file: ``learner``, ``data``, ``seed``, ``n_way``, ``n_shot``, ``n_query``, ``n_tasks``, and tables
            ``[learner_args]``, ``[episodes]``, ``[fit]`` (see :class:`metalearn.experiments.Fit`) and ``[test]``.

    Raises:
        ValueError: If it cannot be read, or holds another key.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> from metalearn.runs import read_settings
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder, "mine.toml")
        ...     _ = path.write_text('learner = "MAML"' + chr(10) + "[fit]" + chr(10) + "n_steps = 100")
        ...     read_settings(path)
        {'learner': 'MAML', 'fit': {'n_steps': 100}}
    """
    path = Path(path)
    try:
        text = path.read_text()
        found = dict(json.loads(text)["asked"] if path.suffix == ".json" else tomllib.loads(text))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(f"expected a file of settings, could not read {path}: {error}") from error
    if unknown := sorted(set(found) - {*SCALARS, *SECTIONS}):
        raise ValueError(f"{path}: no setting {unknown[0]!r}{nearest(unknown[0], [*SCALARS, *SECTIONS])}")
    for name, kind in {**dict.fromkeys(("learner", "data"), str), **dict.fromkeys(("seed", *SIZES), int)}.items():
        if name in found and (not isinstance(found[name], kind) or isinstance(found[name], bool)):
            raise ValueError(f"{path}: expected {name} as {kind.__name__}, got {found[name]!r}")
    return found


def plan(learner: str, data: str, *, seed: int = 0, **asked: Any) -> Study:
    """Return a study of one method: what a study of the package has for this learner, changed by what is asked for.

    Data that no study has (a folder, another split) take the settings of images on glyphs, or of regression on sine
    waves; networks get the size of the examples and of the answers.

    Args:
        learner: A learner's class, or the label of a method of the study: ``"MAML"``, ``"first-order MAML"``.
        data: A source of :class:`metalearn.experiments.Study`, or of your own: ``"folder:PATH"``, ``"npz:PATH"``,
            ``"csv:PATH"``, ``"python:module:function"``.
        seed: Of the initial weights and the training tasks.
        **asked: ``n_way``, ``n_shot``, ``n_query`` of training and test tasks (of the test only for learners that train
            on pairs or batches), ``n_tasks`` of a training batch, and the sections ``learner_args``, ``episodes``,
            ``fit``, ``test``, each a mapping that is laid over the study's.

    Raises:
        ValueError: If a name is unknown (the message names the nearest), or settings contradict each other.

    Example:
        >>> from metalearn.runs import plan
        >>> study = plan("MAML", "glyphs", n_way=10, fit={"n_steps": 500})
        >>> method = study.methods["MAML"]
        >>> method.episodes["n_way"], method.model["model"]["config"]["n_outputs"], method.training.n_steps
        (10, 10, 500)
    """
    known = known_study(data)
    label = _label(known, learner)
    method = _resized(known.methods[label], data)
    if unknown := set(asked) - {*SIZES, *SECTIONS}:
        raise ValueError(f"no setting {min(unknown)!r}{nearest(min(unknown), [*SIZES, *SECTIONS])}")
    check_sections(asked, SECTIONS)
    changes: dict[str, Any] = {name: {**getattr(method, name), **asked.get(name, {})} for name in SECTIONS}
    sizes = {name: asked[name] for name in SIZES if asked.get(name) is not None}
    usual = next(iter(known.tests.values()))
    if "n_way" in sizes and "n_way" not in usual:
        raise ValueError(f"{data} is regression, which has no classes: leave n_way out, got {sizes['n_way']}")
    drawn = {key: value for key, value in sizes.items() if key in method.episodes}  # pairs and batches have others
    if "n_tasks" in sizes and "n_tasks" not in drawn:
        there = {key: value for key, value in method.episodes.items() if key != "kind"}
        raise ValueError(f"{label} trains on {method.episodes['kind']}, not tasks: set {there} in episodes instead")
    changes["episodes"] = {**method.episodes, **drawn, **asked.get("episodes", {})}
    tested = {key: sizes[key] for key in SIZES[:3] if key in sizes}
    test = {**usual, **tested, "n_tasks": N_TEST_TASKS}
    changes["fit"].pop("validate_on", None)
    method = replace(method, data=None, weights=None, **changes)
    method = _with_answers(method, test.get("n_way"))
    study = Study("run", {label: method}, {"test": test}, data, (seed,), snapshots=(), ship=False)
    check_ways(method, test)
    check_learner(method, known.methods[label].learner_args)
    check_data(data, method, test)
    return study


def known_study(data: str) -> Study:
    """Return the study whose settings a source takes."""
    kind = data.partition(":")[0]
    if found := next((study for study in standing().values() if study.data == data), None):
        return found
    if kind not in (*FAMILIES, *OWN, "glyphs", "digits", "mnist", "omniglot", "cifar100", "grey"):
        names = dict.fromkeys([*FAMILIES, "glyphs", "digits", "mnist", "omniglot", "cifar100:nature", "grey:mnist"])
        raise ValueError(f"no data {data!r}{nearest(data, names)}, and folder:, npz:, csv: and python: of your own")
    return standing()["glyphs" if isinstance(_training(data), Pool) else "sinusoids"]


def _training(data: str) -> Any:
    found = source(data)
    return getattr(found, "train", found)


def _label(study: Study, learner: str) -> str:
    """Return the label of a method that trains, given by it, in small letters with underscores, or by its class."""
    trained = [label for label, method in study.methods.items() if method.training.n_steps and not method.weights]
    of_class = [label for label in trained if study.methods[label].learner.lower() == learner.lower()]
    named = [label for label in trained if learner.lower() in (label.lower(), slug(label))]
    if named or of_class:
        return (named or of_class)[0]  # "MAML" is not joint training, which is MAML with no inner steps
    raise ValueError(f"no learner {learner!r} for these data{nearest(learner, trained)}")


def _resized(method: Method, data: str) -> Method:
    """Return the method with networks for the data's examples, and as many outputs as there are training classes."""
    pool, model = _training(data), json.loads(json.dumps(dict(method.model)))
    arguments = dict(method.learner_args)
    if isinstance(pool, Pool):
        shape = list(pool.x.shape[1:]) if hasattr(pool.x, "shape") else None
        for key, network in model.items():
            model[key] = _for_images(network, shape, data)
        if "n_classes" in arguments:
            arguments["n_classes"] = pool.n_classes
    else:
        task = pool.sample(1, 1, 1)
        if isinstance(task, rl.Tasks) or task.n_way is not None:
            return method
        n_inputs, n_outputs = task.support_x.shape[-1], task.support_y.shape[-1]
        for key, network in model.items():
            _for_vectors(network, n_inputs if key != "head" else None, n_outputs if key != "encoder" else None)
        if arguments.get("n_features") == 1:
            arguments["n_features"] = n_inputs
    return replace(method, model=model, learner_args=arguments)


def _for_images(network: dict[str, Any], shape: list[int] | None, data: str) -> dict[str, Any]:
    if network["network"] != "Conv4":
        return network
    if shape is not None and len(shape) == 3 and shape[1] == shape[2]:
        for key, value, usual in (("in_channels", shape[0], 1), ("image_size", shape[1], 28)):
            if network["config"].get(key, usual) != value:
                network["config"][key] = value
        return network
    if shape is not None and len(shape) == 1:
        n_outputs = network["config"]["n_outputs"]
        sizes = [shape[0], 64, network["config"]["channels"]]
        return {"network": "MLP", "config": {"sizes": sizes if n_outputs is None else [*sizes, n_outputs]}}
    raise ValueError(
        f"expected square images [channels, size, size] or vectors in {data}, got examples of shape {shape}: scale the"
        " images to one size (a folder's are)"
    )


def _for_vectors(network: dict[str, Any], n_inputs: int | None, n_outputs: int | None) -> None:
    """Set the first and the last size of a multilayer perceptron, or of the parts of a chain."""
    if network["network"] == "Sequential":
        _for_vectors(network["config"]["parts"][0], n_inputs, None)
    elif network["network"] == "MLP":
        sizes = list(network["config"]["sizes"])
        sizes[0], sizes[-1] = n_inputs or sizes[0], n_outputs or sizes[-1]
        network["config"]["sizes"] = sizes


def _with_answers(method: Method, n_way: int | None) -> Method:
    """Return the method with as many logits as classes, where its networks fix their number."""
    model, arguments, test = json.loads(json.dumps(dict(method.model))), dict(method.learner_args), dict(method.test)
    if n_way is None:
        return method
    if model.get("model", {}).get("config", {}).get("n_outputs") is not None:
        model["model"]["config"]["n_outputs"] = n_way
    for key in ("model", "head"):
        if model.get(key, {}).get("network") == "MLP":
            model[key]["config"]["sizes"][-1] = n_way
    for settings in (arguments, test):
        if "n_way" in settings:
            settings["n_way"] = n_way
    return replace(method, model=model, learner_args=arguments, test=test)
