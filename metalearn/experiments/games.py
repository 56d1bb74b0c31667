"""Games whose rules change: RL², trained on some rules, plays others, beside players who know or infer the rules."""

from metalearn.experiments import _players  # noqa: F401 - defines Untrained
from metalearn.experiments.study import Method, Study

SIZES = {"n_actions": 5, "n_features": 20, "width": 48}
RL2 = {"n_plays": 8, "discount": 0.95, "trace": 1.0, "entropy": 0.03}
FIT = {"n_steps": 3_000, "max_seconds": 180, "outer_lr": 1e-2, "schedule": "cosine", "max_grad_norm": 1.0}
METHODS = {
    name: Method("Untrained", {}, {"player": name}, fit={"n_steps": 0})
    for name in ("minimax", "belief", "belief in the rules of training", "ignorant", "random")
}
METHODS["RL2"] = Method("RL2", {}, {**SIZES, **RL2}, {"kind": "tasks", "n_tasks": 48}, {**FIT, "validate_every": 250})
STUDY = Study("games", METHODS, {"8 games": {"kind": "tasks", "n_tasks": 1_000}}, "subtraction", snapshots=())
