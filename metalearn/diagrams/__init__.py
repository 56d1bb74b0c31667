"""Diagrams that explain a method without a formula: one function a file, each draws on a matplotlib ``axes``."""

from metalearn.diagrams.adaptation import draw_adaptation
from metalearn.diagrams.attention import draw_attention
from metalearn.diagrams.break_even import draw_break_even
from metalearn.diagrams.directions import draw_directions
from metalearn.diagrams.federated import draw_federated
from metalearn.diagrams.flow import draw_flow
from metalearn.diagrams.gated_step import draw_gated_step
from metalearn.diagrams.letters import draw_letters, outlines_of
from metalearn.diagrams.maml_graph import draw_maml_graph
from metalearn.diagrams.own_support import draw_own_support
from metalearn.diagrams.process import draw_process
from metalearn.diagrams.prototypes import draw_prototypes
from metalearn.diagrams.representative import draw_representative
from metalearn.diagrams.springs import draw_pair_loss, draw_springs
from metalearn.diagrams.strips import draw_strips
from metalearn.diagrams.towers import draw_two_towers
from metalearn.diagrams.trial_and_error import draw_cloud, draw_clouds, draw_trial_and_error
from metalearn.diagrams.unlabelled import draw_unlabelled_tasks
from metalearn.diagrams.unrolled_rule import draw_unrolled_rule
from metalearn.diagrams.vote import draw_vote
from metalearn.diagrams.writers import draw_writers

__all__ = [
    "draw_adaptation",
    "draw_attention",
    "draw_break_even",
    "draw_cloud",
    "draw_clouds",
    "draw_directions",
    "draw_federated",
    "draw_flow",
    "draw_gated_step",
    "draw_letters",
    "draw_maml_graph",
    "draw_own_support",
    "draw_pair_loss",
    "draw_process",
    "draw_prototypes",
    "draw_representative",
    "draw_springs",
    "draw_strips",
    "draw_trial_and_error",
    "draw_two_towers",
    "draw_unlabelled_tasks",
    "draw_unrolled_rule",
    "draw_vote",
    "draw_writers",
    "outlines_of",
]
