"""What evolution finds on sine waves: starts, a rule and a generator, beside gradients, scratch and a task bank."""

from metalearn.experiments import _scratch  # noqa: F401 - defines AdamFromScratch
from metalearn.experiments.study import Method, Study


def mlp(*sizes: int) -> dict[str, object]:
    """Return a multilayer perceptron as plain data."""
    return {"network": "MLP", "config": {"sizes": sizes}}


NET, IDENTITY, MSE = mlp(1, 20, 20, 1), {"network": "Identity", "config": {}}, {"loss_fn": "mse_loss"}
HIDDEN = {"network": "Sequential", "config": {"parts": [mlp(1, 20, 20), {"network": "ReLU", "config": {}}]}}
WHOLE, GENERATOR = {"model": NET}, {"encoder": IDENTITY, "model": NET}
SMALL = {"n_features": 1, "n_hidden": 16, "n_embedding": 8, **MSE}
TASKS, FEW = ({"n_tasks": n, "n_shot": 10, "n_query": 10} for n in (25, 10))
MANY = {"n_tasks": 10, "n_shot": 50, "n_query": 50}
BASE = {"how": "vmap", "schedule": "cosine", "validate_every": 250, "max_seconds": 120}
GRADIENT = {**BASE, "n_steps": 4_000, "outer_lr": 3e-3, "max_grad_norm": 10.0}
ES = {**BASE, "n_steps": 2_000, "outer_lr": 1e-2}
PAIRS = {"n_pairs": 32, "sigma": 0.05}
RULE = {"n_steps": 150, "outer_lr": 0.1, "validate_on": "50 points", "validate_every": 25}
NONE = {"n_steps": 0, "how": "vmap"}
STEPS, LONG = {"n_steps": [1, 5, 10]}, {"n_steps": [1, 5, 10, 30]}
TUNED = {**LONG, "tune": {"inner_lr": [0.003, 0.01, 0.03, 0.06, 0.1]}}
METHODS = {
    "SGD from scratch": Method("MAML", WHOLE, {"inner_lr": 0.01, **MSE}, fit=NONE, test=TUNED),
    "Adam from scratch": Method("AdamFromScratch", WHOLE, {"inner_lr": 0.01, **MSE}, fit=NONE, test=TUNED),
    "MAML": Method("MAML", WHOLE, {"inner_lr": 0.01, **MSE}, TASKS, GRADIENT, STEPS),
    "MAML by evolution": Method("MAML", WHOLE, {"inner_lr": 0.01, **MSE}, TASKS, {**ES, "evolution": PAIRS}, STEPS),
    "ES-MAML": Method(
        "ESMAML", WHOLE, {"inner_lr": 0.01, "n_directions": 10, **PAIRS, **MSE}, FEW, {**ES, "n_steps": 1_500}, STEPS
    ),
    "evolved rule": Method("EvolvedRule", WHOLE, {"n_inner_steps": 30, **MSE}, MANY, {**BASE, **RULE}, LONG),
    "HyperNetwork": Method("HyperNetwork", GENERATOR, SMALL, TASKS, GRADIENT),
    "HyperNetwork by evolution": Method(
        "HyperNetwork", GENERATOR, SMALL, TASKS, {**ES, "evolution": {**PAIRS, "n_pairs": 64}}
    ),
    "task bank": Method(
        "TaskBank", {"encoder": HIDDEN}, {"n_features": 20}, TASKS, {**GRADIENT, "n_steps": 2_000, "outer_lr": 1e-2}
    ),
}
TESTS = {f"{n} points": {"n_shot": n, "n_query": 100, "n_tasks": 600, "diverged_above": 25.0} for n in (10, 50)}
STUDY = Study("evolution", METHODS, TESTS, "sinusoids", snapshots=())
