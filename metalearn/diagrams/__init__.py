"""Diagrams that explain a method without a formula: one function a file, each draws on a matplotlib ``axes``."""

from metalearn.diagrams.adaptation import draw_adaptation
from metalearn.diagrams.attention import draw_attention
from metalearn.diagrams.directions import draw_directions
from metalearn.diagrams.process import draw_process
from metalearn.diagrams.writers import draw_writers

__all__ = [
    "draw_adaptation",
    "draw_attention",
    "draw_directions",
    "draw_process",
    "draw_writers",
]
