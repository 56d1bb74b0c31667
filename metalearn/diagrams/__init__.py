"""Diagrams that explain a method without a formula: one function a file, each draws on a matplotlib ``axes``."""

from metalearn.diagrams.adaptation import draw_adaptation
from metalearn.diagrams.attention import draw_attention
from metalearn.diagrams.flow import draw_flow
from metalearn.diagrams.letters import draw_letters, outlines_of
from metalearn.diagrams.process import draw_process

__all__ = [
    "draw_adaptation",
    "draw_attention",
    "draw_flow",
    "draw_letters",
    "draw_process",
    "outlines_of",
]
