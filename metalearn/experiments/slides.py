"""Drawn cells, none of them real: three new types from a few cells of one slide, sought on slides of other stains."""

from typing import Any

from metalearn.experiments.study import Method, Study


def conv4(n_outputs: int | None = None, norm: str = "frozen") -> dict[str, Any]:
    """Return the network: an encoder, or with outputs a network that adapts as a whole."""
    config = {"n_outputs": n_outputs, "in_channels": 3, "image_size": 32, "channels": 32, "norm": norm}
    return {"network": "Conv4", "config": {**config, "downsample": "stride"}}


ENCODER = {"encoder": conv4()}
PLAIN = {"encoder": {"network": "Moments", "config": {"channels": 3}}}
TASKS = {"n_tasks": 4, "n_way": 3, "n_shot": 5, "n_query": 5}
IMAGES = {"kind": "batches", "batch_size": 120, "n_types": 64}
FIT = {"max_seconds": 10, "validate_every": 250, "patience": 5, "how": "loop", "channels_last": True}
METHODS = {
    "raw pixels": Method("Prototypical", {"encoder": {"network": "Flatten", "config": {}}}, fit={"n_steps": 0}),
    "colour moments": Method("Prototypical", PLAIN, fit={"n_steps": 0}),
    "Transfer": Method("Transfer", ENCODER, {"n_classes": 64}, IMAGES, FIT),
    "Prototypical": Method("Prototypical", ENCODER, {}, TASKS, FIT),
    "MAML": Method("MAML", {"model": conv4(3, "support")}, {"inner_lr": 0.2, "n_inner_steps": 3}, TASKS, FIT),
}
SIZES = {"n_way": 3, "n_query": 5, "n_tasks": 600}
STUDY = Study("slides", METHODS, {f"{k}-shot": {"n_shot": k, **SIZES} for k in (5, 1)}, "slides", snapshots=())
