"""Small networks of the few-shot literature, and normalisation as a choice that is spelled out."""

from metalearn.networks.blocks import BlockNet
from metalearn.networks.conv4 import Conv4, RelationModule
from metalearn.networks.items import ItemEncoder, Part, UserHead
from metalearn.networks.mlp import MLP
from metalearn.networks.moments import Moments
from metalearn.networks.norms import (
    BatchStatistics,
    convert_norms,
    make_norm,
    measured_on_support,
    norm_policies,
    set_statistics,
)
from metalearn.networks.pictures import PaintDecoder, PairReader, WarpDecoder
from metalearn.networks.recurrent import GRUCell, LSTMCell
from metalearn.networks.text import BagOfTokens, TextTransformer, TokenWeights

__all__ = [
    "MLP",
    "BagOfTokens",
    "BatchStatistics",
    "BlockNet",
    "Conv4",
    "GRUCell",
    "ItemEncoder",
    "LSTMCell",
    "Moments",
    "PaintDecoder",
    "PairReader",
    "Part",
    "RelationModule",
    "TextTransformer",
    "TokenWeights",
    "UserHead",
    "WarpDecoder",
    "convert_norms",
    "make_norm",
    "measured_on_support",
    "norm_policies",
    "set_statistics",
]
