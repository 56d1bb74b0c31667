"""The gradient of evolution strategies: losses at perturbed parameters, each times its perturbation."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Literal, get_args, overload

import torch
from torch import Tensor

from metalearn._given import at_least_one
from metalearn.inner_loop import Params, from_vector, to_vector

Kind = Literal["gaussian", "signs", "orthogonal"]
How = Literal["vmap", "loop"]


def perturbations(
    n: int,
    n_params: int,
    kind: Kind = "gaussian",
    *,
    generator: torch.Generator | None = None,
    dtype: torch.dtype | None = None,
) -> Tensor:
    r"""Draw perturbations :math:`\epsilon`, one a row, with :math:`\mathbb{E}[\epsilon\epsilon^\top] = I`.

    Args:
        n: Number of rows.
        n_params: Length of each.
        kind: ``"gaussian"``: standard normal; ``"signs"``: entries 1 and -1; ``"orthogonal"``: rows of a random
            orthogonal matrix, each of length ``sqrt(n_params)``, at most ``n_params`` of them.
        generator: Source of randomness; rows lie on its device.
        dtype: Of the rows; by default torch's.

    Returns:
        ``[n, n_params]``.

    Raises:
        ValueError: If a number is below 1, the kind is unknown, or more orthogonal rows are asked for than there are.

    Example:
        >>> import torch
        >>> from metalearn.evolution import perturbations
        >>> rows = perturbations(2, 2, "orthogonal", generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        >>> torch.allclose(rows @ rows.T, 2 * torch.eye(2, dtype=torch.float64))
        True
    """
    at_least_one(n=n, n_params=n_params)
    if kind not in get_args(Kind):
        raise ValueError(f"kind must be one of {list(get_args(Kind))}, got {kind!r}")
    device = None if generator is None else generator.device
    if kind == "signs":
        bits = torch.randint(2, (n, n_params), generator=generator, device=device)
        return 2 * bits.to(dtype or torch.get_default_dtype()) - 1
    if kind == "gaussian":
        return torch.randn(n, n_params, generator=generator, device=device, dtype=dtype)
    if n > n_params:
        raise ValueError(f"there are {n_params} orthogonal directions at most (n_params), got n={n}: draw signs")
    columns, upper = torch.linalg.qr(torch.randn(n_params, n, generator=generator, device=device, dtype=dtype))
    uniform = columns * upper.diagonal().sign()  # without the signs, QR would not draw uniformly
    rows: Tensor = math.sqrt(n_params) * uniform.T  # [n, n_params]
    return rows


def centred_ranks(losses: Tensor) -> Tensor:
    """Return the ranks of losses ``[n]``, scaled to [-1/2, 1/2]: the lowest loss gets -1/2, equal ones their mean rank.

    What is not finite ranks last.

    Example:
        >>> import torch
        >>> from metalearn.evolution import centred_ranks
        >>> centred_ranks(torch.tensor([5.0, 1.0, 1000.0]))
        tensor([ 0.0000, -0.5000,  0.5000])
    """
    losses = losses if losses.is_floating_point() else losses.to(torch.get_default_dtype())
    losses = torch.where(losses.isfinite(), losses, math.inf)
    below = (losses.unsqueeze(1) > losses).sum(1)  # [n]
    equal = (losses.unsqueeze(1) == losses).sum(1) - 1
    return ((below + equal / 2) / max(len(losses) - 1, 1) - 0.5).to(losses.dtype)


def estimate(
    losses: Callable[[Tensor], Tensor],
    vector: Tensor,
    rows: Tensor,
    sigma: float,
    *,
    antithetic: bool = True,
    ranks: bool = False,
) -> tuple[Tensor, Tensor]:
    """Estimate a gradient from the losses of a population, given its perturbations.

    Args:
        losses: ``losses(candidates [m, n_params]) -> [m]``, of all candidates at once.
        vector: Parameters ``[n_params]`` at which the gradient is wanted.
        rows: Perturbations ``[n, n_params]``, as :func:`perturbations` draws them.
        sigma: Standard deviation of the perturbed parameters, above 0.
        antithetic: Take each perturbation and its negative, 2 n candidates in all; ``False``: as they are.
        ranks: Put :func:`centred_ranks` in place of the losses.

    Returns:
        The estimate ``[n_params]``, and the losses of the candidates.

    Raises:
        ValueError: If ``sigma`` is not above 0, or the shapes do not fit.

    Example:
        >>> import torch
        >>> from metalearn.evolution import estimate, perturbations
        >>> rows = perturbations(2, 2, "orthogonal")
        >>> gradient, _ = estimate(lambda points: points @ torch.tensor([3.0, -1.0]), torch.zeros(2), rows, 0.1)
        >>> gradient.round(decimals=4)
        tensor([ 3., -1.])
    """
    if not sigma > 0:
        raise ValueError(f"sigma must be above 0, got {sigma}")
    if rows.ndim != 2 or rows.shape[1:] != vector.shape:
        raise ValueError(f"expected perturbations [n, {vector.numel()}] of the parameters, got {list(rows.shape)}")
    moves = torch.cat([rows, -rows]) if antithetic else rows
    found = losses(vector + sigma * moves)  # [2 * n or n]
    if found.shape != moves.shape[:1]:
        raise ValueError(f"losses must return one number a candidate, [{len(moves)}], got {list(found.shape)}")
    fitness = (centred_ranks(found) if ranks else found).to(rows)
    if antithetic:
        plus, minus = fitness.chunk(2)
        fitness = (plus - minus) / 2
    return fitness @ rows / (sigma * len(rows)), found


@overload
def es_gradient(
    fn: Callable[[Tensor], Tensor], params: Tensor, *, n_pairs: int = ..., sigma: float = ..., kind: Kind = ...,
    antithetic: bool = ..., ranks: bool = ..., generator: torch.Generator | None = ..., chunk_size: int | None = ...,
    how: How = ...,
) -> tuple[Tensor, Tensor]: ...  # fmt: skip
@overload
def es_gradient(
    fn: Callable[[Params], Tensor], params: Mapping[str, Tensor], *, n_pairs: int = ..., sigma: float = ...,
    kind: Kind = ..., antithetic: bool = ..., ranks: bool = ..., generator: torch.Generator | None = ...,
    chunk_size: int | None = ..., how: How = ...,
) -> tuple[Params, Tensor]: ...  # fmt: skip
def es_gradient(
    fn: Callable[..., Tensor],
    params: Mapping[str, Tensor] | Tensor,
    *,
    n_pairs: int = 32,
    sigma: float = 0.1,
    kind: Kind = "gaussian",
    antithetic: bool = True,
    ranks: bool = False,
    generator: torch.Generator | None = None,
    chunk_size: int | None = None,
    how: How = "vmap",
) -> tuple[Params | Tensor, Tensor]:
    r"""Estimate a gradient from losses alone, by pairs of perturbed parameters.

    It is :math:`\frac1n\sum_i\frac{f(\theta+\sigma\epsilon_i)-f(\theta-\sigma\epsilon_i)}{2\sigma}\,\epsilon_i`.
    In the mean it is the gradient of the smoothed function :math:`\mathbb{E} f(\theta + \sigma\epsilon)`; for a linear
    or quadratic function that is the gradient itself. :func:`es_variance` gives its variance.

    Args:
        fn: ``fn(params) -> scalar``, of one candidate; ``torch.func.vmap`` runs it over the population.
        params: Parameters by name, or one vector ``[n_params]``.
        n_pairs: Pairs of candidates; twice as many evaluations.
        sigma: Standard deviation of the perturbed parameters, above 0.
        kind: Of :func:`perturbations`.
        antithetic: Perturb by each draw and by its negative; ``False``: ``2 * n_pairs`` draws, and the loss itself in
            place of the difference.
        ranks: Put :func:`centred_ranks` in place of the losses: the step no longer depends on their scale, nor is the
            estimate that of the gradient.
        generator: Source of the perturbations.
        chunk_size: Candidates that vmap takes at once; ``None``: all.
        how: ``"vmap"``, or ``"loop"``: one candidate after the other, with the same numbers up to rounding.

    Returns:
        The estimate, in the form of ``params``, and the mean loss of the population.

    Raises:
        ValueError: If a number is out of its range, or an option is unknown.

    Reference:
        Salimans, Ho, Chen, Sidor, Sutskever: Evolution Strategies as a Scalable Alternative to Reinforcement Learning,
        2017, arXiv 1703.03864, section 2 (antithetic pairs, ranks). Orthogonal perturbations: Choromanski, Rowland,
        Sindhwani, Turner, Weller: Structured Evolution with Compact Architectures for Scalable Policy Optimization,
        2018, arXiv 1804.02395.

    Taught in:
        Trial and error, and evolution.

    Example:
        >>> import torch
        >>> from metalearn.evolution import es_gradient
        >>> generator = torch.Generator().manual_seed(0)
        >>> gradient, _ = es_gradient(lambda x: x.square().sum(), torch.ones(3), n_pairs=2000, generator=generator)
        >>> (gradient - 2).abs().max() < 0.3
        tensor(True)
    """
    at_least_one(n_pairs=n_pairs)
    if how not in get_args(How):
        raise ValueError(f"how must be one of {list(get_args(How))}, got {how!r}")
    named = {"": params} if isinstance(params, Tensor) else dict(params)
    vector = to_vector(named).detach()
    n = n_pairs if antithetic else 2 * n_pairs
    rows = perturbations(n, len(vector), kind, generator=generator, dtype=vector.dtype).to(vector.device)

    def one(candidate: Tensor) -> Tensor:
        parts = from_vector(candidate, named)
        return fn(parts[""] if isinstance(params, Tensor) else parts)

    def losses(candidates: Tensor) -> Tensor:
        if how == "loop":
            return torch.stack([one(candidate) for candidate in candidates])
        found: Tensor = torch.func.vmap(one, randomness="different", chunk_size=chunk_size)(candidates)
        return found

    with torch.no_grad():
        gradient, found = estimate(losses, vector, rows, sigma, antithetic=antithetic, ranks=ranks)
    parts = from_vector(gradient, named)
    return parts[""] if isinstance(params, Tensor) else parts, found.mean()
