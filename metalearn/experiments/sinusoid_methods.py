"""Every method that can regress, on sine waves: each trained for a minute or a few, beside tuned SGD and Adam.

Run it with ``python -m metalearn.experiments.sinusoid_methods``; stop and start it at will. All methods see tasks of 10
support and 10 query points and are trained by Adam; their number of outer steps is chosen so that a run takes from a
quarter of a minute to a few minutes on one core of a CPU. Tests are 600 tasks at 5 and at 10 points, the same for all.
What was chosen, was chosen on validation tasks with one seed; the rates of the baselines, which start from PyTorch's
random initialisation, are the best of a grid for each number of points, by the median error after 10 steps.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from metalearn import inner_loop
from metalearn.episodes import Inputs
from metalearn.evaluation import evaluate
from metalearn.experiments import record, summary
from metalearn.experiments.sinusoid_maml import PUBLISHED, draw, tune
from metalearn.learners import (
    ANIL,
    MAML,
    HyperNetwork,
    ImplicitMAML,
    LearnedOptimizer,
    Learner,
    MetaLSTM,
    MetaNetwork,
    MetaSGD,
    NeuralProcess,
    Reptile,
)
from metalearn.learners._inner import InnerLoopLearner
from metalearn.networks import MLP
from metalearn.training import cosine, fit

SETTINGS: dict[str, Any] = {
    "n_steps": 5_000,
    "n_tasks": 25,
    "train_shot": 10,
    "train_query": 10,
    "outer_lr": 1e-3,
    "hidden": [40, 40],
    "seeds": [0, 1, 2],
    "test_shots": [5, 10],
    "test_steps": [1, 5, 10],
    "n_test_tasks": 600,
    "n_test_query": 100,
    "test_seed": 1_000,
    "validation_seed": 2_000,
    "n_validation_tasks": 200,
    "inner_lr_grid": [0.001, 0.003, 0.01, 0.03, 0.1],
    "diverged_above": 25.0,
    "norm": "none",
    "methods": {  # arguments of the learner; steps, tasks and rates of the outer loop where they are not those above
        "maml": {"inner_lr": 0.01, "n_inner_steps": 1},
        "first-order maml": {"inner_lr": 0.01, "n_inner_steps": 1, "first_order": True},
        "reptile": {"inner_lr": 0.02, "n_inner_steps": 10, "batch_size": 10},
        "anil": {"inner_lr": 0.3, "n_inner_steps": 5, "max_grad_norm": 10.0},
        "implicit maml": {
            "inner_lr": 0.005, "n_inner_steps": 16, "strength": 1.0, "n_cg_steps": 5, "share": 0.6,
            "max_grad_norm": 10.0,
        },
        "meta-sgd": {"initial_lr": 0.01, "n_inner_steps": 1, "max_grad_norm": 10.0},
        "meta-lstm": {"n_inner_steps": 5, "n_tasks": 4, "share": 0.4, "outer_lr": 2e-3, "max_grad_norm": 1.0},
        "learned optimiser": {
            "n_inner_steps": 5, "scale": 0.01, "n_tasks": 4, "share": 0.4, "outer_lr": 2e-3, "max_grad_norm": 1.0,
        },
        "hypernetwork": {},
        "neural process": {},
        "meta network": {"n_tasks": 4, "share": 0.2, "outer_lr": 2e-3, "max_grad_norm": 10.0},
        "joint": {"n_inner_steps": 0},
        "maml, 5 steps": {"inner_lr": 0.01, "n_inner_steps": 5, "share": 0.3, "max_grad_norm": 10.0},
    },
}  # fmt: skip
WITHOUT_STEPS = {"hypernetwork", "neural process", "meta network"}
OUTER = {"n_tasks", "outer_lr", "share", "max_grad_norm"}  # settings of a method that are not its learner's
REPAIRS = ["multi-step loss", "learned rates", "cosine", "derivative order"]  # MAML++'s, each alone
SETTINGS["methods"]["meta-lstm, all gradients"] = {**SETTINGS["methods"]["meta-lstm"], "first_order": False}
SETTINGS["methods"] |= {f"maml, 5 steps, {repair}": SETTINGS["methods"]["maml, 5 steps"] for repair in REPAIRS}
SETTINGS["repairs"] = {
    "multi-step loss": "weights of the query losses from equal ones to the last alone, over the first half of training",
    "learned rates": "a rate for each tensor and step, learned",
    "cosine": "outer rate along half a cosine to zero",
    "derivative order": "first order for the first half of training",
}


class FromScratch(InnerLoopLearner):
    """Gradient descent or Adam from the model's random start: nothing is learned across tasks."""

    def __init__(self, model: nn.Module, inner_lr: float, *, adam: bool) -> None:
        super().__init__(model, 10, loss_fn=F.mse_loss)
        self.inner_lr, self.adam = inner_lr, adam

    def _path(self, x: Inputs, y: Tensor, n_steps: int) -> Iterator[inner_loop.Params]:
        start = {name: param.detach() for name, param in self._start().items()}
        yield start
        zero = torch.zeros_like(inner_loop.to_vector(start))
        data = inner_loop.batches(x, y, n_steps)
        state = {"mean": zero, "square": zero, "step": zero[0]}
        for params, _ in inner_loop.unroll(start, self._rule, state, self._support_loss, data, first_order=True):
            yield params

    def _rule(
        self, params: inner_loop.Params, grads: inner_loop.Params, loss: Tensor, state: dict[str, Tensor]
    ) -> tuple[inner_loop.Params, dict[str, Tensor]]:
        gradient, step = inner_loop.to_vector(grads), state["step"] + 1
        if self.adam:  # Kingma, Ba, 2015, algorithm 1
            mean, square = 0.9 * state["mean"] + 0.1 * gradient, 0.999 * state["square"] + 0.001 * gradient.square()
            state = {"mean": mean, "square": square, "step": step}
            gradient = mean / (1 - 0.9**step) / ((square / (1 - 0.999**step)).sqrt() + 1e-8)
        return inner_loop.from_vector(inner_loop.to_vector(params) - self.inner_lr * gradient, params), state


def build(method: str) -> Learner:
    """Return the untrained learner of a method."""
    sizes = [1, *SETTINGS["hidden"], 1]
    loss: dict[str, Any] = {"loss_fn": F.mse_loss}
    chosen = {key: value for key, value in SETTINGS["methods"].get(method, {}).items() if key not in OUTER}
    makers: dict[str, Callable[[], Learner]] = {
        "reptile": lambda: Reptile(MLP(sizes), **chosen, **loss),
        "anil": lambda: ANIL(nn.Sequential(MLP(sizes[:-1]), nn.ReLU()), MLP(sizes[-2:]), **chosen, **loss),
        "implicit maml": lambda: ImplicitMAML(MLP(sizes), **chosen, **loss),
        "meta-sgd": lambda: MetaSGD(MLP(sizes), **chosen, **loss),
        "meta-lstm": lambda: MetaLSTM(MLP(sizes), **chosen, **loss),
        "meta-lstm, all gradients": lambda: MetaLSTM(MLP(sizes), **chosen, **loss),
        "learned optimiser": lambda: LearnedOptimizer(MLP(sizes), **chosen, **loss),
        "hypernetwork": lambda: HyperNetwork(nn.Identity(), MLP(sizes), n_features=1, **loss),
        "neural process": lambda: NeuralProcess(nn.Identity(), n_features=1),
        "meta network": lambda: MetaNetwork(nn.Identity(), n_features=1, hidden=SETTINGS["hidden"], **loss),
        "maml, 5 steps, learned rates": lambda: MetaSGD(
            MLP(sizes), chosen["inner_lr"], chosen["n_inner_steps"], rate_per="tensor", per_step=True, **loss
        ),
        "joint": lambda: MAML(MLP(sizes), 0.01, 0, **loss),
        "sgd, tuned": lambda: FromScratch(MLP(sizes), 0.01, adam=False),
        "adam, tuned": lambda: FromScratch(MLP(sizes), 0.01, adam=True),
    }
    return makers.get(method, lambda: MAML(MLP(sizes), **chosen, **loss))()


def train(method: str, learner: Learner, seed: int, checkpoint: Path, n_steps: int) -> dict[str, Any]:
    """Train, or go on training, and return what is recorded of it; where training diverges, the step of it, too."""
    chosen = SETTINGS["methods"][method]
    n_steps = round(n_steps * chosen.get("share", 1.0))
    half, n_inner = n_steps // 2, chosen.get("n_inner_steps", 0)

    taken = 0

    def before_step(step: int) -> None:
        nonlocal taken
        taken = step
        if method.endswith("derivative order"):
            learner.first_order = step < half  # type: ignore[assignment]
        if method.endswith("multi-step loss"):
            part = min(step / half, 1.0)
            weights = [(1 - part) / n_inner] * n_inner
            weights[-1] += part
            learner.step_weights = weights  # type: ignore[assignment]

    learner.how = "vmap"
    begun, clock = time.process_time(), time.perf_counter()
    try:
        history = fit(
            learner,
            draw(chosen.get("n_tasks", SETTINGS["n_tasks"]), SETTINGS["train_shot"], SETTINGS["train_query"]),
            n_steps,
            outer_lr=chosen.get("outer_lr", SETTINGS["outer_lr"]),
            schedule=cosine(n_steps) if method.endswith("cosine") else None,
            before_step=before_step,
            max_grad_norm=chosen.get("max_grad_norm"),
            seed=seed,
            checkpoint=checkpoint,
            checkpoint_every=500,
        )
    except FloatingPointError:  # the weights are those before that step, and are tested as they are
        spent = {"minutes": round((time.perf_counter() - clock) / 60, 2)}
        return {"trained_steps": taken, "diverged_at": taken, **spent, "cpu_seconds": time.process_time() - begun}
    if history.interrupted:
        raise KeyboardInterrupt
    spent = {"minutes": round(history.seconds / 60, 2), "cpu_seconds": round(time.process_time() - begun, 1)}
    return {"trained_steps": history.n_steps, **spent}


def run(method: str, seed: int, folder: Path, n_steps: int) -> list[dict[str, Any]]:
    """Train one learner and test it; return one row for each number of points and of inner steps."""
    torch.manual_seed(seed)
    learner = build(method)
    done: dict[str, Any] = {"trained_steps": 0, "minutes": 0.0, "cpu_seconds": 0.0}
    if method in SETTINGS["methods"]:
        done = train(method, learner, seed, folder / f"{method}_{seed}.pt", n_steps)
    rows = []
    for n_shot in SETTINGS["test_shots"]:
        what: dict[str, Any] = {"method": method, "seed": seed, "n_shot": n_shot}
        if method in ("joint", "sgd, tuned", "adam, tuned"):
            what["inner_lr"] = learner.inner_lr = tune(learner, n_shot)  # type: ignore[assignment]
        sample, limit = draw(50, n_shot, SETTINGS["n_test_query"]), SETTINGS["diverged_above"]
        n_tasks, test_seed = SETTINGS["n_test_tasks"], SETTINGS["test_seed"]
        steps = [None] if method in WITHOUT_STEPS else SETTINGS["test_steps"]
        for k in steps:
            score = evaluate(learner, sample, n_tasks, k, seed=test_seed)
            rows.append({**what, "n_steps": k, **done, **summary(score, diverged_above=limit)})
    return rows


ALONE = ["meta-lstm, all gradients", *(method for method in SETTINGS["methods"] if method.startswith("maml, 5 steps"))]
MUST = ["sgd, tuned", "adam, tuned", *(method for method in SETTINGS["methods"] if method not in ALONE)]
PLAN = [(method, seed) for methods in (MUST, ALONE) for seed in SETTINGS["seeds"] for method in methods]

if __name__ == "__main__":
    record("sinusoid_methods", SETTINGS, PLAN, run, published=PUBLISHED)
