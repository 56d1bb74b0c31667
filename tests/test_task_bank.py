"""The task bank against closed forms: ridge, the multivariate normal, and the balanced one-way layout."""

import math

import pytest
import torch
from torch import nn
from torch.distributions import MultivariateNormal
from torch.nn import functional as F

from metalearn import Episode, EpisodeList, evaluate, fit, over_tasks
from metalearn.data import linear_problems, sinusoids
from metalearn.experiments._closed import RidgeRegression
from metalearn.learners import TaskBank
from metalearn.networks import MLP


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def bank_of(n_features: int = 3, **options) -> TaskBank:
    learner = TaskBank(nn.Identity(), n_features=n_features, **options).double()
    with torch.no_grad():
        for name, parameter in learner.named_parameters():
            parameter.add_(0.4 * torch.randn(parameter.shape, generator=seeded(len(name)), dtype=torch.float64))
    return learner


def problem(n: int = 6, n_features: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    x = torch.randn(n, n_features, generator=seeded(1), dtype=torch.float64)
    return x, torch.randn(n, 1, generator=seeded(2), dtype=torch.float64)


def many(n_tasks: int = 40, n_features: int = 3) -> Episode:
    """Return tasks whose weights have a mean and a correlation, seen with noise of 0.3."""
    generator = seeded(3)
    root = torch.tensor([[1.0, 0.0, 0.0], [0.8, 0.3, 0.0], [0.0, 0.5, 0.2]], dtype=torch.float64)
    w = torch.tensor([1.0, -2.0, 0.5]) + torch.randn(n_tasks, 3, generator=generator, dtype=torch.float64) @ root.T
    x = torch.randn(n_tasks, 10, n_features, generator=generator, dtype=torch.float64)
    noise = 0.3 * torch.randn(n_tasks, 10, 1, generator=generator, dtype=torch.float64)
    y = torch.einsum("tni,ti->tn", x, w).unsqueeze(2) + noise
    return Episode(x[:, :5], y[:, :5], x[:, 5:], y[:, 5:])


def test_the_posterior_is_that_of_the_joint_normal():
    learner, (x, y) = bank_of(), problem()
    mean, root, variance = learner.prior()
    covariance = root @ root.T
    cross, joint = covariance @ x.T, x @ covariance @ x.T + variance * torch.eye(6)  # of w and y, of y
    gain = cross @ torch.linalg.inv(joint)
    adapted = learner.adapt(x, y)
    torch.testing.assert_close(adapted["mean"], mean + gain @ (y.squeeze(1) - x @ mean))
    torch.testing.assert_close(adapted["covariance"], covariance - gain @ cross.T)
    at = torch.randn(4, 3, generator=seeded(5), dtype=torch.float64)
    torch.testing.assert_close(learner.predict(adapted, at), at @ adapted["mean"].unsqueeze(1))
    expected = (at @ adapted["covariance"] @ at.T).diagonal() + variance
    torch.testing.assert_close(learner.std(adapted, at).squeeze(1), expected.sqrt())


def test_around_zero_with_equal_spread_it_is_ridge_regression():
    x, y = problem()
    learner = TaskBank(nn.Identity(), n_features=3, noise=0.5, spread=2.0).double()
    ridge = RidgeRegression(0.25 / 4.0).adapt(x, y)["weight"]
    torch.testing.assert_close(learner.adapt(x, y)["mean"], ridge.squeeze(1))


def test_without_points_the_posterior_is_the_prior():
    learner = bank_of()
    adapted = learner.adapt(torch.zeros(0, 3).double(), torch.zeros(0, 1).double())
    mean, root, _ = learner.prior()
    torch.testing.assert_close(adapted["mean"], mean)
    torch.testing.assert_close(adapted["covariance"], root @ root.T)


def test_the_marginal_likelihood_is_that_of_the_multivariate_normal():
    learner, (x, y) = bank_of(), problem()
    mean, root, variance = learner.prior()
    normal = MultivariateNormal(x @ mean, x @ root @ root.T @ x.T + variance * torch.eye(6))
    torch.testing.assert_close(learner.log_marginal(x, y), normal.log_prob(y.squeeze(1)))
    task = Episode(x[:2], y[:2], x[2:], y[2:])
    torch.testing.assert_close(learner.loss(task), -normal.log_prob(y.squeeze(1)) / 6)
    step_by_step = learner.log_marginal(x[:4], y[:4])  # p(y) = p(first) p(rest | first)
    adapted = learner.adapt(x[:4], y[:4])
    rest = x[4:] @ adapted["covariance"] @ x[4:].T + variance * torch.eye(2)
    last = MultivariateNormal(x[4:] @ adapted["mean"], rest).log_prob(y[4:].squeeze(1))
    torch.testing.assert_close(step_by_step + last, learner.log_marginal(x, y))


def test_no_iteration_lowers_the_likelihood_and_at_the_end_its_gradient_is_zero():
    learner, batch = bank_of(), many()
    bank = learner.em(batch, 300)
    assert (bank.log_likelihoods.diff() > -1e-9).all() and bank.log_likelihoods[-1] > bank.log_likelihoods[0] + 1
    over_tasks(learner.loss, batch).mean().backward()
    for name, parameter in learner.named_parameters():
        assert parameter.grad.abs().max() < 2e-4, name
    assert learner.log_noise.exp().item() == pytest.approx(0.3, rel=0.1)
    both = torch.cat([batch.support_x, batch.query_x], 1), torch.cat([batch.support_y, batch.query_y], 1)
    adapted = learner.adapt(both[0][7], both[1][7])
    torch.testing.assert_close(bank.means[7], adapted["mean"].detach())
    torch.testing.assert_close(bank.covariances[7], adapted["covariance"].detach())


def test_tasks_of_unequal_sizes_count_by_their_points():
    learner, batch = bank_of(), many()
    unequal = EpisodeList([task if k % 2 else shortened(task, 2) for k, task in enumerate(batch)])
    bank = learner.em(unequal, 300)
    assert (bank.log_likelihoods.diff() > -1e-9).all()
    sum(-learner.log_marginal(*points(task)) for task in unequal).backward()
    assert learner.log_noise.grad.abs() < 2e-2 < learner.log_noise.detach().exp()  # of a sum over 320 points


def shortened(task: Episode, n: int) -> Episode:
    return Episode(task.support_x[:n], task.support_y[:n], task.query_x[:n], task.query_y[:n])


def points(task: Episode) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.cat([task.support_x, task.query_x]), torch.cat([task.support_y, task.query_y])


def test_the_balanced_one_way_layout_has_a_closed_form():
    n_tasks, n = 30, 8
    levels = 2 + torch.randn(n_tasks, 1, 1, generator=seeded(), dtype=torch.float64)
    y = levels + 0.5 * torch.randn(n_tasks, n, 1, generator=seeded(1), dtype=torch.float64)
    x = torch.ones(n_tasks, n, 1, dtype=torch.float64)
    learner = TaskBank(nn.Identity(), n_features=1).double()
    learner.em(Episode(x[:, :3], y[:, :3], x[:, 3:], y[:, 3:]), 400)
    within = (y - y.mean(1, keepdim=True)).square().sum() / (n_tasks * (n - 1))
    between = n * (y.mean(1) - y.mean()).square().mean()
    mean, root, variance = learner.prior()
    torch.testing.assert_close(mean[0], y.mean())
    torch.testing.assert_close(variance, within, rtol=1e-6, atol=0)
    torch.testing.assert_close(root[0, 0] ** 2, (between - within) / n, rtol=1e-6, atol=0)


def test_a_shared_prior_beats_tasks_on_their_own_and_the_pooled_model():
    learner, batch = bank_of(), many(200)
    learner.em(batch[:150], 50)
    errors = {"bank": 0.0, "alone": 0.0, "pooled": 0.0}
    for task in (batch[i] for i in range(150, 200)):
        x, y = task.support_x[:3], task.support_y[:3]  # three points, three weights
        weights = {
            "bank": learner.adapt(x, y)["mean"],
            "alone": torch.linalg.solve(x, y).squeeze(1),
            "pooled": learner.prior()[0],
        }
        for name, w in weights.items():
            errors[name] += F.mse_loss(task.query_x @ w.unsqueeze(1), task.query_y).item() / 50
    assert errors["bank"] < 0.5 * errors["alone"] and errors["bank"] < 0.5 * errors["pooled"]


def test_em_in_single_precision_holds_where_noise_vanishes():
    class Bumps(nn.Module):
        def forward(self, x):
            return (-(x - torch.linspace(-5, 5, 20, dtype=x.dtype)).square() / 2).exp()

    learner = TaskBank(Bumps(), n_features=20)
    bank = learner.em(sinusoids().sample(100, 10, 10, seeded()), 30)
    assert bank.means.dtype == learner.prior_mean.dtype == torch.float32
    assert (bank.log_likelihoods.diff() > -1e-3).all()
    assert evaluate(learner, sinusoids().episodes(n_tasks=50, n_shot=10, n_query=20), 100).mean < 0.05


def test_fit_learns_prior_and_features():
    torch.manual_seed(0)
    learner = TaskBank(nn.Sequential(MLP([1, 10]), nn.Tanh()), n_features=10)
    learner.how = "vmap"
    tasks = sinusoids().episodes(n_tasks=10, n_shot=10, n_query=10)
    before = learner.encoder[0][0].weight.clone()
    losses = fit(learner, tasks, 150, outer_lr=0.02, max_grad_norm=10.0, progress=False).losses
    assert sum(losses[-10:]) / 10 < 1.5 < losses[0]
    assert not torch.equal(learner.encoder[0][0].weight, before)
    batch = tasks(seeded())
    torch.testing.assert_close(over_tasks(learner.loss, batch, "loop"), over_tasks(learner.loss, batch, "vmap"))


def test_the_bank_refuses():
    with pytest.raises(ValueError, match="noise must be above 0"):
        TaskBank(nn.Identity(), n_features=1, noise=0.0)
    with pytest.raises(ValueError, match="n_features is needed"):
        TaskBank(nn.Identity())
    learner = TaskBank(nn.Identity(), n_features=2)
    with pytest.raises(ValueError, match=r"features \[n, 2\] and targets \[n, 1\], got \[4, 3\] and \[4, 1\]"):
        learner.adapt(torch.zeros(4, 3), torch.zeros(4, 1))
    with pytest.raises(ValueError, match=r"got \[4, 2\] and \[4, 2\]"):
        learner.adapt(torch.zeros(4, 2), torch.zeros(4, 2))
    with pytest.raises(ValueError, match="TaskBank takes no inner steps, got n_steps=1"):
        learner.adapt(torch.zeros(4, 2), torch.zeros(4, 1), n_steps=1)
    with pytest.raises(ValueError, match="n_iterations must be at least 1"):
        learner.em(many(), 0)
    assert math.isclose(learner.log_noise.exp().item(), 0.1, rel_tol=1e-6)
    assert evaluate(
        TaskBank(nn.Identity(), n_features=5), linear_problems().episodes(n_tasks=5, n_shot=9, n_query=5), 10
    )
