"""The LSTM meta-learner: the cell state of an LSTM is the model's weights, its gates are the update rule."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from metalearn import inner_loop
from metalearn.episodes import Inputs
from metalearn.learners._base import TaskLoss
from metalearn.learners._checks import at_least_one
from metalearn.learners._preprocessing import log_and_sign
from metalearn.learners._steps import StepsLearner
from metalearn.networks import LSTMCell

State = dict[str, Tensor]


class MetaLSTMRule(nn.Module):
    r"""The update of :class:`MetaLSTM`: :math:`\theta'_{k+1} = f_k \odot \theta'_k - i_k \odot \nabla_k`.

    All weights share the same parameters and each has its own state. An ordinary LSTM reads the preprocessed gradient
    and loss; the forget gate :math:`f` and the input gate :math:`i` are computed from its output, the weight, and the
    gate's last value.

    Args:
        n_hidden: Hidden units of the LSTM.
        initial_lr: Where the input gate starts, above 0 and below 1.
        forget_bias: Bias of the forget gate at the start: the gate starts at its logistic function.
    """

    def __init__(self, n_hidden: int = 20, initial_lr: float = 0.01, forget_bias: float = 5.0) -> None:
        super().__init__()
        if not 0 < initial_lr < 1:
            raise ValueError(f"initial_lr must be above 0 and below 1, since a gate starts there, got {initial_lr}")
        self.cell = LSTMCell(4, n_hidden)
        self.forget, self.enter = nn.Linear(n_hidden + 2, 1), nn.Linear(n_hidden + 2, 1)
        for gate, bias in ((self.forget, forget_bias), (self.enter, math.log(initial_lr / (1 - initial_lr)))):
            nn.init.uniform_(gate.weight, -0.01, 0.01)
            nn.init.constant_(gate.bias, bias)

    def start(self, params: inner_loop.Params) -> State:
        """Return the state before the first step: zero, but for the gates of a rule at rest (forget 1, input 0)."""
        theta = inner_loop.to_vector(params).unsqueeze(1)  # [n_params, 1]
        zero, rest = torch.zeros_like(theta), theta.new_zeros(len(theta), self.cell.n_hidden)
        return {"hidden": rest, "cell": rest, "forget": zero + 1, "enter": zero}

    def forward(
        self, params: inner_loop.Params, grads: inner_loop.Params, loss: Tensor, state: State
    ) -> tuple[inner_loop.Params, State]:
        """Take one step; the gates of the new state are ``"forget"`` and ``"enter"``, each ``[n_params, 1]``."""
        theta, gradient = (inner_loop.to_vector(part).unsqueeze(1) for part in (params, grads))  # [n_params, 1]
        seen = torch.cat([log_and_sign(gradient.squeeze(1)), log_and_sign(loss).expand(len(theta), 2)], 1)
        hidden, cell = self.cell(seen, (state["hidden"], state["cell"]))
        forget = self.forget(torch.cat([hidden, theta, state["forget"]], 1)).sigmoid()
        enter = self.enter(torch.cat([hidden, theta, state["enter"]], 1)).sigmoid()
        moved = (forget * theta - enter * gradient).squeeze(1)
        return inner_loop.from_vector(moved, params), {
            "hidden": hidden,
            "cell": cell,
            "forget": forget,
            "enter": enter,
        }


class MetaLSTM(StepsLearner):
    r"""Learn the update rule as an LSTM whose cell state is the weights, and learn where they start.

    The LSTM's update :math:`c_t = f_t \odot c_{t-1} + i_t \odot \tilde c_t` is gradient descent for :math:`f_t = 1`,
    :math:`i_t = \alpha`, :math:`\tilde c_t = -\nabla`, :math:`c_t = \theta'_t`. Here the gates are learned; the initial
    cell state :math:`c_0` is the model's parameters.

    Args:
        model: Any module whose forward pass is pure. Its parameters are the initialisation that is learned.
        n_inner_steps: Steps in training, and at test time unless told otherwise.
        n_hidden: Hidden units of the LSTM that reads gradient and loss.
        batch_size: Support examples of each step, consecutive in their order, starting over at the end; ``None``: all,
            and then their order does not matter.
        initial_lr: Where the input gate starts, above 0 and below 1.
        forget_bias: Bias of the forget gate at the start.
        first_order: Treat gradients and losses as constants that do not depend on what is learned: the paper's
            assumption. ``False`` differentiates through them.
        step_weights: Weights of the query losses after each step in the outer objective; ``None``: only the last.
        loss_fn: Task loss, for the inner and the outer objective.

    Attributes:
        rule: The update, a :class:`metalearn.learners.meta_lstm.MetaLSTMRule`; it serves
            :func:`metalearn.inner_loop.unroll`.

    Raises:
        ValueError: If a number is out of its range.

    Reference:
        Ravi, Larochelle: Optimization as a Model for Few-Shot Learning, 2017 (ICLR), equations 2 to 5, algorithm 1.

    Differs from the paper:
        Batch normalisation follows the model's norm policy.

    Taught in:
        Meta-LSTM.

    Example:
        >>> import torch
        >>> from metalearn.learners import MetaLSTM
        >>> from metalearn.networks import MLP
        >>> learner = MetaLSTM(MLP([1, 10, 1]), 5, loss_fn=torch.nn.functional.mse_loss)
        >>> adapted = learner.adapt(torch.zeros(5, 1), torch.zeros(5, 1))
        >>> learner.predict(adapted, torch.zeros(3, 1)).shape
        torch.Size([3, 1])
    """

    def __init__(
        self,
        model: nn.Module,
        n_inner_steps: int = 5,
        *,
        n_hidden: int = 20,
        batch_size: int | None = None,
        initial_lr: float = 0.01,
        forget_bias: float = 5.0,
        first_order: bool = True,
        step_weights: Sequence[float] | None = None,
        loss_fn: TaskLoss = F.cross_entropy,
    ) -> None:
        super().__init__(model, n_inner_steps, step_weights=step_weights, loss_fn=loss_fn)
        at_least_one(batch_size=batch_size)
        self.n_hidden = n_hidden
        self.batch_size = batch_size
        self.initial_lr = initial_lr
        self.forget_bias = forget_bias
        self.first_order = first_order
        self.rule = MetaLSTMRule(n_hidden, initial_lr, forget_bias)

    def _path(self, start: inner_loop.Params, x: Inputs, y: Tensor, n_steps: int) -> Iterator[inner_loop.Params]:
        yield start
        data, state = inner_loop.batches(x, y, n_steps, self.batch_size), self.rule.start(start)
        for params, _ in inner_loop.unroll(
            start, self.rule, state, self._support_loss, data, first_order=self.first_order
        ):
            yield params
