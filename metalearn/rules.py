"""Update rules that people designed, as :func:`metalearn.inner_loop.unroll` takes them: SGD, momentum, Adam."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from metalearn.inner_loop import Params, from_vector, to_vector

State = dict[str, Tensor]


@dataclass(frozen=True)
class SGD:
    r"""Gradient descent, with momentum or without: :math:`v \leftarrow \beta v + \nabla`, then a step along v.

    Args:
        lr: Step size.
        momentum: Share :math:`\beta` of the last direction that is kept, at least 0 and below 1.

    Example:
        >>> import torch
        >>> from metalearn.inner_loop import batches, unroll
        >>> from metalearn.rules import SGD
        >>> def loss(params, x, y):
        ...     return 0.5 * (params["w"] * x - y).square().sum()
        >>> start, x, y = {"w": torch.tensor(0.0)}, torch.tensor([1.0]), torch.tensor([1.0])
        >>> rule = SGD(0.1, momentum=0.9)
        >>> path = unroll(start, rule, rule.start(start), loss, batches(x, y, 3))
        >>> [round(params["w"].item(), 3) for params, _ in path]
        [0.1, 0.28, 0.514]
    """

    lr: float | Tensor
    momentum: float = 0.0

    def start(self, params: Params) -> State:
        """Return the state before the first step."""
        return {"velocity": torch.zeros_like(to_vector(params))}

    def __call__(self, params: Params, grads: Params, loss: Tensor, state: State) -> tuple[Params, State]:
        """Take one step; the loss is not used."""
        velocity = self.momentum * state["velocity"] + to_vector(grads)
        return from_vector(to_vector(params) - self.lr * velocity, params), {"velocity": velocity}


@dataclass(frozen=True)
class Adam:
    """Adam with its usual constants.

    Args:
        lr: Step size.
        betas: Decay of the running means of the gradient and of its square.
        eps: Added to the root of the latter.

    Reference:
        Kingma, Ba: Adam: A Method for Stochastic Optimization, 2015, arXiv 1412.6980, algorithm 1.

    Example:
        >>> import torch
        >>> from metalearn.rules import Adam
        >>> rule, params = Adam(0.1), {"w": torch.tensor([1.0])}
        >>> params, state = rule(params, {"w": torch.tensor([5.0])}, torch.tensor(0.0), rule.start(params))
        >>> round(params["w"].item(), 4)
        0.9
    """

    lr: float | Tensor
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8

    def start(self, params: Params) -> State:
        """Return the state before the first step."""
        zero = torch.zeros_like(to_vector(params))
        return {"mean": zero, "square": zero, "step": zero.new_zeros(())}

    def __call__(self, params: Params, grads: Params, loss: Tensor, state: State) -> tuple[Params, State]:
        """Take one step; the loss is not used."""
        gradient, step = to_vector(grads), state["step"] + 1
        (first, second), mean, square = self.betas, state["mean"], state["square"]
        mean = first * mean + (1 - first) * gradient
        square = second * square + (1 - second) * gradient.square()
        direction = mean / (1 - first**step) / ((square / (1 - second**step)).sqrt() + self.eps)
        return from_vector(to_vector(params) - self.lr * direction, params), {
            "mean": mean,
            "square": square,
            "step": step,
        }
