"""Carts whose pushes go either way: MAML for reinforcement learning, beside joint training."""

from metalearn.experiments.study import Method, Study

POLICY = {"policy": {"network": "CategoricalPolicy", "config": {"sizes": [4, 32, 2]}}}
SIZES = {"inner_lr": 1.0, "n_episodes": 10, "n_test_episodes": 10}
TASKS, STEPS = {"kind": "tasks", "n_tasks": 10}, {"n_steps": [0, 1, 2]}
FIT = {"n_steps": 120, "max_seconds": 120, "outer_lr": 0.01, "validate_every": 40}
METHODS = {
    "MAML": Method("MAMLRL", POLICY, SIZES, TASKS, FIT, STEPS),
    "pretrained": Method(
        "MAMLRL", POLICY, {**SIZES, "n_inner_steps": 0}, TASKS, FIT, {**STEPS, "tune": {"inner_lr": [0.3, 1.0, 3.0]}}
    ),
}
TESTS = {"poles": {"kind": "tasks", "n_tasks": 600}}
STUDY = Study("cart_poles", METHODS, TESTS, "cart_poles", snapshots=(), ship=("MAML",))
