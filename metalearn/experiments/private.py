"""Privacy measured: accuracy against epsilon at the level of tasks, and attacks on tasks and on support sets.

python -m metalearn.experiments.private     measure again and write the record, which a chapter shows
"""

from __future__ import annotations

import math
import time
from statistics import NormalDist
from typing import Any

import torch
from torch import Tensor, nn

from metalearn import Episode, Score, evaluate, fit
from metalearn._pretrained import pretrained
from metalearn.data import glyphs
from metalearn.evaluation import accuracy
from metalearn.experiments._store import environment, write_analysis
from metalearn.federated import styled_digits
from metalearn.learners import MAML, Learner, Prototypical
from metalearn.membership import Attack, distance_scores, likelihood_ratio_scores, loss_scores, task_scores
from metalearn.networks import MLP
from metalearn.pools import Pool
from metalearn.privacy import (
    PoissonTasks,
    clip_rows,
    epsilon,
    gaussian_epsilon,
    private_backward,
    private_prototypes,
)
from metalearn.runtime import stream

SEEDS, DELTA, STEPS = (0, 1, 2), 1e-5, (0, 1, 5, 20)
NOISES, CLIP, OUTER_LR, INNER_LR = (0.0, 0.7, 1.0, 2.0, 4.0), 0.3, 1e-2, 0.5
MANY: dict[str, Any] = {"n_tasks": 2000, "sample_rate": 0.05, "n_steps": 200}
FEW: dict[str, Any] = {"n_tasks": 100, "sample_rate": 0.2, "n_steps": 300}
FEW_NOISES, N_NEW, N_ATTACKED, N_SHADOWS = (0.0, 1.0, 4.0), 200, 60, 8
SHOTS, RELEASE_NOISES, N_GLYPH_TASKS = (1, 5, 10), (0.0, 0.5, 1.0, 2.0, 4.0, 8.0), 200
Row = dict[str, Any]


def writers(n: int, part: str, seed: int) -> Episode:
    """Return tasks of one size: 20 training examples and 20 queries of each writer."""
    tasks = styled_digits(n, part=part, sizes=(20, 20), skew=0.0, seed=seed)
    names = ("support_x", "support_y", "query_x", "query_y")
    return Episode(**{name: torch.stack([getattr(task, name) for task in tasks]) for name in names}, n_way=10)


def trained(tasks: Episode, noise: float, seed: int, sample_rate: float, n_steps: int) -> MAML:
    """Return MAML after private meta-training; with ``noise=0`` it is only clipped."""
    torch.manual_seed(seed)
    learner, draw = MAML(MLP([64, 32, 10]), INNER_LR, 1), PoissonTasks(tasks, sample_rate)
    backward = private_backward(learner, CLIP, noise, draw.expected)
    fit(learner, draw, n_steps, outer_lr=OUTER_LR, backward=backward, seed=seed, progress=False)
    return learner


def interval(attack: Attack) -> Row:
    """Return what is recorded of an attack, each with its interval over tasks."""
    found = {"auc": attack.auc(), "tpr at 1%": attack.tpr_at(0.01), "tpr at 5%": attack.tpr_at(0.05)}
    return {name: list(value) for name, value in found.items()}


def many_rows() -> list[Row]:
    """Return accuracy on new writers against epsilon, and the attacks on their support sets."""
    new, rows = writers(N_NEW, "test", 0), []
    tasks = {seed: writers(MANY["n_tasks"], "train", seed) for seed in SEEDS}
    torch.manual_seed(0)
    learners: dict[Any, list[MAML]] = {"untrained": [MAML(MLP([64, 32, 10]), INNER_LR, 1)]}
    how: Row = {"sample_rate": MANY["sample_rate"], "n_steps": MANY["n_steps"]}
    for noise in NOISES:
        learners[noise] = [trained(tasks[seed], noise, seed, **how) for seed in SEEDS]
    for noise, made in learners.items():
        scores: list[dict[int, Score]] = [
            evaluate(learner, lambda _: new, n_tasks=N_NEW, n_steps=list(STEPS), seed=0, progress=False)
            for learner in made
        ]
        eps = epsilon(noise, how["sample_rate"], how["n_steps"], DELTA) if noise in NOISES else 0.0
        row: Row = {"part": "tasks", "noise": noise, "epsilon": None if math.isinf(eps) else eps}
        for n_steps in STEPS:
            each = torch.stack([found[n_steps].per_task for found in scores])
            score = Score.of(each.mean(0))
            row[f"accuracy after {n_steps}"] = [score.mean, score.ci95]
            row[f"seeds after {n_steps}"] = each.mean(1).tolist()
        rows += [row, *({**row_, "noise": noise, "epsilon": row["epsilon"]} for row_ in support_rows(made[0]))]
        print("tasks", noise, flush=True)
    return rows


def support_rows(learner: MAML) -> list[Row]:
    """Return the attacks on the support sets of new writers, after some steps of adaptation."""
    rows: list[Row] = []
    clients = styled_digits(N_ATTACKED, part="test", sizes=(20, 20), n_query=140, skew=0.0, seed=1)
    for n_steps, with_shadows in ((1, False), (5, True), (20, False)):
        learner.n_inner_steps = n_steps
        scores: dict[str, tuple[list[Tensor], list[Tensor]]] = {"loss": ([], []), "likelihood ratio": ([], [])}
        for i, client in enumerate(clients):
            x, y = torch.cat([client.support_x, client.query_x]), torch.cat([client.support_y, client.query_y])
            parts = by_class(y, (2, 2), stream(0, f"support {i}"))
            support, others, rest = ((x[rows], y[rows]) for rows in parts)
            with torch.no_grad():
                adapted = learner.eval().adapt(*support)
            for side, (points, labels) in enumerate((support, others)):
                scores["loss"][side].append(loss_scores(learner, adapted, points, labels).detach())
                if with_shadows:
                    known = Episode(*support, *rest, 10)
                    generator = stream(0, f"shadows {i}")
                    scores["likelihood ratio"][side].append(
                        likelihood_ratio_scores(
                            learner, adapted, points, labels, known, n_shadows=N_SHADOWS, generator=generator
                        )
                    )
        for name, (members, strangers) in scores.items():
            if members:
                attack = Attack(torch.stack(members), torch.stack(strangers))
                rows.append({"part": "support", "attack": name, "n_steps": n_steps, **interval(attack)})
    learner.n_inner_steps = 1
    return rows


def by_class(y: Tensor, counts: tuple[int, ...], generator: torch.Generator) -> list[Tensor]:
    """Return disjoint rows with so many of each class, and all the others, in random order."""
    parts: list[list[Tensor]] = [[] for _ in (*counts, 0)]
    for label in torch.unique(y):
        own = (y == label).nonzero().squeeze(1)
        own = own[torch.randperm(len(own), generator=generator)]
        sizes = [*counts, len(own) - sum(counts)]
        for part, rows in zip(parts, torch.split(own, sizes), strict=True):
            part.append(rows)
    return [torch.cat(part) for part in parts]


def few_rows() -> list[Row]:
    """Return the attack on the tasks of meta-training, of which there are few."""
    how: Row = {"sample_rate": FEW["sample_rate"], "n_steps": FEW["n_steps"]}
    n, new, rows = FEW["n_tasks"], writers(N_NEW, "test", 0), []
    sides = {seed: (writers(n, "train", 10 + seed), writers(n, "train", 20 + seed)) for seed in SEEDS}
    for noise in FEW_NOISES:
        members, strangers, means = [], [], []
        for seed, (inside, outside) in sides.items():
            learner = trained(inside, noise, seed, **how)
            members.append(task_scores(learner, inside))
            strangers.append(task_scores(learner, outside))
            score = evaluate(learner, lambda _: new, n_tasks=N_NEW, n_steps=1, seed=0, progress=False)
            means.append(score.per_task)
        eps, score = epsilon(noise, how["sample_rate"], how["n_steps"], DELTA), Score.of(torch.stack(means).mean(0))
        row = {"part": "few tasks", "noise": noise, "epsilon": None if math.isinf(eps) else eps}
        row |= {"accuracy after 1": [score.mean, score.ci95]}
        rows.append(row | interval(Attack(torch.cat(members).unsqueeze(1), torch.cat(strangers).unsqueeze(1))))
        print("few tasks", noise, flush=True)
    return rows


def release_rows() -> list[Row]:
    """Return the attacks on prototypes of letters, without noise and with more and more of it."""
    splits, encoder = glyphs(), pretrained("prototypical", "glyphs").eval()
    assert isinstance(encoder, Prototypical)
    with torch.no_grad():
        pool = splits.test.encoded(encoder.encoder)
        clip = splits.validation.encoded(encoder.encoder).x.norm(dim=1).median().item()
    learner, rows = Prototypical(nn.Identity()), []
    for n_shot in SHOTS:
        for noise in RELEASE_NOISES:
            rows.append(released(learner, pool, n_shot, noise, clip))
        print("release", n_shot, flush=True)
    return rows


def matched_scores(prototypes: Tensor, counts: Tensor, points: Tensor, y: Tensor, means: Tensor) -> Tensor:
    """Return the log-likelihood ratio of noisy sums: with this example in it, against a mean one (up to a factor).

    The attacker knows the mean embedding of each class from examples of his own, and takes the rest of a sum for it.
    """
    rest = (counts.unsqueeze(1) * prototypes - (counts - 1).unsqueeze(1) * means)[y]  # what is left for the example
    mean = means[y]
    return (rest * (points - mean)).sum(1) - 0.5 * (points.square().sum(1) - mean.square().sum(1))


def released(learner: Learner, pool: Pool, n_shot: int, noise: float, clip: float) -> Row:
    """Return a row of one number of examples and one noise multiplier; 0: plain prototypes."""
    assert isinstance(learner, Prototypical)
    names = ["distance", "matched", "loss"] + ["likelihood ratio"] * (noise == 0)
    scores: dict[str, tuple[list[Tensor], list[Tensor]]] = {name: ([], []) for name in names}
    right = []
    for i in range(N_GLYPH_TASKS):
        generator = stream(0, f"release {i}")
        classes = torch.randperm(pool.n_classes, generator=generator)[:5]
        rows = torch.cat([pool.class_starts[c] + torch.arange(20) for c in classes])  # each has 20 examples
        x, y = pool.x[rows], torch.arange(5).repeat_interleave(20)
        support, others, rest = ((x[part], y[part]) for part in by_class(y, (n_shot, 5), generator))
        if noise:
            how: dict[str, Any] = {"clip_norm": clip, "noise_multiplier": noise, "generator": generator}
            adapted = private_prototypes(learner, *support, n_way=5, **how)
        else:
            adapted = learner.adapt(*support, n_way=5)
        right.append(accuracy(learner.predict(adapted, others[0]), others[1]))
        seen = clip_rows(rest[0], clip) if noise else rest[0]
        means = torch.stack([seen[rest[1] == label].mean(0) for label in range(5)])
        for side, (points, labels) in enumerate((support, others)):
            inside = clip_rows(points, clip) if noise else points
            found = matched_scores(adapted["prototypes"], adapted["counts"], inside, labels, means)
            scores["matched"][side].append(found)
            scores["distance"][side].append(distance_scores(adapted["prototypes"], points, labels))
            scores["loss"][side].append(loss_scores(learner, adapted, points, labels))
            if not noise and len(rest[1]) >= 5 * n_shot:
                known = Episode(*support, *rest, 5)
                ratio = likelihood_ratio_scores(
                    learner, adapted, points, labels, known, n_shadows=16, generator=stream(0, f"shadows {i}")
                )
                scores["likelihood ratio"][side].append(ratio)
    score = Score.of(torch.stack(right))
    row: Row = {"part": "release", "n_shot": n_shot, "noise": noise, "clip": clip}
    row |= {"accuracy": [score.mean, score.ci95]}
    if noise:
        row |= {"epsilon": gaussian_epsilon(noise, DELTA), "epsilon of an exchange": gaussian_epsilon(noise / 2, DELTA)}
        normal = NormalDist()
        row |= {f"bound at {f:.0%}": normal.cdf(normal.inv_cdf(f) + 2 / noise) for f in (0.01, 0.05)}
    for name, (members, strangers) in scores.items():
        if members:
            row[name] = interval(Attack(torch.stack(members), torch.stack(strangers)))
    return row


def main() -> None:
    """Measure everything, and write the record after each part."""
    begun, rows = time.process_time(), []
    for part in (release_rows, many_rows, few_rows):
        rows += part()
        print(part.__name__, f"{time.process_time() - begun:.0f} s", flush=True)
        content = {
            **{"name": "private", "seeds": list(SEEDS), "delta": DELTA, "clip": CLIP, "many": MANY, "few": FEW},
            **{"outer_lr": OUTER_LR, "inner_lr": INNER_LR, "new_tasks": N_NEW, "attacked": N_ATTACKED},
            **{"cpu_seconds": round(time.process_time() - begun), **environment(), "rows": rows},
        }
        write_analysis(content)


if __name__ == "__main__":
    main()
