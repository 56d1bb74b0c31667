"""Every method that can regress, on sine waves, beside joint training and training from scratch."""

from metalearn.experiments import _scratch  # noqa: F401 - defines AdamFromScratch
from metalearn.experiments.study import Method, Study


def mlp(*sizes: int) -> dict[str, object]:
    """Return a multilayer perceptron as plain data."""
    return {"network": "MLP", "config": {"sizes": sizes}}


NET, IDENTITY, MSE = mlp(1, 40, 40, 1), {"network": "Identity", "config": {}}, {"loss_fn": "mse_loss"}
HIDDEN = {"network": "Sequential", "config": {"parts": [mlp(1, 40, 40), {"network": "ReLU", "config": {}}]}}
WHOLE = {"model": NET}
TASKS, FEW = ({"n_tasks": n, "n_shot": 10, "n_query": 10} for n in (25, 4))
BASE = {"n_steps": 70_000, "max_seconds": 300, "validate_every": 1_000, "how": "vmap"}
COMPILED = {**BASE, "compile": True}
CLIPPED = {**BASE, "max_grad_norm": 10.0}
RULE = {**BASE, "max_grad_norm": 1.0, "outer_lr": 2e-3, "validate_every": 250}
NONE = {"n_steps": 0, "how": "vmap"}
STEPS = {"n_steps": [1, 5, 10]}
TUNED = {**STEPS, "tune": {"inner_lr": [0.001, 0.003, 0.01, 0.03, 0.1]}}
METHODS = {
    "SGD from scratch": Method("MAML", WHOLE, {"inner_lr": 0.01, **MSE}, fit=NONE, test=TUNED),
    "Adam from scratch": Method("AdamFromScratch", WHOLE, {"inner_lr": 0.01, **MSE}, fit=NONE, test=TUNED),
    "joint training": Method("MAML", WHOLE, {"inner_lr": 0.01, "n_inner_steps": 0, **MSE}, TASKS, COMPILED, TUNED),
    "MAML": Method("MAML", WHOLE, {"inner_lr": 0.01, **MSE}, TASKS, COMPILED, STEPS),
    "first-order MAML": Method("MAML", WHOLE, {"inner_lr": 0.01, "first_order": True, **MSE}, TASKS, COMPILED, STEPS),
    "Reptile": Method(
        "Reptile", WHOLE, {"inner_lr": 0.02, "n_inner_steps": 10, "batch_size": 10, **MSE}, TASKS, BASE, STEPS
    ),
    "ANIL": Method(
        "ANIL", {"encoder": HIDDEN, "head": mlp(40, 1)}, {"inner_lr": 0.3, "n_inner_steps": 5, **MSE}, TASKS,
        {**CLIPPED, "compile": True},
        STEPS,
    ),
    "ImplicitMAML": Method(
        "ImplicitMAML", WHOLE, {"inner_lr": 0.005, "n_inner_steps": 16, "strength": 1.0, **MSE}, TASKS, CLIPPED, STEPS
    ),
    "MetaSGD": Method("MetaSGD", WHOLE, {"initial_lr": 0.01, **MSE}, TASKS, {**CLIPPED, "compile": True}, STEPS),
    "MetaLSTM": Method("MetaLSTM", WHOLE, {"n_inner_steps": 5, "first_order": False, **MSE}, FEW, RULE, STEPS),
    "LearnedOptimizer": Method(
        "LearnedOptimizer", WHOLE, {"n_inner_steps": 20, "truncation": 10, "scale": 0.01, **MSE}, FEW,
        {**RULE, "validate_every": 100}, {"n_steps": [1, 5, 10, 20]},
    ),
    "HyperNetwork": Method("HyperNetwork", {"encoder": IDENTITY, **WHOLE}, {"n_features": 1, **MSE}, TASKS, BASE),
    "NeuralProcess": Method("NeuralProcess", {"encoder": IDENTITY}, {"n_features": 1}, TASKS, BASE),
    "MetaNetwork": Method(
        "MetaNetwork", {"encoder": IDENTITY}, {"n_features": 1, "hidden": [40, 40], **MSE}, FEW,
        {**CLIPPED, "outer_lr": 2e-3},
    ),
}  # fmt: skip
SIZES = {"n_query": 100, "n_tasks": 600, "diverged_above": 25.0}
PUBLISHED = {
    "source": "Finn, Abbeel, Levine, 2017, arXiv 1703.03400: 5 points, after 1, 5 and 10 steps",
    "MAML": [0.67, 0.38, 0.35],
    "joint training": [2.41, 2.23, 2.19],
}
TESTS = {f"{n} points": {"n_shot": n, **SIZES} for n in (10, 5)}
STUDY = Study("sinusoids", METHODS, TESTS, "sinusoids", snapshots=(), published=PUBLISHED)
