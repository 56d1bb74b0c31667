"""Why a meta-learner answers as it does: what adaptation changed, which examples and which pixels count."""

from metalearn.explain.changes import LayerChanges, cka, layer_changes, layers_of, representations, similarity_after
from metalearn.explain.deletion import (
    DeletionTest,
    centre_order,
    deletion_curve,
    deletion_test,
    insertion_curve,
    pixel_order,
    random_order,
)
from metalearn.explain.influence import (
    gradient_influence,
    influence_agreement,
    leave_one_out,
    prototype_influence,
    rank_agreement,
    weighted_adapt,
)
from metalearn.explain.saliency import (
    edges,
    gradient,
    gradient_times_input,
    integrated_gradients,
    log_odds,
    magnitude,
    occlusion,
)
from metalearn.explain.sanity import RandomisationTest, randomisation_test, randomised
from metalearn.explain.transplants import transplant, transplanted

__all__ = [
    "DeletionTest",
    "LayerChanges",
    "RandomisationTest",
    "centre_order",
    "cka",
    "deletion_curve",
    "deletion_test",
    "edges",
    "gradient",
    "gradient_influence",
    "gradient_times_input",
    "influence_agreement",
    "insertion_curve",
    "integrated_gradients",
    "layer_changes",
    "layers_of",
    "leave_one_out",
    "log_odds",
    "magnitude",
    "occlusion",
    "pixel_order",
    "prototype_influence",
    "random_order",
    "randomisation_test",
    "randomised",
    "rank_agreement",
    "representations",
    "similarity_after",
    "transplant",
    "transplanted",
    "weighted_adapt",
]
