"""Evolution strategies: the estimate against exact gradients, its variance against theory, whole populations."""

import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from metalearn import fit, over_tasks
from metalearn.data import sinusoids
from metalearn.evolution import (
    candidates_per_second,
    centred_ranks,
    cma_es,
    es_gradient,
    es_variance,
    es_variance_one_sided,
    estimate,
    evolution_backward,
    perturbations,
    population_losses,
)
from metalearn.evolution.population import as_population
from metalearn.learners import MAML, EvolvedRule, HyperNetwork
from metalearn.networks import MLP

KINDS = ("gaussian", "signs", "orthogonal")


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def quadratic(d: int = 5) -> tuple[torch.Tensor, torch.Tensor]:
    root = torch.randn(d, d, generator=seeded(3), dtype=torch.float64)
    return root + root.T, torch.randn(d, generator=seeded(4), dtype=torch.float64)


def smooth(n_hidden: int = 4) -> nn.Module:
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(1, n_hidden), nn.Tanh(), nn.Linear(n_hidden, 1)).double()


def waves(n_tasks: int = 3):
    return sinusoids().sample(n_tasks, 5, 6, seeded()).map(torch.Tensor.double)


def test_perturbations_are_what_they_say():
    assert set(perturbations(4, 3, "signs", generator=seeded()).flatten().tolist()) == {-1.0, 1.0}
    rows = perturbations(3, 5, "orthogonal", generator=seeded(), dtype=torch.float64)
    torch.testing.assert_close(rows @ rows.T, 5 * torch.eye(3, dtype=torch.float64))
    for kind in KINDS:
        generator = seeded()
        draws = torch.cat([perturbations(2, 3, kind, generator=generator) for _ in range(4000)])
        assert draws.mean(0).abs().max() < 0.05, kind
        torch.testing.assert_close(draws.T @ draws / len(draws), torch.eye(3), atol=0.06, rtol=0)
        again = perturbations(2, 3, kind, generator=seeded())
        assert torch.equal(again, draws[:2])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0, 3), "n must be at least 1, got 0"),
        ((2, 3, "cauchy"), "kind must be one of .*'orthogonal'.*, got 'cauchy'"),
        ((4, 3, "orthogonal"), "there are 3 orthogonal directions at most .*, got n=4"),
    ],
)
def test_perturbations_that_there_are_not(arguments, message):
    with pytest.raises(ValueError, match=message):
        perturbations(*arguments)


def test_ranks_do_not_depend_on_the_scale():
    losses = torch.tensor([3.0, 1.0, math.nan, 1.0, 2.0])
    assert centred_ranks(losses).tolist() == [0.25, -0.375, 0.5, -0.375, 0.0]
    assert torch.equal(centred_ranks(losses), centred_ranks(losses.exp()))
    assert centred_ranks(torch.tensor([7.0])).tolist() == [-0.5]
    assert centred_ranks(torch.tensor([3, 1, 2])).tolist() == [0.5, -0.5, 0.0]  # counts of errors are losses, too
    assert centred_ranks(torch.tensor([-math.inf, 1.0, 2.0])).tolist() == [0.5, -0.5, 0.0]


def test_losses_may_be_counts():
    found, losses = estimate(lambda x: (x > 0).sum(1), torch.zeros(2), torch.tensor([[2.0, 2.0]]), 0.5)
    assert losses.tolist() == [2, 0] and found.tolist() == [4.0, 4.0]
    found, _ = estimate(lambda x: (x > 0).sum(1), torch.zeros(2), torch.tensor([[2.0, 2.0]]), 0.5, ranks=True)
    assert found.tolist() == [2.0, 2.0]
    rows = torch.tensor([[2.0, 2.0]], dtype=torch.float64)
    found, _ = estimate(lambda x: (x > 0).sum(1), torch.zeros(2).double(), rows, 0.5, antithetic=False)
    assert found.tolist() == [8.0, 8.0]


@pytest.mark.parametrize("ranks", [False, True])
@pytest.mark.parametrize("antithetic", [False, True])
def test_without_pairs_as_many_candidates_are_drawn(antithetic, ranks):
    def value(x):
        return (x - torch.tensor([1.0, 2.0])).square().sum(-1)

    options, seen = {"antithetic": antithetic, "ranks": ranks}, []
    found, loss = es_gradient(
        lambda x: (seen.append(0), value(x))[1], torch.ones(2), n_pairs=3, generator=seeded(), how="loop", **options
    )
    rows = perturbations(3 if antithetic else 6, 2, generator=seeded())
    expected, losses = estimate(value, torch.ones(2), rows, 0.1, **options)
    torch.testing.assert_close((found, loss), (expected, losses.mean()))
    assert len(seen) == 6


def test_as_many_orthogonal_pairs_as_parameters_give_the_gradient_of_a_quadratic():
    hessian, slope = quadratic()
    point = torch.ones(5, dtype=torch.float64)

    def value(x):
        return 0.5 * x @ hessian @ x + slope @ x + 3

    options = {"n_pairs": 5, "sigma": 0.7, "kind": "orthogonal"}
    gradient, loss = es_gradient(value, point, generator=seeded(), **options)
    torch.testing.assert_close(gradient, hessian @ point + slope)
    rows = perturbations(5, 5, "orthogonal", generator=seeded(), dtype=torch.float64)
    torch.testing.assert_close(loss, torch.stack([value(point + 0.7 * row) for row in [*rows, *-rows]]).mean())
    fewer, _ = es_gradient(value, point, generator=seeded(), **{**options, "n_pairs": 4})
    assert (fewer - gradient).norm() > 0.1


def test_parameters_by_name_or_as_a_vector_and_vmap_or_a_loop():
    params = {"a": torch.randn(2, 2, generator=seeded()), "b": torch.randn(3, generator=seeded(1))}

    def named(p):
        return (p["a"].sum() * p["b"]).square().sum()

    def flat(v):
        return named({"a": v[:4].reshape(2, 2), "b": v[4:]})

    vector = torch.cat([params["a"].flatten(), params["b"]])
    by_name, loss = es_gradient(named, params, n_pairs=3, generator=seeded())
    by_vector, _ = es_gradient(flat, vector, n_pairs=3, generator=seeded(), chunk_size=4)
    by_loop, loss_of_loop = es_gradient(named, params, n_pairs=3, generator=seeded(), how="loop")
    torch.testing.assert_close(torch.cat([by_name["a"].flatten(), by_name["b"]]), by_vector)
    torch.testing.assert_close(by_name, by_loop)
    torch.testing.assert_close(loss, loss_of_loop)


def test_the_mean_is_the_gradient_of_the_smoothed_function():
    point, sigma = torch.tensor([1.0, -0.5], dtype=torch.float64), 0.5
    gradient, _ = es_gradient(lambda x: x.pow(3).sum(), point, n_pairs=400_000, sigma=sigma, generator=seeded())
    torch.testing.assert_close(gradient, 3 * point**2 + 3 * sigma**2, atol=0.03, rtol=0)
    one_sided, _ = es_gradient(
        lambda x: x.pow(3).sum(), point, n_pairs=400_000, sigma=sigma, antithetic=False, generator=seeded()
    )
    torch.testing.assert_close(one_sided, 3 * point**2 + 3 * sigma**2, atol=0.03, rtol=0)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("noise", [0.0, 5.0])
def test_the_variance_is_that_of_theory(kind, noise):
    hessian, slope = quadratic()
    point, generator = torch.ones(5, dtype=torch.float64), seeded()
    gradient, n_pairs, sigma = hessian @ point + slope, 3, 0.4

    def losses(x):
        exact = 0.5 * torch.einsum("ni,ij,nj->n", x, hessian, x) + x @ slope
        return exact + noise * torch.randn(len(x), generator=generator, dtype=torch.float64)

    found = []
    for _ in range(3000):
        rows = perturbations(n_pairs, 5, kind, generator=generator, dtype=torch.float64)
        found.append(estimate(losses, point, rows, sigma)[0])
    measured = (torch.stack(found) - gradient).square().sum(1).mean().item()
    theory = es_variance(gradient, n_pairs, kind, noise=noise, sigma=sigma)
    assert measured == pytest.approx(theory, rel=0.06)


@pytest.mark.parametrize("value", [0.0, 2.0])
def test_the_variance_without_pairs_is_that_of_theory(value):
    hessian, slope = quadratic(3)
    hessian += 2 * torch.eye(3)
    point, sigma, generator = torch.zeros(3, dtype=torch.float64), 0.4, seeded()
    rows = perturbations(400_000, 3, generator=generator, dtype=torch.float64)
    moved = sigma * rows
    losses = value + 0.5 * torch.einsum("ni,ij,nj->n", moved, hessian, moved) + moved @ slope
    single = losses.unsqueeze(1) * rows / sigma  # the estimates of one draw each
    mean, _ = estimate(lambda x: losses, point, rows, sigma, antithetic=False)
    torch.testing.assert_close(mean, single.mean(0))
    measured = (single - slope).square().sum(1).mean().item()
    theory = es_variance_one_sided(value, slope, hessian, 1, sigma)
    assert measured == pytest.approx(theory, rel=0.03)
    assert es_variance_one_sided(value, slope, hessian, 4, sigma) == pytest.approx(theory / 4)


def test_impossible_numbers_are_refused():
    zero = torch.zeros(3)
    with pytest.raises(ValueError, match="sigma must be above 0, got 0"):
        estimate(lambda x: x.sum(1), zero, torch.ones(2, 3), 0)
    with pytest.raises(ValueError, match=r"expected perturbations \[n, 3\] of the parameters, got \[2, 4\]"):
        estimate(lambda x: x.sum(1), zero, torch.ones(2, 4), 0.1)
    with pytest.raises(ValueError, match=r"one number a candidate, \[4\], got \[4, 3\]"):
        estimate(lambda x: x, zero, torch.ones(2, 3), 0.1)
    with pytest.raises(ValueError, match=r"how must be one of \['vmap', 'loop'\], got 'auto'"):
        es_gradient(lambda x: x.sum(), zero, how="auto")
    with pytest.raises(ValueError, match=r"3 orthogonal directions at most .*, got n_pairs=4"):
        es_variance(zero, 4, "orthogonal")
    with pytest.raises(ValueError, match="noise must be at least 0"):
        es_variance(zero, 4, noise=-1)
    with pytest.raises(ValueError, match=r"expected hessian \[3, 3\]"):
        es_variance_one_sided(0.0, zero, torch.zeros(2, 2), 1, 0.1)


@pytest.mark.parametrize("how", ["vmap", "loop"])
def test_a_population_is_scored_as_one_candidate_after_the_other(how):
    learner, batch = MAML(smooth(), 0.1, loss_fn=F.mse_loss), waves()
    before = {name: tensor.clone() for name, tensor in learner.state_dict().items()}
    own = dict(learner.named_parameters())
    vectors = torch.randn(4, 13, generator=seeded(), dtype=torch.float64)
    found = population_losses(learner, batch, as_population(vectors, own), how=how, chunk_size=3)
    for vector, losses in zip(vectors, found, strict=True):
        other = MAML(smooth(), 0.1, loss_fn=F.mse_loss)
        nn.utils.vector_to_parameters(vector, other.parameters())
        torch.testing.assert_close(losses, over_tasks(other.loss, batch).detach())
    assert all(torch.equal(tensor, before[name]) for name, tensor in learner.state_dict().items())


def test_a_population_keeps_frozen_weights():
    learner, batch = MAML(smooth(), 0.1, loss_fn=F.mse_loss), waves()
    learner.model[0].requires_grad_(False)
    head = {name: param.detach()[None] for name, param in learner.named_parameters() if "model.2" in name}
    torch.testing.assert_close(population_losses(learner, batch, head)[0], over_tasks(learner.loss, batch).detach())


@pytest.mark.parametrize("first_order", [False, True])
def test_with_all_directions_and_small_sigma_evolution_gives_the_meta_gradient(first_order):
    batch, learner = waves(), MAML(smooth(), 0.1, 2, loss_fn=F.mse_loss)
    learner.backward(batch)
    exact = {name: param.grad.clone() for name, param in learner.named_parameters()}
    learner.zero_grad()
    learner.first_order = first_order  # evolution sees the loss alone, so that this changes nothing
    loss = evolution_backward(learner, n_pairs=13, sigma=1e-4, kind="orthogonal")(batch, seeded())
    for name, param in learner.named_parameters():
        torch.testing.assert_close(param.grad, exact[name], rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(loss, over_tasks(learner.loss, batch).mean().detach(), rtol=1e-5, atol=0)


def test_evolution_adds_to_the_gradient_and_keeps_to_its_part():
    learner, batch = MAML(smooth(), 0.1, loss_fn=F.mse_loss), waves()
    backward = evolution_backward(learner, n_pairs=2, under="model.2.")
    backward(batch, seeded())
    once = learner.model[2].weight.grad.clone()
    backward(batch, seeded())
    torch.testing.assert_close(learner.model[2].weight.grad, 2 * once)
    assert learner.model[0].weight.grad is None
    with pytest.raises(ValueError, match=r"no trained parameter under 'rule\.': nothing can evolve"):
        evolution_backward(learner, under="rule.")(batch, seeded())


def test_ranks_forgive_what_diverges():
    learner = EvolvedRule(nn.Linear(1, 1), 30, unit=10.0, initialisation="fixed", sigma=1.0, loss_fn=F.mse_loss)
    loss = learner.backward(sinusoids().sample(5, 5, 5, seeded()), seeded())
    assert loss.isfinite()
    assert learner.rule.vector.grad.isfinite().all()
    options = {"n_pairs": 16, "sigma": 1.0, "under": "rule."}
    assert not evolution_backward(learner, **options)(sinusoids().sample(5, 5, 5, seeded()), seeded()).isfinite()


def test_fit_takes_a_backward_and_repeats_itself():
    tasks = sinusoids().episodes(n_tasks=5, n_shot=5, n_query=5)

    def run(seed):
        torch.manual_seed(0)
        learner = HyperNetwork(
            nn.Identity(), MLP([1, 4, 1]), n_features=1, n_hidden=4, n_embedding=2, loss_fn=F.mse_loss
        )
        backward = evolution_backward(learner, n_pairs=8)
        return fit(learner, tasks, 30, outer_lr=0.03, backward=backward, seed=seed, progress=False).losses

    losses = run(0)
    assert losses == run(0)
    assert losses != run(1)
    learner = MAML(MLP([1, 4, 1]), 0.1, loss_fn=F.mse_loss)
    with pytest.raises(ValueError, match="got a backward beside it"):
        fit(learner, tasks, 1, compile=True, backward=evolution_backward(learner))


def test_cma_finds_a_narrow_valley_and_is_reproducible():
    def valley(x):
        return (x[:, 0] - 1).square() + 100 * (x[:, 1] + x[:, 0]).square()

    np.random.seed(7)  # noqa: NPY002
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    first = cma_es(valley, torch.zeros(2), 0.3, n_generations=80, generator=seeded())
    assert (np.random.get_state()[1] == before).all()  # noqa: NPY002
    second = cma_es(valley, torch.zeros(2), 0.3, n_generations=80, generator=seeded())
    assert torch.equal(first.candidates, second.candidates)
    torch.testing.assert_close(first.best, torch.tensor([1.0, -1.0]), atol=0.01, rtol=0)
    assert first.loss == first.losses.min() == first.history.min() == valley(first.best[None])
    assert torch.equal(first.history, first.losses.min(1).values)
    torch.testing.assert_close(first.covariances[0], 0.09 * torch.eye(2), rtol=1e-3, atol=0)
    assert torch.equal(first.means[0], torch.zeros(2))
    better = first.candidates[0][first.losses[0].argsort()][:3]  # half of six; the nearer to the best, the heavier
    weights = torch.tensor([math.log(3.5) - math.log(k) for k in (1, 2, 3)])
    torch.testing.assert_close(first.means[1], weights @ better / weights.sum(), rtol=1e-4, atol=1e-5)
    moved = (first.mean - torch.tensor([1.0, -1.0])).norm()
    assert moved < 1e-3 and not torch.equal(first.mean, first.means[-1]) and 0 < first.sigma < 0.3
    spread = torch.linalg.eigvalsh(first.covariances[-1])
    assert spread[1] > 20 * spread[0]  # the cloud has learned the valley's shape: 100.. to 1 in curvature


def test_cma_searches_do_not_disturb_each_other():
    def bowl(x):
        return x.square().sum(1)

    def nested(x):
        cma_es(bowl, torch.ones(2), 0.5, n_generations=1, generator=seeded(5))
        return bowl(x)

    options = {"n_generations": 5, "population": 6}
    alone = cma_es(bowl, torch.ones(3), 0.5, generator=seeded(), **options)
    disturbed = cma_es(nested, torch.ones(3), 0.5, generator=seeded(), **options)
    assert torch.equal(alone.candidates, disturbed.candidates)
    assert alone.losses.shape == (5, 6)


def test_cma_ranks_what_is_not_finite_last():
    def half(x):
        return torch.where(x[:, 0] > 0, x.square().sum(1), math.nan)

    found = cma_es(half, torch.ones(2), 0.5, n_generations=40, generator=seeded())
    assert found.best[0] > 0
    assert found.loss < 0.05
    assert found.losses.isnan().any(1).any() and not found.losses.isnan().all(1).any()
    assert found.history.isfinite().all() and found.history.amin() == found.loss


@pytest.mark.parametrize(
    ("start", "options", "message"),
    [
        (torch.zeros(1), {}, "expected a start .*got \\[1\\]"),
        (torch.zeros(2), {"population": 2}, "population must be at least 3, got 2"),
        (torch.zeros(2), {"n_generations": 0}, "n_generations must be at least 1, got 0"),
    ],
)
def test_cma_refuses(start, options, message):
    with pytest.raises(ValueError, match=message):
        cma_es(lambda x: x.sum(1), start, 0.5, **{"n_generations": 1, **options})
    with pytest.raises(ValueError, match="one number a candidate"):
        cma_es(lambda x: x, torch.zeros(2), 0.5, n_generations=1)


def test_candidates_per_second_counts_candidates(monkeypatch):
    learner, batch = MAML(MLP([1, 4, 1]), 0.1, loss_fn=F.mse_loss), sinusoids().sample(2, 5, 5)
    clock = iter([0.0, 10.0, 10.0, 14.0, 14.0, 16.0])  # seconds: 10 to warm up, then 4, then 2
    monkeypatch.setattr("time.perf_counter", lambda: next(clock))
    assert candidates_per_second(learner, batch, 4, "loop", repeats=2) == 2.0
    monkeypatch.undo()
    with pytest.raises(ValueError, match="n_candidates must be at least 1"):
        candidates_per_second(learner, batch, 0)
