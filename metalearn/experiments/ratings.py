"""New users of a made-up world of ratings: few ratings of each, many of others; averages, fold-in and meta-learners."""

from typing import Any

from metalearn.experiments import _closed  # noqa: F401 - defines KnownItems
from metalearn.experiments.study import Method, Study

N_ITEMS, N_SIDE, N_FEATURES = 300, 8, 8


def net(name: str, /, **config: Any) -> dict[str, Any]:
    """Return a network as plain data."""
    return {"network": name, "config": config}


def averages(**options: Any) -> Method:
    """Return matrix factorisation without factors."""
    args = {"n_items": N_ITEMS, "n_factors": 0, "bias_penalty": 4.0, **options}
    return Method("MatrixFactorization", {}, args, {"kind": "table"}, {**SWEEPS, "n_steps": 10})


RIDGE = {"n_outputs": 1, "strength": 3.0, "n_inner_steps": 1, "loss_fn": "mse_loss"}
STEPS = {"inner_lr": 0.1, "n_inner_steps": 5, "loss_fn": "mse_loss"}
ITEMS = {"encoder": net("ItemEncoder", n_items=N_ITEMS, n_side=N_SIDE, n_features=N_FEATURES)}
USERS: dict[str, Any] = {"n_tasks": 128, "n_shot": [1, 20], "n_query": 10}
SWEEPS: dict[str, Any] = {"outer_lr": 1.0, "optimizer": "sgd", "validate_every": 5, "validate_on": "5 ratings"}
FIT: dict[str, Any] = {"n_steps": 1000, "outer_lr": 1e-2, "schedule": "cosine", "max_grad_norm": 10.0, "how": "vmap"}
FIT |= {"max_seconds": 60, "validate_every": 250, "validate_on": "5 ratings"}
USER_ONLY = {"head.user": 0.2, "head.weight": 0.0}
USER_ONLY |= {f"head.all.{layer}.{name}": 0.0 for layer in (0, 2) for name in ("weight", "bias")}
METHODS = {
    "global mean": averages(item_bias=False, user_bias=False),
    "item averages": averages(user_bias=False),
    "item and user averages": averages(),
    "fold-in": Method(
        "MatrixFactorization", {}, {"n_items": N_ITEMS, "n_factors": 5, "factor_penalty": 3.0},
        {"kind": "table"}, {**SWEEPS, "n_steps": 20},
    ),
    "ridge on side features": Method(
        "Shrinkage", {"encoder": net("Part", name="features")},
        {"n_features": N_SIDE, **RIDGE}, USERS, {**FIT, "n_steps": 500, "head_lr": 0.05},
    ),
    "Shrinkage": Method(
        "Shrinkage", ITEMS, RIDGE, USERS, {**FIT, "head_lr": 0.05}
    ),
    "ANIL": Method(
        "ANIL", {**ITEMS, "head": net("MLP", sizes=[N_FEATURES, 1])}, STEPS, USERS, FIT,
    ),
    "MeLU": Method(
        "ANIL", {**ITEMS, "head": net("MLP", sizes=[N_FEATURES, 32, 1])}, STEPS, USERS, FIT,
    ),
    "CAVIA": Method(
        "ANIL", {**ITEMS, "head": net("UserHead", n_features=N_FEATURES)},
        {**STEPS, "inner_lr": USER_ONLY}, USERS, FIT,
    ),
    "NeuralProcess": Method(
        "NeuralProcess", ITEMS, {"n_hidden": 128, "n_embedding": 64}, USERS, {**FIT, "n_steps": 1500, "outer_lr": 5e-3}
    ),
    "known items": Method("KnownItems", fit={"n_steps": 0, "how": "loop"}),
}  # fmt: skip
TESTS = {
    f"{n} rating{'s' * (n > 1)}{suffix}": {"kind": "users", "n_shot": n, "n_tasks": 600, "metric": metric}
    for suffix, metric in (("", "rmse"), (", ndcg@10", "ndcg@10"))
    for n in (1, 2, 5, 10, 20)
}
SHIPPED = tuple(label for label in METHODS if label not in ("NeuralProcess", "known items"))
STUDY = Study("ratings", METHODS, TESTS, "ratings", snapshots=(), ship=SHIPPED)
