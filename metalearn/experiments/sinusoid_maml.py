"""MAML on sine waves at the paper's length, beside joint training and training from scratch.

Run it with ``python -m metalearn.experiments.sinusoid_maml``; stop and start it at will. Each run keeps a checkpoint,
and the results are written anew after each run that ends.

Settings follow Finn, Abbeel, Levine, 2017, arXiv 1703.03400, section 5.1 and the authors' code: a network of two hidden
layers of 40 units, one inner step of 0.01, Adam at 0.001, 25 tasks a step, 70,000 steps, initial weights of standard
deviation 0.01, as many query points as support points in training. The step size of each baseline is the best
of a grid on 200 validation tasks, for each number of points.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.func import grad, vjp
from torch.nn import functional as F

from metalearn.data.sinusoids import sinusoids
from metalearn.episodes import Episode
from metalearn.evaluation import Sample, evaluate
from metalearn.experiments import record, summary
from metalearn.learners import MAML, Learner
from metalearn.networks import MLP
from metalearn.training import fit
from metalearn.vectorize import over_tasks

SETTINGS: dict[str, Any] = {
    "n_steps": 70_000,
    "n_tasks": 25,
    "inner_lr": 0.01,
    "n_inner_steps": 1,
    "outer_lr": 1e-3,
    "hidden": [40, 40],
    "init_std": 0.01,
    "train_shots": [10, 5],
    "seeds": [0, 1, 2],
    "test_shots": [5, 10],
    "test_steps": [0, 1, 5, 10],
    "n_test_tasks": 600,
    "n_test_query": 100,
    "test_seed": 1_000,
    "validation_seed": 2_000,
    "n_validation_tasks": 200,
    "inner_lr_grid": [0.001, 0.003, 0.01, 0.03, 0.1],
    "diverged_above": 25.0,
    "norm": "none",
}
# A test task counts as diverged if its error is above 25, the highest amplitude squared: guessing zero cannot be worse.

PUBLISHED = {  # mean squared error at 5 shots after 1, 5 and 10 steps, of the paper
    "source": "Finn, Abbeel, Levine, 2017, arXiv 1703.03400",
    "n_shot": 5,
    "steps": [1, 5, 10],
    "maml": [0.67, 0.38, 0.35],
    "joint": [2.41, 2.23, 2.19],
}

METHODS = {"maml": 1, "joint": 0, "scratch": 0}  # inner steps in training; "scratch" is not trained


def draw(n_tasks: int, n_shot: int, n_query: int) -> Sample:
    """Return a sampler of sinusoid episodes."""

    def sample(generator: torch.Generator) -> Episode:
        return sinusoids().sample(n_tasks, n_shot, n_query, generator)

    return sample


def build(method: str, seed: int, inner_lr: float) -> MAML:
    """Return a fresh learner: MAML, or with no inner step in training the joint model."""
    torch.manual_seed(seed)
    init_std = None if method == "scratch" else SETTINGS["init_std"]  # at 0.01 a net from scratch has no gradient
    model = MLP([1, *SETTINGS["hidden"], 1], init_std=init_std)
    return MAML(model, inner_lr, METHODS[method], loss_fn=F.mse_loss)


def tune(learner: Learner, n_shot: int) -> float:
    """Return the ``inner_lr`` with the lowest median error after 10 steps on validation tasks."""
    scores: dict[float, float] = {}
    for inner_lr in SETTINGS["inner_lr_grid"]:
        learner.inner_lr = inner_lr
        sample = draw(100, n_shot, SETTINGS["n_test_query"])
        score = evaluate(learner, sample, SETTINGS["n_validation_tasks"], 10, seed=SETTINGS["validation_seed"])
        scores[inner_lr] = score.median
    return min(scores, key=lambda inner_lr: scores[inner_lr])


def curvature(learner: MAML, n_shot: int, n_iterations: int = 30) -> list[float]:
    """Return, for each test task, the inner rate times the support loss's largest curvature after one inner step.

    Above 2, a gradient step overshoots by more than it corrects: further steps then lead away. The largest eigenvalue
    of the Hessian is found by power iteration.
    """

    def of_task(episode: Episode) -> Tensor:
        def loss(params: dict[str, Tensor]) -> Tensor:
            return learner.loss_fn(learner.predict(params, episode.support_x), episode.support_y)

        params = learner.adapt(episode.support_x, episode.support_y, n_steps=1)
        multiply = vjp(grad(loss), params)[1]  # by the Hessian, which is its own transpose
        direction, value = {name: torch.ones_like(param) for name, param in params.items()}, torch.zeros(())
        for _ in range(n_iterations):
            norm = sum(part.square().sum() for part in direction.values()) ** 0.5
            direction = {name: part / norm for name, part in direction.items()}
            image = multiply(direction)[0]
            value = torch.stack([(direction[name] * image[name]).sum() for name in params]).sum()
            direction = image
        scaled: Tensor = SETTINGS["inner_lr"] * value
        return scaled

    generator = torch.Generator().manual_seed(SETTINGS["test_seed"])  # the tasks that evaluate draws
    sample, values = draw(100, n_shot, SETTINGS["n_test_query"]), []
    with torch.no_grad():
        for _ in range(0, SETTINGS["n_test_tasks"], 100):
            values.append(over_tasks(of_task, sample(generator), module=learner))
    return [float(f"{value:.4g}") for value in torch.cat(values).tolist()]


def run(method: str, train_shot: int | None, seed: int, folder: Path, n_steps: int) -> list[dict[str, Any]]:
    """Train one learner, or go on training it, and test it; return one row for each test setting."""
    learner = build(method, seed, SETTINGS["inner_lr"])
    seconds, n_done = 0.0, 0
    if train_shot is not None:
        history = fit(
            learner,
            draw(SETTINGS["n_tasks"], train_shot, train_shot),
            n_steps,
            outer_lr=SETTINGS["outer_lr"],
            seed=seed,
            checkpoint=folder / f"{method}_{train_shot}_{seed}.pt",
            checkpoint_every=5_000,
        )
        seconds, n_done = history.seconds, history.n_steps
        if history.interrupted:
            raise KeyboardInterrupt
    rows = []
    for n_shot in SETTINGS["test_shots"]:
        learner.inner_lr = SETTINGS["inner_lr"] if method == "maml" else tune(learner, n_shot)
        sample = draw(100, n_shot, SETTINGS["n_test_query"])
        n_tasks, steps = SETTINGS["n_test_tasks"], SETTINGS["test_steps"]
        for k, score in evaluate(learner, sample, n_tasks, steps, seed=SETTINGS["test_seed"]).items():
            what = {"method": method, "train_shot": train_shot, "seed": seed, "n_shot": n_shot, "n_steps": k}
            how = {"inner_lr": learner.inner_lr, "trained_steps": n_done, "minutes": round(seconds / 60, 2)}
            rows.append({**what, **how, **summary(score, diverged_above=SETTINGS["diverged_above"])})
        if method == "maml":
            rows[-1]["curvature"] = curvature(learner, n_shot)
    return rows


PLAN = [("maml", shot, seed) for shot in SETTINGS["train_shots"] for seed in SETTINGS["seeds"]]
PLAN += [("joint", 10, seed) for seed in SETTINGS["seeds"]] + [("scratch", None, seed) for seed in SETTINGS["seeds"]]

if __name__ == "__main__":
    record("sinusoid_maml", SETTINGS, PLAN, run, published=PUBLISHED)
