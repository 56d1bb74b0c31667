"""Bandits: RL², trained on many, beside players by index, by chance and by the posterior, and the best there can be."""

from metalearn.experiments import _players  # noqa: F401 - defines Untrained
from metalearn.experiments.study import Method, Study

RL2 = {"width": 48, "trace": 0.9, "entropy": 0.03, "n_plays": 8}
FIT = {"outer_lr": 1e-2, "schedule": "cosine", "max_grad_norm": 1.0, "validate_every": 250}
SIZES = {  # discount of RL² and its training: outer steps, tasks of each, which are played eight times
    (2, 20): (1.0, {"n_steps": 2_000, "max_seconds": 120}, 64),
    (5, 10): (1.0, {"n_steps": 4_000, "max_seconds": 120}, 64),
    (5, 100): (0.97, {"n_steps": 2_000, "max_seconds": 300}, 32),
}
PLAYERS = {"random": None, "greedy": None, "epsilon-greedy": 0.1, "UCB1": 0.2, "Thompson": None, "Gittins": 0.99}


def methods(n_arms: int, n_pulls: int) -> dict[str, Method]:
    """Return all players of bandits of one size."""
    data, name = f"bandits_{n_arms}_{n_pulls}", f"{n_arms} arms, {n_pulls} pulls"
    discount, training, n_tasks = SIZES[n_arms, n_pulls]
    found = {
        player: Method("Untrained", {}, {"player": player, "setting": setting}, fit={"n_steps": 0}, data=data)
        for player, setting in {**PLAYERS, **({"Bayes-optimal": None} if n_arms == 2 else {})}.items()
    }
    found["RL2"] = Method(
        "RL2",
        {},
        {"n_actions": n_arms, "discount": discount, **RL2},
        {"kind": "tasks", "n_tasks": n_tasks},
        {**FIT, **training},
        data=data,
    )
    return {f"{player}, {name}": method for player, method in found.items()}


METHODS = {label: method for sizes in SIZES for label, method in methods(*sizes).items()}
STUDY = Study("bandits", METHODS, {"bandits": {"kind": "tasks", "n_tasks": 2_000}}, "bandits_5_10", snapshots=())
