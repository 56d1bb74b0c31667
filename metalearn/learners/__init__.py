"""Learners: one method per file, one protocol for all."""

from metalearn.learners._base import Learner
from metalearn.learners.anil import ANIL
from metalearn.learners.conditional_vae import ConditionalVAE
from metalearn.learners.contrastive import Contrastive
from metalearn.learners.es_maml import ESMAML
from metalearn.learners.evolved_rule import EvolvedRule
from metalearn.learners.hypernetwork import HyperNetwork
from metalearn.learners.implicit_maml import ImplicitMAML
from metalearn.learners.in_context import InContext
from metalearn.learners.learned_optimizer import LearnedOptimizer
from metalearn.learners.maml import MAML
from metalearn.learners.matching import Matching
from metalearn.learners.matrix_factorization import MatrixFactorization
from metalearn.learners.meta_lstm import MetaLSTM
from metalearn.learners.meta_network import MetaNetwork
from metalearn.learners.meta_sgd import MetaSGD
from metalearn.learners.neural_process import NeuralProcess
from metalearn.learners.pixels import Pixels
from metalearn.learners.prototypical import Prototypical
from metalearn.learners.relation import Relation
from metalearn.learners.reptile import Reptile
from metalearn.learners.shrinkage import Shrinkage
from metalearn.learners.siamese import Siamese
from metalearn.learners.soft_kmeans import SoftKMeans
from metalearn.learners.task_bank import TaskBank
from metalearn.learners.transfer import Transfer

__all__ = [
    "ANIL",
    "ESMAML",
    "MAML",
    "ConditionalVAE",
    "Contrastive",
    "EvolvedRule",
    "HyperNetwork",
    "ImplicitMAML",
    "InContext",
    "LearnedOptimizer",
    "Learner",
    "Matching",
    "MatrixFactorization",
    "MetaLSTM",
    "MetaNetwork",
    "MetaSGD",
    "NeuralProcess",
    "Pixels",
    "Prototypical",
    "Relation",
    "Reptile",
    "Shrinkage",
    "Siamese",
    "SoftKMeans",
    "TaskBank",
    "Transfer",
]
