"""Learners that read a support set at once: hypernetworks, neural processes, meta networks."""

import math

import pytest
import torch
from torch import nn
from torch.func import functional_call
from torch.nn import functional as F

from metalearn import Episode, inner_loop, over_tasks
from metalearn.data import sinusoids
from metalearn.learners import HyperNetwork, MetaNetwork, NeuralProcess
from metalearn.learners._preprocessing import log_and_sign
from metalearn.learners.meta_network import augmented
from metalearn.networks import MLP

MSE = {"loss_fn": F.mse_loss}


pytestmark = pytest.mark.usefixtures("double")


def waves(n_tasks=2):
    return sinusoids().sample(n_tasks, 5, 4)


def classes(n_tasks=2):
    y = torch.arange(6) % 3
    return Episode(
        torch.randn(n_tasks, 6, 4), y.expand(n_tasks, 6), torch.randn(n_tasks, 5, 4), y[:5].expand(n_tasks, 5), 3
    )


def encoder():
    return nn.Sequential(nn.Linear(4, 4), nn.Tanh())


MAKERS = {
    "hypernetwork": lambda: HyperNetwork(nn.Identity(), MLP([1, 5, 1]), n_features=1, n_hidden=6, n_embedding=3, **MSE),
    "hypernetwork, classes": lambda: HyperNetwork(encoder(), MLP([4, 3]), 3, n_features=4, n_hidden=6, n_embedding=3),
    "neural process": lambda: NeuralProcess(nn.Identity(), n_features=1, n_hidden=6, n_embedding=3),
    "neural process, classes": lambda: NeuralProcess(encoder(), 3, n_features=4, n_hidden=6, n_embedding=3),
    "meta network": lambda: MetaNetwork(
        nn.Identity(), n_features=1, hidden=[5], n_representation=4, n_rule_hidden=3, **MSE
    ),
    "meta network, classes": lambda: MetaNetwork(
        encoder(), 3, n_features=4, hidden=[5, 4], n_representation=4, n_rule_hidden=3
    ),
}


def make(name):
    learner = MAKERS[name]()
    for param in learner.parameters():  # away from the start, where fast and generated weights hardly count
        param.data.normal_(std=0.5)
    return learner, classes() if "classes" in name else waves()


@pytest.mark.parametrize("name", MAKERS)
def test_the_meta_gradient_by_finite_differences(name):
    # Slopes at two steps say how far they can be trusted. Gradients enter meta networks by their logarithms, whose
    # third derivatives are large where a gradient is small: no constant bounds the error of a step, h^2 f''' / 6.
    learner, batch = make(name)
    learner.backward(batch)
    for label, param in learner.named_parameters():
        grad = torch.zeros_like(param) if param.grad is None else param.grad
        direction, value, slopes = torch.randn_like(param), param.detach().clone(), []
        for step in (1e-6, 5e-7):
            ends = []
            for sign in (1, -1):
                param.data = value + sign * step * direction
                ends.append(torch.stack([learner.loss(task) for task in batch]).mean().item())
            slopes.append((ends[0] - ends[1]) / (2 * step))
        param.data = value
        slope = slopes[1] + (slopes[1] - slopes[0]) / 3  # Richardson: the error of order h^2 cancels
        doubt = 2 * abs(slopes[1] - slopes[0]) + 1e-8  # and the rounding of a loss near 1, over twice the step
        assert doubt < 1e-3 * max(abs(slope), 1e-3), f"{label}: the slope itself is not known"
        assert math.isclose((grad * direction).sum().item(), slope, rel_tol=1e-5, abs_tol=doubt), label


@pytest.mark.parametrize("name", MAKERS)
def test_loop_and_vmap_agree(name):
    learner, batch = make(name)
    torch.testing.assert_close(over_tasks(learner.loss, batch, "vmap"), over_tasks(learner.loss, batch, "loop"))


@pytest.mark.parametrize("name", MAKERS)
def test_the_order_of_the_support_matters_to_meta_networks_only(name):
    learner, batch = make(name)
    task, order = batch[0], torch.randperm(len(batch.support_y[0]))
    a, b = (
        learner.predict(learner.adapt(task.support_x[rows], task.support_y[rows]), task.query_x)
        for rows in (torch.arange(len(order)), order)
    )
    assert torch.allclose(a, b, rtol=1e-9, atol=1e-12) is ("meta" not in name)


# Hypernetworks


def test_a_task_with_a_zero_embedding_has_the_bias_network():
    for name in ("hypernetwork", "hypernetwork, classes"):
        learner, batch = make(name)
        nn.init.zeros_(learner.embedding[-1].weight)
        nn.init.zeros_(learner.embedding[-1].bias)
        task = batch[0]
        adapted = learner.adapt(task.support_x, task.support_y)
        assert torch.equal(learner.predict(adapted, task.query_x), learner.model(learner.encoder(task.query_x)))


def test_weights_are_linear_in_the_embedding():
    learner, batch = make("hypernetwork")
    task, base = batch[0], dict(learner.model.named_parameters())
    embedding = learner.embed(task.support_x, task.support_y)
    vector = inner_loop.to_vector(base) + learner.generator @ embedding
    adapted = {name[6:]: t for name, t in learner.adapt(task.support_x, task.support_y).items()}
    torch.testing.assert_close(adapted, inner_loop.from_vector(vector, base))


def test_generated_weights_start_with_a_sensible_variance():
    torch.manual_seed(1)
    learner = HyperNetwork(nn.Identity(), MLP([1, 300, 300, 1]), n_features=1, n_embedding=64, **MSE)
    generated = inner_loop.from_vector(learner.generator @ torch.randn(64), dict(learner.model.named_parameters()))
    assert math.isclose(generated["2.weight"].var().item(), 1 / (3 * 300), rel_tol=0.1)  # as nn.Linear's own


# Neural processes


def test_the_loss_is_the_gaussian_likelihood_and_the_deviation_is_bounded_below():
    learner, batch = make("neural process")
    task = batch[0]
    adapted = learner.adapt(task.support_x, task.support_y)
    mean, std = learner.predict_distribution(adapted, task.query_x)
    likelihood = torch.distributions.Normal(mean, std).log_prob(task.query_y).mean()
    torch.testing.assert_close(learner.loss(task), -likelihood)
    assert (std > 0.1).all() and torch.equal(learner.predict(adapted, task.query_x), mean)
    with pytest.raises(ValueError, match="built for classes and has no mean and deviation"):
        make("neural process, classes")[0].predict_distribution({}, task.query_x)


def test_the_neural_process_by_hand():
    learner, batch = make("neural process")
    task = batch[0]
    summary = torch.zeros(3)
    for x, y in zip(task.support_x, task.support_y, strict=True):
        summary = summary + learner.set_encoder.net(torch.cat([x, y])) / len(task.support_y)
    expected = torch.stack([learner.decoder(torch.cat([x, summary]))[:1] for x in task.query_x])
    adapted = learner.adapt(task.support_x, task.support_y)
    torch.testing.assert_close(learner.predict(adapted, task.query_x), expected)


def test_summaries_of_classes_stand_in_the_order_of_the_classes():
    learner, batch = make("neural process, classes")
    task = batch[0]
    embedded = learner.set_encoder.net(learner.encoder(task.support_x))
    expected = torch.cat([embedded[task.support_y == n].mean(0) for n in range(3)])
    torch.testing.assert_close(learner.adapt(task.support_x, task.support_y)["embedding"], expected)


# Meta networks


@pytest.mark.parametrize("name", ["meta network", "meta network, classes"])
def test_the_meta_network_example_by_example(name):
    learner, batch = make(name)
    task = batch[0]
    features, queries = learner.encoder(task.support_x), learner.encoder(task.query_x)
    base, u = dict(learner.base.named_parameters()), dict(learner.representation.named_parameters())

    def slopes(net, x, y, end):
        params = list(net.parameters())
        grads = torch.autograd.grad(learner.loss_fn(end(net(x[None])), y[None]), params)
        return torch.cat([grad.flatten() for grad in grads])

    def run(slow, fast, x):  # layer by layer, with one example's fast weights
        slow, fast = list(slow.values()), list(inner_loop.from_vector(fast, slow).values())
        for k in range(0, len(slow), 2):
            parts = [weight @ x + bias for weight, bias in (slow[k : k + 2], fast[k : k + 2])]
            x = sum(parts) if k + 2 == len(slow) else sum(part.clamp(min=0) for part in parts)
        return x

    state = (torch.zeros(len(inner_loop.to_vector(u)), 3),) * 2
    memory = []
    for x, y in zip(features, task.support_y, strict=True):
        state = learner.representation_cell(log_and_sign(slopes(learner.representation, x, y, learner.readout)), state)
        memory.append(learner.base_rule(log_and_sign(slopes(learner.base, x, y, lambda out: out)))[:, 0])
    fast = learner.representation_rule(state[0])[:, 0]
    keys = [run(u, fast, x) for x in features]
    expected = []
    for query in queries:
        r = run(u, fast, query)
        weights = torch.stack([torch.cosine_similarity(r, key, dim=0) for key in keys]).softmax(0)
        expected.append(run(base, sum(w * m for w, m in zip(weights, memory, strict=True)), query))
    adapted = learner.adapt(task.support_x, task.support_y)
    torch.testing.assert_close(learner.predict(adapted, task.query_x), torch.stack(expected))
    torch.testing.assert_close(learner.attention(adapted, task.query_x).sum(1), torch.ones(len(queries)))


def test_without_fast_weights_the_meta_network_is_its_slow_network():
    learner, batch = make("meta network")
    task = batch[0]
    nn.init.zeros_(learner.base_rule[-1].weight)
    nn.init.zeros_(learner.base_rule[-1].bias)
    adapted = learner.adapt(task.support_x, task.support_y)
    torch.testing.assert_close(learner.predict(adapted, task.query_x), learner.base(task.query_x))
    slow = dict(learner.base.named_parameters())
    torch.testing.assert_close(
        augmented(slow, slow, task.query_x),
        functional_call(
            learner.base,
            {
                name: 2 * param
                if name.startswith("2.") and "bias" in name
                else param * (4 if name == "2.weight" else 1)
                for name, param in slow.items()
            },
            (task.query_x,),
        ),
    )


def test_one_support_example_is_all_that_a_query_can_read():
    learner, batch = make("meta network")
    task = batch[0]
    adapted = learner.adapt(task.support_x[:1], task.support_y[:1])
    assert torch.equal(learner.attention(adapted, task.query_x), torch.ones(4, 1))


def test_gradients_as_constants_change_the_meta_gradient_and_nothing_else():
    learner, batch = make("meta network")
    grads, losses = [], []
    for learner.first_order in (False, True):
        learner.zero_grad()
        losses.append(learner.backward(batch))
        grads.append(learner.base[0].weight.grad.clone())
    torch.testing.assert_close(*losses)
    assert not torch.allclose(*grads, rtol=1e-3)


# Errors


def test_a_task_of_another_kind_is_refused():
    for name in ("hypernetwork", "neural process", "meta network"):
        by_value, by_class = make(name)[0], make(f"{name}, classes")[0]
        with pytest.raises(
            ValueError, match="is built for tasks of 3 classes, got a task of 5 classes: build one with"
        ):
            by_class.adapt(torch.zeros(5, 4), torch.arange(5), n_way=5)
        with pytest.raises(ValueError, match=r"is built for labels 0…2 \[n_support\], got torch.float64 \[5, 1\]"):
            by_class.adapt(torch.zeros(5, 4), torch.zeros(5, 1))
        with pytest.raises(ValueError, match=r"is built for regression \(n_way=None\), got a task of 2 classes"):
            by_value.adapt(torch.zeros(2, 1), torch.arange(2), n_way=2)
        with pytest.raises(ValueError, match=r"is built for targets \[n_support, 1\], got \[5, 2\]: set n_outputs"):
            by_value.adapt(torch.zeros(5, 1), torch.zeros(5, 2))
    with pytest.raises(ValueError, match="n_embedding must be at least 1, got 0"):
        NeuralProcess(nn.Identity(), n_features=1, n_embedding=0)
    with pytest.raises(ValueError, match="the model must have parameters to generate, Identity has none"):
        HyperNetwork(nn.Identity(), nn.Identity(), n_features=1)
