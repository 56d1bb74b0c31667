"""Evolution strategies: a gradient from losses alone, its variance, and the search that needs no gradient at all."""

from metalearn.evolution.cma import CMAResult, cma_es
from metalearn.evolution.estimate import centred_ranks, es_gradient, estimate, perturbations
from metalearn.evolution.population import candidates_per_second, evolution_backward, population_losses
from metalearn.evolution.variance import es_variance, es_variance_one_sided

__all__ = [
    "CMAResult",
    "candidates_per_second",
    "centred_ranks",
    "cma_es",
    "es_gradient",
    "es_variance",
    "es_variance_one_sided",
    "estimate",
    "evolution_backward",
    "perturbations",
    "population_losses",
]
