"""How sharply a loss is curved where the inner steps start."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from metalearn.episodes import Inputs
from metalearn.inner_loop import Params, ParamsLoss, from_vector, to_vector


def largest_curvature(
    params: Mapping[str, Tensor], loss_fn: ParamsLoss, x: Inputs, y: Tensor, *, n_iterations: int = 30
) -> Tensor:
    """Return the size of the Hessian's largest eigenvalue, by power iteration.

    A vector is multiplied by the Hessian again and again; it turns towards the eigenvector whose eigenvalue is largest
    in size, and in the end each product is longer by that factor. The first vector is the gradient. No Hessian is
    formed, and the function may be called under ``torch.func.vmap``.

    Args:
        params: Weights at which the loss is looked at, by name.
        loss_fn: ``loss_fn(params, x, y) -> scalar``, twice differentiable.
        x: Inputs ``[n, ...]``, or a pytree of such.
        y: Labels or targets ``[n, ...]``.
        n_iterations: Products with the Hessian, at least 1.

    Raises:
        ValueError: If ``n_iterations`` is below 1.

    Example:
        >>> import torch
        >>> from metalearn.curvature import largest_curvature
        >>> def loss(params, x, y):
        ...     return 0.5 * (x * (params["w"] - y).square()).sum()
        >>> start, steep = {"w": torch.zeros(2)}, torch.tensor([1.0, 4.0])
        >>> round(largest_curvature(start, loss, steep, torch.ones(2)).item(), 3)
        4.0
    """
    if n_iterations < 1:
        raise ValueError(f"n_iterations must be at least 1, got {n_iterations}")
    start = {name: param.detach() for name, param in params.items()}

    def loss(at: Params) -> Tensor:
        return loss_fn(at, x, y)

    gradient, times_hessian, *_ = torch.func.vjp(torch.func.grad(loss), start)  # H is symmetric
    vector: Tensor = to_vector(gradient)
    for _ in range(n_iterations):
        (product,) = times_hessian(from_vector(vector / vector.norm(), start))
        vector = to_vector(product)
    length: Tensor = vector.norm()
    return length
