"""Outer steps of policies: within a trust region, or several on a clipped objective. Both return a displacement."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from metalearn.inner_loop import Params, from_vector, to_vector

Objective = Callable[[Params], Tensor]


def conjugate_gradient(product: Callable[[Tensor], Tensor], b: Tensor, n_iterations: int = 10) -> Tensor:
    """Return ``x`` with ``product(x)`` near ``b``, for a symmetric positive matrix known by its products.

    Args:
        product: Of the matrix with a vector ``[n]``.
        b: ``[n]``.
        n_iterations: Iterations at most; as many as the matrix has distinct eigenvalues are exact.

    Example:
        >>> import torch
        >>> from metalearn.rl.outer import conjugate_gradient
        >>> conjugate_gradient(lambda v: torch.tensor([2.0, 4.0]) * v, torch.tensor([1.0, 1.0]))
        tensor([0.5000, 0.2500])
    """
    x, residual = torch.zeros_like(b), b
    direction, squared = residual, residual @ residual
    for _ in range(n_iterations):
        if squared <= 1e-12 * (b @ b):
            break
        image = product(direction)
        length = squared / (direction @ image)
        x, residual = x + length * direction, residual - length * image
        before, squared = squared, residual @ residual
        direction = residual + squared / before * direction
    return x


def trust_region(
    objective: Objective,
    divergence: Objective,
    params: Mapping[str, Tensor],
    max_kl: float = 0.01,
    *,
    curvature: Objective | None = None,
    damping: float = 1e-3,
    n_iterations: int = 10,
    n_halvings: int = 10,
) -> Params:
    r"""Return the step that raises an objective most among those within a divergence, to second order.

    The direction solves :math:`(H + cI)\, d = g` with the gradient of the objective and the Hessian of the divergence;
    its length is halved from where the divergence would be ``max_kl`` until it is no more and the objective rises.

    Args:
        objective: ``objective(params) -> scalar``, to be raised.
        divergence: ``divergence(params) -> scalar``, 0 at ``params``, its least value.
        params: Where the step starts, by name.
        max_kl: Bound of the divergence, above 0.
        curvature: What replaces the divergence in the Hessian, where that is costly.
        damping: What is added to the Hessian's diagonal.
        n_iterations: Of the conjugate gradients.
        n_halvings: Tries at most; where none succeeds, the step is 0.

    Reference:
        Schulman, Levine, Moritz, Jordan, Abbeel: Trust Region Policy Optimization, 2015, arXiv 1502.05477, appendix C.

    Example:
        >>> import torch
        >>> from metalearn.rl.outer import trust_region
        >>> step = trust_region(
        ...     lambda p: p["x"].sum(), lambda p: p["x"].square().sum() / 2, {"x": torch.zeros(2)}, 0.01, damping=0.0
        ... )
        >>> step["x"]
        tensor([0.1000, 0.1000])
    """
    start = {name: param.detach().requires_grad_() for name, param in params.items()}
    before = objective(start)
    gradient = to_vector(dict(zip(start, torch.autograd.grad(before, list(start.values())), strict=True)))
    slopes = torch.autograd.grad((curvature or divergence)(start), list(start.values()), create_graph=True)
    slope = to_vector(dict(zip(start, slopes, strict=True)))

    def product(vector: Tensor) -> Tensor:
        found = torch.autograd.grad(slope @ vector, list(start.values()), retain_graph=True)
        return to_vector(dict(zip(start, found, strict=True))) + damping * vector

    direction = conjugate_gradient(product, gradient, n_iterations)
    length = (2 * max_kl / (direction @ product(direction)).clamp(min=1e-12)).sqrt()
    origin = to_vector(start).detach()
    for k in range(n_halvings):
        step = 0.5**k * length * direction
        tried = from_vector(origin + step, start)
        if objective(tried).detach() > before.detach() and divergence(tried).detach() <= max_kl * 1.0001:
            return from_vector(step, start)
    return from_vector(torch.zeros_like(origin), start)


def several_steps(objective: Objective, params: Mapping[str, Tensor], n_steps: int = 5, lr: float = 1e-3) -> Params:
    """Return where ``n_steps`` of Adam on an objective lead, as a displacement.

    Args:
        objective: ``objective(params) -> scalar``, to be raised.
        params: Where the steps start, by name.
        n_steps: Number of steps, at least 1.
        lr: Adam's rate; its moments start anew.

    Example:
        >>> import torch
        >>> from metalearn.rl.outer import several_steps
        >>> several_steps(lambda p: p["x"].sum(), {"x": torch.zeros(2)}, 5, 0.1)["x"]
        tensor([0.5000, 0.5000])
    """
    moved = {name: param.detach().clone().requires_grad_() for name, param in params.items()}
    adam = torch.optim.Adam(list(moved.values()), lr=lr, maximize=True)
    for _ in range(n_steps):
        slopes = torch.autograd.grad(objective(moved), list(moved.values()))
        for param, slope in zip(moved.values(), slopes, strict=True):
            param.grad = slope
        adam.step()
    return {name: moved[name].detach() - param.detach() for name, param in params.items()}
