"""Noisy linear problems: a transformer that reads them, beside least squares, the Bayes-optimal ridge, and MAML."""

from metalearn.experiments import _closed  # noqa: F401 - defines RidgeRegression
from metalearn.experiments.study import Method, Study

VECTORS = {"encoder": {"network": "Identity", "config": {}}}
LINEAR = {"model": {"network": "MLP", "config": {"sizes": [5, 1]}}}
TASKS = {"n_tasks": 32, "n_shot": 10, "n_query": 10}
READS = {"n_features": 5, "hide_support": True}
FIT = {"n_steps": 9_000, "max_seconds": 300, "schedule": "cosine", "max_grad_norm": 1.0, "validate_every": 500}
FIT |= {"how": "vmap", "validate_on": "10 examples"}
SHORT = {**FIT, "n_steps": 1_000, "max_seconds": 60}
NONE = {"n_steps": 0}
TUNED = {"n_steps": [10], "tune": {"inner_lr": [0.01, 0.03, 0.1]}}
METHODS = {
    "least squares": Method("RidgeRegression", {}, {"penalty": 0.0}, fit=NONE),
    "ridge": Method("RidgeRegression", {}, {"penalty": 0.25}, fit=NONE),
    "MAML": Method("MAML", LINEAR, {"inner_lr": 0.1, "n_inner_steps": 10, "loss_fn": "mse_loss"}, TASKS, SHORT, TUNED),
    "InContext": Method("InContext", VECTORS, READS, TASKS, FIT),
}
SIZES = {"n_query": 20, "n_tasks": 600, "diverged_above": 100.0}
TESTS = {f"{n} examples": {"n_shot": n, **SIZES} for n in (*range(1, 11), 20)}
STUDY = Study("linear_problems", METHODS, TESTS, "linear_problems", snapshots=())
