"""Tasks from images without labels: an image and its augmentations as a class, clusters as classes, pairs of views."""

from metalearn.unlabelled.augmented import AugmentedTasks, Views, distinct
from metalearn.unlabelled.clusters import ClusteredTasks, partitions, purity
from metalearn.unlabelled.partly import PartlyLabelledTasks

__all__ = [
    "AugmentedTasks",
    "ClusteredTasks",
    "PartlyLabelledTasks",
    "Views",
    "distinct",
    "partitions",
    "purity",
]
