"""How sharply a loss is curved where the inner steps start."""

from __future__ import annotations

import torch
from torch import Tensor

from metalearn.episodes import Episode
from metalearn.inner_loop import Params, from_vector, to_vector
from metalearn.learners._steps import StepsLearner
from metalearn.vectorize import Tasks, over_tasks


def largest_curvatures(learner: StepsLearner, episodes: Tasks, n_iterations: int = 30) -> Tensor:
    """Return for each task the size of the largest eigenvalue of the support loss's Hessian at a learner's start.

    It is found by power iteration: a vector is multiplied by the Hessian again and again. It turns towards the
    eigenvector whose eigenvalue is largest in size, and in the end each product is longer by that factor. The first
    vector is the gradient, or where that is zero one of unequal entries. No Hessian is formed.

    Args:
        learner: One that moves a model's weights by inner steps, such as :class:`metalearn.learners.MAML`.
        episodes: A batch of tasks; their supports are looked at.
        n_iterations: Products with the Hessian, at least 1.

    Returns:
        Curvatures ``[n_tasks]``.

    Raises:
        ValueError: If ``n_iterations`` is below 1.

    Example:
        >>> import torch
        >>> from metalearn.curvature import largest_curvatures
        >>> from metalearn.data import sinusoids
        >>> from metalearn.learners import MAML
        >>> line = MAML(torch.nn.Linear(1, 1, bias=False), inner_lr=0.1, loss_fn=torch.nn.functional.mse_loss)
        >>> batch = sinusoids().sample(3, n_shot=5, n_query=1)
        >>> torch.allclose(largest_curvatures(line, batch), 2 * batch.support_x.square().mean((1, 2)))
        True
    """
    if n_iterations < 1:
        raise ValueError(f"n_iterations must be at least 1, got {n_iterations}")
    start = {name: param.detach() for name, param in learner._start().items()}

    def of_task(task: Episode) -> Tensor:
        def loss(params: Params) -> Tensor:
            return learner._support_loss(params, task.support_x, task.support_y)

        gradient, times_hessian, *_ = torch.func.vjp(torch.func.grad(loss), start)  # the Hessian is symmetric
        vector: Tensor = to_vector(gradient)
        vector = torch.where(vector.norm() > 0, vector, torch.linspace(1, 2, len(vector)).to(vector))
        smallest = torch.finfo(vector.dtype).tiny  # a product is zero where the Hessian is
        for _ in range(n_iterations):
            (product,) = times_hessian(from_vector(vector / vector.norm().clamp(min=smallest), start))
            vector = to_vector(product)
        length: Tensor = vector.norm()
        return length

    curvatures: Tensor = over_tasks(of_task, episodes, learner.how, chunk_size=learner.chunk_size, module=learner)
    return curvatures
