"""Meta-learning from scratch: a learner turns a support set into a predictor; all else is the same for all learners."""

from metalearn.episodes import Batch, Episode, Pool, Splits, sample_episodes, sample_pairs, sample_triplets
from metalearn.evaluation import Score, evaluate
from metalearn.training import History, fit
from metalearn.vectorize import over_tasks

__version__ = "0.1.0"
__all__ = [
    "Batch",
    "Episode",
    "History",
    "Pool",
    "Score",
    "Splits",
    "evaluate",
    "fit",
    "over_tasks",
    "sample_episodes",
    "sample_pairs",
    "sample_triplets",
]
