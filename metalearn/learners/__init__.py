"""Learners: one method per file, one protocol for all."""

from metalearn.learners._base import Learner
from metalearn.learners.maml import MAML
from metalearn.learners.matching import Matching
from metalearn.learners.prototypical import Prototypical
from metalearn.learners.relation import Relation
from metalearn.learners.siamese import Siamese
from metalearn.learners.transfer import Transfer

__all__ = ["MAML", "Learner", "Matching", "Prototypical", "Relation", "Siamese", "Transfer"]
