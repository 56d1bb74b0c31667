"""A trained learner and a few labelled examples make a classifier: predict one, say "none of these", save, load."""

from metalearn.deploy.classifier import Classifier
from metalearn.deploy.support import Label

__all__ = ["Classifier", "Label"]
