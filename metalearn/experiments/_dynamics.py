"""What the studies of dynamics share: methods that learn from a few steps of a system what its next steps will do."""

from __future__ import annotations

from metalearn.control.systems import System
from metalearn.experiments.study import Method, Study

IDENTITY, MSE = {"network": "Identity", "config": {}}, {"loss_fn": "mse_loss"}
TASKS = {"n_tasks": 16, "n_shot": 10, "n_query": 20}
FIT = {"n_steps": 1_500, "max_seconds": 60, "outer_lr": 2e-3, "schedule": "cosine", "max_grad_norm": 1.0}
FIT |= {"validate_every": 250, "validate_on": "10 steps", "how": "vmap", "compile": True}
NONE = {"n_steps": 0, "how": "vmap"}


def mlp(*sizes: int) -> dict[str, object]:
    """Return a multilayer perceptron as plain data."""
    return {"network": "MLP", "config": {"sizes": sizes}}


def dynamics(name: str, system: type[System]) -> Study:
    """Return the study of a kind of system, whose tasks have the same name as it has."""
    n, m = system.n_inputs, system.n_targets
    whole, vectors = {"model": mlp(n, 64, 64, m)}, {"encoder": IDENTITY}
    hidden = {"network": "Sequential", "config": {"parts": [mlp(n, 64, 64), {"network": "ReLU", "config": {}}]}}
    linear = {"n_outputs": m, "n_inner_steps": 1, **MSE}
    tuned = {"n_steps": [0, 5], "tune": {"inner_lr": [0.01, 0.03, 0.1]}}
    steps = {"n_steps": [0, 1, 5]}
    process = {"n_hidden": 64, "n_embedding": 64}
    five = {"n_inner_steps": 5, **MSE}
    methods = {
        "ridge": Method("Shrinkage", vectors, {**linear, "n_features": n, "strength": 0.1}, fit=NONE),
        "joint training": Method("MAML", whole, {"inner_lr": 0.01, "n_inner_steps": 0, **MSE}, TASKS, FIT, tuned),
        "MAML": Method("MAML", whole, {"inner_lr": 0.1, **five}, TASKS, FIT, steps),
        "NeuralProcess": Method("NeuralProcess", vectors, {**process, "n_features": n, "n_outputs": m}, TASKS, FIT),
        "Shrinkage": Method("Shrinkage", {"encoder": hidden}, {**linear, "n_features": 64}, TASKS, FIT),
    }
    sizes = {"n_query": 100, "n_tasks": 600, "diverged_above": 100.0}
    tests = {f"{k} steps": {"n_shot": k, **sizes} for k in (2, 5, 10, 20, 50)}
    return Study(f"dynamics_{name}", methods, tests, name, snapshots=())
