"""Diagrams that explain a method without a formula: one function a file, each draws on a matplotlib ``axes``."""

from metalearn.diagrams.adaptation import draw_adaptation
from metalearn.diagrams.attention import draw_attention
from metalearn.diagrams.gated_step import draw_gated_step
from metalearn.diagrams.process import draw_process
from metalearn.diagrams.unrolled_rule import draw_unrolled_rule

__all__ = [
    "draw_adaptation",
    "draw_attention",
    "draw_gated_step",
    "draw_process",
    "draw_unrolled_rule",
]
