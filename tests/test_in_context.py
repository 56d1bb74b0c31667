"""Reading a context: each query sees the support and nothing else; the task families that teach it; closed forms."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge
from torch import nn
from torch.nn import functional as F

from metalearn import Episode, evaluate, over_tasks, pretrained
from metalearn.data import Ciphers, LinearProblems, ciphers, linear_problems
from metalearn.experiments._closed import RidgeRegression
from metalearn.learners import InContext
from metalearn.learners._settings import from_settings, settings_of

DOUBLE = {"rtol": 1e-10, "atol": 1e-12}


def reader(**options):
    torch.manual_seed(0)
    options = {"n_features": 5, "width": 16, "n_layers": 2, "n_heads": 2, **options}
    return InContext(nn.Identity(), **options).double()


def problem(n_shot=7, n_query=4, seed=0):
    task = linear_problems().sample(1, n_shot, n_query, torch.Generator().manual_seed(seed))[0]
    return task.map(lambda leaf: leaf.double())


def predictions(learner, task):
    return learner.predict(learner.adapt(task.support_x, task.support_y), task.query_x)


def by_one_masked_sequence(learner, task):
    """Return the predictions of torch's own attention over support and queries in one sequence, under a mask."""
    n, m = len(task.support_y), len(task.query_y)
    tokens = learner.inputs(torch.cat([task.support_x, task.query_x]))
    tokens = tokens + F.pad(learner.targets(task.support_y), (0, 0, 0, m))
    mask = torch.zeros(n + m, n + m, dtype=torch.bool)
    mask[:, :n] = True
    mask[n:, n:] = torch.eye(m, dtype=torch.bool)
    for layer in learner.layers:
        heads = []
        normed = F.layer_norm(tokens, [learner.width])
        for part in (layer.query, layer.key, layer.value):
            heads.append(part(normed).unflatten(1, (learner.n_heads, -1)).transpose(0, 1))
        attended = F.scaled_dot_product_attention(*heads, attn_mask=mask)
        tokens = tokens + layer.mix(attended.transpose(0, 1).flatten(1))
        tokens = tokens + layer.down(F.gelu(layer.up(F.layer_norm(tokens, [learner.width]))))
    return learner.readout(F.layer_norm(tokens, [learner.width]))[n:]


def test_it_is_attention_over_one_masked_sequence():
    learner, task = reader(), problem()
    torch.testing.assert_close(predictions(learner, task), by_one_masked_sequence(learner, task), **DOUBLE)


def test_no_query_has_no_prediction():
    learner, task = reader(), problem()
    adapted = learner.adapt(task.support_x, task.support_y)
    assert learner.predict(adapted, task.query_x[:0]).shape == (0, 1)


@pytest.mark.parametrize("n_shot", [1, 2, 30])
def test_a_query_does_not_see_its_neighbours(n_shot):
    learner, task = reader(), problem(n_shot)
    adapted = learner.adapt(task.support_x, task.support_y)
    others = torch.cat([task.query_x[:1], 100 * torch.randn(3, 5).double()])
    alone, beside = learner.predict(adapted, task.query_x[:1]), learner.predict(adapted, others)[:1]
    torch.testing.assert_close(alone, beside, **DOUBLE)


def test_the_order_of_the_support_does_not_matter():
    learner, task = reader(), problem()
    order = torch.randperm(7)
    other = Episode(task.support_x[order], task.support_y[order], task.query_x, task.query_y)
    torch.testing.assert_close(predictions(learner, other), predictions(learner, task), **DOUBLE)


def test_a_target_of_zero_is_not_a_missing_one():
    learner, task = reader(), problem()
    zero = learner.adapt(task.support_x, torch.zeros(7, 1).double())["keys"][0]
    bare = learner.layers[0].read(learner.inputs(task.support_x))[1]
    assert (zero - bare).abs().max() > 0.01


@pytest.mark.parametrize("n_shot", [1, 5, 12])
def test_vmap_and_loop_agree(n_shot):
    learner = reader()
    batch = learner.take(linear_problems().sample(6, n_shot, 3))
    vmap, loop = (over_tasks(learner.loss, batch, how) for how in ("vmap", "loop"))
    torch.testing.assert_close(vmap, loop, **DOUBLE)


def test_gradients_by_finite_differences():
    learner, task = reader(), problem(3, 2)
    inputs = (task.support_x.requires_grad_(), task.support_y.requires_grad_(), task.query_x.requires_grad_())
    assert torch.autograd.gradcheck(lambda x, y, u: learner.predict(learner.adapt(x, y), u), inputs)


def test_hidden_support_is_as_if_it_were_not_there():
    learner, task = reader(hide_support=True), problem()
    found = set()
    for seed in range(20):
        torch.manual_seed(seed)
        n_seen = int(torch.randint(1, 8, ()))
        seen = Episode(task.support_x[:n_seen], task.support_y[:n_seen], task.query_x, task.query_y)
        torch.manual_seed(seed)
        torch.testing.assert_close(learner.train().loss(task), learner.eval().loss(seen), **DOUBLE)
        found.add(n_seen)
    assert found == set(range(1, 8))


def test_each_task_of_a_batch_hides_its_own_number():
    learner = reader(hide_support=True).train()
    batch = learner.take(linear_problems().sample(1, 10, 5))
    same = batch.map(lambda leaf: leaf.expand(16, *leaf.shape[1:]))
    assert len(over_tasks(learner.loss, same, "vmap").detach().round(decimals=9).unique()) > 4


def test_classes_up_to_the_largest_number():
    learner = reader(max_way=4)
    x, y = torch.randn(6, 5).double(), torch.tensor([0, 1, 2, 0, 1, 2])
    adapted = learner.adapt(x, y, n_way=3)
    logits = learner.predict(adapted, x)
    assert logits.shape == (6, 3)
    torch.testing.assert_close(logits, learner.predict(learner.adapt(x, y), x), **DOUBLE)
    torch.testing.assert_close(logits, learner.predict(learner.adapt(x, y, n_way=4), x)[:, :3], **DOUBLE)


@pytest.mark.parametrize(
    ("options", "y", "n_way", "message"),
    [
        ({}, torch.zeros(4), None, r"built for targets \[n_support, 1\], got \[4\] and n_way=None"),
        ({}, torch.zeros(4, 2), None, r"built for targets \[n_support, 1\], got \[4, 2\]"),
        ({}, torch.arange(4), 4, r"got \[4\] and n_way=4: set n_outputs .* or max_way"),
        ({"max_way": 3}, torch.arange(4), 4, r"labels of at most 3 classes .*n_way=4: build one with a larger max_way"),
        ({"max_way": 3}, torch.arange(4), None, r"at most 3 classes"),
        ({"max_way": 3}, torch.zeros(4, 1), 3, r"got torch.float32 \[4, 1\]"),
        ({"max_way": 5}, torch.tensor([0, 1, 7, 1]), 2, r"expected labels 0…1, got \[0, 1, 7\]"),
    ],
)
def test_tasks_of_another_kind_are_refused(options, y, n_way, message):
    with pytest.raises(ValueError, match=message):
        reader(**options).adapt(torch.zeros(4, 5).double(), y, n_way=n_way)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"width": 10, "n_heads": 4}, "width must be a multiple of n_heads, got width=10 and n_heads=4"),
        ({"n_layers": 0}, "n_layers must be at least 1, got 0"),
        ({"max_way": 0}, "max_way must be at least 1, got 0"),
    ],
)
def test_wrong_sizes_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        reader(**options)


def test_it_is_built_again_from_its_settings():
    learner, task = reader(hide_support=True), problem()
    again = from_settings(settings_of(learner)).double()
    again.load_state_dict(learner.state_dict())
    torch.testing.assert_close(predictions(again, task), predictions(learner, task), **DOUBLE)


def test_inner_steps_are_refused():
    task = problem()
    with pytest.raises(ValueError, match="InContext takes no inner steps, got n_steps=3"):
        reader().adapt(task.support_x, task.support_y, n_steps=3)


# The families


def test_weights_of_linear_problems_have_their_mean_and_spread() -> None:
    family = LinearProblems(3, noise=0.0, mean=(1.0, -2.0, 0.0), spread=0.5)
    batch = family.sample(4_000, 1, 3, torch.Generator().manual_seed(0))
    weights = torch.linalg.solve(batch.query_x, batch.query_y).squeeze(2)
    kept = weights[torch.linalg.cond(batch.query_x) < 1e3]
    torch.testing.assert_close(kept.mean(0), torch.tensor([1.0, -2.0, 0.0]), atol=0.03, rtol=0)
    torch.testing.assert_close(kept.std(0), torch.full((3,), 0.5), atol=0.03, rtol=0)


def test_linear_problems_are_what_they_say():
    batch = LinearProblems(3, noise=0.5).sample(4_000, 8, 5, torch.Generator().manual_seed(0))
    weights = torch.linalg.lstsq(batch.query_x, batch.query_y).solution  # exact: queries have no noise, 5 > 3
    torch.testing.assert_close(batch.query_x @ weights, batch.query_y, rtol=1e-3, atol=1e-3)
    noise = batch.support_y - batch.support_x @ weights
    assert noise.std().item() == pytest.approx(0.5, abs=0.01) and abs(noise.mean()) < 0.01
    assert torch.allclose(weights.squeeze(2).T.cov(), torch.eye(3), atol=0.1)
    assert torch.allclose(batch.support_x.flatten(0, 1).T.cov(), torch.eye(3), atol=0.05)
    assert batch.query_y.square().mean().item() == pytest.approx(3, abs=0.2)  # the zero predictor's error


def test_a_cipher_is_one_permutation_of_the_letters():
    batch = Ciphers(6).sample(500, 40, 40, torch.Generator().manual_seed(0))
    counts = batch.support_x.mT @ batch.support_y + batch.query_x.mT @ batch.query_y  # [n_tasks, 6, 6]
    keys = (counts > 0).float()
    assert (keys.sum(1) <= 1).all() and (keys.sum(2) <= 1).all()
    assert torch.allclose(keys.mean(0), torch.full((6, 6), 1 / 6), atol=0.07)
    assert torch.allclose(batch.support_x.mean((0, 1)), torch.full((6,), 1 / 6), atol=0.02)


@pytest.mark.parametrize("family", [linear_problems(), ciphers()])
def test_families_draw_the_same_from_the_same_state(family):
    first, again, other = (family.sample(3, 4, 5, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
    assert torch.equal(first.support_y, again.support_y) and torch.equal(first.query_x, again.query_x)
    assert not torch.equal(first.query_x, other.query_x)
    with pytest.raises(ValueError, match="n_query must be at least 1"):
        family.sample(3, 4, 0)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: LinearProblems(0), "n_features must be at least 1"),
        (lambda: LinearProblems(noise=-1.0), "noise must be a standard deviation of at least 0, got -1.0"),
        (lambda: LinearProblems(noise=float("nan")), "noise must be a standard deviation"),
        (lambda: LinearProblems(spread=-1.0), "spread must be a standard deviation of at least 0, got -1.0"),
        (lambda: LinearProblems(3, mean=(1.0, 2.0)), "expected one mean, or 3, one for each feature; got 2"),
        (lambda: Ciphers(1), "n_letters must be at least 2, got 1"),
    ],
)
def test_wrong_families_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


# Closed forms


@pytest.mark.parametrize("n_shot", [2, 5, 9])
def test_ridge_regression_is_that_of_two_libraries(n_shot):
    task = problem(n_shot)
    x, y, u = (leaf.numpy() for leaf in (task.support_x, task.support_y, task.query_x))
    ridge = Ridge(0.25, fit_intercept=False).fit(x, y).predict(u).reshape(-1)
    np.testing.assert_allclose(predictions(RidgeRegression(0.25), task)[:, 0], ridge, rtol=1e-9)
    shortest = u @ np.linalg.lstsq(x, y, rcond=None)[0]
    np.testing.assert_allclose(predictions(RidgeRegression(0.0), task), shortest, rtol=1e-8)


def test_ridge_with_the_variance_of_the_noise_is_the_posterior_mean():
    """The posterior mean by a grid over one weight, from Bayes' rule as it stands."""
    x, y, noise = torch.tensor([1.0, -2.0, 0.5]).double(), torch.tensor([0.7, -1.0, 1.2]).double(), 0.5
    grid = torch.linspace(-8, 8, 20_001).double()
    log_density = -0.5 * grid.square() - 0.5 * ((y - grid.unsqueeze(1) * x) / noise).square().sum(1)
    posterior_mean = (log_density.softmax(0) * grid).sum()
    weight = RidgeRegression(noise**2).adapt(x.unsqueeze(1), y.unsqueeze(1))["weight"]
    torch.testing.assert_close(weight.squeeze(), posterior_mean, rtol=1e-6, atol=1e-8)


# The shipped weights, against the best there can be


@pytest.mark.parametrize("n_shot", [2, 5, 10])
def test_the_trained_reader_is_near_the_posterior_mean(n_shot):
    tasks = linear_problems().episodes(n_tasks=50, n_shot=n_shot, n_query=20)
    found, best = (
        evaluate(learner, tasks, 300)
        for learner in (pretrained("in_context", "linear_problems"), RidgeRegression(0.25))
    )
    assert 0.95 * best.mean < found.mean < 1.6 * best.mean


@pytest.mark.parametrize("n_shot", [1, 5, 20])
def test_the_trained_decoder_reaches_the_bound(n_shot):
    """The bound by trying: a letter that was shown is known, any other is guessed among the letters not yet taken."""
    generator = np.random.default_rng(0)
    shown = [len(set(generator.integers(10, size=n_shot))) for _ in range(20_000)]
    best = np.mean([min(1, (n + 1) / 10) for n in shown])
    tasks = ciphers().episodes(n_tasks=50, n_shot=n_shot, n_query=50)
    score = evaluate(pretrained("in_context", "ciphers"), tasks, 300, metric=same_letter, higher_is_better=True)
    assert abs(score.mean - best) < score.ci95 + 0.02


def same_letter(prediction, y):
    return (prediction.argmax(1) == y.argmax(1)).float().mean()
