"""A point that has to find its goal: MAML for reinforcement learning, beside joint training, no training, an oracle."""

from metalearn.experiments.study import Method, Study


def policy(n_observations: int) -> dict[str, object]:
    """Return the policy of all methods as plain data: 2 layers of 100 units."""
    sizes = [n_observations, 100, 100, 2]
    return {"policy": {"network": "GaussianPolicy", "config": {"sizes": sizes, "init_std": 1.0}}}


TASKS = {"kind": "tasks", "n_tasks": 20}
TRAINED = {"n_steps": 200, "max_seconds": 420, "outer_lr": 1.0, "optimizer": "sgd", "validate_every": 20}
JOINT = {**TRAINED, "n_steps": 100, "max_seconds": 120}
STEPS = {"n_steps": [0, 1, 2, 3]}
RATES = [[rate, rate / 2] for rate in (0.1, 0.2, 0.5, 1.0, 2.0)]
METHODS = {
    "MAML": Method("MAMLRL", policy(2), {"inner_lr": [0.5, 0.25]}, TASKS, TRAINED, STEPS),
    "pretrained": Method(
        "MAMLRL", policy(2), {"n_inner_steps": 0, "inner_lr": 0.5}, TASKS, JOINT, {**STEPS, "tune": {"inner_lr": RATES}}
    ),
    "random": Method(
        "MAMLRL", policy(2), {"inner_lr": 0.5}, fit={"n_steps": 0}, test={**STEPS, "tune": {"inner_lr": RATES}}
    ),
    "oracle": Method(
        "MAMLRL", policy(4), {"n_inner_steps": 0}, TASKS, JOINT, {"n_steps": [0]}, data="navigation_shown"
    ),
}
TESTS = {"goals": {"kind": "tasks", "n_tasks": 600}}
PUBLISHED = {
    "source": "Finn, Abbeel, Levine, 2017, arXiv 1703.03400: mean return after 0, 1, 2 and 3 steps",
    "MAML": [-40.41, -11.68, -3.33, -3.23],
}
STUDY = Study("navigation", METHODS, TESTS, "navigation", snapshots=(), published=PUBLISHED, ship=("MAML",))
