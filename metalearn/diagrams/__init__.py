"""Diagrams that explain a method without a formula: one function a file, each draws on a matplotlib ``axes``."""

from metalearn.diagrams.adaptation import draw_adaptation
from metalearn.diagrams.attention import draw_attention
from metalearn.diagrams.maml_graph import draw_maml_graph
from metalearn.diagrams.process import draw_process

__all__ = [
    "draw_adaptation",
    "draw_attention",
    "draw_maml_graph",
    "draw_process",
]
