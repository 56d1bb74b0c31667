"""Federated learning measured: many writers of digits, clients that drop out, letters by script, four hospitals.

python -m metalearn.experiments.federated     measure again and write the record, which a chapter shows
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from metalearn import EpisodeList, Score, evaluate, fit
from metalearn.clinical import bootstrap
from metalearn.data import glyphs
from metalearn.data.heart import encoder, heart
from metalearn.episodes import Episode
from metalearn.evaluation import accuracy
from metalearn.experiments._store import environment, write_analysis
from metalearn.experiments.heart import auroc, over_draws
from metalearn.federated import (
    Client,
    Rounds,
    Traffic,
    clients_by_group,
    clients_of,
    federated_backward,
    hessian_free_backward,
    styled_digits,
)
from metalearn.learners import MAML, Learner, Prototypical
from metalearn.networks import MLP, Conv4
from metalearn.runtime import stream

SEEDS, STEPS, MARKS = (0, 1, 2), (0, 1, 5, 20), (5, 10, 20, 40)
N_CLIENTS, N_NEW, N_ASKED, N_ROUNDS, BATCH = 100, 100, 10, 60, 20
INNER_LR, LOCAL_STEPS = 0.2, 200
WAYS: dict[str, Any] = {"n_way": 5, "n_shot": 1, "n_query": 5}
Row = dict[str, Any]


def average(
    learner: Learner,
    rounds: Rounds,
    n_rounds: int,
    local_lr: float,
    n_epochs: int,
    seed: int,
    *,
    backward: Callable[..., Tensor] | None = None,
    watch: Callable[[int], None] | None = None,
) -> Traffic:
    """Train by federated averaging, and return what was sent."""
    server = torch.optim.SGD(learner.parameters(), lr=1.0)
    local = federated_backward(learner, local_lr, n_epochs, backward=backward)
    fit(learner, rounds, n_rounds, optimizer=server, backward=local, before_step=watch, seed=seed, progress=False)
    return local.traffic


def judged(learner: Learner, tasks: Sequence[Episode], n_steps: Sequence[int]) -> dict[int, Score]:
    """Return the accuracy on each client's own queries after so many steps on its own training data."""
    everyone: Any = EpisodeList(tasks)
    options: dict[str, Any] = {"metric": accuracy, "seed": 0, "progress": False}
    return evaluate(learner, lambda _: everyone, n_tasks=len(tasks), n_steps=list(n_steps), **options)


def fresh(seed: int, n_steps: int = 0, first_order: bool = False) -> MAML:
    """Return the digits' learner before training: one hidden layer."""
    torch.manual_seed(seed)
    return MAML(MLP([64, 64, 10]), INNER_LR, n_steps, first_order=first_order)


def merged(tasks: Sequence[Episode]) -> Episode:
    """Return all clients' data as one client's."""
    names = ("support_x", "support_y", "query_x", "query_y")
    return Episode(**{name: torch.cat([getattr(task, name) for task in tasks]) for name in names}, n_way=tasks[0].n_way)


def of_digits(seed: int, new: Sequence[Episode]) -> dict[str, tuple[dict[int, Score], Traffic | None, list[Any]]]:
    """Train each method on the writers, and test it on new ones."""
    tasks = styled_digits(N_CLIENTS)
    plain, halves = clients_of(tasks, BATCH), clients_of(tasks, BATCH, split=True)
    free = fresh(seed, 1)
    runs: dict[str, tuple[MAML, list[Client], float, int, Any]] = {
        "FedAvg, 1 epoch": (fresh(seed), plain, 1.0, 1, None),
        "FedAvg": (fresh(seed), plain, 0.3, 5, None),
        "Per-FedAvg": (fresh(seed, 1), halves, 0.3, 5, None),
        "Per-FedAvg, first order": (fresh(seed, 1, True), halves, 0.3, 5, None),
        "Per-FedAvg, Hessian-free": (free, halves, 0.3, 5, hessian_free_backward(free)),
    }
    found: dict[str, tuple[dict[int, Score], Traffic | None, list[Any]]] = {}
    for label, (learner, clients, rate, n_epochs, backward) in runs.items():
        curve: list[Any] = []

        def watch(step: int, learner: MAML = learner, curve: list[Any] = curve) -> None:
            if step in MARKS:
                curve.append([step, *(score.mean for score in judged(learner, new, (0, 5)).values())])

        rounds = Rounds(clients, N_ASKED, weighted=not label.startswith("Per"))
        traffic = average(learner, rounds, N_ROUNDS, rate, n_epochs, seed, backward=backward, watch=watch)
        scores = judged(learner, new, STEPS)
        found[label] = scores, traffic, [*curve, [N_ROUNDS, scores[0].mean, scores[5].mean]]
    pooled = fresh(seed)
    average(pooled, Rounds(clients_of([merged(tasks)], BATCH)), 1, 0.3, 30, seed)
    found["pooled"] = judged(pooled, new, STEPS), None, []
    found["local alone"] = judged(fresh(seed), new, (*STEPS, LOCAL_STEPS)), None, []
    return found


def digits_rows() -> list[Row]:
    """Return a row of each method and number of local steps; scores of each new client are means over seeds."""
    new = styled_digits(N_NEW, part="test")
    made, rows = [of_digits(seed, new) for seed in SEEDS], []
    for label, (scores, traffic, _) in made[0].items():
        for n_steps in scores:
            each = torch.stack([found[label][0][n_steps].per_task for found in made])  # [n_seeds, n_clients]
            score = Score.of(each.mean(0))
            row: Row = {"data": "digits", "method": label, "n_steps": n_steps, "accuracy": score.mean}
            row |= {"ci95": score.ci95, "seeds": each.mean(1).tolist(), "per_client": score.per_task.tolist()}
            if traffic is not None:
                row |= {"down": traffic.down, "up": traffic.up, "rounds": traffic.n_rounds}
            rows.append(row)
        if traffic is not None:
            curve = np.mean([found[label][2] for found in made], 0).tolist()
            rows.append({"data": "digits", "method": label, "curve": curve})  # [rounds, 0 steps, 5 steps]
    return rows


def sideways(task: Episode) -> Episode:
    """Return a client's task as one sees it who holds the tablet sideways."""
    x = [torch.rot90(x.reshape(-1, 8, 8), 1, (1, 2)).flatten(1) for x in (task.support_x, task.query_x)]
    return Episode(x[0], task.support_y, x[1], task.query_y, task.n_way)


def dropout_rows() -> list[Row]:
    """Return rows of clients of two kinds, of which the second drops out nine times in ten."""
    how: dict[str, Any] = {"rotation": 20.0, "skew": 0.0}
    tasks = styled_digits(50, **how) + [sideways(task) for task in styled_digits(50, seed=1, **how)]
    new = {
        "upright": styled_digits(50, part="test", **how),
        "sideways": [sideways(task) for task in styled_digits(50, part="test", seed=1, **how)],
    }
    clients, rates = clients_of(tasks, BATCH), [0.0] * 50 + [0.9] * 50
    settings: dict[str, dict[str, Any]] = {"nobody drops out": {}}
    settings |= {kind: {"dropout": rates, "aggregate": kind} for kind in ("reporting", "fixed", "inverse")}
    rows: list[Row] = []
    for label, options in settings.items():
        scores: dict[str, list[Tensor]] = {group: [] for group in new}
        for seed in SEEDS:
            learner = fresh(seed)
            traffic = average(learner, Rounds(clients, 20, **options), N_ROUNDS, 0.3, 2, seed)
            for group, of_group in new.items():
                scores[group].append(judged(learner, of_group, (0,))[0].per_task)
        for group, parts in scores.items():
            score = Score.of(torch.stack(parts).mean(0))
            row: Row = {"data": "dropout", "aggregate": label, "clients": group, "accuracy": score.mean}
            rows.append(row | {"ci95": score.ci95, "down": traffic.down, "up": traffic.up})
    return rows


def scripted(learner: Learner, client: Client) -> Score:
    """Return the accuracy on tasks of one script, the same for all learners."""
    batches: Any = iter(client.epoch(stream(0, f"federated {client.name}")))
    return evaluate(learner, lambda _: next(batches), n_tasks=100, seed=0, progress=False)


def glyph_rows() -> list[Row]:
    """Return rows of an encoder that is federated over scripts, on scripts that were no client."""
    splits = glyphs()
    clients = clients_by_group(splits.train, **WAYS, n_batches=8)
    everything = splits.train.episodes(n_tasks=1, **WAYS)
    all_scripts = Client("all", lambda g: (everything(g) for _ in range(8 * len(clients))), 1, clients[0].task)
    groups: dict[str, list[Client] | None] = {"untrained": None, "FedAvg": clients, "pooled": [all_scripts]}
    groups |= {f"{client.name} alone": [client] for client in clients if client.name in ("Latin", "Lisu")}
    tests = {client.name: client for client in clients_by_group(splits.test, **WAYS, n_batches=10, n_tasks=10)}
    rows: list[Row] = []
    for label, group in groups.items():
        scores: dict[str, list[Tensor]] = {name: [] for name in tests}
        for seed in SEEDS:
            torch.manual_seed(seed)
            learner = Prototypical(Conv4(channels=16, norm="group", downsample="stride"))
            traffic = None if group is None else average(learner, Rounds(group, weighted=False), 40, 0.1, 1, seed)
            for name, client in tests.items():
                scores[name].append(scripted(learner, client).per_task)
        for name, parts in scores.items():
            score = Score.of(torch.stack(parts).mean(0))
            row: Row = {"data": "glyphs", "method": label, "client": name, "accuracy": score.mean, "ci95": score.ci95}
            rows.append(row | ({"up": traffic.up} if traffic is not None and label == "FedAvg" else {}))
        print("glyphs", label, flush=True)
    return rows


def of_patients(seed: int, draw: int, data: list[tuple[Tensor, Tensor]]) -> dict[str, list[Tensor]]:
    """Return the log odds of disease of every patient of each hospital, NaN for those that were trained on."""
    generator, n_inputs, tasks, held = stream(seed, f"heart split {draw}"), data[0][0].shape[1], [], []
    for x, y in data:
        order = torch.randperm(len(y), generator=generator)
        own, rest = order[: len(y) // 2], order[len(y) // 2 :]
        tasks.append(Episode(x[own], y[own], x[rest], y[rest], 2))
        held.append(rest)

    def made(n_steps: int) -> MAML:
        torch.manual_seed(seed)
        return MAML(torch.nn.Linear(n_inputs, 2), 0.05, n_steps, first_order=True)

    plain, halves = clients_of(tasks, BATCH), clients_of(tasks, BATCH, split=True)
    whole = clients_of([merged(tasks)], BATCH)
    learners = {"FedAvg": made(0), "Per-FedAvg, first order": made(1), "pooled": made(0)}
    for (label, learner), clients in zip(learners.items(), (plain, halves, whole), strict=True):
        average(learner, Rounds(clients, weighted=not label.startswith("Per")), 20, 0.05, 2, seed)
    places = {
        "local alone": (made(0), 100),
        "FedAvg": (learners["FedAvg"], 0),
        "FedAvg + 10 steps": (learners["FedAvg"], 10),
        "Per-FedAvg, first order + 10 steps": (learners["Per-FedAvg, first order"], 10),
        "pooled": (learners["pooled"], 0),
    }
    found: dict[str, list[Tensor]] = {}
    for label, (learner, n_steps) in places.items():
        found[label] = []
        for task, rest, (_, y) in zip(tasks, held, data, strict=True):
            with torch.no_grad():
                adapted = learner.eval().adapt(task.support_x, task.support_y, n_steps=n_steps)
                logits = learner.predict(adapted, task.query_x)
            column = torch.full((len(y),), torch.nan)
            column[rest] = logits[:, 1] - logits[:, 0]
            found[label].append(column)
    return found


def heart_rows() -> list[Row]:
    """Return rows of four hospitals: half of each one's patients train, the others are predicted."""
    hospitals = heart()
    transform = encoder(list(hospitals.values())).transform
    data = [(torch.from_numpy(transform(h.x.numpy())).float(), h.y) for h in hospitals.values()]
    made, rows = [of_patients(seed, draw, data) for seed in SEEDS for draw in range(5)], []
    for label in made[0]:
        for i, name in enumerate(hospitals):
            y, p = data[i][1].numpy(), torch.stack([found[label][i] for found in made], 1).numpy()
            first = torch.stack([found["FedAvg"][i] for found in made], 1).numpy()
            measures = {"AUROC": (auroc, p, first), "accuracy": (lambda y, p: float(((p > 0) == y).mean()), p, first)}
            row: Row = {"data": "heart", "method": label, "client": name, "n_train": len(y) // 2}
            for measure, (fn, values, other) in measures.items():
                row[measure] = list(bootstrap(over_draws(fn), y, values, n_draws=200))
                row[f"{measure} above FedAvg"] = list(bootstrap(over_draws(fn), y, values, other, n_draws=200))
            rows.append(row)
    return rows


def main() -> None:
    """Measure everything, and write the record after each part."""
    begun, rows = time.process_time(), []
    for part in (digits_rows, dropout_rows, heart_rows, glyph_rows):
        rows += part()
        print(part.__name__, f"{time.process_time() - begun:.0f} s", flush=True)
        content = {
            **{"name": "federated", "seeds": list(SEEDS), "clients": N_CLIENTS, "new_clients": N_NEW},
            **{"asked": N_ASKED, "rounds": N_ROUNDS, "batch": BATCH, "inner_lr": INNER_LR},
            **{"cpu_seconds": round(time.process_time() - begun), **environment(), "rows": rows},
        }
        write_analysis(content)


if __name__ == "__main__":
    main()
