"""Update rules that people designed, as :func:`metalearn.inner_loop.unroll` takes them: SGD, momentum, Adam."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from metalearn.inner_loop import Params, from_vector, to_vector
from metalearn.learners._preprocessing import root

if TYPE_CHECKING:
    from metalearn.learners.meta_lstm import MetaLSTM

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
        direction = mean / (1 - first**step) / (root(square / (1 - second**step)) + self.eps)
        return from_vector(to_vector(params) - self.lr * direction, params), {
            "mean": mean,
            "square": square,
            "step": step,
        }


@dataclass(frozen=True)
class FixedGates:
    r"""The step of a meta-LSTM with gates that do not look at the task: :math:`f_k \odot \theta - i_k \odot \nabla`.

    Args:
        enter: Input gate :math:`i_k` of each step and weight, ``[n_steps, n_params]`` or ``[n_steps, 1]``.
        forget: Forget gate :math:`f_k`, alike.

    Example:
        >>> import torch
        >>> from metalearn.rules import FixedGates
        >>> rule = FixedGates(torch.tensor([[0.1], [0.2]]), torch.ones(2, 1))
        >>> params, state = {"w": torch.tensor([1.0])}, rule.start({})
        >>> for _ in range(2):
        ...     params, state = rule(params, {"w": torch.tensor([1.0])}, torch.tensor(0.0), state)
        >>> round(params["w"].item(), 2)
        0.7
    """

    enter: Tensor
    forget: Tensor

    def start(self, params: Params) -> State:
        """Return the state before the first step: the number of steps taken."""
        return {"step": torch.zeros((), dtype=torch.long)}

    def __call__(self, params: Params, grads: Params, loss: Tensor, state: State) -> tuple[Params, State]:
        """Take one step, at most as many as there are gates; the loss is not used."""
        enter, forget = (gate.index_select(0, state["step"].reshape(1))[0] for gate in (self.enter, self.forget))
        moved = forget * to_vector(params) - enter * to_vector(grads)
        return from_vector(moved, params), {"step": state["step"] + 1}


def with_rule(learner: MetaLSTM, rule: Callable[..., Any]) -> MetaLSTM:
    """Return a learner that starts where a meta-LSTM starts, and takes its steps by another rule.

    Args:
        learner: It stays as it is; the new one shares its model.
        rule: Such as :class:`SGD`; it has ``start`` and is called with weights, gradients, loss and state.

    Example:
        >>> import torch
        >>> from metalearn.learners import MetaLSTM
        >>> from metalearn.rules import SGD, with_rule
        >>> line = MetaLSTM(torch.nn.Linear(1, 1), 5, loss_fn=torch.nn.functional.mse_loss)
        >>> with_rule(line, SGD(0.1)).rule
        SGD(lr=0.1, momentum=0.0)
    """
    other = copy.copy(learner)
    other._modules = dict(learner._modules)  # a shallow copy shares this dictionary
    del other.rule
    other.rule = rule  # type: ignore[assignment]
    return other
