"""Few labels and some images without: prototypes that unlabelled images refine, with and without distractors."""

from typing import Any

from metalearn.experiments.glyphs import ENCODER
from metalearn.experiments.study import Method, Study
from metalearn.experiments.unlabelled import FIT

LABELLED = {"n_tasks": 2, "n_way": 10, "n_shot": 1, "n_query": 5}
PARTLY = {"kind": "partly labelled", "n_way": 10, "n_shot": 1, "n_query": 4, "n_unlabelled": 4, "n_tasks": 1}
DISTRACTED = {**PARTLY, "n_distractors": 5}
METHODS = {
    "Prototypical": Method("SoftKMeans", ENCODER, {"n_refinements": 0}, LABELLED, FIT),
    "refined at test": Method("SoftKMeans", ENCODER, {}, weights="Prototypical"),
    "refined three times at test": Method("SoftKMeans", ENCODER, {"n_refinements": 3}, weights="Prototypical"),
    "soft k-means": Method("SoftKMeans", ENCODER, {}, PARTLY, FIT),
    "soft k-means, distractors in training": Method("SoftKMeans", ENCODER, {}, DISTRACTED, FIT),
    "soft k-means with a cluster": Method("SoftKMeans", ENCODER, {"distractors": "cluster"}, DISTRACTED, FIT),
    "soft k-means with masks": Method("SoftKMeans", ENCODER, {"distractors": "mask"}, DISTRACTED, FIT),
}
SIZES = {"n_way": 5, "n_query": 5, "n_tasks": 600}
MORE = {**SIZES, "kind": "partly labelled", "n_shot": 1, "n_unlabelled": 5}
TESTS: dict[str, dict[str, Any]] = {
    "5 unlabelled a class": MORE,
    "and of 5 distractors": {**MORE, "n_distractors": 5},
    "all 6 labelled": {**SIZES, "n_shot": 6},
}
STUDY = Study("semi_supervised", METHODS, TESTS, "glyphs", snapshots=(), ship=False)
