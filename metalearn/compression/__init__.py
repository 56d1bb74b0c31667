"""Smaller learners: fewer weights, fewer bits, lower rank, or a small network that a large one taught."""

from metalearn.compression._distil import distillation_backward
from metalearn.compression._int8 import from_int8, quantize, to_int8
from metalearn.compression._low_rank import factorise
from metalearn.compression._prune import prune, sparsity
from metalearn.compression._size import Compressed, stored_bytes

__all__ = [
    "Compressed",
    "distillation_backward",
    "factorise",
    "from_int8",
    "prune",
    "quantize",
    "sparsity",
    "stored_bytes",
    "to_int8",
]
