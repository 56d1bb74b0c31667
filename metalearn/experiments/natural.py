"""New kinds of animals, flowers and trees: colour photographs of 32 pixels, ordinary training against meta-learning."""

from typing import Any

from metalearn.experiments.study import Method, Study


def conv4(norm: str = "frozen", n_outputs: int | None = None) -> dict[str, Any]:
    """Return the network: an encoder, or with outputs a network that adapts as a whole."""
    config = {"n_outputs": n_outputs, "in_channels": 3, "image_size": 32, "channels": 32, "norm": norm}
    return {"network": "Conv4", "config": config}


ENCODER, WHOLE = {"encoder": conv4()}, {"model": conv4("support", 5)}
IMAGES = {"kind": "batches", "batch_size": 100}
FIVE_WAY = {"n_tasks": 2, "n_way": 5, "n_shot": 5, "n_query": 5}
TWENTY_WAY = {"n_tasks": 1, "n_way": 20, "n_shot": 1, "n_query": 5}
FIT = {"max_seconds": 60, "validate_every": 250, "channels_last": True, "validate_on": "5-way 5-shot"}
INNER = {"max_seconds": 60, "validate_every": 200, "max_grad_norm": 10.0, "how": "loop", "validate_on": "5-way 5-shot"}
MEANS = {"head": "cosine", "n_inner_steps": 0}  # nothing of a new head is trained: each row is a class's mean direction
TUNED = {"encoder_lr": 0.01, "inner_lr": 1.0, "n_inner_steps": 10}
METHODS = {
    "raw pixels": Method("Prototypical", {"encoder": {"network": "Flatten", "config": {}}}, fit={"n_steps": 0}),
    "untrained": Method("Prototypical", ENCODER, {}, TWENTY_WAY, {"n_steps": 0}),
    "Transfer": Method("Transfer", ENCODER, {"n_classes": 33}, IMAGES, FIT),
    "Transfer nearest mean": Method("Transfer", ENCODER, {"n_classes": 33, **MEANS}, weights="Transfer"),
    "Transfer fine-tuned": Method("Transfer", ENCODER, {"n_classes": 33, **TUNED}, weights="Transfer"),
    "Prototypical": Method("Prototypical", ENCODER, {}, TWENTY_WAY, FIT),
    "HyperNetwork": Method("HyperNetwork", ENCODER, {"per_class": True}, TWENTY_WAY, {**FIT, "max_grad_norm": 10.0}),
    "MAML": Method("MAML", WHOLE, {"inner_lr": 0.1}, FIVE_WAY, INNER, {"n_steps": [1, 3]}),
}  # fmt: skip
SIZES = {"n_query": 5, "n_tasks": 600}
TESTS = {f"5-way {k}-shot": {"n_way": 5, "n_shot": k, **SIZES} for k in (1, 5)}
STUDY = Study("natural", METHODS, TESTS, "cifar100:nature", snapshots=(), ship=False)
