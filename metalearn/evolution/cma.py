"""Covariance matrix adaptation, by the library ``cma``, with torch's tensors and a generator of its own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from metalearn._given import at_least_one
from metalearn.evolution.estimate import centred_ranks


@dataclass(frozen=True, eq=False)
class CMAResult:
    """All that a search by :func:`cma_es` saw.

    Args:
        best: The candidate of the lowest loss ``[n_params]``; where losses are noisy, a lucky one.
        mean: Centre after the last generation ``[n_params]``.
        loss: Loss of ``best``.
        sigma: Step size after it.
        candidates: All of them ``[n_generations, population, n_params]``.
        losses: Theirs ``[n_generations, population]``.
        means: Centre from which each generation was drawn ``[n_generations, n_params]``.
        covariances: Covariance with which each was drawn ``[n_generations, n_params, n_params]``.

    Example:
        >>> import torch
        >>> from metalearn.evolution import CMAResult
        >>> seen = torch.tensor([[3.0, 2.0], [1.0, 4.0]])
        >>> CMAResult(*[torch.zeros(2)] * 2, 1.0, 0.1, *[torch.zeros(2, 2, 2), seen], *[torch.zeros(2)] * 2).history
        tensor([2., 1.])
    """

    best: Tensor
    mean: Tensor
    loss: float
    sigma: float
    candidates: Tensor
    losses: Tensor
    means: Tensor
    covariances: Tensor

    @property
    def history(self) -> Tensor:
        """Lowest loss of each generation ``[n_generations]``; what is not finite counts as infinite."""
        return torch.where(self.losses.isfinite(), self.losses, torch.inf).amin(1)


def cma_es(
    losses: Callable[[Tensor], Tensor],
    start: Tensor,
    sigma: float,
    *,
    n_generations: int,
    population: int | None = None,
    generator: torch.Generator | None = None,
) -> CMAResult:
    """Search by covariance matrix adaptation: a Gaussian that learns its centre, its size and its shape.

    Right for some dozens of parameters: it keeps a covariance matrix of them. It needs the library ``cma`` (``pip
    install cma``). NumPy's global random state is neither read nor written.

    Args:
        losses: ``losses(candidates [population, n_params]) -> [population]``; lower is better.
        start: Centre of the first generation ``[n_params]``, at least 2 numbers.
        sigma: Standard deviation of the first generation, above 0.
        n_generations: How many generations, exactly.
        population: Candidates of a generation, at least 3; ``None``: the library's ``4 + 3 log(n_params)``.
        generator: Source of randomness, from which NumPy's own generator is seeded.

    Raises:
        ValueError: If a number is out of its range, or the losses do not fit.
        ImportError: If ``cma`` is missing.

    Reference:
        Hansen: The CMA Evolution Strategy: A Tutorial, 2016, arXiv 1604.00772.

    Taught in:
        Trial and error, and evolution.

    Example:
        >>> import torch
        >>> from metalearn.evolution import cma_es
        >>> def bowl(points):
        ...     return (points - 1).square().sum(1)
        >>> found = cma_es(bowl, torch.zeros(3), 0.5, n_generations=60, generator=torch.Generator().manual_seed(0))
        >>> found.loss < 1e-6
        True
    """
    import cma

    at_least_one(n_generations=n_generations)
    if start.ndim != 1 or len(start) < 2 or not sigma > 0:
        raise ValueError(f"expected a start [n_params >= 2] and sigma above 0, got {list(start.shape)} and {sigma}")
    if population is not None and population < 3:
        raise ValueError(f"population must be at least 3, got {population}")
    device = None if generator is None else generator.device
    draws = np.random.default_rng(int(torch.randint(2**62, (), generator=generator, device=device)))
    options = {"seed": np.nan, "randn": lambda *shape: draws.standard_normal(shape), "verbose": -9}
    options |= {} if population is None else {"popsize": population}
    search = cma.CMAEvolutionStrategy(start.double().tolist(), sigma, options)
    seen: list[tuple[Tensor, ...]] = []
    for _ in range(n_generations):
        centre, covariance = np.array(search.mean), search.sigma**2 * np.array(search.C)
        asked = search.ask()
        points = torch.as_tensor(np.stack(asked)).to(start)
        found = losses(points).detach()
        if found.shape != points.shape[:1]:
            raise ValueError(f"losses must return one number a candidate, [{len(points)}], got {list(found.shape)}")
        search.tell(asked, centred_ranks(found).tolist())  # only the order of losses matters
        seen.append((points, found, torch.as_tensor(centre).to(start), torch.as_tensor(covariance).to(start)))
    candidates, values, means, covariances = (torch.stack(part) for part in zip(*seen, strict=True))
    place = int(torch.where(values.isfinite(), values, torch.inf).argmin())
    best, loss = candidates.flatten(0, 1)[place], float(values.flatten()[place])
    mean = torch.as_tensor(np.array(search.mean)).to(start)
    return CMAResult(best, mean, loss, float(search.sigma), candidates, values, means, covariances)
