"""Which relation a sentence states: trained encoders against TF-IDF; FewRel's public part, divided by domain."""

from typing import Any

from metalearn.experiments.study import Method, Study

N_TRAIN = 30  # relations
BAG = {"encoder": {"network": "BagOfTokens", "config": {"n_tokens": 2002, "n_features": 64}}}
TRANSFORMER = {
    "encoder": {"network": "TextTransformer", "config": {"n_tokens": 2002, "n_features": 48, "max_length": 40}}
}
PLAIN = {"encoder": {"network": "Identity", "config": {}}}
HEAD = {"network": "MLP", "config": {"sizes": [64, 5]}}
WIDE = {"n_tasks": 1, "n_way": 20, "n_shot": 1, "n_query": 5}
FIT: dict[str, Any] = {"max_seconds": 12, "patience": 5, "validate_every": 500, "outer_lr": 5e-3}
SLOW: dict[str, Any] = {"max_seconds": 20, "patience": 5, "validate_every": 250, "outer_lr": 1e-3}
GIVEN: dict[str, Any] = {"fit": {"n_steps": 0}, "data": "relations:tfidf"}
PIECES = {**GIVEN, "data": "relations:tfidf-pieces"}
METHODS = {
    "TF-IDF nearest mean": Method("Prototypical", PLAIN, {"distance": "cosine"}, **GIVEN),
    "TF-IDF logistic regression": Method("Transfer", PLAIN, {"n_classes": N_TRAIN, "n_features": 4000}, **GIVEN),
    "TF-IDF learned weights": Method(
        "Prototypical", {"encoder": {"network": "TokenWeights", "config": {"n_features": 4000}}},
        {"distance": "cosine", "temperature": 0.1},
        {"n_tasks": 4, "n_way": 10, "n_shot": 5, "n_query": 5},
        {**FIT, "outer_lr": 1e-2, "validate_every": 100, "validate_on": "5-shot"}, data="relations:tfidf",
    ),
    "TF-IDF of pieces, nearest mean": Method("Prototypical", PLAIN, {"distance": "cosine"}, **PIECES),
    "TF-IDF of pieces, logistic regression": Method(
        "Transfer", PLAIN, {"n_classes": N_TRAIN, "n_features": 2000}, **PIECES
    ),
    "TF-IDF of pieces, learned weights": Method(
        "Prototypical", {"encoder": {"network": "TokenWeights", "config": {"n_features": 2000}}},
        {"distance": "cosine", "temperature": 0.1},
        {"n_tasks": 4, "n_way": 10, "n_shot": 5, "n_query": 5},
        {**FIT, "outer_lr": 1e-2, "validate_every": 100, "validate_on": "5-shot"}, data="relations:tfidf-pieces",
    ),
    "bag, untrained": Method("Prototypical", BAG, fit={"n_steps": 0}),
    "bag, Transfer": Method(
        "Transfer", BAG, {"n_classes": N_TRAIN}, {"kind": "batches", "batch_size": 120}, {**FIT, "outer_lr": 1e-3}
    ),
    "bag, Prototypical": Method("Prototypical", BAG, {}, WIDE, FIT),
    "bag, ANIL": Method(
        "ANIL", {**BAG, "head": HEAD}, {"inner_lr": 0.5, "n_inner_steps": 5},
        {"n_tasks": 8, "n_way": 5, "n_shot": 1, "n_query": 5},
        {**FIT, "max_grad_norm": 10.0, "how": "vmap"},
    ),
    "transformer, Prototypical": Method("Prototypical", TRANSFORMER, {}, WIDE, SLOW),
}  # fmt: skip
SIZES = {"n_way": 5, "n_query": 5, "n_tasks": 600}
TESTS = {"1-shot": {"n_shot": 1, **SIZES}, "5-shot": {"n_shot": 5, **SIZES}}
STUDY = Study("relations", METHODS, TESTS, "relations", snapshots=(), ship=False)
