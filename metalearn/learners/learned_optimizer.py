"""A learned optimiser: a small LSTM, shared by all weights, turns gradients into steps."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from metalearn import inner_loop
from metalearn._torch import tree_map
from metalearn.episodes import Inputs
from metalearn.learners._base import TaskLoss
from metalearn.learners._checks import at_least_one, positive
from metalearn.learners._preprocessing import log_and_sign
from metalearn.learners._steps import StepsLearner
from metalearn.networks import LSTMCell

Initialisation = Literal["learned", "random"]
State = dict[str, Tensor]


class LearnedRule(nn.Module):
    r"""The update of :class:`LearnedOptimizer`: :math:`\theta'_{k+1} = \theta'_k + g_k`, with :math:`g_k` of an LSTM.

    All weights share the same parameters and each has its own state, so that the rule serves models of any size.

    Args:
        n_hidden: Hidden units of each of the two LSTM layers.
        scale: Multiplies the output, so that the first steps are small.
    """

    def __init__(self, n_hidden: int = 20, scale: float = 0.1) -> None:
        super().__init__()
        self.scale = positive("scale", scale)
        self.cells = nn.ModuleList([LSTMCell(2, n_hidden), LSTMCell(n_hidden, n_hidden)])
        self.out = nn.Linear(n_hidden, 1)

    def start(self, params: inner_loop.Params) -> State:
        """Return the state before the first step, zero."""
        theta = inner_loop.to_vector(params)
        zero = theta.new_zeros(len(theta), self.out.in_features)
        return {"hidden 0": zero, "cell 0": zero, "hidden 1": zero, "cell 1": zero}

    def forward(
        self, params: inner_loop.Params, grads: inner_loop.Params, loss: Tensor, state: State
    ) -> tuple[inner_loop.Params, State]:
        """Take one step; the loss is not used."""
        hidden, state = log_and_sign(inner_loop.to_vector(grads)), dict(state)  # [n_params, 2]
        for k, cell in enumerate(self.cells):
            hidden, memory = cell(hidden, (state[f"hidden {k}"], state[f"cell {k}"]))
            state[f"hidden {k}"], state[f"cell {k}"] = hidden, memory
        step = self.scale * self.out(hidden).squeeze(1)
        return inner_loop.from_vector(inner_loop.to_vector(params) + step, params), state


class LearnedOptimizer(StepsLearner):
    """Adapt all weights by the steps of a learned optimiser, from a start that is learned, too, or drawn at random.

    Args:
        model: Any module whose forward pass is pure.
        n_inner_steps: Steps in training, and at test time unless told otherwise; at least 1.
        n_hidden: Hidden units of each of the two LSTM layers.
        scale: Multiplies the LSTM's output.
        initialisation: ``"learned"``: the model's parameters are learned with the rule; ``"random"``: only the rule is
            learned, and the model is initialised anew, in place, before each outer step (its own ``reset_parameters``,
            or its layers'). Tests then start from the last draw.
        every_step: The outer objective is the mean of the query losses after each step, as in the paper; ``False``:
            the loss after the last one.
        truncation: Cut the meta-gradient after every so many steps; ``None``: differentiate through all of them.
        batch_size: Support examples of each step, consecutive in their order, starting over at the end; ``None``: all.
        first_order: Treat gradients as constants that do not depend on what is learned, as the paper does.
        loss_fn: Task loss, for the inner and the outer objective.

    Attributes:
        rule: The update, a :class:`metalearn.learners.learned_optimizer.LearnedRule`; it serves
            :func:`metalearn.inner_loop.unroll` with any model.

    Raises:
        ValueError: If an option is unknown or a number is out of its range.

    Reference:
        Andrychowicz, Denil, Gomez, Hoffman, Pfau, Schaul, Shillingford, de Freitas: Learning to learn by gradient
        descent by gradient descent, 2016, arXiv 1606.04474, sections 2 and 3.

    Differs from the paper:
        The outer objective is the query's loss, where the paper's tasks have one set of data only. With truncation the
        rule changes after all segments of an unroll, not after each.

    Taught in:
        Learning the rule of gradient descent.

    Example:
        >>> import torch
        >>> from metalearn.learners import LearnedOptimizer
        >>> from metalearn.networks import MLP
        >>> learner = LearnedOptimizer(MLP([1, 10, 1]), 5, loss_fn=torch.nn.functional.mse_loss)
        >>> adapted = learner.adapt(torch.zeros(5, 1), torch.zeros(5, 1))
        >>> learner.predict(adapted, torch.zeros(3, 1)).shape
        torch.Size([3, 1])
    """

    def __init__(
        self,
        model: nn.Module,
        n_inner_steps: int = 10,
        *,
        n_hidden: int = 20,
        scale: float = 0.1,
        initialisation: Initialisation = "learned",
        every_step: bool = True,
        truncation: int | None = None,
        batch_size: int | None = None,
        first_order: bool = True,
        loss_fn: TaskLoss = F.cross_entropy,
    ) -> None:
        at_least_one(n_inner_steps=n_inner_steps)
        step_weights = [1 / n_inner_steps] * n_inner_steps if every_step else None
        super().__init__(model, n_inner_steps, step_weights=step_weights, loss_fn=loss_fn)
        if initialisation not in get_args(Initialisation):
            raise ValueError(f"initialisation must be one of {list(get_args(Initialisation))}, got {initialisation!r}")
        at_least_one(truncation=truncation, batch_size=batch_size)
        self.n_hidden = n_hidden
        self.scale = scale
        self.initialisation = initialisation
        self.every_step = every_step
        self.truncation = truncation
        self.batch_size = batch_size
        self.first_order = first_order
        self.rule = LearnedRule(n_hidden, scale)

    def backward(self, batch: Any) -> Tensor:
        """Add the gradient of the mean loss over a batch of tasks to ``.grad`` and return that loss, detached."""
        if self.initialisation == "random":
            initialise_again(self.model)
        return super().backward(batch)

    def _start(self) -> inner_loop.Params:
        start = super()._start()
        if self.initialisation == "learned":
            return start
        return {name: param.detach() for name, param in start.items()}

    def _path(self, start: inner_loop.Params, x: Inputs, y: Tensor, n_steps: int) -> Iterator[inner_loop.Params]:
        yield start
        last, data = (start, self.rule.start(start)), inner_loop.batches(x, y, n_steps, self.batch_size)
        length = self.truncation or max(n_steps, 1)
        for k in range(0, n_steps, length):
            params, state = tree_map(torch.detach, last) if k else last
            segment = islice(data, length)
            for last in inner_loop.unroll(
                params, self.rule, state, self._support_loss, segment, first_order=self.first_order
            ):
                yield last[0]


def initialise_again(module: nn.Module) -> None:
    """Draw a module's weights anew, in place, as its constructor did: by its own ``reset_parameters``, or its parts'.

    Weights with ``requires_grad=False`` stay as they are, and so do those that no ``reset_parameters`` draws, such as
    a bare ``nn.Parameter`` of a module without that method.

    Example:
        >>> from metalearn.learners.learned_optimizer import initialise_again
        >>> from metalearn.networks import MLP
        >>> model = MLP([100, 100, 1], init_std=0.01)
        >>> initialise_again(model)
        >>> round(model[0].weight.std().item(), 2)
        0.01
    """
    if callable(reset := getattr(module, "reset_parameters", None)):
        frozen = [(param, param.clone()) for param in module.parameters() if not param.requires_grad]
        reset()
        for param, before in frozen:
            param.copy_(before)
        return
    for part in module.children():
        initialise_again(part)
