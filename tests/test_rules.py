"""Update rules do what torch's optimisers and the meta-LSTM's own equations do."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from metalearn import inner_loop
from metalearn.learners import MAML, MetaLSTM
from metalearn.learners.evolved_rule import SymbolicRule
from metalearn.networks import MLP
from metalearn.rules import SGD, Adam, FixedGates, with_rule
from metalearn.runtime import seed_everything

X = torch.linspace(-2, 2, 8).double().unsqueeze(1)


@pytest.fixture
def learner() -> MetaLSTM:
    seed_everything(0)
    learner = MetaLSTM(MLP([1, 6, 1]), 4, initial_lr=0.2, loss_fn=F.mse_loss).double()
    for param in learner.rule.parameters():  # a rule whose gates differ from weight to weight and step to step
        param.data += 0.3 * torch.randn_like(param)
    return learner


def vector(adapted: dict[str, Tensor]) -> Tensor:
    return torch.cat([adapted[name].flatten() for name in sorted(adapted)]).detach()


@pytest.mark.parametrize(
    ("rule", "optimizer"),
    [
        (SGD(0.1), lambda p: torch.optim.SGD(p, 0.1)),
        (SGD(0.1, momentum=0.7), lambda p: torch.optim.SGD(p, 0.1, momentum=0.7)),
        (Adam(0.1), lambda p: torch.optim.Adam(p, 0.1)),
    ],
)
def test_a_rule_takes_the_steps_of_torchs_optimiser(rule, optimizer):
    net = nn.Linear(1, 1).double()
    params = {name: param.detach().clone() for name, param in net.named_parameters()}
    state, own = rule.start(params), optimizer(net.parameters())
    for _ in range(5):
        own.zero_grad()
        loss = (net(X) - X.sin()).square().mean()
        loss.backward()
        grads = {name: param.grad.clone() for name, param in net.named_parameters()}
        params, state = rule(params, grads, loss.detach(), state)
        own.step()
    for name, param in net.named_parameters():
        torch.testing.assert_close(params[name], param.detach(), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("rule", [Adam(0.1), SymbolicRule(["g/rms", "m/rms"]).double()])
def test_the_meta_gradient_is_finite_beside_a_weight_without_a_gradient(rule):
    start = {"used": torch.tensor(0.5).double(), "dead": torch.tensor(0.5).double()}

    def loss(params, x, y):
        return F.mse_loss(params["used"] * x + params["dead"] * (0 * x), y)

    def after_two_steps(*values):
        params = dict(zip(start, values, strict=True))
        path = inner_loop.unroll(params, rule, rule.start(params), loss, inner_loop.batches(X, X.sin(), 2))
        return [loss(params, X, X.sin()) for params, _ in path][-1]

    values = [value.requires_grad_() for value in start.values()]
    used, dead = torch.autograd.grad(after_two_steps(*values), values)
    assert used.abs() > 1e-3 and dead == 0
    assert torch.autograd.gradcheck(after_two_steps, values)


def test_another_rule_starts_where_the_learner_starts_and_leaves_it_as_it_is(learner):
    before = vector(learner.adapt(X, X.sin()))
    other = with_rule(learner, SGD(0.1))
    steps = MAML(learner.model, 0.1, n_inner_steps=4, loss_fn=F.mse_loss)
    torch.testing.assert_close(vector(other.adapt(X, X.sin())), vector(steps.adapt(X, X.sin())))
    assert other.model is learner.model and not isinstance(learner.rule, SGD)
    torch.testing.assert_close(vector(learner.adapt(X, X.sin())), before, rtol=0, atol=0)
    torch.testing.assert_close(vector(with_rule(learner, learner.rule).adapt(X, X.sin())), before, rtol=0, atol=0)


def test_gates_that_stand_open_are_gradient_descent(learner):
    fixed = with_rule(learner, FixedGates(torch.full((4, 1), 0.1).double(), torch.ones(4, 1).double()))
    torch.testing.assert_close(vector(fixed.adapt(X, X.sin())), vector(with_rule(learner, SGD(0.1)).adapt(X, X.sin())))


def test_the_gates_of_a_task_repeat_its_steps(learner):
    start = {f"model.{name}": param.detach() for name, param in learner.model.named_parameters()}
    data = inner_loop.batches(X, X.sin(), 4)
    path = inner_loop.unroll(start, learner.rule, learner.rule.start(start), learner._support_loss, data)
    states = [state for _, state in path]
    enter, forget = (torch.stack([state[name].flatten() for state in states]).detach() for name in ("enter", "forget"))
    assert enter.std() > 0.01 and forget.std() > 1e-4
    fixed = with_rule(learner, FixedGates(enter, forget))
    torch.testing.assert_close(vector(fixed.adapt(X, X.sin())), vector(learner.adapt(X, X.sin())))
