"""Intents of new domains from a few sentences: trained encoders against TF-IDF; CLINC150, tested on BANKING77 too."""

from typing import Any

from metalearn.experiments.study import Method, Study

N_TRAIN = 75  # intents
BAG = {"encoder": {"network": "BagOfTokens", "config": {"n_tokens": 2402, "n_features": 64}}}
TRANSFORMER = {"encoder": {"network": "TextTransformer", "config": {"n_tokens": 2402, "n_features": 48}}}
PLAIN = {"encoder": {"network": "Identity", "config": {}}}
HEAD = {"network": "MLP", "config": {"sizes": [64, 5]}}
WIDE = {"n_tasks": 1, "n_way": 20, "n_shot": 1, "n_query": 5}
BATCHES = {"kind": "batches", "batch_size": 120}
FIT: dict[str, Any] = {"max_seconds": 20, "patience": 5, "validate_every": 500, "outer_lr": 5e-3}
SLOW: dict[str, Any] = {"max_seconds": 30, "patience": 5, "validate_every": 250, "outer_lr": 1e-3}
GIVEN: dict[str, Any] = {"fit": {"n_steps": 0}, "data": "intents:tfidf"}
PIECES = {**GIVEN, "data": "intents:tfidf-pieces"}
METHODS = {
    "TF-IDF nearest mean": Method("Prototypical", PLAIN, {"distance": "cosine"}, **GIVEN),
    "TF-IDF nearest neighbour": Method("Matching", PLAIN, {"temperature": 0.01}, **GIVEN),
    "TF-IDF logistic regression": Method("Transfer", PLAIN, {"n_classes": N_TRAIN, "n_features": 4000}, **GIVEN),
    "TF-IDF learned weights": Method(
        "Prototypical", {"encoder": {"network": "TokenWeights", "config": {"n_features": 4000}}},
        {"distance": "cosine", "temperature": 0.1},
        {"n_tasks": 4, "n_way": 10, "n_shot": 5, "n_query": 5, "within": "group"},
        {**FIT, "outer_lr": 1e-2, "validate_every": 100, "validate_on": "CLINC150 5-shot"}, data="intents:tfidf",
    ),
    "TF-IDF of pieces, nearest mean": Method("Prototypical", PLAIN, {"distance": "cosine"}, **PIECES),
    "TF-IDF of pieces, logistic regression": Method(
        "Transfer", PLAIN, {"n_classes": N_TRAIN, "n_features": 2400}, **PIECES
    ),
    "TF-IDF of pieces, learned weights": Method(
        "Prototypical", {"encoder": {"network": "TokenWeights", "config": {"n_features": 2400}}},
        {"distance": "cosine", "temperature": 0.1},
        {"n_tasks": 4, "n_way": 10, "n_shot": 5, "n_query": 5, "within": "group"},
        {**FIT, "outer_lr": 1e-2, "validate_every": 100, "validate_on": "CLINC150 5-shot"}, data="intents:tfidf-pieces",
    ),
    "bag, untrained": Method("Prototypical", BAG, fit={"n_steps": 0}),
    "bag, Transfer": Method(
        "Transfer", BAG, {"n_classes": N_TRAIN}, BATCHES, {**FIT, "validate_every": 1000, "outer_lr": 1e-3}
    ),
    "bag, Prototypical": Method("Prototypical", BAG, {}, WIDE, FIT),
    "bag, ANIL": Method(
        "ANIL", {**BAG, "head": HEAD}, {"inner_lr": 0.5, "n_inner_steps": 5},
        {"n_tasks": 8, "n_way": 5, "n_shot": 1, "n_query": 5},
        {**FIT, "max_grad_norm": 10.0, "how": "vmap"},
    ),
    "transformer, Transfer": Method("Transfer", TRANSFORMER, {"n_classes": N_TRAIN}, BATCHES, SLOW),
    "transformer, Prototypical": Method("Prototypical", TRANSFORMER, {}, WIDE, SLOW),
}  # fmt: skip
CLINC150, BANKING77 = ["banking", "credit_cards", "travel"], ["banking77"]
SIZES: dict[str, Any] = {"n_way": 5, "n_query": 5, "n_tasks": 600}
TESTS = {
    "CLINC150 1-shot": {"n_shot": 1, "only": CLINC150, **SIZES},
    "CLINC150 5-shot": {"n_shot": 5, "only": CLINC150, **SIZES},
    "CLINC150 5-shot, out of scope": {"n_shot": 5, "only": CLINC150, "unknown": ["out_of_scope"], **SIZES},
    "BANKING77 1-shot": {"n_shot": 1, "only": BANKING77, **SIZES},
    "BANKING77 5-shot": {"n_shot": 5, "only": BANKING77, **SIZES},
}
STUDY = Study("intents", METHODS, TESTS, "intents", snapshots=(), ship=False)
