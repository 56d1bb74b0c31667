"""Small networks of the few-shot literature, and normalisation as a choice that is spelled out."""

from metalearn.networks.conv4 import Conv4, RelationModule
from metalearn.networks.mlp import MLP
from metalearn.networks.norms import (
    BatchStatistics,
    convert_norms,
    make_norm,
    measured_on_support,
    norm_policies,
    set_statistics,
)
from metalearn.networks.pictures import PaintDecoder, PairReader, WarpDecoder
from metalearn.networks.recurrent import LSTMCell

__all__ = [
    "MLP",
    "BatchStatistics",
    "Conv4",
    "LSTMCell",
    "PaintDecoder",
    "PairReader",
    "RelationModule",
    "WarpDecoder",
    "convert_norms",
    "make_norm",
    "measured_on_support",
    "norm_policies",
    "set_statistics",
]
