"""Naming a language from a few names of countries: encoders of character runs, against TF-IDF; pycountry's names."""

from typing import Any

from metalearn.experiments.study import Method, Study

N_TRAIN = 58  # languages
ENCODER = {"encoder": {"network": "BagOfTokens", "config": {"n_tokens": 2402, "n_features": 64}}}
PLAIN = {"encoder": {"network": "Identity", "config": {}}}
HEAD = {"network": "MLP", "config": {"sizes": [64, 5]}}
WIDE = {"n_tasks": 1, "n_way": 20, "n_shot": 1, "n_query": 5}
ONE_SCRIPT = {"n_tasks": 4, "n_way": 6, "n_shot": 1, "n_query": 5, "within": "group"}
FIT: dict[str, Any] = {"max_seconds": 20, "patience": 5, "validate_every": 500, "outer_lr": 5e-3}
GIVEN: dict[str, Any] = {"fit": {"n_steps": 0}, "data": "languages:tfidf"}
ANIL = {"inner_lr": 0.5, "n_inner_steps": 5}
METHODS = {
    "TF-IDF nearest mean": Method("Prototypical", PLAIN, {"distance": "cosine"}, **GIVEN),
    "TF-IDF nearest neighbour": Method("Matching", PLAIN, {"temperature": 0.01}, **GIVEN),
    "TF-IDF logistic regression": Method("Transfer", PLAIN, {"n_classes": N_TRAIN, "n_features": 2400}, **GIVEN),
    "TF-IDF learned weights": Method(
        "Prototypical", {"encoder": {"network": "TokenWeights", "config": {"n_features": 2400}}},
        {"distance": "cosine", "temperature": 0.1},
        {"n_tasks": 4, "n_way": 6, "n_shot": 5, "n_query": 5, "within": "group"},
        {**FIT, "outer_lr": 1e-2, "validate_every": 100, "validate_on": "5-shot, one script"}, data="languages:tfidf",
    ),
    "untrained": Method("Prototypical", ENCODER, fit={"n_steps": 0}),
    "Transfer": Method(
        "Transfer", ENCODER, {"n_classes": N_TRAIN}, {"kind": "batches", "batch_size": 120}, {**FIT, "outer_lr": 1e-3}
    ),
    "Prototypical": Method("Prototypical", ENCODER, {}, WIDE, FIT),
    "Prototypical one script": Method(
        "Prototypical", ENCODER, {}, ONE_SCRIPT, {**FIT, "validate_on": "1-shot, one script"}
    ),
    "ANIL": Method(
        "ANIL", {**ENCODER, "head": HEAD}, ANIL, {"n_tasks": 8, "n_way": 5, "n_shot": 1, "n_query": 5},
        {**FIT, "max_seconds": 25, "max_grad_norm": 10.0, "how": "vmap"},
    ),
}  # fmt: skip
SIZES: dict[str, Any] = {"n_way": 5, "n_query": 5, "n_tasks": 600}
TESTS = {
    "1-shot": {"n_shot": 1, **SIZES},
    "5-shot": {"n_shot": 5, **SIZES},
    "1-shot, one script": {"n_shot": 1, "within": "group", **SIZES},
    "5-shot, one script": {"n_shot": 5, "within": "group", **SIZES},
}
SHIP = ("Prototypical", "TF-IDF learned weights")
STUDY = Study("languages", METHODS, TESTS, "languages", snapshots=(), ship=SHIP)
