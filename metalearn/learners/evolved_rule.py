"""An update rule that can be read: a sum of known directions whose coefficients evolve over tasks."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from typing import Any, Literal, Self, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from metalearn import inner_loop
from metalearn.episodes import Inputs
from metalearn.evolution import evolution_backward, population_losses
from metalearn.inner_loop import from_vector, to_vector
from metalearn.learners._base import TaskLoss
from metalearn.learners._checks import at_least_one, positive
from metalearn.learners._preprocessing import root
from metalearn.learners._steps import StepsLearner
from metalearn.learners.learned_optimizer import initialise_again

TERMS = ("g", "m", "sign(g)", "sign(m)", "g/rms", "m/rms", "w")  # w: the weight itself
EPS = 1e-8
Initialisation = Literal["random", "fixed"]
State = dict[str, Tensor]


class SymbolicRule(nn.Module):
    r"""The update of :class:`EvolvedRule`: :math:`\theta \leftarrow \theta - k^{-p} \sum_j c_j\, \phi_j`.

    The terms :math:`\phi_j` are the gradient g, its running mean m, their signs, both divided by the root of the
    running mean of squares rms, and the weight w. Both running means are corrected for their start, as Adam's.

    Args:
        terms: Names of the terms, some of ``TERMS``.
        unit: Unit of the coefficients: one number of the vector is worth so much.

    Attributes:
        vector: All that evolves ``[n_terms + 3]``: coefficients in their unit, logits of the decays of m and of rms,
            and the power p of the step's number k.
    """

    def __init__(self, terms: Sequence[str] = TERMS, unit: float = 0.01) -> None:
        super().__init__()
        if not terms or set(terms) - set(TERMS) or len(set(terms)) < len(terms):
            raise ValueError(f"terms must be some of {list(TERMS)}, each once, got {list(terms)}")
        self.terms, self.unit = tuple(terms), positive("unit", unit)
        start = torch.tensor([float(term == "g") for term in terms] + [2.0, 2.0, 0.0])
        self.vector = nn.Parameter(start)

    @property
    def coefficients(self) -> Tensor:
        """Return the coefficients of the terms ``[n_terms]``."""
        return self.unit * self.vector[: len(self.terms)]

    def start(self, params: inner_loop.Params) -> State:
        """Return the state before the first step."""
        zero = torch.zeros_like(to_vector(params))
        return {"mean": zero, "square": zero, "step": zero.new_zeros(())}

    def forward(
        self, params: inner_loop.Params, grads: inner_loop.Params, loss: Tensor, state: State
    ) -> tuple[inner_loop.Params, State]:
        """Take one step; the loss is not used."""
        weight, gradient, step = to_vector(params), to_vector(grads), state["step"] + 1
        first, second = self.vector[-3:-1].sigmoid()
        mean = first * state["mean"] + (1 - first) * gradient
        square = second * state["square"] + (1 - second) * gradient.square()
        m, rms = mean / (1 - first**step), root(square / (1 - second**step)) + EPS
        terms = {"g": gradient, "m": m, "sign(g)": gradient.sign(), "sign(m)": m.sign(), "w": weight}
        terms |= {"g/rms": gradient / rms, "m/rms": m / rms}
        move = self.coefficients @ torch.stack([terms[name] for name in self.terms])  # [n_params]
        moved = weight - step ** -self.vector[-1] * move
        return from_vector(moved, params), {"mean": mean, "square": square, "step": step}

    def expression(self, digits: int = 2) -> str:
        """Return the rule as text: what is subtracted from a weight w at step k, and the decays that it uses."""
        found = [(c, name) for c, name in zip(self.coefficients.tolist(), self.terms, strict=True) if c]
        text = " ".join(f"{'-' if c < 0 else '+'} {abs(c):.{digits}g} {name}" for c, name in found).removeprefix("+ ")
        first, second = (float(decay) for decay in self.vector[-3:-1].sigmoid().tolist())
        power = self.vector[-1].item()
        if round(power, digits):
            text = f"k^{-power:.{digits}g} ({text or 0})"
        names = {name for _, name in found}
        uses = [f"m: {first:.{digits}g}"] if names & {"m", "sign(m)", "m/rms"} else []
        uses += [f"rms: {second:.{digits}g}"] if names & {"g/rms", "m/rms"} else []
        return f"w <- w - [{text or 0}]" + (f" with decays {', '.join(uses)}" if uses else "")


class EvolvedRule(StepsLearner):
    """Adapt all weights by a rule that evolution finds: a sum of terms that can be printed and shortened.

    Gradient descent is the rule with the single term ``"g"``, and where evolution starts. Only the rule evolves; the
    model's weights are a start that is drawn, not learned. The inner loop differentiates the support's loss; the outer
    one asks for losses only.

    Args:
        model: Any module whose forward pass is pure.
        n_inner_steps: Steps in training, and at test time unless told otherwise; at least 1.
        terms: Of the rule: some of ``"g"``, ``"m"``, ``"sign(g)"``, ``"sign(m)"``, ``"g/rms"``, ``"m/rms"``, ``"w"``.
        unit: Unit of the coefficients, which makes them as large as the other numbers that evolve.
        initialisation: ``"random"``: the model is initialised anew, in place, before each outer step; tests then start
            from the last draw. ``"fixed"``: it stays as it is.
        n_pairs: Antithetic pairs of the outer estimate.
        sigma: Standard deviation of the rule's vector.
        ranks: Put ranks in place of the losses in the outer estimate: rules that diverge then rank last, and no more.
        loss_fn: Task loss.

    Attributes:
        rule: The rule, a :class:`metalearn.learners.evolved_rule.SymbolicRule`; it serves
            :func:`metalearn.inner_loop.unroll` with any model. Populations are made of its ``"rule.vector"``.

    Raises:
        ValueError: If a term or an option is unknown, or a number is out of its range.

    Reference:
        Rules as expressions found by search: Bello, Zoph, Vasudevan, Le: Neural Optimizer Search with Reinforcement
        Learning, 2017, arXiv 1709.07417.

    Differs from the paper:
        There an expression is a tree, written by a recurrent network; here a sum of fixed terms, so that a whole
        population of rules runs at once.

    Taught in:
        Trial and error, and evolution.

    Example:
        >>> from metalearn.learners import EvolvedRule
        >>> from metalearn.networks import MLP
        >>> EvolvedRule(MLP([1, 8, 1]), 5).expression()
        'w <- w - [0.01 g]'
    """

    def __init__(
        self,
        model: nn.Module,
        n_inner_steps: int = 10,
        *,
        terms: Sequence[str] = TERMS,
        unit: float = 0.01,
        initialisation: Initialisation = "random",
        n_pairs: int = 16,
        sigma: float = 0.3,
        ranks: bool = True,
        loss_fn: TaskLoss = F.cross_entropy,
    ) -> None:
        at_least_one(n_inner_steps=n_inner_steps, n_pairs=n_pairs)
        super().__init__(model, n_inner_steps, loss_fn=loss_fn)
        if initialisation not in get_args(Initialisation):
            raise ValueError(f"initialisation must be one of {list(get_args(Initialisation))}, got {initialisation!r}")
        self.terms = tuple(terms)
        self.unit = unit
        self.initialisation = initialisation
        self.n_pairs = n_pairs
        self.sigma = positive("sigma", sigma)
        self.ranks = ranks
        self.rule = SymbolicRule(terms, unit)

    def backward(self, batch: Any, generator: torch.Generator | None = None) -> Tensor:
        """Add the estimate of the rule's gradient to ``.grad`` and return the population's mean loss."""
        if self.initialisation == "random":
            initialise_again(self.model)
        options: dict[str, Any] = {"n_pairs": self.n_pairs, "sigma": self.sigma, "ranks": self.ranks}
        return evolution_backward(self, under="rule.", chunk_size=self.chunk_size, **options)(batch, generator)

    def expression(self, digits: int = 2) -> str:
        """Return the rule as text."""
        return self.rule.expression(digits)

    def rule_vector(self) -> Tensor:
        """Return all that evolves, detached ``[n_terms + 3]``."""
        return self.rule.vector.detach().clone()

    def with_rule(self, vector: Tensor) -> Self:
        """Return a copy whose rule has this vector ``[n_terms + 3]``."""
        if vector.shape != self.rule.vector.shape:
            raise ValueError(
                f"expected {len(self.terms)} coefficients, two decays and a power, {list(self.rule.vector.shape)}, got"
                f" {list(vector.shape)}"
            )
        other = copy.deepcopy(self)
        with torch.no_grad():
            other.rule.vector.copy_(vector)
        return other

    def simplified(self, batch: Any, tolerance: float = 0.02) -> Self:
        """Return a copy without the terms that can go, one after the other, the least missed first.

        Args:
            batch: Tasks on which the loss is taken: of training or validation.
            tolerance: Share by which the mean loss of the whole rule may rise in all, at least 0.
        """
        if tolerance < 0:
            raise ValueError(f"tolerance must be at least 0, got {tolerance}")
        vector, n_terms = self.rule_vector(), len(self.terms)
        limit = (1 + tolerance) * self._loss_of(batch, vector.unsqueeze(0))[0]
        while len(left := vector[:n_terms].nonzero().flatten()) > 1:
            tries = vector.repeat(len(left), 1).scatter(1, left.unsqueeze(1), 0.0)  # one term less in each row
            losses = self._loss_of(batch, tries).nan_to_num(nan=float("inf"))
            if losses.min() > limit:
                break
            vector = tries[losses.argmin()]
        return self.with_rule(vector)

    def _loss_of(self, batch: Any, vectors: Tensor) -> Tensor:
        """Return the mean loss of each rule ``[n]`` of vectors ``[n, n_terms + 3]``."""
        return population_losses(self, batch, {"rule.vector": vectors}).mean(1)

    def _start(self) -> inner_loop.Params:
        return {name: param.detach() for name, param in super()._start().items()}

    def _path(self, start: inner_loop.Params, x: Inputs, y: Tensor, n_steps: int) -> Iterator[inner_loop.Params]:
        yield start
        data = inner_loop.batches(x, y, n_steps)
        state = self.rule.start(start)
        for params, _ in inner_loop.unroll(start, self.rule, state, self._support_loss, data, first_order=True):
            yield params
