"""Learners that take steps in the inner loop: each meta-gradient by a second way, and each limit that is known."""

import math

import pytest
import torch
from torch import nn
from torch.func import functional_call
from torch.nn import functional as F

from metalearn import Episode, evaluate, fit, inner_loop
from metalearn.data import sinusoids
from metalearn.learners import ANIL, MAML, ImplicitMAML, LearnedOptimizer, MetaLSTM, MetaSGD, Reptile
from metalearn.learners._preprocessing import log_and_sign
from metalearn.learners.implicit_maml import conjugate_gradients
from metalearn.networks import MLP

MSE = {"loss_fn": F.mse_loss}


pytestmark = pytest.mark.usefixtures("double")


def smooth(n_outputs=1):
    """Return a small net without kinks."""
    return nn.Sequential(nn.Linear(1, 6), nn.Tanh(), nn.Linear(6, n_outputs))


def tasks(n_tasks=3, n_shot=6, n_query=5):
    return sinusoids().sample(n_tasks, n_shot, n_query)


LEARNERS = {
    "MAML, multi-step loss": lambda: MAML(smooth(), 0.05, 3, step_weights=[0.2, 0.0, 0.7], **MSE),
    "MAML, recompute": lambda: MAML(smooth(), 0.05, 3, recompute=True, step_weights=[0.2, 0.3, 0.5], **MSE),
    "Meta-SGD": lambda: MetaSGD(smooth(), 0.05, 2, **MSE),
    "Meta-SGD, recompute": lambda: MetaSGD(smooth(), 0.05, 2, recompute=True, **MSE),
    "Meta-SGD, per tensor and step": lambda: MetaSGD(smooth(), 0.05, 2, rate_per="tensor", per_step=True, **MSE),
    "ANIL": lambda: ANIL(nn.Sequential(nn.Linear(1, 6), nn.Tanh()), nn.Linear(6, 1), 0.05, 3, **MSE),
    "meta-LSTM": lambda: MetaLSTM(smooth(), 3, n_hidden=4, initial_lr=0.1, first_order=False, **MSE),
    "meta-LSTM, batches": lambda: MetaLSTM(smooth(), 3, n_hidden=4, batch_size=4, first_order=False, **MSE),
    "learned optimiser": lambda: LearnedOptimizer(smooth(), 3, n_hidden=4, first_order=False, **MSE),
}


@pytest.mark.parametrize("name", LEARNERS)
def test_the_meta_gradient_by_finite_differences(name):
    learner, batch = LEARNERS[name](), tasks()
    learner.backward(batch)
    for label, param in learner.named_parameters():
        direction, value, step = torch.randn_like(param), param.detach().clone(), 1e-6
        ends = []
        for sign in (1, -1):
            param.data = value + sign * step * direction
            ends.append(torch.stack([learner.loss(batch[i]) for i in range(len(batch))]).mean().item())
        param.data = value
        slope = (ends[0] - ends[1]) / (2 * step)
        assert math.isclose((param.grad * direction).sum().item(), slope, rel_tol=1e-5, abs_tol=1e-8), label


BACKWARDS = {
    **LEARNERS,
    "Reptile": lambda: Reptile(smooth(), 0.05, 3, batch_size=4, **MSE),
    "implicit MAML": lambda: ImplicitMAML(smooth(), 0.05, 5, **MSE),
    "first-order meta-LSTM": lambda: MetaLSTM(smooth(), 3, n_hidden=4, **MSE),
    "first-order learned optimiser": lambda: LearnedOptimizer(smooth(), 4, n_hidden=4, truncation=2, **MSE),
}


@pytest.mark.parametrize("name", BACKWARDS)
def test_backward_is_the_same_in_a_loop_under_vmap_and_in_chunks(name):
    learner, batch, found = BACKWARDS[name](), tasks(), []
    for how, size in (("loop", None), ("vmap", None), ("vmap", 2)):
        learner.how, learner.chunk_size = how, size
        learner.zero_grad()
        loss = learner.backward(batch)
        found.append([loss, *(param.grad.clone() for param in learner.parameters())])
    torch.testing.assert_close(found[1], found[0])
    torch.testing.assert_close(found[2], found[0])
    learner.backward(batch)  # gradients add up
    torch.testing.assert_close([param.grad for param in learner.parameters()], [2 * grad for grad in found[2][1:]])


# Multi-step loss


def test_the_multi_step_loss_is_the_weighted_sum_over_numbers_of_steps():
    learner, task = MAML(smooth(), 0.1, 3, **MSE), tasks(1)[0]

    def after(k):
        adapted = learner.adapt(task.support_x, task.support_y, n_steps=k)
        return F.mse_loss(learner.predict(adapted, task.query_x), task.query_y)

    last = learner.loss(task)
    learner.step_weights = [0, 0, 1]
    torch.testing.assert_close(learner.loss(task), last)
    learner.step_weights = [0.5, 0.25, 2.0]
    torch.testing.assert_close(learner.loss(task), 0.5 * after(1) + 0.25 * after(2) + 2 * after(3))
    with pytest.raises(ValueError, match=r"step_weights needs 2 numbers \(n_inner_steps\), got 3"):
        MAML(smooth(), 0.1, 2, step_weights=[1, 1, 1])


# Reptile


def data_of(episode):
    return torch.cat([episode.support_x, episode.query_x]), torch.cat([episode.support_y, episode.query_y])


def gradient(model, params, x, y):
    return torch.func.grad(lambda p: F.mse_loss(functional_call(model, p, (x,)), y))(params)


def test_reptile_with_one_step_on_all_data_is_joint_training():
    learner, batch = Reptile(smooth(), 0.3, 1, **MSE), tasks()
    learner.backward(batch)
    losses = [F.mse_loss(learner.model(x), y) for x, y in map(data_of, batch)]
    expected = torch.autograd.grad(torch.stack(losses).mean(), list(learner.parameters()))
    torch.testing.assert_close([p.grad for p in learner.parameters()], list(expected))


def test_reptiles_expected_update_is_its_expansion_up_to_the_square_of_the_rate():
    # Nichol, Achiam, Schulman, equations 31 and 32 for k = 2: twice the gradient less rate times the inner product's.
    model, task = smooth(), tasks(1, 6, 4)[0]
    params = {name: param.detach() for name, param in model.named_parameters()}
    x, y = data_of(task)
    halves = [(x[:5], y[:5]), (x[5:], y[5:])]
    grads = [inner_loop.to_vector(gradient(model, params, *half)) for half in halves]

    def product(p):
        first, second = (inner_loop.to_vector(gradient(model, p, *half)) for half in halves)
        return first @ second

    inner = inner_loop.to_vector(torch.func.grad(product)(params)) / 2  # the mean over both orders of H_2 g_1

    def errors(rate):
        measured = []
        for order in ([0, 1], [1, 0]):
            ordered = [torch.cat([halves[i][part] for i in order]) for part in (0, 1)]
            learner = Reptile(model, rate, 2, batch_size=5, **MSE)
            learner.zero_grad()
            learner.backward(
                Episode(ordered[0][None, :6], ordered[1][None, :6], ordered[0][None, 6:], ordered[1][None, 6:])
            )
            measured.append(inner_loop.to_vector({name: p.grad for name, p in model.named_parameters()}))
        update = torch.stack(measured).mean(0)
        leading = grads[0] + grads[1]
        return (update - leading).norm(), (update - (leading - rate * inner)).norm()

    (first, second), (first_half, second_half) = errors(1e-3), errors(5e-4)
    assert math.isclose(first / first_half, 2, rel_tol=0.02)
    assert math.isclose(second / second_half, 4, rel_tol=0.02)


def test_reptile_needs_a_rate_to_divide_by():
    for arguments in (([0.1, 0.2], 2), (0.0, 2), (0.1, 0)):
        with pytest.raises(ValueError, match="expected inner_lr, one number above 0"):
            Reptile(smooth(), *arguments)
    with pytest.raises(ValueError, match="batch_size must be at least 1, got 0"):
        Reptile(smooth(), 0.1, 2, batch_size=0)


# Meta-SGD


def test_meta_sgd_with_equal_rates_is_maml():
    model, batch = smooth(), tasks()
    maml = MAML(model, 0.07, 3, **MSE)
    loss = maml.backward(batch)
    expected = [p.grad.clone() for p in model.parameters()]
    for options in ({}, {"rate_per": "tensor"}, {"per_step": True}, {"rate_per": "tensor", "per_step": True}):
        learner = MetaSGD(model, 0.07, 3, **options, **MSE)
        learner.zero_grad()
        torch.testing.assert_close(learner.backward(batch), loss)
        torch.testing.assert_close([p.grad for p in model.parameters()], expected)
        assert all(rate.grad is not None and rate.grad.abs().sum() > 0 for rate in learner.rates)
        for k in (1, 5):  # at test time more steps than rates: the last rate serves on
            mine, theirs = (m.adapt(batch[0].support_x, batch[0].support_y, n_steps=k) for m in (learner, maml))
            torch.testing.assert_close(mine, theirs)


def test_meta_sgds_options_are_checked():
    with pytest.raises(ValueError, match=r"rate_per must be one of \['weight', 'tensor'\], got 'layer'"):
        MetaSGD(smooth(), rate_per="layer")
    with pytest.raises(ValueError, match="n_inner_steps must be at least 1"):
        MetaSGD(smooth(), n_inner_steps=0)


# ANIL


def test_anil_is_maml_with_no_rate_for_the_body():
    torch.manual_seed(1)
    body, head, batch = nn.Sequential(nn.Linear(1, 6), nn.Tanh()), nn.Linear(6, 1), tasks()
    model = nn.Sequential(body, head)
    rates = {f"model.{name}": torch.tensor(0.1 if name[0] == "1" else 0.0) for name, _ in model.named_parameters()}
    found = []
    for learner in (MAML(model, rates, 3, **MSE), ANIL(body, head, 0.1, 3, **MSE)):
        learner.zero_grad()
        found.append([learner.backward(batch), *(param.grad.clone() for param in model.parameters())])
    torch.testing.assert_close(found[1], found[0])


# Implicit MAML


def test_conjugate_gradients():
    root = torch.randn(6, 6)
    matrix, target = root @ root.T + torch.eye(6), torch.randn(6)
    solution = conjugate_gradients(lambda v: matrix @ v, target, 6)
    torch.testing.assert_close(solution, torch.linalg.solve(matrix, target), rtol=1e-8, atol=1e-10)
    torch.testing.assert_close(conjugate_gradients(lambda v: matrix @ v, target, 50), solution, rtol=1e-7, atol=1e-9)
    torch.testing.assert_close(conjugate_gradients(lambda v: -v, target, 5), target)  # no positive curvature at all
    assert conjugate_gradients(lambda v: v, torch.zeros(3), 2).tolist() == [0, 0, 0]


def test_the_implicit_gradient_is_that_through_a_converged_inner_loop():
    model, batch, strength = smooth(), tasks(2), 10.0
    learner = ImplicitMAML(model, 0.02, 500, strength=strength, n_cg_steps=19, **MSE)
    loss = learner.backward(batch)
    mine = [param.grad.clone() for param in model.parameters()]
    start, total = dict(model.named_parameters()), torch.zeros(())
    for task in batch:

        def pulled(params, x, y):
            pull = sum((params[name] - start[name]).square().sum() for name in start)
            return F.mse_loss(functional_call(model, params, (x,)), y) + strength / 2 * pull

        params = start
        for _ in range(500):  # by plain autograd, step by step
            grads = torch.autograd.grad(
                pulled(params, task.support_x, task.support_y), list(params.values()), create_graph=True
            )
            params = {name: p - 0.02 * g for (name, p), g in zip(params.items(), grads, strict=True)}
        assert max(grad.abs().max().item() for grad in grads) < 1e-8  # it has converged
        total = total + F.mse_loss(functional_call(model, params, (task.query_x,)), task.query_y) / len(batch)
    through = torch.autograd.grad(total, list(start.values()))
    torch.testing.assert_close(loss, total.detach())
    torch.testing.assert_close(mine, list(through), rtol=1e-6, atol=1e-9)
    with pytest.raises(ValueError, match="strength must be above 0, got 0"):
        ImplicitMAML(model, 0.1, strength=0)
    with pytest.raises(ValueError, match="n_cg_steps must be at least 1, got 0"):
        ImplicitMAML(model, 0.1, n_cg_steps=0)


# Meta-LSTM


def test_the_meta_lstm_with_open_forget_gate_and_constant_input_gate_is_gradient_descent():
    learner, task, rate = MetaLSTM(smooth(), 4, n_hidden=3, **MSE), tasks(1)[0], 0.07
    for gate, value in ((learner.rule.forget, 60.0), (learner.rule.enter, math.log(rate / (1 - rate)))):
        nn.init.zeros_(gate.weight)
        nn.init.constant_(gate.bias, value)
    expected = MAML(learner.model, rate, 4, **MSE).adapt(task.support_x, task.support_y)
    torch.testing.assert_close(learner.adapt(task.support_x, task.support_y), expected)


@torch.no_grad()
def test_the_meta_lstm_by_plain_loops_and_torchs_own_cell():
    learner, task = MetaLSTM(smooth(), 3, n_hidden=4, batch_size=4, initial_lr=0.1, **MSE), tasks(1)[0]
    rule = learner.rule
    torch.nn.init.normal_(rule.forget.weight)
    torch.nn.init.normal_(rule.enter.weight)
    mine = learner.adapt(task.support_x, task.support_y)
    cell, n = torchs_cell(rule.cell, 4), 4
    params = {name: param.detach().clone() for name, param in learner.model.named_parameters()}
    states = {
        name: [(torch.zeros(n), torch.zeros(n), 1.0, 0.0) for _ in range(p.numel())] for name, p in params.items()
    }
    for step in range(3):
        rows = [(4 * step + i) % 6 for i in range(4)]
        x, y = task.support_x[rows], task.support_y[rows]
        grads, loss = gradient(learner.model, params, x, y), F.mse_loss(functional_call(learner.model, params, (x,)), y)
        for name, param in params.items():
            new = []
            for i, (value, slope) in enumerate(zip(param.flatten(), grads[name].flatten(), strict=True)):
                hidden, memory, forget, enter = states[name][i]
                hidden, memory = cell(torch.cat([log_and_sign(slope), log_and_sign(loss)]), (hidden, memory))
                forget = torch.sigmoid(rule.forget(torch.cat([hidden, value[None], torch.tensor([float(forget)])])))
                enter = torch.sigmoid(rule.enter(torch.cat([hidden, value[None], torch.tensor([float(enter)])])))
                states[name][i] = (hidden, memory, forget, enter)
                new.append(forget * value - enter * slope)
            params[name] = torch.cat(new).reshape(param.shape)
    torch.testing.assert_close(mine, {f"model.{name}": param for name, param in params.items()})


def torchs_cell(ours, n_inputs):
    """Return torch's cell with our weights; its gates stand in another order: input, forget, candidate, output."""
    cell = nn.LSTMCell(n_inputs, ours.n_hidden)
    weight, bias = ours.gates.weight.detach(), ours.gates.bias.detach()
    cell.weight_ih.data, cell.weight_hh.data = weight[:, :n_inputs].clone(), weight[:, n_inputs:].clone()
    cell.bias_ih.data, cell.bias_hh.data = bias.clone(), torch.zeros_like(bias)
    return cell


def test_the_order_of_the_support_matters_to_the_meta_lstm_in_batches_only():
    task, order = tasks(1)[0], torch.tensor([3, 1, 5, 0, 2, 4])
    for batch_size in (None, 2):
        learner = MetaLSTM(smooth(), 3, batch_size=batch_size, **MSE)
        a = learner.adapt(task.support_x, task.support_y)
        b = learner.adapt(task.support_x[order], task.support_y[order])
        same = all(torch.allclose(a[name], b[name], rtol=1e-9, atol=1e-12) for name in a)
        assert same is (batch_size is None)


def test_independent_gradients_change_the_meta_gradient_and_nothing_else():
    learner, batch, grads = MetaLSTM(smooth(), 3, initial_lr=0.2, **MSE), tasks(), []
    predictions = []
    for first_order in (True, False):
        learner.first_order = first_order
        learner.zero_grad()
        predictions.append(learner.backward(batch))
        grads.append(inner_loop.to_vector({name: param.grad for name, param in learner.named_parameters()}))
    torch.testing.assert_close(predictions[0], predictions[1])
    assert 0.3 < torch.cosine_similarity(*grads, dim=0) < 0.9999


def test_the_meta_lstms_options_are_checked():
    with pytest.raises(
        ValueError, match=r"initial_lr must be above 0 and below 1, since a gate starts there, got 1\.5"
    ):
        MetaLSTM(smooth(), 3, initial_lr=1.5)
    with pytest.raises(ValueError, match="batch_size must be at least 1, got 0"):
        MetaLSTM(smooth(), 3, batch_size=0)


def test_log_and_sign_is_continuous_and_its_gradient_finite():
    edge = math.exp(-10)
    values = torch.tensor([0.0, edge * (1 - 1e-9), edge * (1 + 1e-9), -edge, 1e30, -3.0], requires_grad=True)
    first, second = log_and_sign(values).unbind(-1)
    expected = [-1, -1, -1, -1, math.log(1e30) / 10, math.log(3) / 10]
    torch.testing.assert_close(first, torch.tensor(expected), rtol=1e-8, atol=1e-8)
    torch.testing.assert_close(second, torch.tensor([0.0, 1, 1, -1, 1, -1]), rtol=1e-8, atol=1e-8)
    (first.sum() + second.sum()).backward()
    assert values.grad.isfinite().all()


# Learned optimiser


def test_the_learned_optimiser_by_torchs_own_cells():
    learner, task = LearnedOptimizer(smooth(), 3, n_hidden=4, scale=0.5, **MSE), tasks(1)[0]
    cells = [torchs_cell(cell, n) for cell, n in zip(learner.rule.cells, (2, 4), strict=True)]
    params = {name: param.detach() for name, param in learner.model.named_parameters()}
    n = len(inner_loop.to_vector(params))
    states = [(torch.zeros(n, 4), torch.zeros(n, 4)) for _ in cells]
    for _ in range(3):
        grads = gradient(learner.model, params, task.support_x, task.support_y)
        out = log_and_sign(inner_loop.to_vector(grads))
        for i, cell in enumerate(cells):
            states[i] = cell(out, states[i])
            out = states[i][0]
        moved = inner_loop.to_vector(params) + 0.5 * learner.rule.out(out)[:, 0]
        params = inner_loop.from_vector(moved.detach(), params)
    adapted = learner.adapt(task.support_x, task.support_y)
    torch.testing.assert_close(adapted, {f"model.{name}": param for name, param in params.items()})


def test_truncation_cuts_the_gradient_between_segments():
    model, batch = smooth(), tasks()
    whole = LearnedOptimizer(model, 4, n_hidden=4, **MSE)
    cut = LearnedOptimizer(model, 4, n_hidden=4, truncation=2, **MSE)
    cut.rule = whole.rule
    grads = []
    for learner, truncation in ((whole, None), (cut, 2), (cut, 4)):
        learner.truncation = truncation
        learner.zero_grad()
        learner.backward(batch)
        grads.append([param.grad.clone() for param in learner.rule.parameters()])
    torch.testing.assert_close(grads[2], grads[0])
    assert not torch.allclose(grads[1][0], grads[0][0], rtol=1e-3)
    cut.truncation = None  # by hand: two unrolls, the second from where the first one ended, as constants
    cut.zero_grad()
    for task in batch:
        start = {f"model.{name}": param for name, param in model.named_parameters()}
        begin = (start, cut.rule.start(start))
        for _ in range(2):
            data = inner_loop.batches(task.support_x, task.support_y, 2)
            for last in inner_loop.unroll(begin[0], cut.rule, begin[1], cut._support_loss, data, first_order=True):
                loss = F.mse_loss(cut.predict(last[0], task.query_x), task.query_y)
                (loss / 4 / len(batch)).backward(retain_graph=True)
            begin = [{name: t.detach().requires_grad_() for name, t in part.items()} for part in last]
    torch.testing.assert_close([param.grad for param in cut.rule.parameters()], grads[1])


def test_random_starts_are_drawn_for_each_outer_step_and_stay_in_tests():
    learner = LearnedOptimizer(smooth(), 2, n_hidden=4, initialisation="random", **MSE)
    starts = []
    for _ in range(2):
        learner.backward(tasks())
        starts.append(learner.model[0].weight.clone())
    assert not torch.equal(*starts) and learner.model[0].weight.grad is None
    assert all(param.grad is not None for param in learner.rule.parameters())
    sample = lambda generator: tasks()  # noqa: E731
    scores = [evaluate(learner, lambda g: sinusoids().sample(5, 5, 5, g), 10).mean for _ in range(2)]
    assert scores[0] == scores[1] and torch.equal(learner.model[0].weight, starts[1])
    first = fit(learner, sample, 2, progress=False).losses
    assert len(first) == 2


def test_the_learned_optimisers_options_are_checked():
    with pytest.raises(ValueError, match=r"initialisation must be one of \['learned', 'random'\], got 'zero'"):
        LearnedOptimizer(smooth(), initialisation="zero")
    with pytest.raises(ValueError, match="truncation must be at least 1, got 0"):
        LearnedOptimizer(smooth(), truncation=0)
    with pytest.raises(ValueError, match="n_inner_steps must be at least 1"):
        LearnedOptimizer(smooth(), 0)


# The inner loop with any rule


def test_unroll_with_plain_steps_is_adapt_and_momentum_is_torchs():
    model, task = smooth(), tasks(1)[0]
    start = {name: param.detach() for name, param in model.named_parameters()}

    def loss_fn(params, x, y):
        return F.mse_loss(functional_call(model, params, (x,)), y)

    def descend(params, grads, loss, state):
        return {name: params[name] - 0.1 * grads[name] for name in params}, state + 1

    def momentum(params, grads, loss, state):
        state = {name: 0.9 * state[name] + grads[name] for name in params}
        return {name: params[name] - 0.1 * state[name] for name in params}, state

    data = list(inner_loop.batches(task.support_x, task.support_y, 4, 4))
    *_, (params, count) = inner_loop.unroll(start, descend, 0, loss_fn, data)
    expected = inner_loop.adapt(
        start, loss_fn, task.support_x, task.support_y, n_steps=4, inner_lr=0.1, batch_size=4, recompute=True
    )
    torch.testing.assert_close(params, expected)
    assert count == 4
    zero = {name: torch.zeros_like(param) for name, param in start.items()}
    *_, (params, _) = inner_loop.unroll(start, momentum, zero, loss_fn, data)
    optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)
    for x, y in data:
        optimizer.zero_grad()
        F.mse_loss(model(x), y).backward()
        optimizer.step()
    torch.testing.assert_close(params, {name: param.detach() for name, param in model.named_parameters()})


def test_batches_go_around_in_order():
    x = {"a": torch.arange(5)}
    found = [batch["a"].tolist() for batch, _ in inner_loop.batches(x, torch.arange(5), 4, 3)]
    assert found == [[0, 1, 2], [3, 4, 0], [1, 2, 3], [4, 0, 1]]
    assert [len(y) for _, y in inner_loop.batches(x, torch.arange(5), 2, 9)] == [5, 5]
    with pytest.raises(ValueError, match="a batch must hold at least 1 example, got size=0"):
        list(inner_loop.batches(x, torch.arange(5), 2, 0))


def test_vectors_and_back():
    params = {name: param.detach() for name, param in MLP([2, 3, 1]).named_parameters()}
    vector = inner_loop.to_vector(params)
    torch.testing.assert_close(inner_loop.from_vector(vector, params), params)
    with pytest.raises(ValueError, match=r"expected a vector \[13\] for the parameters, got \[12\]"):
        inner_loop.from_vector(vector[1:], params)


# What changes in the course of training


def test_settings_may_change_before_a_step_and_a_resumed_run_ends_with_the_same_bits(tmp_path):
    def run(n_steps, file=None, learner=None):
        torch.manual_seed(0)
        learner = MAML(MLP([1, 4, 1]), 0.1, 2, **MSE)
        seen = []

        def before_step(step):
            seen.append(step)
            learner.first_order = step < 3

        fit(
            learner,
            lambda g: sinusoids().sample(2, 4, 4, g),
            n_steps,
            before_step=before_step,
            checkpoint=file,
            progress=False,
        )
        return learner, seen

    whole, seen = run(6)
    assert seen == [0, 0, 1, 2, 3, 4, 5]  # once more at the start: settings are compared as of the first step
    run(2, tmp_path / "run.pt")
    resumed, seen = run(6, tmp_path / "run.pt")
    assert seen == [0, 2, 3, 4, 5]
    assert all(map(torch.equal, whole.parameters(), resumed.parameters()))
    other = MAML(MLP([1, 4, 1]), 0.1, 2, first_order=True, **MSE)
    torch.manual_seed(0)
    fit(other, lambda g: sinusoids().sample(2, 4, 4, g), 6, progress=False)
    assert not torch.equal(other.model[0].weight, whole.model[0].weight)


def test_a_compiled_gradient_cannot_change_its_settings():
    with pytest.raises(ValueError, match="so before_step cannot change them: leave one out"):
        fit(MAML(MLP([1, 4, 1]), 0.1), lambda g: tasks(), 1, before_step=print, compile=True)


class Attends(nn.Module):
    """A classifier of short sequences by one layer of attention."""

    def __init__(self):
        super().__init__()
        self.layer = nn.TransformerEncoderLayer(4, 1, 8, dropout=0.0, batch_first=True)
        self.head = nn.Linear(4, 2)

    def forward(self, x):
        return self.head(self.layer(x.unflatten(1, (2, 4))).mean(1))


def test_the_implicit_gradient_goes_through_attention():
    torch.manual_seed(0)
    x, y = torch.randn(2, 6, 8), torch.tensor([[0, 1] * 3] * 2)
    batch = Episode(x[:, :4], y[:, :4], x[:, 4:], y[:, 4:], 2)
    found = []
    for how in ("loop", "vmap"):
        torch.manual_seed(1)
        learner = ImplicitMAML(Attends(), 0.1, 3)
        learner.how = how
        learner.backward(batch)
        found.append([param.grad for param in learner.parameters()])
    torch.testing.assert_close(*found, rtol=1e-6, atol=1e-9)
    assert all(grad.isfinite().all() for grad in found[0]) and any(grad.abs().sum() > 0 for grad in found[0])


@pytest.mark.parametrize("make", [lambda rate: MAML(smooth(), rate), lambda rate: ANIL(smooth(), smooth(), rate)])
def test_a_rate_as_text_is_refused(make):
    with pytest.raises(ValueError, match=r"inner_lr must be a number, .*got the text '0\.1'"):
        make("0.1")
