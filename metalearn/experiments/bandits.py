"""Bandits: RL², trained on many, beside players by index, by chance and by the posterior, and the best there can be."""

from metalearn.experiments import _players  # noqa: F401 - defines Untrained
from metalearn.experiments.study import Method, Study

SHORT = {"width": 48, "n_plays": 8, "discount": 1.0, "trace": 0.9, "entropy": 0.03}
LONG = {**SHORT, "discount": 0.97, "trace": 1.0, "entropy": 0.04}
FIT = {"outer_lr": 1e-2, "schedule": "cosine", "max_grad_norm": 1.0, "validate_every": 250}
SIZES = {  # of RL²: its options, its training, and the tasks of an outer step, which are played eight times
    (2, 20): (SHORT, {"n_steps": 2_000, "max_seconds": 120}, 64),
    (5, 10): (SHORT, {"n_steps": 4_000, "max_seconds": 120}, 64),
    (5, 100): (LONG, {"n_steps": 2_000, "max_seconds": 600, "validate_every": 1_000}, 64),
}
PLAYERS = {"random": 1.0, "greedy": 1.0, "epsilon-greedy": 0.1, "UCB1": 0.2, "Thompson": 1.0}


def methods(n_arms: int, n_pulls: int) -> dict[str, Method]:
    """Return all players of bandits of one size."""
    data, name = f"bandits_{n_arms}_{n_pulls}", f"{n_arms} arms, {n_pulls} pulls"
    options, training, n_tasks = SIZES[n_arms, n_pulls]
    players = {**PLAYERS, "Gittins": 1 - 1 / n_pulls, **({"Bayes-optimal": 1.0} if n_arms == 2 else {})}
    found = {
        player: Method("Untrained", {}, {"player": player, "setting": setting}, fit={"n_steps": 0}, data=data)
        for player, setting in players.items()
    }
    found["RL2"] = Method(
        "RL2",
        {},
        {"n_actions": n_arms, **options},
        {"kind": "tasks", "n_tasks": n_tasks},
        {**FIT, **training},
        data=data,
    )
    return {f"{player}, {name}": method for player, method in found.items()}


METHODS = {label: method for sizes in SIZES for label, method in methods(*sizes).items()}
PUBLISHED = {  # mean total reward after 10, 100 and 500 pulls of five arms
    "source": "Duan et al., 2016, arXiv 1611.02779, as quoted by Mishra et al., 2017, arXiv 1707.03141, table 3",
    "Gittins": [6.6, 78.3, 405.8],
    "random": [5.0, 49.9, 249.8],
    "RL2": [6.7, 78.7, 401.5],
}
TESTS = {"bandits": {"kind": "tasks", "n_tasks": 2_000}}
STUDY = Study("bandits", METHODS, TESTS, "bandits_5_10", snapshots=(), published=PUBLISHED)
