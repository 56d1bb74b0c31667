"""A point that has to find its goal: MAML for reinforcement learning, beside joint training, no training, an oracle."""

from metalearn.experiments.study import Method, Study


def policy(n_observations: int) -> dict[str, object]:
    """Return the policy of all methods as plain data: 2 layers of 100 units."""
    sizes = [n_observations, 100, 100, 2]
    return {"policy": {"network": "GaussianPolicy", "config": {"sizes": sizes, "init_std": 0.5}}}


TASKS = {"kind": "tasks", "n_tasks": 20}
FIT = {"n_steps": 120, "max_seconds": 300, "outer_lr": 0.008, "schedule": "cosine", "validate_every": 40}
STEPS = {"n_steps": [0, 1, 2, 3]}
MANY, LONG = {"kind": "tasks", "n_tasks": 40}, {**FIT, "n_steps": 100, "outer_lr": 0.006, "validate_every": 50}
RATES = [0.4, 0.2, 0.1]
LATER = {**STEPS, "tune": {"inner_lr": [RATES, [0.4, 0.16, 0.08], [0.4, 0.12, 0.06]]}}  # those after the first step
NEVER = {"inner_lr": 0.2, "n_inner_steps": 0}
TUNED = {**STEPS, "tune": {"inner_lr": [[rate, rate / 2] for rate in (0.05, 0.2, 0.8)]}}
METHODS = {
    "MAML": Method("MAMLRL", policy(2), {"inner_lr": RATES}, MANY, LONG, LATER),
    "oracle": Method("MAMLRL", policy(4), NEVER, TASKS, FIT, {"n_steps": [0]}, data="navigation_shown"),
    "pretrained": Method("MAMLRL", policy(2), NEVER, TASKS, FIT, TUNED),
    "random": Method("MAMLRL", policy(2), NEVER, fit={"n_steps": 0}, test=TUNED),
    "naive MAML": Method("MAMLRL", policy(2), {"inner_lr": RATES, "estimator": "naive"}, MANY, LONG, LATER),
}
TESTS = {"goals": {"kind": "tasks", "n_tasks": 600}}
PUBLISHED = {
    "source": "Finn, Abbeel, Levine, 2017, arXiv 1703.03400: mean return after 0, 1, 2 and 3 steps",
    "MAML": [-40.41, -11.68, -3.33, -3.23],
}
STUDY = Study("navigation", METHODS, TESTS, "navigation", snapshots=(), published=PUBLISHED, ship=("MAML",))
