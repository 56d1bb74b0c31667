"""Meta-learning from scratch: a learner turns a support set into a predictor; all else is the same for all learners."""

from metalearn._pretrained import pretrained
from metalearn.episodes import Batch, Episode, EpisodeList
from metalearn.evaluation import Score, evaluate
from metalearn.pools import Pool, Splits
from metalearn.samplers import TaskFamily
from metalearn.sampling import sample_episodes, sample_pairs, sample_triplets
from metalearn.training import History, fit
from metalearn.vectorize import over_tasks

__version__ = "1.0.0"
__all__ = [
    "Batch",
    "Episode",
    "EpisodeList",
    "History",
    "Pool",
    "Score",
    "Splits",
    "TaskFamily",
    "evaluate",
    "fit",
    "over_tasks",
    "pretrained",
    "sample_episodes",
    "sample_pairs",
    "sample_triplets",
]
