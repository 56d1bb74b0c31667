"""Diagnosis at a new site from few labelled patients: pooled models, shrinkage, meta-learning."""

from typing import Any

from metalearn.experiments.study import Method, Study


def mlp(*sizes: int, norm: str = "none") -> dict[str, Any]:
    """Return a multilayer perceptron as plain data."""
    return {"network": "MLP", "config": {"sizes": sizes, "norm": norm}}


RAW, LINEAR, WHOLE, ENCODER = {"network": "Identity", "config": {}}, mlp(40, 2), mlp(40, 32, 32, 2), mlp(40, 32, 32)
FEATURES = {"encoder": RAW}
TASKS = {"n_tasks": 16, "n_way": 2, "n_shot": 5, "n_query": 15}
FIT = {"n_steps": 4_000, "max_seconds": 20, "outer_lr": 3e-3, "validate_every": 200, "patience": 5, "how": "vmap"}
PRIOR = {**FIT, "outer_lr": 1e-2}
NONE = {"n_steps": 0}
POOLED = {"n_features": 40, "n_inner_steps": 0}
STRENGTHS = {"n_steps": [8], "tune": {"strength": [0.1, 0.3, 1.0, 3.0, 10.0, 30.0]}}
RATES = {"n_steps": [10], "tune": {"inner_lr": [0.01, 0.03, 0.1, 0.3, 1.0]}}
METHODS = {
    "raw features": Method("Prototypical", {"encoder": RAW}, fit=NONE),
    "site alone": Method("Shrinkage", FEATURES, {"n_features": 40}, fit=NONE, test=STRENGTHS),
    "pooled": Method("Shrinkage", FEATURES, POOLED, TASKS, PRIOR, {"n_steps": [0]}),
    "pooled network": Method("MAML", {"model": WHOLE}, {"inner_lr": 0.1, "n_inner_steps": 0}, TASKS, FIT,
                             {"n_steps": [0]}),
    "pooled, site's statistics": Method(
        "MAML", {"model": mlp(40, 32, 32, 2, norm="support")}, {"inner_lr": 0.1, "n_inner_steps": 0}, TASKS, FIT,
        {"n_steps": [0]},
    ),
    "Transfer": Method("Transfer", {"encoder": ENCODER}, {"n_classes": 2}, {"kind": "batches", "batch_size": 240}, FIT),
    "fine-tuned": Method("MAML", {"model": WHOLE}, {"inner_lr": 0.1, "n_inner_steps": 10}, test=RATES,
                         weights="pooled network"),
    "shrunk to pooled": Method("Shrinkage", FEATURES, {"n_features": 40}, test=STRENGTHS, weights="pooled"),
    "learned shrinkage": Method("Shrinkage", FEATURES, {"n_features": 40}, TASKS, PRIOR),
    "learned shrinkage of features": Method("Shrinkage", {"encoder": ENCODER}, {}, TASKS, FIT),
    "linear MAML": Method("MAML", {"model": LINEAR}, {"inner_lr": 0.3, "n_inner_steps": 5}, TASKS, PRIOR),
    "MAML": Method("MAML", {"model": WHOLE}, {"inner_lr": 0.3, "n_inner_steps": 3}, TASKS, FIT),
    "ANIL": Method("ANIL", {"encoder": ENCODER, "head": mlp(32, 2)}, {"inner_lr": 0.3, "n_inner_steps": 5}, TASKS, FIT),
    "Prototypical": Method("Prototypical", {"encoder": ENCODER}, {}, TASKS, FIT),
}  # fmt: skip
SIZES = {"n_way": 2, "n_query": 15, "n_tasks": 600}
TESTS = {f"{2 * k} patients": {"n_shot": k, **SIZES} for k in (5, 2, 10, 20)}
STUDY = Study("sites", METHODS, TESTS, "sites", snapshots=())
