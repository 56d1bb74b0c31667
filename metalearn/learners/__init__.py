"""Learners: one method per file, one protocol for all."""

from metalearn.learners._base import Learner
from metalearn.learners.maml import MAML
from metalearn.learners.prototypical import Prototypical

__all__ = ["MAML", "Learner", "Prototypical"]
