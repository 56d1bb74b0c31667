"""Architecture search over tasks: a small space, proxies that need no training, a search by gradients, budgets."""

from metalearn.architectures.budget import operations, random_search_within
from metalearn.architectures.darts import Found, MixedNet, darts
from metalearn.architectures.proxies import PROXIES, gradient_norm, jacob_cov, n_parameters, naswot, synflow
from metalearn.architectures.space import SPACE, all_architectures, build

__all__ = [
    "PROXIES",
    "SPACE",
    "Found",
    "MixedNet",
    "all_architectures",
    "build",
    "darts",
    "gradient_norm",
    "jacob_cov",
    "n_parameters",
    "naswot",
    "operations",
    "random_search_within",
    "synflow",
]
