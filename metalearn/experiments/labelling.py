"""Automatic labelling of glyphs: how right labels are that a few-shot learner is sure of, and what they do to it.

python -m metalearn.experiments.labelling     measure again and write the record, which a chapter shows
"""

from __future__ import annotations

import json
import time
from typing import Any

import torch
from torch import Tensor

from metalearn import Episode, Score, pretrained
from metalearn._files import write_whole
from metalearn.data import glyphs
from metalearn.experiments._run import encoded
from metalearn.experiments._store import HERE, as_text, environment
from metalearn.labelling import PseudoLabels, Round, fit_temperature, pseudo_labels, self_train
from metalearn.learners import Learner
from metalearn.pools import Pool
from metalearn.runtime import stream
from metalearn.sampling import sample_episodes

N_WAY, N_UNLABELLED, N_QUERY, N_TASKS, N_ROUNDS, N_BINS = 5, 14, 5, 100, 4, 10
THRESHOLDS, DISTRACTORS, WRONG = (0.0, 0.5, 0.8, 0.9, 0.95, 0.99), (0, 5), (0.0, 0.1, 0.2, 0.4, 0.6)
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
    for _ in range(N_TASKS):
        n_classes = N_WAY + n_distractors
        drawn = sample_episodes(pool, 1, n_classes, 1 + N_UNLABELLED, N_QUERY, generator)[0]
        by_class = drawn.support_y.argsort(stable=True).reshape(n_classes, -1)
        first, others = by_class[:N_WAY, 0], by_class[:, 1:].flatten()
        known = drawn.query_y < N_WAY
        task = Episode(
            drawn.support_x[first], drawn.support_y[first], drawn.query_x[known], drawn.query_y[known], N_WAY
        )
        truth = drawn.support_y[others]
        made.append((task, drawn.support_x[others], torch.where(truth < N_WAY, truth, -1)))
    return made


def coverage(learner: Learner, made: list[Any], temperature: float) -> dict[str, Any]:
    """Return, by threshold, which share of the unlabelled is kept and how many of the labels kept are right."""
    found, right = [], []
    for task, x, truth in made:
        adapted = learner.adapt(task.support_x, task.support_y, n_way=N_WAY)
        found.append(pseudo_labels(learner, adapted, x, temperature))
        right.append(found[-1].labels == truth)
    confidence, correct = torch.cat([labels.confidence for labels in found]), torch.cat(right).double()
    kept = [confidence >= threshold for threshold in THRESHOLDS]
    bins = (confidence * N_BINS).long().clamp(max=N_BINS - 1)
    there = [(bins == number) for number in range(N_BINS) if (bins == number).any()]
    return {
        "coverage": [share.double().mean().item() for share in kept],
        "accuracy of kept": [correct[rows].mean().item() if rows.any() else None for rows in kept],
        "confidence": confidence.mean().item(),
        "bins": [[confidence[rows].mean().item(), correct[rows].mean().item(), int(rows.sum())] for rows in there],
    }


def judged(learner: Learner, made: list[Any], rounds: list[list[Round]]) -> list[dict[str, Any]]:
    """Return of each round the share kept, how many are right, accuracy, agreement, and the largest class's share."""
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
                **{
                    "round": number,
                    "kept": torch.stack(kept).mean().item(),
                    "agreement": float(torch.stack(agree).mean()),
                },
                "largest class": float(torch.stack(largest).mean()),
                **{"right": labels.mean().item() if len(labels) else None, "accuracy": [score.mean, score.ci95]},
            }
        )
    return rows


def trained(learner: Learner, made: list[Any], threshold: float, temperature: float) -> list[dict[str, Any]]:
    """Return what becomes of self-training."""
    options: dict[str, Any] = {"n_way": N_WAY, "threshold": threshold, "temperature": temperature, "n_rounds": N_ROUNDS}
    return judged(
        learner, made, [self_train(learner, task.support_x, task.support_y, x, **options) for task, x, _ in made]
    )


def poisoned(learner: Learner, made: list[Any], share: float, temperature: float) -> list[dict[str, Any]]:
    """Return what becomes of self-training where a share of the first labels, all used, was made wrong at random."""
    generator, rounds = stream(0, "wrong"), []
    options: dict[str, Any] = {"n_way": N_WAY, "threshold": 0.0, "temperature": temperature, "n_rounds": N_ROUNDS}
    for task, x, truth in made:
        other = (truth + torch.randint(1, N_WAY, truth.shape, generator=generator)) % N_WAY
        labels = torch.where(torch.rand(truth.shape, generator=generator) < share, other, truth)
        first = PseudoLabels(labels, torch.ones(len(labels)))
        rounds.append(self_train(learner, task.support_x, task.support_y, x, first=first, **options))
    return judged(learner, made, rounds)


def main() -> None:
    """Measure all learners, and write the record."""
    begun = time.process_time()
    rows: dict[str, list[Any]] = {"coverage": [], "rounds": [], "wrong": []}
    temperatures = {}
    for label, (learner, pool, temperature) in learners().items():
        temperatures[label] = temperature
        for n_distractors in DISTRACTORS:
            made = tasks(pool, n_distractors)
            who = {"learner": label, "distractors": n_distractors}
            for calibrated in (False, True):
                used = temperature if calibrated else 1.0
                rows["coverage"].append({**who, "calibrated": calibrated, **coverage(learner, made, used)})
            for threshold in (0.0, 0.9, 0.99):
                found = trained(learner, made, threshold, temperature)
                rows["rounds"].append({**who, "threshold": threshold, "rounds": found})
            print(label, n_distractors, f"{time.process_time() - begun:.0f} s", flush=True)
        made = tasks(pool, 0)
        rows["wrong"] += [
            {"learner": label, "share": s, "rounds": poisoned(learner, made, s, temperature)} for s in WRONG
        ]
    content = {
        **{"name": "labelling", "seeds": [0], "n_tasks": N_TASKS, "n_way": N_WAY, "n_unlabelled": N_UNLABELLED},
        **{"n_query": N_QUERY, "thresholds": list(THRESHOLDS), "temperatures": temperatures},
        **{"cpu_seconds": round(time.process_time() - begun), **environment(), **rows},
    }
    rounded = json.loads(json.dumps(content), parse_float=lambda text: float(f"{float(text):.4g}"))
    write_whole(HERE / "analyses" / "labelling.json", lambda file: file.write(as_text(rounded).encode()))


if __name__ == "__main__":
    main()
