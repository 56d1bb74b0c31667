"""Without labels on Omniglot: an image and its augmentations as a class, beside the published numbers."""

from metalearn.experiments.omniglot import WHOLE
from metalearn.experiments.study import Method, Study
from metalearn.experiments.unlabelled import FIT, MAML_FIT, augmented

ENCODER = {"encoder": {"network": "Conv4", "config": {"channels": 64, "norm": "frozen", "downsample": "stride"}}}
WIDE = {"n_tasks": 1, "n_way": 20, "n_shot": 1, "n_query": 5}
NARROW = {"n_tasks": 8, "n_way": 5, "n_shot": 1, "n_query": 1}
AUTHORS = {"shift": 6.0, "zeroed": 0.5}  # github.com/siavash-khodadadeh/UMTRA-Release, models/umtra/umtra.py
METHODS = {
    "raw pixels": Method("Prototypical", {"encoder": {"network": "Flatten", "config": {}}}, fit={"n_steps": 0}),
    "UMTRA Prototypical": Method("Prototypical", ENCODER, {}, augmented(WIDE), FIT),
    "UMTRA MAML": Method(
        "MAML", WHOLE, {"inner_lr": 0.4}, augmented(NARROW), {**MAML_FIT, "n_steps": 1_500}, {"n_steps": [1, 3]}
    ),
    "UMTRA Prototypical, the authors' augmentation": Method("Prototypical", ENCODER, {}, augmented(WIDE, AUTHORS), FIT),
}
SIZES = {"n_query": 5, "n_tasks": 600}
TESTS = {f"{n}-way {k}-shot": {"n_way": n, "n_shot": k, **SIZES} for n in (5, 20) for k in (1, 5)}
NAMES = tuple(TESTS)
PUBLISHED = {
    "source": "Khodadadeh, Bölöni, Shah, 2019, arXiv 1811.11819, as quoted by other papers",
    "CACTUs-MAML": dict(zip(NAMES, (68.84, 87.78, 48.09, 73.36), strict=True)),
    "UMTRA": dict(zip(NAMES, (83.80, 95.43, 74.25, 92.12), strict=True)),
}
STUDY = Study("omniglot_unlabelled", METHODS, TESTS, "omniglot:vinyals", snapshots=(), published=PUBLISHED, ship=False)
