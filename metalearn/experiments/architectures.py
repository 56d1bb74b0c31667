"""Architectures for prototypical networks on glyphs: proxies and a search by gradients against search at random.

python -m metalearn.experiments.architectures     measure again and write the record, which a chapter shows
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from metalearn import evaluate, fit
from metalearn._files import write_whole
from metalearn.architectures import (
    PROXIES,
    SPACE,
    MixedNet,
    all_architectures,
    build,
    darts,
    operations,
    random_search_within,
)
from metalearn.clinical import bootstrap
from metalearn.data import glyphs
from metalearn.experiments._store import environment, runs_folder, write_analysis
from metalearn.explain import rank_agreement
from metalearn.learners import Learner, Prototypical
from metalearn.runtime import stream

SEEDS = (0, 1, 2)
TASKS: dict[str, Any] = {"n_way": 10, "n_shot": 1, "n_query": 3}
N_SHORT, N_LONG, N_DARTS, OUTER_LR, CHOICE_LR = 200, 600, 250, 2e-3, 0.04
N_VALIDATION, N_TEST, N_TWICE, N_BOOTSTRAP = 100, 400, 24, 1000
Settings = dict[str, Any]


def kept(name: str, make: Callable[[], Any]) -> Any:
    """Return what an earlier sitting made, or make it and keep it."""
    path = runs_folder() / "architectures" / f"{name}.json"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        content = json.dumps(make())
        write_whole(path, lambda file: file.write(content.encode()))
        print(name, flush=True)
    return json.loads(path.read_text())


def trained(settings: Settings, n_steps: int, seed: int) -> Learner:
    """Return prototypical networks with an architecture, trained on the training classes."""
    torch.manual_seed(seed)
    learner = build(settings)
    tasks = glyphs().train.episodes(n_tasks=1, **TASKS)
    fit(learner, tasks, n_steps, outer_lr=OUTER_LR, seed=seed, progress=False)
    return learner


def accuracies(learner: Learner, part: str, n_tasks: int) -> Tensor:
    """Return the accuracy on each task of the validation or test classes ``[n_tasks]``; always the same tasks."""
    pool = glyphs().validation if part == "validation" else glyphs().test
    tasks = pool.episodes(n_tasks=10, n_way=10, n_shot=1, n_query=5)
    return evaluate(learner, tasks, n_tasks, stream=part, seed=0).per_task


def prices() -> dict[str, float]:
    """Return the operations that training and validating each architecture takes, by its settings as text."""
    batch = glyphs().train.episodes(n_tasks=1, **TASKS)(stream(0, "price"))
    found = {}
    for settings in all_architectures():
        step = operations(build(settings), batch)
        # A step has 40 images, forward and about twice back; a validation task has 60, forward only.
        found[json.dumps(settings)] = step * (N_SHORT + N_VALIDATION * 60 / 40 / 3)
    return found


def by_gradients(seed: int) -> dict[str, Any]:
    """Search by gradients: weights on training classes, choices on validation classes."""
    begun, parts = time.process_time(), glyphs()
    torch.manual_seed(seed)
    learner = Prototypical(MixedNet())
    tasks, others = (part.episodes(n_tasks=1, **TASKS) for part in (parts.train, parts.validation))
    each = operations(learner, tasks(stream(0, "price")))
    found = darts(learner, tasks, others, N_DARTS, outer_lr=OUTER_LR, choice_lr=CHOICE_LR, seed=seed)
    history = {name: rows[24::25].tolist() for name, rows in found.history.items()}  # after 25, 50, … steps
    spent = {"operations": 2 * N_DARTS * each, "cpu_seconds": time.process_time() - begun}
    return {"settings": found.settings, "history": history, **spent}


def at_random(seed: int, budget: float) -> dict[str, Any]:
    """Search at random for as many operations: train on training classes, choose on validation tasks."""
    cost, rows = kept("prices", prices), list[dict[str, Any]]()

    def score(settings: Settings, tasks: range) -> Tensor:
        begun = time.process_time()
        values = accuracies(trained(settings, N_SHORT, seed), "validation", len(tasks))
        rows.append({"settings": settings, "accuracy": values.mean().item()})
        rows[-1] |= {"operations": cost[json.dumps(settings)], "cpu_seconds": time.process_time() - begun}
        return 1 - values

    options: dict[str, Any] = {"budget": budget, "n_tasks": N_VALIDATION, "generator": stream(seed, "architectures")}
    _, spent = random_search_within(SPACE, score, lambda settings: cost[json.dumps(settings)], **options)
    return {"trials": rows, "operations": spent}


def proxies(seed: int) -> list[dict[str, float]]:
    """Return every proxy of every architecture, untrained, on one batch of training tasks."""
    batch = glyphs().train.episodes(n_tasks=1, **TASKS)(stream(seed, "proxies"))
    found = []
    for settings in all_architectures():
        torch.manual_seed(seed)
        learner = build(settings)
        found.append({name: proxy(learner, batch) for name, proxy in PROXIES.items()})
    return found


def picks(seed: int, gradients: dict[str, Any], random: dict[str, Any], table: list[Any]) -> dict[str, Settings]:
    """Return the architecture that each way of searching takes."""
    trials = random["trials"]
    seconds = np.cumsum([trial["cpu_seconds"] for trial in trials])
    soon = trials[: max(int((seconds <= gradients["cpu_seconds"]).sum()), 1)]
    found = {"no search": trials[0]["settings"], "gradients": gradients["settings"]}
    for way, rows in {"random, equal operations": trials, "random, equal seconds": soon}.items():
        found[way] = max(rows, key=lambda trial: trial["accuracy"])["settings"]
    for name in PROXIES:
        values = [row[name] if np.isfinite(row[name]) else -np.inf for row in table]
        found[name] = all_architectures()[int(np.argmax(values))]
    return found


def correlations(trials: list[dict[str, Any]], table: list[Any], again: list[float]) -> dict[str, Any]:
    """Return the rank correlation of each proxy with the accuracy after training, with intervals over architectures."""
    places = {json.dumps(settings): i for i, settings in enumerate(all_architectures())}
    rows = [table[places[json.dumps(trial["settings"])]] for trial in trials]
    accuracy = np.array([trial["accuracy"] for trial in trials])

    def spearman(a: Any, b: Any) -> float:
        return float(rank_agreement(torch.as_tensor(a), torch.as_tensor(b)))

    columns = {name: np.array([row[name] for row in rows]) for name in PROXIES}
    columns["operations"] = np.array([trial["operations"] for trial in trials])
    found = {name: list(bootstrap(spearman, column, accuracy, n_draws=N_BOOTSTRAP)) for name, column in columns.items()}
    if again:
        values = np.array(again), accuracy[: len(again)]
        found["another training"] = list(bootstrap(spearman, *values, n_draws=N_BOOTSTRAP))
    return found


def main() -> None:
    """Search, retrain and test all picks, and write the record; its seconds are those of the last sitting."""
    torch.set_num_threads(1)
    begun, searches, table = time.process_time(), [], kept("proxies 0", partial(proxies, 0))
    for seed in SEEDS:
        gradients = kept(f"gradients {seed}", partial(by_gradients, seed))
        random = kept(f"random {seed}", partial(at_random, seed, gradients["operations"]))
        found = picks(seed, gradients, random, kept(f"proxies {seed}", partial(proxies, seed)))
        tested = {}
        for way, settings in found.items():
            name = f"test {seed} " + "-".join(str(value) for value in settings.values()).replace(" ", "")
            tested[way] = {"settings": settings, "accuracies": kept(name, partial(final, settings, seed))}
        searches.append({"seed": seed, "gradients": gradients, "random": random, "picks": tested})
        trials = [trial for search in searches for trial in search["random"]["trials"]]
        write(searches, trials, [], table, time.process_time() - begun)  # what stands can be read already
    again = kept("again", lambda: [accuracy_again(trial["settings"]) for trial in trials[:N_TWICE]])
    write(searches, trials, again, table, time.process_time() - begun)


def final(settings: Settings, seed: int) -> list[float]:
    """Return the accuracy on each test task after a longer training."""
    return accuracies(trained(settings, N_LONG, seed), "test", N_TEST).tolist()


def accuracy_again(settings: Settings) -> float:
    """Return the accuracy after another training."""
    return accuracies(trained(settings, N_SHORT, 3), "validation", N_VALIDATION).mean().item()


def write(searches: list[Any], trials: list[Any], again: list[float], table: list[Any], seconds: float) -> None:
    """Write the record."""
    content = {
        **{
            "name": "architectures",
            "seeds": [search["seed"] for search in searches],
            "n_architectures": len(all_architectures()),
        },
        **{"tasks": TASKS, "n_short": N_SHORT, "n_long": N_LONG, "n_darts": N_DARTS, "outer_lr": OUTER_LR},
        **{"choice_lr": CHOICE_LR, "n_validation_tasks": N_VALIDATION, "n_test_tasks": N_TEST},
        **{"cpu_seconds": round(seconds), **environment(), "correlations": correlations(trials, table, again)},
        **{"again": again, "searches": searches},
    }
    write_analysis(content)


if __name__ == "__main__":
    main()
