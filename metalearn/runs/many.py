"""A study over many machines: each method and seed is a task for an engine, such as Ray or Slurm."""

from __future__ import annotations

import os
import platform
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from metalearn.experiments import Study, _store
from metalearn.experiments._run import folder_of, is_done, keep, make
from metalearn.experiments._sources import source
from metalearn.runs._why import on_node
from metalearn.runs.engines import Died, Engine
from metalearn.training import read_checkpoint

Part = tuple[str, int]  # label of a method, seed


@dataclass(frozen=True)
class Outcome:
    """What became of a part of a study.

    Attributes:
        label: Of the method.
        seed: Of the part.
        said: What was done, in a line, or what stands in the way: on which node, of which file, what to do.
        made: Whether the part is recorded.
        node: Where it was made, or failed.
        n_tries: How often it was begun; more than once where a worker died.
        went_on_from: Steps in the checkpoint from which the last try went on.

    Example:
        >>> from metalearn.runs import Outcome
        >>> Outcome("MAML", 0, "glyphs, MAML, seed 0: done before", made=True).n_tries
        0
    """

    label: str
    seed: int
    said: str
    made: bool
    node: str = ""
    n_tries: int = 0
    went_on_from: int = 0


def run_many(
    study: Study,
    parts: Sequence[Part],
    engine: Engine,
    *,
    seconds: float | None = None,
    device: str | None = None,
    threads: int = 1,
    home: Path = _store.HERE,
    n_retries: int = 3,
    say: Callable[[str], None] = lambda line: None,
) -> list[Outcome]:
    """Make parts of a study as tasks of an engine, and return what became of each.

    The results are those of :func:`metalearn.experiments.run`, one part after another. A part that takes the weights of
    another method waits for it. A part whose worker dies is begun again and goes on from its checkpoint, if the nodes
    share the folder of unfinished runs, ``$METALEARN_RUNS``. A part that fails does not stop the others. Only this
    process writes to ``home``.

    Args:
        study: The study; it travels as plain data, and the nodes need this package and the study's data.
        parts: ``(label, seed)`` of each; those that are done are left as they are.
        engine: Where tasks run, such as that of ``metalearn.runs.engines.ray_cluster``.
        seconds: Stop each training after so many processor seconds, to go on another time.
        device: Where to train; by default a GPU where the node has one.
        threads: Of each task.
        home: Folder that gets the results and the weights.
        n_retries: How often a part is begun again after its worker died.
        say: Called with a line for each part that has ended.

    Raises:
        KeyboardInterrupt: After Ctrl-C; tasks are asked to save and stop.

    Example:
        >>> from metalearn.experiments import standing
        >>> from metalearn.runs import run_many
        >>> from metalearn.runs.engines import InTurn
        >>> run_many(standing()["sinusoids"], [("MAML", 0)], InTurn())[0].said
        'sinusoids, MAML, seed 0: done before'
    """
    given = {"seconds": seconds, "device": device, "threads": threads, "runs": str(_store.runs_folder().resolve())}
    todo, running, tries = dict.fromkeys(parts), dict[Any, Part](), Counter[Part]()
    found: dict[Part, Outcome] = {}
    order = {part: _order(study, part, list(todo)) for part in todo}

    def end(part: Part, outcome: Outcome) -> None:
        found[part] = replace(outcome, n_tries=tries[part])
        say(outcome.said)

    try:
        while todo or running:
            for part in list(todo):
                if not all(other in found for other in order[part][0]):
                    continue
                del todo[part]
                if is_done(study, *part, home):
                    end(part, Outcome(*part, f"{_name(study, part)}: done before", made=True))
                elif failed := [other for other in order[part][1] if not found[other].made]:
                    end(part, Outcome(*part, f"{_name(study, part)}: needs {_name(study, failed[0])}", made=False))
                else:
                    tries[part] += 1
                    running[engine.submit(_work, study, *part, given)] = part
            for task in engine.finished(list(running)) if running else ():
                part = running.pop(task)
                try:
                    made = engine.result(task)
                except Died as error:
                    if tries[part] <= n_retries:
                        todo[part] = None
                        say(f"{_name(study, part)}: {error}; begun again")
                        continue
                    advice = "too little memory is the usual reason: see --workers, and what train says of memory"
                    made = Outcome(*part, f"{error}, {tries[part]} times; {advice}", made=False)
                except Exception as error:  # of the engine itself; what a part raises is an outcome
                    made = Outcome(*part, f"{type(error).__name__}: {' '.join(str(error).split())[:300]}", made=False)
                end(part, _kept(study, part, made, home))
    except KeyboardInterrupt:
        engine.cancel(list(running))
        raise
    return [found[part] for part in parts]


def _order(study: Study, part: Part, parts: Sequence[Part]) -> tuple[list[Part], list[Part]]:
    """Return the parts that have to end before one can begin, and of these the ones whose work it takes."""
    label, seed = part

    def trained(label: str) -> str:
        return study.methods[label].weights or label

    sharing = [each for each in parts if each[1] == seed and trained(each[0]) == trained(label)]  # one folder: in turn
    sharing.sort(key=lambda each: each[0] != trained(label))
    place, encoder = sharing.index(part), (study.methods[label].episodes.get("of"), seed)
    needed = [each for each in parts if each == encoder] + (sharing[:1] if place else [])
    return needed + sharing[:place][-1:], needed


@dataclass(frozen=True)
class _Made:
    """What a task sends back: the record of a part and its weights."""

    record: dict[str, Any]
    weights: bytes | None
    node: str
    went_on_from: int


def _work(study: Study, label: str, seed: int, given: dict[str, Any]) -> _Made | Outcome:
    """Make a part in a worker; an error comes back as what it means, with the node's name."""
    node = platform.node()
    os.environ["METALEARN_RUNS"] = given["runs"]
    torch.set_num_threads(given["threads"])
    missing, done = None, 0
    try:
        for missing in _data(study, label):  # the name of what cannot be read
            source(missing)
        missing, done = None, _steps_done(study, label, seed)
        made = make(study, label, seed, seconds=given["seconds"], device=given["device"], progress=False)
    except Exception as error:
        said = f"{study.name}, {label}, seed {seed}: {on_node(error, node, missing)}"
        return Outcome(label, seed, said, False, node, went_on_from=done)
    if isinstance(made, str):
        return Outcome(label, seed, f"{made}, on node {node} or another that shares {given['runs']}", False, node)
    return _Made(*made, node, done)


def _kept(study: Study, part: Part, made: _Made | Outcome, home: Path) -> Outcome:
    """Add what was made to the study's files, in the process that started all."""
    if isinstance(made, Outcome):
        prefix = "" if made.said.startswith(study.name) else f"{_name(study, part)}: "
        return replace(made, said=prefix + made.said)
    try:
        said = keep(study, made.record, made.weights, home)
    except OSError as error:
        said = f"{_name(study, part)}: {on_node(error, platform.node())}"
        return Outcome(*part, said, False, platform.node(), went_on_from=made.went_on_from)
    return Outcome(*part, said, True, made.node, went_on_from=made.went_on_from)


def _data(study: Study, label: str) -> list[str]:
    method = study.methods[label]
    trained = study.methods[method.weights or label]
    tests = [test["data"] for test in study.tests.values() if "data" in test and method.fits(test)]
    return list(dict.fromkeys([trained.data or study.data, method.data or study.data, *tests]))


def _steps_done(study: Study, label: str, seed: int) -> int:
    path = folder_of(study, study.methods[label].weights or label, seed) / "checkpoint.pt"
    return len(read_checkpoint(path)["history"]["losses"]) if path.exists() else 0


def _name(study: Study, part: Part) -> str:
    return f"{study.name}, {part[0]}, seed {part[1]}"
