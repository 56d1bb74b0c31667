"""Omniglot in the split of Vinyals et al., characters turned by 90 degrees being classes of their own."""

from metalearn.experiments.study import Method, Study

ENCODER = {"encoder": {"network": "Conv4", "config": {"channels": 64, "norm": "frozen", "downsample": "pool"}}}
WHOLE = {
    "model": {
        "network": "Conv4", "config": {"n_outputs": 5, "channels": 64, "norm": "support", "downsample": "stride"}
    }
}  # fmt: skip
FIT = {"n_steps": 2_000, "schedule": "cosine", "max_seconds": 3_600, "validate_every": 250, "channels_last": True}
ONE, FIVE = ({"n_tasks": 1, "n_way": 60, "n_shot": k, "n_query": 5} for k in (1, 5))
MAML = {"n_tasks": 16, "n_way": 5, "n_shot": 1, "n_query": 5}
METHODS = {
    "Prototypical": Method("Prototypical", ENCODER, {}, ONE, FIT),
    "Prototypical 5-shot": Method("Prototypical", ENCODER, {}, FIVE, {**FIT, "validate_on": "5-way 5-shot"}),
    "MAML": Method(
        "MAML", WHOLE, {"inner_lr": 0.4}, MAML,
        {"n_steps": 60_000, "max_seconds": 7_200, "max_grad_norm": 10.0, "how": "vmap", "validate_every": 500},
        {"n_steps": [1, 3]},
    ),
}  # fmt: skip
SIZES = {"n_query": 5, "n_tasks": 600}
TESTS = {f"{n}-way {k}-shot": {"n_way": n, "n_shot": k, **SIZES} for n in (5, 20) for k in (1, 5)}
PUBLISHED = {
    "source": "Snell, Swersky, Zemel, 2017, arXiv 1703.05175, table 1",
    "Prototypical": {"5-way 1-shot": 98.8, "5-way 5-shot": 99.7, "20-way 1-shot": 96.0, "20-way 5-shot": 98.9},
}
STUDY = Study("omniglot", METHODS, TESTS, "omniglot:vinyals", published=PUBLISHED)
