"""The learners of chapters 2 to 9 on glyphs, tested on 5-way 1-shot tasks: four convolutions of 32 channels for all."""

from typing import Any

from metalearn.experiments.study import Method, Study


def conv4(norm: str = "frozen", n_outputs: int | None = None, downsample: str = "stride") -> dict[str, Any]:
    """Return the network: an encoder, or with outputs a network that adapts as a whole."""
    config = {"n_outputs": n_outputs, "channels": 32, "norm": norm, "downsample": downsample}
    return {"network": "Conv4", "config": config}


ENCODER, WHOLE = {"encoder": conv4()}, {"model": conv4("support", 5)}
HEAD = {"network": "MLP", "config": {"sizes": [32, 5]}}
MAPS = {"encoder": conv4(downsample="maps"), "relation": {"network": "RelationModule", "config": {"channels": 32}}}
MAPS["relation"]["config"]["norm"] = "frozen"
WIDE = {"n_tasks": 1, "n_way": 20, "n_shot": 1, "n_query": 5}
IMAGES, PAIRS, TRIPLETS = (
    {"kind": kind, key: size} for kind, key, size in
    (("batches", "batch_size", 120), ("pairs", "n_pairs", 60), ("triplets", "n_triplets", 40))
)  # fmt: skip


def tasks(n_tasks: int, n_query: int = 5) -> dict[str, int]:
    """Return the sizes of a batch of 5-way 1-shot tasks."""
    return {"n_tasks": n_tasks, "n_way": 5, "n_shot": 1, "n_query": n_query}


FIT = {"max_seconds": 300, "patience": 8, "validate_every": 250, "channels_last": True}
CLIPPED = {"max_seconds": 600, "patience": 8, "validate_every": 250, "max_grad_norm": 10.0, "how": "vmap"}
SHORT = {**CLIPPED, "max_seconds": 400}
WRITES = {**FIT, "max_grad_norm": 10.0}
LAST = {"n_steps": [3]}
SLOW = {**CLIPPED, "outer_lr": 3e-3, "validate_every": 100, "how": "loop"}
TUNED = {"encoder_lr": 0.01, "inner_lr": 1.0, "n_inner_steps": 10}
RULE = {"n_inner_steps": 3}
STEPS = {"n_steps": [1, 3, 10]}
METHODS = {
    "raw pixels": Method("Prototypical", {"encoder": {"network": "Flatten", "config": {}}}, fit={"n_steps": 0}),
    "untrained": Method("Prototypical", ENCODER, {}, WIDE, {"n_steps": 0}),
    "Transfer": Method("Transfer", ENCODER, {"n_classes": 736}, IMAGES, FIT),
    "Transfer fine-tuned": Method("Transfer", ENCODER, {"n_classes": 736, **TUNED}, weights="Transfer"),
    "Siamese contrastive": Method("Siamese", ENCODER, {"margin": 10.0}, PAIRS, FIT),
    "Siamese logistic": Method("Siamese", ENCODER, {"pair_loss": "logistic"}, PAIRS, {**FIT, "head_lr": 0.05}),
    "Siamese triplet": Method("Siamese", ENCODER, {"pair_loss": "triplet", "margin": 50.0}, TRIPLETS, FIT),
    "Matching": Method("Matching", ENCODER, {"temperature": 0.1}, WIDE, FIT),
    "Matching full context": Method("Matching", ENCODER, {"temperature": 0.1, "full_context": True}, WIDE, FIT),
    "Prototypical": Method("Prototypical", ENCODER, {}, WIDE, FIT),
    "Relation": Method("Relation", MAPS, {}, tasks(4), {**FIT, "max_seconds": 400}),
    "MAML": Method("MAML", WHOLE, {"inner_lr": 0.4}, tasks(8), CLIPPED, STEPS),
    "first-order MAML": Method("MAML", WHOLE, {"inner_lr": 0.4, "first_order": True}, tasks(8), CLIPPED, STEPS),
    "Reptile": Method("Reptile", WHOLE, {"inner_lr": 0.3, "batch_size": 10}, tasks(4, 9), SHORT, STEPS),
    "ANIL": Method("ANIL", {**ENCODER, "head": HEAD}, {"inner_lr": 0.5, "n_inner_steps": 5}, tasks(8), SHORT, STEPS),
    "ImplicitMAML": Method(
        "ImplicitMAML", WHOLE, {"inner_lr": 0.4, "n_inner_steps": 5, "strength": 0.5, "n_cg_steps": 3}, tasks(4),
        SHORT, STEPS,
    ),
    "MetaSGD": Method("MetaSGD", WHOLE, {"initial_lr": 0.4}, tasks(8), CLIPPED, STEPS),
    "MetaLSTM": Method("MetaLSTM", WHOLE, {**RULE, "initial_lr": 0.3, "first_order": False}, tasks(4), SLOW, LAST),
    "LearnedOptimizer": Method("LearnedOptimizer", WHOLE, {**RULE, "scale": 0.01}, tasks(4), SLOW, LAST),
    "HyperNetwork": Method("HyperNetwork", ENCODER, {"per_class": True}, WIDE, WRITES),
    "NeuralProcess": Method("NeuralProcess", ENCODER, {"per_class": True}, WIDE, WRITES),
    "MetaNetwork": Method("MetaNetwork", ENCODER, {"n_way": 5}, tasks(4), {**SHORT, "how": "loop"}),
}  # fmt: skip
SIZES = {"n_query": 5, "n_tasks": 600}
TESTS = {f"{n}-way {k}-shot": {"n_way": n, "n_shot": k, **SIZES} for n, k in ((5, 1), (5, 5), (20, 1))}
STUDY = Study("glyphs", METHODS, TESTS, "glyphs")
