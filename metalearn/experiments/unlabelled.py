"""Without labels: tasks made from unlabelled glyphs, beside training with all labels, and with some."""

from metalearn.experiments.glyphs import ENCODER, WHOLE, WIDE, tasks
from metalearn.experiments.study import Method, Study

AUGMENT = {"shift": 3.0, "rotation": 12.0, "scale": 0.2, "shear": 0.2, "elastic": 1.0}
TURNED = {**AUGMENT, "rotation": 180.0, "flip": True}
N_STEPS, NEVER = 1_500, 1_000_000  # no step is chosen by validation, which needs labels: it comes after the last
FIT = {"n_steps": N_STEPS, "schedule": "cosine", "validate_every": NEVER, "max_seconds": 1_000, "channels_last": True}
MAML_FIT = {**FIT, "n_steps": 600, "max_grad_norm": 10.0, "how": "vmap", "channels_last": False}
CLUSTERS = {"kind": "clustered", "n_clusters": 500, "n_partitions": 10}
IMAGES = {"kind": "batches", "batch_size": 120}
INNER, STEPS = {"inner_lr": 0.4}, {"n_steps": [1, 3]}
N_LABELLED = (8, 16, 32, 64, 128, 256)


def augmented(sizes: dict[str, int], augment: dict[str, float] = AUGMENT) -> dict[str, object]:
    """Return what a training step draws where an image and its augmentations are a class."""
    return {"kind": "augmented", **sizes, "augment": augment}


METHODS = {
    "raw pixels": Method("Prototypical", {"encoder": {"network": "Flatten", "config": {}}}, fit={"n_steps": 0}),
    "untrained": Method("Prototypical", ENCODER, {}, WIDE, {"n_steps": 0}),
    "Contrastive": Method(
        "Contrastive",
        ENCODER,
        {"n_projection": 32, "temperature": 0.1},
        {"kind": "views", "batch_size": 120, "augment": AUGMENT},
        {**FIT, "n_steps": 1_000},
    ),
    "UMTRA Prototypical": Method("Prototypical", ENCODER, {}, augmented(WIDE), FIT),
    "CACTUS Prototypical": Method("Prototypical", ENCODER, {}, {**CLUSTERS, "of": "Contrastive", **WIDE}, FIT),
    "Prototypical": Method("Prototypical", ENCODER, {}, WIDE, FIT),
    "UMTRA MAML": Method("MAML", WHOLE, INNER, augmented(tasks(8)), MAML_FIT, STEPS),
    "CACTUS MAML": Method("MAML", WHOLE, INNER, {**CLUSTERS, "of": "Contrastive", **tasks(8)}, MAML_FIT, STEPS),
    "MAML": Method("MAML", WHOLE, INNER, tasks(8), MAML_FIT, STEPS),
    "UMTRA Prototypical half turns": Method("Prototypical", ENCODER, {}, augmented(WIDE, TURNED), FIT),
    "Transfer": Method("Transfer", ENCODER, {"n_classes": 736}, IMAGES, FIT),
}
METHODS |= {
    f"Prototypical, {n} classes": Method(
        "Prototypical", ENCODER, {}, {**WIDE, "n_way": min(n, 20), "n_labelled": n}, FIT
    )
    for n in N_LABELLED
}
METHODS |= {
    f"Transfer, {n} classes": Method("Transfer", ENCODER, {"n_classes": n}, {**IMAGES, "n_labelled": n}, FIT)
    for n in N_LABELLED[::2]
}
METHODS |= {
    f"MAML, {n} classes": Method("MAML", WHOLE, INNER, {**tasks(8), "n_labelled": n}, MAML_FIT, STEPS)
    for n in N_LABELLED[::2]
}
SIZES = {"n_query": 5, "n_tasks": 600}
TESTS = {f"{n}-way {k}-shot": {"n_way": n, "n_shot": k, **SIZES} for n, k in ((5, 1), (5, 5), (20, 1))}
SHIP = ("Contrastive", "UMTRA Prototypical", "CACTUS Prototypical", "UMTRA MAML", "UMTRA Prototypical half turns")
STUDY = Study("unlabelled", METHODS, TESTS, "glyphs", snapshots=(), ship=SHIP)
