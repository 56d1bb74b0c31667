"""Shrinkage against closed forms, scikit-learn, and finite differences."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from torch import nn
from torch.nn import functional as F

from metalearn import Episode, inner_loop, over_tasks
from metalearn.data import sites
from metalearn.learners import Shrinkage
from metalearn.networks import MLP

pytestmark = pytest.mark.usefixtures("double")


@pytest.fixture
def double():
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def learner_of(n_features, n_outputs=2, loss_fn=F.cross_entropy, **options):
    torch.manual_seed(0)
    learner = Shrinkage(nn.Identity(), n_outputs, n_features=n_features, loss_fn=loss_fn, **options)
    with torch.no_grad():
        for parameter in learner.parameters():
            parameter.normal_()
    return learner


def data(n=30, n_features=3, n_classes=2):
    torch.manual_seed(1)
    return torch.randn(n, n_features), torch.arange(n) % n_classes


def test_the_squared_loss_has_a_closed_form():
    learner = learner_of(3, 2, F.mse_loss, n_inner_steps=1, strength=2.0)
    x, y = data()[0], torch.randn(30, 2)
    adapted = learner.adapt(x, y)
    ones, precision = torch.cat([x, torch.ones(30, 1)], 1), torch.diag(learner.precision())
    centre = torch.cat([learner.weight, learner.bias[:, None]], 1)
    w = torch.linalg.solve(ones.T @ ones + precision, ones.T @ y + precision @ centre.T).T
    torch.testing.assert_close(torch.cat([adapted["weight"], adapted["bias"][:, None]], 1), w)
    torch.testing.assert_close(learner.adapt(x, y, n_steps=7), adapted)  # Newton was there at once


def test_two_classes_are_scikit_learns_logistic_regression():
    """Around 0 and with a free bias; two outputs with the same prior halve the penalty of their difference."""
    learner = Shrinkage(nn.Identity(), 2, n_features=3, strength=1.5, n_inner_steps=20)
    with torch.no_grad():
        learner.log_precision[-1] = -25.0
    x, y = data()
    y = (x[:, 0] + 0.7 * torch.randn(30) > 0.2).long()
    adapted = learner.adapt(x, y)
    reference = LogisticRegression(C=2 / 1.5, tol=1e-10, max_iter=10_000).fit(x.numpy(), y.numpy())
    difference = (adapted["weight"][1] - adapted["weight"][0]).detach()
    np.testing.assert_allclose(difference, reference.coef_[0], rtol=1e-4)
    np.testing.assert_allclose((adapted["bias"][1] - adapted["bias"][0]).item(), reference.intercept_[0], rtol=1e-3)


def test_three_classes_around_a_centre_solve_the_normal_equations():
    """At the minimum the gradient of the objective, by autograd, is 0."""
    learner = learner_of(3, 3, strength=0.7, n_inner_steps=20)
    x, y = data(n_classes=3)
    found = learner.adapt(x, y)
    weight, bias = (found[name].detach().requires_grad_() for name in ("weight", "bias"))
    w, centre = torch.cat([weight, bias[:, None]], 1), torch.cat([learner.weight, learner.bias[:, None]], 1).detach()
    objective = F.cross_entropy(F.linear(x, weight, bias), y, reduction="sum")
    objective = objective + 0.5 * (learner.precision().detach() * (w - centre).square()).sum()
    for gradient in torch.autograd.grad(objective, (weight, bias)):
        assert gradient.abs().max() < 1e-10


def test_a_strong_prior_is_the_shared_model_and_no_step_too():
    learner = learner_of(3)
    with torch.no_grad():
        learner.log_precision.zero_()
    x, y = data()
    shared = F.linear(x, learner.weight, learner.bias)
    torch.testing.assert_close(learner.predict(learner.adapt(x, y, n_steps=0), x), shared)
    learner.strength = 1e9
    torch.testing.assert_close(learner.predict(learner.adapt(x, y), x), shared, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("loss_fn", [F.cross_entropy, F.mse_loss])
def test_the_outer_gradient_is_that_of_the_minimum(loss_fn):
    """Through the last Newton step alone, at the minimum: the implicit derivative, for every parameter."""
    torch.manual_seed(0)
    learner = Shrinkage(MLP([3, 2]), 2, strength=0.8, n_inner_steps=25, loss_fn=loss_fn)
    with torch.no_grad():
        for parameter in (learner.weight, learner.bias, learner.log_precision):
            parameter.normal_()
    x, y = data()
    y = F.one_hot(y).double() if loss_fn is F.mse_loss else y
    task = Episode(x[:12], y[:12], x[12:], y[12:], None if loss_fn is F.mse_loss else 2)
    learner.loss(task).backward()
    for parameter in learner.parameters():
        grads = parameter.grad.flatten()
        for i in range(0, parameter.numel(), 3):
            values = []
            for sign in (1, -1):
                with torch.no_grad():
                    parameter.view(-1)[i] += sign * 1e-5
                    values.append(learner.loss(task).item())
                    parameter.view(-1)[i] -= sign * 1e-5
            assert grads[i].item() == pytest.approx((values[0] - values[1]) / 2e-5, rel=1e-4, abs=1e-8)


def test_separable_support_with_a_weak_prior_converges():
    learner = Shrinkage(nn.Identity(), 2, n_features=2, strength=1e-3, n_inner_steps=40)
    x, y = torch.tensor([[-3.0, 0.1], [-2.0, 0.4], [2.0, 0.3], [40.0, 0.2]]), torch.tensor([0, 0, 1, 1])
    torch.testing.assert_close(learner.adapt(x, y), learner.adapt(x, y, n_steps=60))
    with torch.no_grad():  # far away, whole steps alone would never come back
        learner.weight.copy_(torch.tensor([[9.0, 0.0], [-9.0, 0.0]]))
        learner.strength = 0.1
    assert learner.predict(learner.adapt(x, y), x).argmax(1).equal(y)


def test_gradient_descent_is_ridge_with_a_strength_for_each_direction():
    """M steps from the centre equal one shrinkage, if each eigenvector of the Hessian has the right precision."""
    torch.manual_seed(0)
    x, rate, n_steps = torch.randn(8, 3), 0.05, 7
    _, _, basis = torch.linalg.svd(x, full_matrices=False)
    x, y = x @ basis.T, torch.randn(8, 1)  # now the features are the eigenvectors
    centre = torch.randn(1, 3)
    kept = (1 - rate * x.square().sum(0)) ** n_steps
    precision = x.square().sum(0) * kept / (1 - kept)

    def loss(params, x, y):
        return 0.5 * (x @ params["w"].T - y).square().sum()

    stepped = inner_loop.adapt({"w": centre}, loss, x, y, n_steps=n_steps, inner_lr=rate)["w"]
    shrunk = torch.linalg.solve(x.T @ x + torch.diag(precision), x.T @ y + (precision * centre).T).T
    torch.testing.assert_close(stepped, shrunk)


def test_many_tasks_at_once_are_as_one_by_one():
    episodes = (
        sites()
        .train.sample(6, 3, 5, torch.Generator().manual_seed(0))
        .map(lambda t: t.double() if t.is_floating_point() else t)
    )
    learner = learner_of(40)
    torch.testing.assert_close(over_tasks(learner.loss, episodes, "vmap"), over_tasks(learner.loss, episodes, "loop"))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Shrinkage(nn.Identity(), 2), "n_features is needed, since Identity"),
        (lambda: Shrinkage(nn.Identity(), 2, n_features=3, strength=0.0), "strength must be above 0, got 0.0"),
        (
            lambda: Shrinkage(nn.Identity(), 2, n_features=3, n_inner_steps=-1),
            "n_inner_steps must be at least 0, got -1",
        ),
        (lambda: Shrinkage(nn.Identity(), 0, n_features=3), "n_outputs must be at least 1, got 0"),
        (lambda: Shrinkage(nn.Identity(), 2, n_features=3, loss_fn=F.l1_loss), "F.cross_entropy or F.mse_loss"),
        (
            lambda: learner_of(3).adapt(torch.zeros(4, 2), torch.tensor([0, 1, 0, 1])),
            r"features \[n, 3\].*got \[4, 2\]",
        ),
        (lambda: learner_of(2).adapt(torch.eye(2), torch.arange(2), n_steps=-3), "n_steps must be at least 0, got -3"),
        (lambda: learner_of(2).adapt(torch.eye(2), torch.tensor([0, 7])), r"expected labels 0…1, got \[0, 7\]"),
    ],
)
def test_errors(make, message):
    with pytest.raises(ValueError, match=message):
        make()
