"""Across domains: one network, trained on each source of grey images in turn, tested on new classes of all sources."""

from metalearn.experiments.study import Method, Study

ENCODER = {
    "encoder": {"network": "Conv4", "config": {"channels": 32, "norm": "frozen", "downsample": "stride"}}
}  # fmt: skip
SOURCES = {"glyphs": 736, "omniglot": 813, "digits": 5, "mnist": 5, "cifar100": 64}  # training classes of each
IMAGES = {"kind": "batches", "batch_size": 120}
FIT = {"max_seconds": 20, "validate_every": 250, "patience": 4, "channels_last": True}


def tasks(n_classes: int) -> dict[str, int]:
    """Return the sizes of a batch of 120 images: a task of twenty classes, or four of five."""
    n_way = 20 if n_classes >= 20 else 5
    return {"n_tasks": 20 // n_way, "n_way": n_way, "n_shot": 1, "n_query": 5}


def trained(learner: str, source: str, n_classes: int) -> Method:
    """Return a method that learns from one source."""
    batches = IMAGES if learner == "Transfer" else tasks(n_classes)
    arguments = {"n_classes": n_classes} if learner == "Transfer" else {}
    return Method(learner, ENCODER, arguments, batches, FIT, data=f"grey:{source}")


PIXELS = Method("Prototypical", {"encoder": {"network": "Flatten", "config": {}}}, fit={"n_steps": 0})
METHODS = {"raw pixels": PIXELS} | {
    f"{learner} on {source}": trained(learner, source, n_classes)
    for learner in ("Prototypical", "Transfer")
    for source, n_classes in SOURCES.items()
}
MEANS = {
    "head": "cosine",
    "n_inner_steps": 0,
}  # of a new head nothing is trained: it is the mean direction of each class
METHODS |= {
    f"Transfer mean on {source}": Method(
        "Transfer", ENCODER, {"n_classes": n_classes, **MEANS}, weights=f"Transfer on {source}", data=f"grey:{source}"
    )
    for source, n_classes in SOURCES.items()
}
TESTS = {
    f"{source}, 5-way {k}-shot": {"n_way": 5, "n_shot": k, "n_query": 5, "n_tasks": 600, "data": f"grey:{source}"}
    for source in SOURCES
    for k in (1, 5)
}
SHIP = tuple(f"{learner} on {source}" for learner in ("Prototypical", "Transfer") for source in ("glyphs", "digits"))
STUDY = Study("across", METHODS, TESTS, "grey:glyphs", snapshots=(), ship=SHIP)
