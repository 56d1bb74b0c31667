"""Federated learning: averages against pooled gradient descent and Reptile, drop-outs by enumeration, bytes by hand."""

from itertools import product

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from metalearn import Episode, Pool, fit
from metalearn.data import glyphs
from metalearn.federated import (
    Client,
    Round,
    Rounds,
    Traffic,
    clients_by_group,
    clients_of,
    federated_backward,
    hessian_free_backward,
    local_update,
    message_bytes,
    styled_digits,
)
from metalearn.federated.styles import _images
from metalearn.gradients import outer_gradient
from metalearn.learners import MAML, Prototypical, Reptile
from metalearn.networks import MLP

SIZES = (4, 7, 13)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def tasks(sizes=SIZES):
    generator, found = seeded(), []
    for n in sizes:
        x, y = torch.randn(n + 3, 5, generator=generator, dtype=torch.float64), torch.arange(n + 3) % 3
        found.append(Episode(x[:n], y[:n], x[n:], y[n:], 3))
    return found


def net() -> nn.Module:
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(5, 6), nn.Tanh(), nn.Linear(6, 3)).double()


def weights_of(learner):
    return nn.utils.parameters_to_vector(learner.parameters()).detach().clone()


def average(learner, rounds, n_rounds, *args, **options):
    step = torch.optim.SGD(learner.parameters(), lr=1.0)
    backward = federated_backward(learner, *args, **options)
    history = fit(learner, rounds, n_rounds, optimizer=step, backward=backward, seed=0, progress=False)
    return history, backward


def test_one_full_batch_step_on_every_client_is_a_step_of_pooled_gradient_descent():
    learner, clients = MAML(net(), 0.1, 0), clients_of(tasks())
    x, y = (torch.cat(part) for part in zip(*((t.support_x, t.support_y) for t in tasks()), strict=True))
    expected = net()
    F.cross_entropy(expected(x), y).backward()
    with torch.no_grad():
        for param in expected.parameters():
            param -= 0.3 * param.grad
    average(learner, Rounds(clients), 1, 0.3)
    torch.testing.assert_close(weights_of(learner), weights_of(expected), atol=1e-12, rtol=0)
    unweighted = MAML(net(), 0.1, 0)
    average(unweighted, Rounds(clients, weighted=False), 1, 0.3)
    assert (weights_of(unweighted) - weights_of(expected)).abs().max() > 1e-4  # the weights by size are in it


def test_with_equal_clients_that_all_take_part_reptile_is_federated_averaging():
    equal, rate = tasks((6, 6, 6)), 0.2
    reptile = Reptile(net(), rate, 3)
    x, y = (torch.stack([getattr(task, name) for task in equal]) for name in ("support_x", "support_y"))
    halves = Episode(x[:, :3], y[:, :3], x[:, 3:], y[:, 3:], 3)  # Reptile trains on both
    step = torch.optim.SGD(reptile.parameters(), lr=rate)  # its gradient is divided by the inner rate
    fit(reptile, lambda generator: halves, 2, optimizer=step, progress=False)
    learner = MAML(net(), rate, 0)
    average(learner, Rounds(clients_of(equal)), 2, rate, 3)
    torch.testing.assert_close(weights_of(learner), weights_of(reptile), atol=1e-12, rtol=0)


def test_the_order_of_clients_does_not_matter():
    clients, learner = clients_of(tasks(), 3), MAML(net(), 0.1, 0)
    own = {client.name: seed for seed, client in enumerate(clients)}
    fixed = [  # each client with a stream of its own, so that only the order differs
        Client(c.name, lambda _, c=c: c.epoch(seeded(own[c.name])), c.n_examples, c.task) for c in clients
    ]
    shares = torch.tensor(SIZES, dtype=torch.float64) / sum(SIZES)
    found = []
    for order in ([0, 1, 2], [2, 0, 1]):
        learner.zero_grad()
        federated_backward(learner, 0.2, 2)(Round(tuple(fixed[i] for i in order), shares[order], 3))
        found.append(torch.cat([param.grad.flatten() for param in learner.parameters()]))
    torch.testing.assert_close(*found, atol=1e-14, rtol=0)


def expected_weights(rounds):
    """Enumerate who of all clients, all of them asked, drops out."""
    mean = torch.zeros(len(rounds.clients), dtype=torch.float64)
    for reports in product([False, True], repeat=len(mean)):
        rows = torch.tensor(reports).nonzero().squeeze(1)
        chance = torch.where(torch.tensor(reports), 1 - rounds.dropout, rounds.dropout).prod()
        mean[rows] += chance * rounds._weights(rows)
    return mean


def test_only_inverse_probabilities_give_back_the_average_over_all_clients():
    clients, rates = clients_of(tasks()), [0.0, 0.8, 0.3]
    share = torch.tensor(SIZES, dtype=torch.float64) / sum(SIZES)
    inverse = Rounds(clients, dropout=rates, aggregate="inverse")
    torch.testing.assert_close(expected_weights(inverse), share)
    fixed = Rounds(clients, dropout=rates, aggregate="fixed")
    torch.testing.assert_close(expected_weights(fixed), share * (1 - torch.tensor(rates, dtype=torch.float64)))
    reporting = expected_weights(Rounds(clients, dropout=rates))
    assert reporting[1] < 0.4 * share[1]  # silently biased against the client that drops out
    assert reporting[0] > 1.5 * share[0]
    assert reporting.sum() == pytest.approx(1.0)


@pytest.mark.parametrize("aggregate", ["fixed", "inverse"])
def test_partial_participation_is_in_the_weights(aggregate):
    rounds, generator = Rounds(clients_of(tasks()), 2, dropout=0.25, aggregate=aggregate), seeded()
    total, n = torch.zeros(3, dtype=torch.float64), 6000
    for _ in range(n):
        drawn = rounds(generator)
        assert drawn.n_asked == 2
        for client, weight in zip(drawn.clients, drawn.weights, strict=True):
            total[int(client.name)] += weight / n
    share = torch.tensor(SIZES, dtype=torch.float64) / sum(SIZES)
    torch.testing.assert_close(total, share * (0.75 if aggregate == "fixed" else 1.0), atol=0.02, rtol=0)


def test_bytes_are_counted_both_ways():
    learner = MAML(net(), 0.1, 0)
    size = 8 * (5 * 6 + 6 + 6 * 3 + 3)
    assert message_bytes(learner) == size
    history, backward = average(learner, Rounds(clients_of(tasks()), 2, dropout=[0.0, 0.6, 0.6]), 30, 0.1)
    traffic = backward.traffic
    assert (traffic.n_rounds, traffic.n_down) == (30, 60)
    assert 20 <= traffic.n_up < 55
    assert (traffic.down, traffic.up) == (60 * size, traffic.n_up * size)
    learner.model[0].weight.requires_grad_(False)
    assert message_bytes(learner) == size - 8 * 30  # what is frozen need not travel
    assert repr(Traffic(10, 2, 3, 1)) == "Traffic(2 rounds: 30 bytes down, 10 bytes up)"
    assert history.n_steps == 30


def test_a_client_leaves_weights_and_gradients_as_they_are():
    learner, client = MAML(net(), 0.1, 0), clients_of(tasks())[0]
    outer_gradient(learner, tasks((6, 6))[0].map(lambda leaf: leaf[None]))
    before, grads = weights_of(learner), [param.grad.clone() for param in learner.parameters()]
    update, loss = local_update(learner, client, 0.2, 2, generator=seeded())
    assert update.norm() > 1e-3
    assert loss > 0
    assert torch.equal(weights_of(learner), before)
    assert all(torch.equal(param.grad, grad) for param, grad in zip(learner.parameters(), grads, strict=True))


def test_fedprox_by_hand():
    linear = nn.Linear(1, 1, bias=False).double()
    nn.init.zeros_(linear.weight)
    x = torch.ones(1, 1, dtype=torch.float64)
    client = clients_of([Episode(x, x, x, x)])[0]  # the loss (w - 1)^2
    learner = MAML(linear, 0.1, 0, loss_fn=F.mse_loss)
    update, _ = local_update(learner, client, 0.1, 2, prox=3.0)
    first = 0.2  # w after one step: 0 - 0.1 * 2 (0 - 1)
    torch.testing.assert_close(-update.item(), first - 0.1 * (2 * (first - 1) + 3.0 * first))


def test_where_nobody_reports_nothing_changes():
    learner = MAML(net(), 0.1, 0)
    before = weights_of(learner)
    history, backward = average(learner, Rounds(clients_of(tasks()[:1]), dropout=0.999), 3, 0.1)
    assert torch.equal(weights_of(learner), before)
    assert history.losses == [0.0, 0.0, 0.0]
    assert (backward.traffic.n_down, backward.traffic.n_up) == (3, 0)


def test_hessian_free_is_exact_for_a_quadratic_and_close_for_others():
    generator = seeded()
    x, y = (torch.randn(2, 3, 6, n, generator=generator, dtype=torch.float64) for n in (4, 1))
    batch = Episode(x[0], y[0], x[1], y[1])
    for model, tolerance in (
        (nn.Linear(4, 1), 1e-9),
        (nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 1)), 1e-5),
    ):
        learner = MAML(model.double(), 0.2, 1, loss_fn=F.mse_loss)
        exact = outer_gradient(learner, batch)
        learner.zero_grad()
        hessian_free_backward(learner, 1e-3)(batch)
        free = torch.cat([param.grad.flatten() for param in learner.parameters()])
        learner.first_order = True
        assert (free - exact).norm() < tolerance * exact.norm()
        assert (outer_gradient(learner, batch) - exact).norm() > 0.05 * exact.norm()


def test_hessian_free_is_off_by_the_jump_of_a_relu_over_twice_the_step():
    linear, rate, delta, w = nn.Linear(1, 1, bias=False).double(), 0.1, 1e-3, 1e-4
    nn.init.constant_(linear.weight, w)  # so near to the kink that the difference reaches over it
    one = torch.ones(1, 1, 1, dtype=torch.float64)
    learner = MAML(nn.Sequential(linear, nn.ReLU()), rate, 1, loss_fn=F.mse_loss)  # the loss (relu(w) - 1)^2
    g = 2 * (w - rate * 2 * (w - 1) - 1)
    exact = outer_gradient(learner, Episode(one, one, one, one)).item()
    assert exact == pytest.approx(g - rate * 2 * g)
    learner.zero_grad()
    hessian_free_backward(learner, delta)(Episode(one, one, one, one))
    jump = 0 - 2 * (w - delta * g - 1)  # below 0 the slope is 0
    assert linear.weight.grad.item() == pytest.approx(g - rate * jump / (2 * delta))
    assert abs(linear.weight.grad.item() - exact) > 50 * abs(exact)


def test_per_fedavg_with_one_step_on_one_client_is_a_step_of_maml():
    task, learner = tasks((8,))[0], MAML(net(), 0.3, 1)
    client = clients_of([task], split=True)[0]
    order = torch.randperm(8, generator=seeded(5))
    halves = [(task.support_x[rows], task.support_y[rows]) for rows in (order[:4], order[4:])]
    gradient = outer_gradient(learner, Episode(*halves[0], *halves[1], 3).map(lambda leaf: leaf[None]))
    update, _ = local_update(learner, client, 0.1, generator=seeded(5))
    torch.testing.assert_close(update, 0.1 * gradient, atol=1e-12, rtol=0)


def test_an_epoch_sees_every_example_once():
    task = Episode(torch.arange(7.0).unsqueeze(1), torch.arange(7) % 2, torch.zeros(2, 1), torch.tensor([0, 1]), 2)
    batches = list(clients_of([task], 3)[0].epoch(seeded()))
    seen = torch.cat([batch[0].query_x.flatten() for batch in batches])
    assert sorted(seen.tolist()) == list(range(7))
    assert all(torch.equal(batch[0].support_x, batch[0].query_x) for batch in batches)
    halves = list(clients_of([task], 3, split=True)[0].epoch(seeded()))
    assert [(len(batch[0].support_y), len(batch[0].query_y)) for batch in halves] == [
        (1, 2),
        (1, 2),
    ]  # one is left over
    for batch in halves:
        assert not set(batch[0].support_x.flatten().tolist()) & set(batch[0].query_x.flatten().tolist())


def test_clients_by_group_see_their_own_classes():
    x = torch.arange(24.0).repeat_interleave(2).unsqueeze(1)
    names = [f"{group}/{i}" for group in ("a", "b") for i in range(6)]
    pool = Pool(x, torch.arange(12).repeat_interleave(4), class_names=names)
    a, b = clients_by_group(pool, n_way=3, n_shot=1, n_query=2, n_batches=4)
    assert (a.name, b.name, a.n_examples) == ("a", "b", 24)
    for client, inside in ((a, lambda v: v < 12), (b, lambda v: v >= 12)):
        batches = list(client.epoch(seeded()))
        assert len(batches) == 4
        assert all(inside(batch.support_x).all() and inside(batch.query_x).all() for batch in batches)


@pytest.mark.slow
def test_an_encoder_is_federated_over_scripts():
    clients = clients_by_group(glyphs().train, n_way=3, n_shot=1, n_query=2, n_batches=1)
    torch.manual_seed(0)
    learner = Prototypical(nn.Sequential(nn.Flatten(), MLP([784, 16])))
    history, backward = average(learner, Rounds(clients, 3), 2, 0.05)
    assert backward.traffic.n_up == 6
    assert history.n_steps == 2


def test_styled_digits_keep_test_images_apart():
    train, test = (styled_digits(12, part=part, sizes=(10, 40)) for part in ("train", "test"))
    assert torch.equal(train[3].support_x, styled_digits(12, sizes=(10, 40))[3].support_x)
    assert not torch.equal(train[3].support_x, styled_digits(12, sizes=(10, 40), seed=1)[3].support_x)
    for client in (*train, *test):
        assert 10 <= len(client.support_y) <= 40
        assert client.support_y.unique().tolist() == list(range(10))
        assert client.support_x.min() >= 0
        assert client.support_x.max() <= 1
        rows = torch.cat([client.support_x, client.query_x])
        assert len(rows.unique(dim=0)) == len(rows)
    images = [set(map(tuple, _images(part)[0].flatten(1).tolist())) for part in ("train", "validation", "test")]
    assert sum(map(len, images)) == 1797
    assert not images[0] & images[1] | images[0] & images[2] | images[1] & images[2]
    shares = [
        torch.stack([F.one_hot(c.query_y, 10).double().mean(0).max() for c in styled_digits(40, skew=skew)]).mean()
        for skew in (0.0, 3.0)
    ]
    assert shares[1] > shares[0] + 0.2


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda c: Rounds([]), "at least one client"),
        (lambda c: Rounds(c, 4), r"n_participants must be in 1\.\.\.3"),
        (lambda c: Rounds(c, dropout=[0.1]), "dropout must be in"),
        (lambda c: Rounds(c, dropout=1.0), "dropout must be in"),
        (lambda c: Rounds(c, aggregate="mean"), "aggregate must be one of"),
        (lambda c: clients_of(tasks(), 1, split=True), "cannot be split"),
        (lambda c: clients_of(tasks(), names=["a"]), "a name for each of 3"),
        (lambda c: clients_of(tasks((1,)), split=True), "client 0 has 1 training examples"),
        (lambda c: local_update(MAML(net(), 0.1, 0), c[0], 0.0), "local_lr above 0"),
        (lambda c: local_update(MAML(net(), 0.1, 0), c[0], 0.1, 0), "n_epochs must be at least 1"),
        (lambda c: hessian_free_backward(MAML(net(), 0.1, 2)), "n_inner_steps=1"),
        (lambda c: clients_by_group(glyphs().test, n_way=500, n_shot=1, n_query=1), "n_way=500"),
        (lambda c: styled_digits(2, part="all"), "part must be one of"),
        (lambda c: styled_digits(2, sizes=(5, 20)), "10 <= low"),
    ],
)
def test_bad_options_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make(clients_of(tasks()))


def test_a_clients_bad_data_name_the_client():
    task = tasks()[0]
    broken = Episode(task.support_x * float("nan"), task.support_y, task.query_x, task.query_y, 3)
    with pytest.raises(ValueError, match="client there"):
        average(MAML(net(), 0.1, 0), Rounds(clients_of([broken], names=["there"])), 1, 0.1)


def test_what_the_study_compares_is_what_it_says():
    from metalearn.experiments.federated import merged, sideways

    whole = merged(tasks())
    assert len(whole.support_y) == sum(SIZES)
    assert torch.equal(whole.support_x[: SIZES[0]], tasks()[0].support_x)
    client = styled_digits(1)[0]
    turned = sideways(sideways(sideways(sideways(client))))
    assert torch.equal(turned.support_x, client.support_x)
    left, top = sideways(client).query_x.reshape(-1, 8, 8), client.query_x.reshape(-1, 8, 8)
    assert torch.equal(left[:, 0, 0], top[:, 0, 7])  # counter-clockwise: the right edge is now on top


def test_the_recorded_study_shows_who_is_lost_to_drop_outs():
    from metalearn import experiments

    rows = {
        (row["aggregate"], row["clients"]): row["accuracy"]
        for row in experiments.analysis("federated")["rows"]
        if row["data"] == "dropout"
    }
    all_there = rows["nobody drops out", "sideways"]
    assert rows["inverse", "sideways"] > all_there - 0.1
    assert rows["reporting", "sideways"] < all_there - 0.2
    assert rows["fixed", "sideways"] < all_there - 0.2


def test_in_the_recorded_study_many_scripts_teach_more_than_one():
    from metalearn import experiments

    rows = {
        (row["method"], row["client"]): row
        for row in experiments.analysis("federated")["rows"]
        if row["data"] == "glyphs"
    }
    for script in ("Georgian", "Hebrew", "Lao", "Tifinagh"):
        score = {
            method: rows[method, script]["accuracy"] for method in ("untrained", "Latin alone", "FedAvg", "pooled")
        }
        assert sorted(score, key=score.__getitem__) == list(score), script
