"""A population of one learner: its loss at many parameters, over candidates and tasks at once."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from metalearn._given import at_least_one
from metalearn.evolution.estimate import How, Kind, estimate, perturbations
from metalearn.inner_loop import from_vector, to_vector
from metalearn.vectorize import over_tasks

if TYPE_CHECKING:
    from metalearn.learners import Learner


class _Objective(nn.Module):
    """Losses of all tasks as a module, so that ``functional_call`` can replace the learner's parameters."""

    def __init__(self, learner: Learner) -> None:
        super().__init__()
        self.learner = learner

    def forward(self, batch: Any, how: How) -> Tensor:
        losses: Tensor = over_tasks(self.learner.loss, batch, how)
        return losses


def population_losses(
    learner: Learner,
    batch: Any,
    population: Mapping[str, Tensor],
    *,
    how: How = "vmap",
    chunk_size: int | None = None,
) -> Tensor:
    """Return the loss of each candidate on each task of a batch: all candidates meet the same tasks.

    Args:
        learner: Any learner whose loss runs under ``torch.func.vmap``; it is not changed.
        batch: A batch of episodes.
        population: Replacements of the learner's parameters by name, each ``[n_candidates, ...]``.
        how: ``"vmap"`` over candidates and over tasks, or ``"loop"`` over both.
        chunk_size: Candidates that vmap takes at once; ``None``: all.

    Returns:
        ``[n_candidates, n_tasks]``.

    Taught in:
        Trial and error, and evolution.

    Example:
        >>> import torch
        >>> from metalearn.data import sinusoids
        >>> from metalearn.evolution import population_losses
        >>> from metalearn.learners import MAML
        >>> from metalearn.networks import MLP
        >>> learner = MAML(MLP([1, 8, 1]), inner_lr=0.01, loss_fn=torch.nn.functional.mse_loss)
        >>> biases = {"model.2.bias": torch.tensor([[0.0], [10.0]])}
        >>> population_losses(learner, sinusoids().sample(3, 5, 5), biases).shape
        torch.Size([2, 3])
    """
    objective = _Objective(learner)
    # A learner moves the parameters that require a gradient, so these must, too, though none is recorded.
    marked = {name: params.detach().requires_grad_() for name, params in population.items()}

    def one(params: dict[str, Tensor]) -> Tensor:
        named = {f"learner.{name}": param for name, param in params.items()}
        found: Tensor = functional_call(objective, named, (batch, how))
        return found

    with torch.no_grad():
        if how == "vmap":
            losses: Tensor = torch.func.vmap(one, randomness="different", chunk_size=chunk_size)(marked)
            return losses
        n = len(next(iter(population.values())))
        return torch.stack([one({name: params[i] for name, params in marked.items()}) for i in range(n)])


def evolution_backward(
    learner: Learner,
    *,
    n_pairs: int = 32,
    sigma: float = 0.1,
    kind: Kind = "gaussian",
    ranks: bool = False,
    under: str = "",
    chunk_size: int | None = None,
) -> Callable[[Any, torch.Generator | None], Tensor]:
    """Return a ``backward(batch, generator)`` that estimates the gradient by evolution; for ``fit(..., backward=...)``.

    Only the learner's losses are asked for, so that nothing needs to be differentiable. All candidates of a step meet
    the same tasks: what makes a batch hard cancels in the difference of a pair.

    Args:
        learner: Any learner whose loss runs under ``torch.func.vmap``. Frozen parameters stay as they are.
        n_pairs: Antithetic pairs of candidates.
        sigma: Standard deviation of the perturbed parameters, above 0.
        kind: Of :func:`metalearn.evolution.perturbations`.
        ranks: Put :func:`metalearn.evolution.centred_ranks` in place of the losses.
        under: Only parameters whose names start so evolve, such as ``"rule."``.
        chunk_size: Candidates that vmap takes at once; ``None``: all.

    Returns:
        A function that adds the estimate to ``.grad`` and returns the population's mean loss (with ranks, that of the
        candidates whose loss is finite).

    Raises:
        ValueError: If a number is out of its range, or nothing is trained.

    Taught in:
        Trial and error, and evolution.

    Example:
        >>> import torch
        >>> from metalearn import fit
        >>> from metalearn.data import sinusoids
        >>> from metalearn.evolution import evolution_backward
        >>> from metalearn.learners import MAML
        >>> from metalearn.networks import MLP
        >>> learner = MAML(MLP([1, 8, 1]), inner_lr=0.01, loss_fn=torch.nn.functional.mse_loss)
        >>> tasks = sinusoids().episodes(n_tasks=5, n_shot=5, n_query=5)
        >>> fit(learner, tasks, 3, backward=evolution_backward(learner, n_pairs=4), progress=False).n_steps
        3
    """
    at_least_one(n_pairs=n_pairs)

    def backward(batch: Any, generator: torch.Generator | None = None) -> Tensor:
        trained = ((name, param) for name, param in learner.named_parameters() if param.requires_grad)
        own = {name: param for name, param in trained if name.startswith(under)}
        if not own:
            raise ValueError(f"{type(learner).__name__} has no trained parameter under {under!r}: nothing can evolve")
        vector = to_vector(own).detach()
        rows = perturbations(n_pairs, len(vector), kind, generator=generator, dtype=vector.dtype).to(vector.device)

        def losses(candidates: Tensor) -> Tensor:
            return population_losses(learner, batch, as_population(candidates, own), chunk_size=chunk_size).mean(1)

        gradient, found = estimate(losses, vector, rows, sigma, ranks=ranks)
        for name, part in from_vector(gradient, own).items():
            before = own[name].grad
            own[name].grad = part if before is None else before + part
        finite = found.isfinite()
        return found[finite].mean() if ranks and finite.any() else found.mean()

    return backward


def as_population(candidates: Tensor, params: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return candidates ``[n, n_params]`` cut into tensors ``[n, ...]`` with the names and shapes of ``params``."""
    parts = torch.split(candidates, [param.numel() for param in params.values()], 1)
    return {name: part.reshape(-1, *param.shape) for (name, param), part in zip(params.items(), parts, strict=True)}


def candidates_per_second(
    learner: Learner, batch: Any, n_candidates: int, how: How = "vmap", *, repeats: int = 3
) -> float:
    """Measure how many candidates a second are scored on a batch; the best of some repeats, after one to warm up.

    Args:
        learner: The learner that is perturbed.
        batch: Tasks on which each candidate is scored.
        n_candidates: Size of the population.
        how: ``"vmap"`` or ``"loop"``.
        repeats: How often to measure.

    Taught in:
        Trial and error, and evolution.

    Example:
        >>> import torch
        >>> from metalearn.data import sinusoids
        >>> from metalearn.evolution import candidates_per_second
        >>> from metalearn.learners import MAML
        >>> from metalearn.networks import MLP
        >>> learner = MAML(MLP([1, 8, 1]), inner_lr=0.01, loss_fn=torch.nn.functional.mse_loss)
        >>> candidates_per_second(learner, sinusoids().sample(2, 5, 5), n_candidates=4) > 0
        True
    """
    at_least_one(n_candidates=n_candidates, repeats=repeats)
    own = {name: param for name, param in learner.named_parameters() if param.requires_grad}
    vector = to_vector(own).detach()
    rows = perturbations(n_candidates, len(vector), generator=torch.Generator(vector.device).manual_seed(0))
    population = as_population(vector + 0.01 * rows.to(vector), own)
    times = []
    for _ in range(repeats + 1):
        begun = time.perf_counter()
        population_losses(learner, batch, population, how=how).sum().item()  # a number is there when a GPU is done
        times.append(time.perf_counter() - begun)
    return n_candidates / min(times[1:])
