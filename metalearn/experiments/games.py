"""Games whose rules change: RL², trained on some rules, plays others, beside players who know or infer the rules."""

from metalearn.experiments import _players  # noqa: F401 - defines Untrained
from metalearn.experiments.study import Method, Study

SIZES = {"n_actions": 6, "n_features": 21, "width": 64}
FIT = {"outer_lr": 5e-3, "schedule": "cosine", "max_grad_norm": 1.0, "validate_every": 250}
REWARDS = {"n_plays": 8, "discount": 0.95, "trace": 1.0, "entropy": 0.03}
TASKS = {"kind": "tasks", "n_tasks": 384}
METHODS = {
    name: Method("Untrained", {}, {"player": name}, fit={"n_steps": 0})
    for name in ("minimax", "belief", "belief in the rules of training", "ignorant", "random")
}
METHODS["RL2 with a teacher"] = Method(
    "RL2", {}, {**SIZES, "teacher": True}, TASKS, {**FIT, "n_steps": 2_500, "max_seconds": 180}
)
METHODS["RL2"] = Method(
    "RL2", {}, {**SIZES, **REWARDS}, {**TASKS, "n_tasks": 48}, {**FIT, "n_steps": 2_500, "max_seconds": 180}
)
TESTS = {"8 games": {"kind": "tasks", "n_tasks": 1_000}}
STUDY = Study("games", METHODS, TESTS, "subtraction", snapshots=(), ship=("RL2 with a teacher",))
