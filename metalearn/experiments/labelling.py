"""Automatic labelling of glyphs: what becomes of few-shot learners that learn from labels which they gave.

python -m metalearn.experiments.labelling     measure again and write the record, which a chapter shows
"""

from __future__ import annotations

import time
from typing import Any

import torch
from torch import Tensor

from metalearn import Episode, Score, pretrained
from metalearn.data import glyphs
from metalearn.experiments._run import encoded
from metalearn.experiments._store import environment, write_analysis
from metalearn.labelling import fit_temperature, self_train
from metalearn.learners import Learner
from metalearn.pools import Pool
from metalearn.runtime import stream
from metalearn.unlabelled import PartlyLabelledTasks

N_WAY, N_UNLABELLED, N_QUERY, N_TASKS, N_ROUNDS = 5, 14, 5, 100, 4
THRESHOLDS, DISTRACTORS = (0.0, 0.9, 0.99), (0, 5)
TRAINED_ON = {"Prototypical": "glyphs", "Transfer": "glyphs", "UMTRA Prototypical": "unlabelled"}


def learners() -> dict[str, tuple[Learner, Pool, float]]:
    """Return each learner for features, the test pool of its features, and its temperature on validation tasks."""
    parts, found = glyphs(), {}
    for label, study in TRAINED_ON.items():
        learner = pretrained(label.lower().replace(" ", "_"), study)
        comparer, validation = encoded(learner, parts.validation)
        tasks = validation.episodes(n_tasks=10, n_way=N_WAY, n_shot=1, n_query=N_QUERY)
        found[label] = comparer, encoded(learner, parts.test)[1], fit_temperature(comparer, tasks, 200, seed=0)
    return found


def tasks(pool: Pool, n_distractors: int) -> list[tuple[Episode, Tensor, Tensor]]:
    """Return tasks of one labelled image a class, unlabelled images ``[n, ...]`` and their classes, -1 for others."""
    generator, made = stream(0, "labelling"), []
    sampler = PartlyLabelledTasks(pool, 1, N_WAY, 1, N_QUERY, N_UNLABELLED, n_distractors)
    truth = torch.arange(N_WAY + n_distractors).repeat_interleave(N_UNLABELLED)  # the order in which they come
    truth[truth >= N_WAY] = -1
    for _ in range(N_TASKS):
        drawn = sampler(generator)[0]
        known = drawn.support_y >= 0
        task = Episode(drawn.support_x[known], drawn.support_y[known], drawn.query_x, drawn.query_y, N_WAY)
        made.append((task, drawn.support_x[~known], truth))
    return made


def trained(learner: Learner, made: list[Any], threshold: float, temperature: float) -> list[dict[str, Any]]:
    """Return what becomes of self-training, by round: what is kept and how much of it is right, and the accuracy."""
    options: dict[str, Any] = {"n_way": N_WAY, "threshold": threshold, "temperature": temperature, "n_rounds": N_ROUNDS}
    rounds = [self_train(learner, task.support_x, task.support_y, x, **options) for task, x, _ in made]
    rows = []
    for number in range(N_ROUNDS + 1):
        kept, right, scores, agree, largest = [], [], [], [], []
        for (task, _, truth), path in zip(made, rounds, strict=True):
            one = path[number]
            kept.append(one.kept.double().mean())
            largest.append(torch.bincount(one.pseudo.labels).max().double() / len(truth))
            right.append((one.pseudo.labels == truth)[one.kept].double())
            with torch.no_grad():
                answer = learner.predict(one.adapted, task.query_x).argmax(1)
            scores.append((answer == task.query_y).double().mean())
            agree.append((one.pseudo.labels == path[max(number - 1, 0)].pseudo.labels).double().mean())
        score, labels = Score.of(torch.stack(scores)), torch.cat(right)
        rows.append(
            {
                "round": number,
                "kept": torch.stack(kept).mean().item(),
                "agreement": torch.stack(agree).mean().item(),
                "largest class": torch.stack(largest).mean().item(),
                "right": labels.mean().item() if len(labels) else None,
                "accuracy": [score.mean, score.ci95],
            }
        )
    return rows


def main() -> None:
    """Measure all learners, and write the record."""
    begun, rows, temperatures = time.process_time(), [], {}
    for label, (learner, pool, temperature) in learners().items():
        temperatures[label] = temperature
        for n_distractors in DISTRACTORS:
            made = tasks(pool, n_distractors)
            for threshold in THRESHOLDS:
                found = trained(learner, made, threshold, temperature)
                rows.append({"learner": label, "distractors": n_distractors, "threshold": threshold, "rounds": found})
            print(label, n_distractors, f"{time.process_time() - begun:.0f} s", flush=True)
    content = {
        **{"name": "labelling", "seeds": [0], "n_tasks": N_TASKS, "n_way": N_WAY, "n_unlabelled": N_UNLABELLED},
        **{"n_query": N_QUERY, "temperatures": temperatures},
        **{"cpu_seconds": round(time.process_time() - begun), **environment(), "rounds": rows},
    }
    write_analysis(content)


if __name__ == "__main__":
    main()
