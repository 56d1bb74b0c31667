"""Diagrams that explain a method without a formula: one function a file, each draws on a matplotlib ``axes``."""

from metalearn.diagrams.adaptation import draw_adaptation
from metalearn.diagrams.attention import draw_attention
from metalearn.diagrams.process import draw_process
from metalearn.diagrams.prototypes import draw_prototypes
from metalearn.diagrams.representative import draw_representative
from metalearn.diagrams.vote import draw_vote

__all__ = [
    "draw_adaptation",
    "draw_attention",
    "draw_process",
    "draw_prototypes",
    "draw_representative",
    "draw_vote",
]
