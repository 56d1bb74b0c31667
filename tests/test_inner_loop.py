"""The meta-gradient is exact: against plain autograd, and against finite differences, in float64."""

import pytest
import torch
from torch import nn
from torch.func import functional_call
from torch.nn import functional as F

from metalearn import Episode, sample_episodes
from metalearn.data import glyphs
from metalearn.inner_loop import adapt, batches, trajectory, unroll
from metalearn.learners import MAML
from metalearn.networks import BatchStatistics, Conv4

N_TASKS, N_WAY = 3, 3
INNER_LR = 0.3


def running(layer):
    """Give a layer statistics to use, and make it use them."""
    mean, var = layer.buffers() if isinstance(layer, BatchStatistics) else (layer.running_mean, layer.running_var)
    mean.normal_()
    var.uniform_(0.5, 2.0)
    return layer.eval()


NORMS_1D = {
    "none": lambda n: nn.Identity(),
    "batch": lambda n: nn.BatchNorm1d(n, track_running_stats=False),
    "batch running": lambda n: running(nn.BatchNorm1d(n)),
    "layer": nn.LayerNorm,
    "group": lambda n: nn.GroupNorm(2, n),
    "rms": nn.RMSNorm,
    "ours batch": lambda n: BatchStatistics(n, "batch"),
    "ours support": lambda n: BatchStatistics(n, "support"),
    "ours frozen": lambda n: running(BatchStatistics(n, "frozen")),
}
NORMS_2D = {
    "batch": lambda n: nn.BatchNorm2d(n, track_running_stats=False),
    "batch running": lambda n: running(nn.BatchNorm2d(n)),
    "instance": lambda n: nn.InstanceNorm2d(n, affine=True),
    "layer": lambda n: nn.LayerNorm([n, 6, 6]),
    "group": lambda n: nn.GroupNorm(2, n),
    "ours support": lambda n: BatchStatistics(n, "support"),
}
MODELS = {f"1-D {name}": (1, norm) for name, norm in NORMS_1D.items()}
MODELS |= {f"2-D {name}": (2, norm) for name, norm in NORMS_2D.items()}


pytestmark = pytest.mark.usefixtures("double")


def build(name):
    """Return a smooth model (tanh, average pooling), and a batch of tasks for it."""
    dims, norm = MODELS[name]
    if dims == 1:
        model, shape = nn.Sequential(nn.Linear(4, 6), norm(6), nn.Tanh(), nn.Linear(6, N_WAY)), (4,)
    else:
        ends = nn.AvgPool2d(3), nn.Flatten(), nn.Linear(16, N_WAY)
        model, shape = nn.Sequential(nn.Conv2d(1, 4, 3), norm(4), nn.Tanh(), *ends), (1, 8, 8)
    for parameter in model.parameters():  # affine parameters other than one and zero, so that errors show
        parameter.data += 0.3 * torch.randn_like(parameter)
    x, y = torch.randn(N_TASKS, 11, *shape), torch.arange(11).repeat(N_TASKS, 1) % N_WAY
    return model, Episode(x[:, :6], y[:, :6], x[:, 6:], y[:, 6:], n_way=N_WAY)


def plain_loss(model, episode, n_steps, first_order):
    """MAML's loss of one task as one would write it by hand: functional weights, autograd.grad, nothing of ours."""
    params = dict(model.named_parameters())
    for _ in range(n_steps):
        loss = F.cross_entropy(functional_call(model, params, (episode.support_x,)), episode.support_y)
        grads = torch.autograd.grad(loss, list(params.values()), create_graph=not first_order)
        params = {name: p - INNER_LR * g for (name, p), g in zip(params.items(), grads, strict=True)}
    if any(isinstance(m, BatchStatistics) and m.policy == "support" for m in model.modules()):
        logits = support_logits(model, params, episode)
    else:
        logits = functional_call(model, params, (episode.query_x,))
    return F.cross_entropy(logits, episode.query_y)


def support_logits(model, params, episode):
    """Policy "support" by another road: support and query in one pass, statistics from the first rows."""
    x, n = torch.cat([episode.support_x, episode.query_x]), len(episode.support_x)
    for i, layer in enumerate(model):
        if isinstance(layer, BatchStatistics):
            axes = [0, *range(2, x.ndim)]
            shape = [1, -1] + [1] * (x.ndim - 2)
            mean, var = x[:n].mean(axes, keepdim=True), x[:n].var(axes, correction=0, keepdim=True)
            x = (x - mean) / (var + layer.eps).sqrt()
            x = x * params[f"{i}.weight"].reshape(shape) + params[f"{i}.bias"].reshape(shape)
        else:
            x = functional_call(layer, {k.split(".")[1]: v for k, v in params.items() if k.startswith(f"{i}.")}, (x,))
    return x[n:]


def plain_gradient(model, batch, n_steps, first_order=False):
    losses = [plain_loss(model, batch[i], n_steps, first_order) for i in range(len(batch))]
    return flat(torch.autograd.grad(torch.stack(losses).mean(), list(model.parameters()), allow_unused=True), model)


def our_gradient(model, batch, n_steps, how="vmap", **options):
    learner = MAML(model, INNER_LR, n_steps, **options)
    learner.how = how
    learner.zero_grad()
    learner.backward(batch)
    return flat([p.grad for p in model.parameters()], model)


def flat(grads, model):
    pairs = zip(grads, model.parameters(), strict=True)
    return torch.cat([torch.zeros(p.numel()) if g is None else g.flatten() for g, p in pairs])


def relative(a, b):
    return ((a - b).norm() / b.norm()).item()


@pytest.mark.parametrize("first_order", [False, True], ids=["second order", "first order"])
@pytest.mark.parametrize("n_steps", [1, 3, 5])
@pytest.mark.parametrize("name", MODELS)
def test_meta_gradient_equals_plain_autograd(name, n_steps, first_order):
    model, batch = build(name)
    expected = plain_gradient(model, batch, n_steps, first_order)
    assert expected.norm() > 1e-3
    for how in ("vmap", "loop"):
        for recompute in (False, True):
            ours = our_gradient(model, batch, n_steps, how, first_order=first_order, recompute=recompute)
            assert relative(ours, expected) <= 1e-10, (how, recompute)


@pytest.mark.parametrize("name", MODELS)
def test_meta_gradient_equals_finite_differences(name):
    model, batch = build(name)
    gradient = our_gradient(model, batch, 3)
    start, step = nn.utils.parameters_to_vector(model.parameters()).detach(), 1e-5

    def loss(weights):
        nn.utils.vector_to_parameters(weights, model.parameters())
        return torch.stack([plain_loss(model, batch[i], 3, True) for i in range(len(batch))]).mean().item()

    for direction in torch.randn(4, len(start)):
        slope = (loss(start + step * direction) - loss(start - step * direction)) / (2 * step)
        assert abs(slope - gradient @ direction) <= 1e-6 * gradient.norm() * direction.norm()


def test_torch_has_not_mended_vmap_over_second_derivatives_of_norms():
    """pytorch/functorch#534. When this fails, torch is right and _ExactNorms in vectorize.py can go."""
    model, batch = build("1-D batch")
    expected = plain_gradient(model, batch, 1)
    learner = MAML(model, INNER_LR)

    def loss(*parts):
        return learner.loss(Episode(*parts, n_way=N_WAY))

    torch.func.vmap(loss)(batch.support_x, batch.support_y, batch.query_x, batch.query_y).mean().backward()
    assert relative(flat([p.grad for p in model.parameters()], model), expected) > 1e-4


def test_first_order_is_the_gradient_at_the_adapted_weights():
    model, batch = build("1-D none")
    task = batch[:1]
    adapted = MAML(model, INNER_LR, 3).adapt(task.support_x[0], task.support_y[0])
    weights = {name: value.detach().requires_grad_() for name, value in adapted.items()}
    loss = F.cross_entropy(MAML(model, INNER_LR).predict(weights, task.query_x[0]), task.query_y[0])
    expected = flat(torch.autograd.grad(loss, list(weights.values())), model)
    first = our_gradient(model, task, 3, first_order=True)
    assert relative(first, expected) <= 1e-12
    assert relative(our_gradient(model, task, 3), expected) > 1e-2  # and the second order is another gradient


def square(params, x, y):
    return (params["w"] * x - y).square().sum()


def test_gradient_of_one_parameter_by_hand():
    """w' = w - 2a x (w x - y); d(w' u - v)^2/dw = 2 u (w' u - v) (1 - 2 a x^2)."""
    w, a, x, y, u, v = (torch.tensor(value) for value in (0.7, 0.1, 1.5, 2.0, 0.5, 1.0))
    params = {"w": w.clone().requires_grad_()}
    adapted = adapt(params, square, x, y, n_steps=1, inner_lr=a.item())
    square(adapted, u, v).backward()
    stepped = w - 2 * a * x * (w * x - y)
    torch.testing.assert_close(adapted["w"].detach(), stepped)
    torch.testing.assert_close(params["w"].grad, 2 * u * (stepped * u - v) * (1 - 2 * a * x**2))


@pytest.mark.parametrize("recompute", [False, True])
@pytest.mark.parametrize("how", ["number", "tensor", "per parameter", "per step"])
def test_forms_of_the_inner_rate_agree(how, recompute):
    x, y = torch.tensor(1.5), torch.tensor(2.0)
    rate = torch.tensor(0.1, requires_grad=True)
    forms = {"number": 0.1, "tensor": rate, "per parameter": {"w": rate}, "per step": [rate, {"w": rate}]}
    params = {"w": torch.tensor(0.7, requires_grad=True)}
    adapted = adapt(params, square, x, y, n_steps=3, inner_lr=forms[how], recompute=recompute)  # the last rate repeats
    expected = y / x + (0.7 - y / x) * (1 - 0.2 * x**2) ** 3
    torch.testing.assert_close(adapted["w"], expected)
    if how != "number":
        adapted["w"].backward()
        slope = (0.7 - y / x) * 3 * (1 - 0.2 * x**2) ** 2 * (-2 * x**2)
        torch.testing.assert_close(rate.grad, slope)


def test_recompute_lets_gradients_through_to_the_inputs():
    features = torch.tensor(1.5, requires_grad=True)
    grads = []
    for recompute in (False, True):
        adapted = adapt({"w": torch.tensor(0.7)}, square, features, torch.tensor(2.0), n_steps=2, inner_lr=0.1,
                        recompute=recompute)  # fmt: skip
        grads.append(torch.autograd.grad(adapted["w"], features)[0])
    torch.testing.assert_close(grads[0], grads[1])
    assert grads[0] != 0


def test_nothing_is_changed_in_place_and_zero_steps_change_nothing():
    start = {"w": torch.tensor(0.7)}
    adapted = adapt(start, square, torch.tensor(1.0), torch.tensor(2.0), n_steps=0, inner_lr=0.1)
    assert adapted["w"] is start["w"] and adapted is not start
    adapt(start, square, torch.tensor(1.0), torch.tensor(2.0), n_steps=2, inner_lr=0.1)
    assert start["w"] == 0.7


@pytest.mark.parametrize("vmapped", [False, True])
def test_recompute_refuses_a_loss_that_closes_over_trained_tensors(vmapped):
    scale = torch.tensor(1.0, requires_grad=True)

    def run(x, y):
        closed = lambda params, x, y: scale * square(params, x, y)  # noqa: E731
        return adapt({"w": torch.tensor(0.7)}, closed, x, y, n_steps=1, inner_lr=0.1, recompute=True)["w"]

    x = torch.ones(2)
    with pytest.raises(ValueError, match="recompute=True needs a loss_fn that depends on trained tensors through"):
        torch.func.vmap(run)(x, x) if vmapped else run(x[0], x[0])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_steps": -1, "inner_lr": 0.1}, "n_steps must be at least 0, got -1"),
        ({"n_steps": 1, "inner_lr": []}, "inner_lr is an empty sequence"),
        ({"n_steps": 1, "inner_lr": -0.1}, "inner_lr must be a finite number, at least 0, got -0.1"),
        ({"n_steps": 1, "inner_lr": [0.1, float("nan")]}, "inner_lr must be a finite number, at least 0, got nan"),
        ({"n_steps": 1, "inner_lr": {"w": float("inf")}}, "inner_lr must be a finite number, at least 0, got inf"),
        (
            {"n_steps": 1, "inner_lr": {"v": torch.tensor(0.1)}},
            r"needs a rate for each parameter, but has none for \['w'\]",
        ),
        (
            {"n_steps": 2, "inner_lr": torch.tensor([0.1, 0.2])},
            r"inner_lr is a tensor of shape \[2\]: give a list of numbers for rates by step",
        ),
        ({"n_steps": 1, "inner_lr": [torch.tensor([0.1])]}, r"inner_lr is a tensor of shape \[1\]"),
        (
            {"n_steps": 1, "inner_lr": {"w": torch.tensor([0.1, 0.2])}},
            r"the rate of w must be one number, or one for each of its weights \[\], got a tensor of shape \[2\]",
        ),
    ],
)
def test_bad_input(options, message):
    with pytest.raises(ValueError, match=message):
        adapt({"w": torch.tensor(0.7)}, square, torch.tensor(1.0), torch.tensor(2.0), **options)


@pytest.mark.parametrize("how", ["loop", "vmap"])
def test_a_loss_may_hold_the_start_as_a_constant(how):
    """A penalty on the distance to the start, say: the inner gradient takes the start as fixed, the outer does not."""
    start = torch.tensor(0.7, requires_grad=True)

    def pulled(params, x, y):
        return square(params, x, y) + (params["w"] - start).square()

    def run(x, y):
        return adapt({"w": start}, pulled, x, y, n_steps=2, inner_lr=0.1)["w"]

    x, y = torch.tensor([1.5]), torch.tensor([2.0])
    end = torch.func.vmap(run)(x, y)[0] if how == "vmap" else run(x[0], y[0])
    first = 0.7 - 0.2 * 1.5 * (0.7 * 1.5 - 2.0)
    second = first - 0.2 * 1.5 * (first * 1.5 - 2.0) - 0.2 * (first - 0.7)
    torch.testing.assert_close(end, torch.tensor(second))
    shrink = 1 - 0.2 * 1.5**2
    (slope,) = torch.autograd.grad(end, start)
    torch.testing.assert_close(slope, torch.tensor((shrink - 0.2) * shrink + 0.2))


def test_plain_tensors_come_back_without_a_graph():
    adapted = adapt({"w": torch.tensor(0.7)}, square, torch.tensor(1.5), torch.tensor(2.0), n_steps=2, inner_lr=0.1)
    assert not adapted["w"].requires_grad


def test_no_parameters_to_adapt_are_refused():
    with pytest.raises(ValueError, match=r"expected parameters to adapt, got none: are they all frozen"):
        adapt({}, square, torch.tensor(1.0), torch.tensor(2.0), n_steps=1, inner_lr=0.1)


@pytest.mark.parametrize("how", ["loop", "vmap"])
def test_a_given_parameter_adapts_and_one_left_out_stays(how):
    """Leave a frozen weight out of the parameters: whether it requires a gradient does not matter to the function."""
    frozen = torch.tensor(0.5)

    def loss(params, x, y):
        return (params["w"] * frozen * x + params["b"] - y).square().sum()

    def run(x, y, b):
        start = {"w": torch.tensor(0.7, requires_grad=True), "b": b}
        return adapt(start, loss, x, y, n_steps=1, inner_lr=0.1)

    x, y, b = torch.tensor([1.5]), torch.tensor([2.0]), torch.tensor([0.1])
    end = torch.func.vmap(run)(x, y, b) if how == "vmap" else run(x[0], y[0], b[0])
    slope = 2 * (0.7 * 0.5 * 1.5 + 0.1 - 2.0)
    assert set(end) == {"w", "b"} and frozen == 0.5
    torch.testing.assert_close(end["w"].squeeze().detach(), torch.tensor(0.7 - 0.1 * slope * 0.5 * 1.5))
    torch.testing.assert_close(end["b"].squeeze().detach(), torch.tensor(0.1 - 0.1 * slope))


def test_consecutive_batches_start_over_and_come_with_their_labels():
    x = {"tokens": torch.arange(5), "mask": torch.arange(10).reshape(5, 2)}
    for k, (batch_x, batch_y) in enumerate(batches(x, torch.arange(5) + 100, 4, size=3)):
        rows = torch.tensor([(3 * k + i) % 5 for i in range(3)])
        torch.testing.assert_close((batch_x["tokens"], batch_x["mask"], batch_y), (rows, x["mask"][rows], rows + 100))
    on_meta = list(batches(torch.zeros(5, device="meta"), torch.zeros(5, device="meta"), 2, size=3))
    assert all(part.device.type == "meta" for batch in on_meta for part in batch)


def heavy_ball(params, grads, loss, state):
    """A rule whose state holds a trained number, velocities and a counter."""
    decay, velocity, count = state
    velocity = {name: decay * velocity[name] + grads[name] for name in params}
    return {name: params[name] - 0.1 * velocity[name] for name in params}, (decay, velocity, count + 1)


@pytest.mark.parametrize("how", ["loop", "vmap"])
def test_a_rule_of_ones_own_is_recomputed_too(how):
    found = []
    for recompute in (False, True):
        w, decay = torch.tensor(0.7, requires_grad=True), torch.tensor(0.9, requires_grad=True)

        def run(x, y, w=w, decay=decay, recompute=recompute):
            state = (decay, {"w": torch.zeros(())}, torch.tensor(0))
            data = batches(x, y, 4, 2)
            *_, (params, (_, _, count)) = unroll({"w": w}, heavy_ball, state, square, data, recompute=recompute)
            return params["w"], count

        x, y = torch.tensor([[1.5, 0.5, 1.0]]), torch.tensor([[2.0, 1.0, 0.0]])
        end, count = torch.func.vmap(run)(x, y) if how == "vmap" else run(x[0], y[0])
        assert (count == 4).all()
        found.append((end, *torch.autograd.grad(end.sum(), (w, decay))))
    torch.testing.assert_close(found[1], found[0], rtol=1e-12, atol=0)
    assert found[0][2].abs() > 1e-3


def test_recompute_refuses_a_rule_that_closes_over_trained_tensors():
    rate = torch.tensor(0.1, requires_grad=True)

    def rule(params, grads, loss, state):
        return {"w": params["w"] - rate * grads["w"]}, state

    data = [(torch.tensor(1.0), torch.tensor(2.0))]
    with pytest.raises(ValueError, match="a rule that depends on them through its arguments"):
        next(unroll({"w": torch.tensor(0.7)}, rule, None, square, data, recompute=True))


def drop_out():
    return nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Dropout(0.4), nn.Linear(8, N_WAY))


def seeded(function, *args):
    torch.manual_seed(1)
    return function(*args)


@pytest.mark.parametrize("chunk_size", [None, 2])
@pytest.mark.parametrize("how", ["loop", "vmap"])
def test_recompute_draws_the_same_dropout_again(how, chunk_size):
    model, (_, batch) = drop_out(), build("1-D none")
    found = []
    for recompute in (False, True):
        learner = MAML(model, INNER_LR, 3, recompute=recompute)
        learner.how, learner.chunk_size = how, chunk_size
        learner.zero_grad()
        loss = seeded(learner.backward, batch)
        found.append((loss, flat([p.grad for p in model.parameters()], model), torch.rand(())))
    torch.testing.assert_close(found[1], found[0], rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize("how", ["loop", "vmap"])
def test_recompute_with_dropout_equals_finite_differences(how):
    model, (_, batch) = drop_out(), build("1-D none")
    learner = MAML(model, INNER_LR, 2, recompute=True)
    learner.how = how
    learner.zero_grad()
    seeded(learner.backward, batch)
    check_slopes(model, lambda: seeded(learner.backward, batch).item())


def check_slopes(model, loss):
    gradient = flat([p.grad for p in model.parameters()], model)
    start, step = nn.utils.parameters_to_vector(model.parameters()).detach(), 1e-5

    def at(weights):
        nn.utils.vector_to_parameters(weights, model.parameters())
        return loss()

    for direction in torch.randn(4, len(start), generator=torch.Generator().manual_seed(2)):
        slope = (at(start + step * direction) - at(start - step * direction)) / (2 * step)
        assert abs(slope - gradient @ direction) <= 1e-6 * gradient.norm() * direction.norm()


@pytest.mark.parametrize("how", ["loop", "vmap"])
def test_recompute_under_autocast_is_the_same_gradient(how):
    torch.set_default_dtype(torch.float32)
    model, (_, batch) = drop_out(), build("1-D none")
    found = []
    for recompute in (False, True):
        learner = MAML(model, INNER_LR, 3, recompute=recompute)
        learner.how = how
        learner.zero_grad()
        with torch.autocast("cpu", torch.bfloat16):
            seeded(learner.backward, batch)
        found.append(flat([p.grad for p in model.parameters()], model))
    assert relative(found[1], found[0]) < 1e-3  # in float32 it would be 4e-3


@pytest.mark.parametrize("how", ["loop", "vmap"])
def test_recompute_refuses_random_numbers_that_it_cannot_draw_again(how):
    generator = torch.Generator().manual_seed(0)

    def loss(params, x, y):
        mask = torch.bernoulli(torch.full((4,), 0.5), generator=generator)
        return (params["w"] * x * mask - y).square().sum()

    def run(x, y):
        start = {"w": torch.ones(4, requires_grad=True)}
        return adapt(start, loss, x, y, n_steps=8, inner_lr=0.1, recompute=True)["w"].sum()

    x, y = torch.ones(1, 4), torch.arange(4.0).unsqueeze(0)
    end = torch.func.vmap(run, randomness="different")(x, y).sum() if how == "vmap" else run(x[0], y[0])
    with pytest.raises(ValueError, match="random numbers must come from torch's global generators"):
        end.backward()


class Attentive(nn.Module):
    """Classify a short sequence by one encoder layer."""

    def __init__(self):
        super().__init__()
        self.encoder = nn.TransformerEncoderLayer(4, 2, 6, dropout=0.0, activation="gelu", batch_first=True)
        self.head = nn.Linear(4, N_WAY)

    def forward(self, x):
        return self.head(self.encoder(x).mean(1))


def sequences():
    x, y = torch.randn(N_TASKS, 11, 5, 4), torch.arange(11).repeat(N_TASKS, 1) % N_WAY
    return Episode(x[:, :6], y[:, :6], x[:, 6:], y[:, 6:], n_way=N_WAY)


@pytest.mark.parametrize("recompute", [False, True])
@pytest.mark.parametrize("how", ["loop", "vmap"])
def test_second_order_through_attention_equals_finite_differences(how, recompute):
    model, batch = Attentive(), sequences()
    learner = MAML(model, INNER_LR, 2, recompute=recompute)
    learner.how = how
    learner.zero_grad()
    learner.backward(batch)
    check_slopes(model, lambda: learner.backward(batch).item())
    with torch.no_grad():  # torch has another path for a layer in eval mode
        expected = torch.stack([learner.loss(batch[i]) for i in range(N_TASKS)])
        learner.eval()
        torch.testing.assert_close(torch.stack([learner.loss(batch[i]) for i in range(N_TASKS)]), expected)


def test_the_kernels_of_attention_are_put_back():
    from torch.backends import cuda

    state = [cuda.flash_sdp_enabled(), cuda.mem_efficient_sdp_enabled(), cuda.cudnn_sdp_enabled()]

    def failing(params, x, y):
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        adapt({"w": torch.tensor(0.7)}, failing, torch.tensor(1.0), torch.tensor(2.0), n_steps=1, inner_lr=0.1)
    assert [cuda.flash_sdp_enabled(), cuda.mem_efficient_sdp_enabled(), cuda.cudnn_sdp_enabled()] == state


@pytest.mark.parametrize("recompute", [False, True])
def test_gradient_descent_is_a_rule(recompute):
    """trajectory equals unroll with the rule written here, and both equal the steps by hand."""

    def descend(params, grads, loss, rates):
        return {"w": params["w"] - rates[0] * grads["w"]}, rates[1:]

    rates = [torch.tensor(0.1, requires_grad=True), torch.tensor(0.05, requires_grad=True)]
    x, y, start = torch.tensor(1.5), torch.tensor(2.0), {"w": torch.tensor(0.7, requires_grad=True)}
    ours = [params["w"] for params in trajectory(start, square, x, y, n_steps=2, inner_lr=rates, recompute=recompute)]
    steps = unroll(start, descend, rates, square, batches(x, y, 2), recompute=recompute)
    torch.testing.assert_close(ours[1:], [params["w"] for params, _ in steps], rtol=0, atol=0)
    by_hand = 0.7 - 0.1 * 2 * 1.5 * (0.7 * 1.5 - 2)
    torch.testing.assert_close(ours[1].item(), by_hand)
    torch.testing.assert_close(ours[2].item(), by_hand - 0.05 * 2 * 1.5 * (by_hand * 1.5 - 2))


RECORDED = {  # losses of steps 0, 24 and 49, of the code of state 8cc954e
    "sine waves": [4.5138156750, 4.5486077876, 4.2851850964],
    "glyphs": [1.6558538549, 1.6018394879, 1.6025574093],
}


def make_run(name):
    """Return a learner with weights of its own, and a sampler; both were float32 when the numbers were recorded."""
    if name == "sine waves":
        model = nn.Sequential(nn.Linear(1, 40), nn.Tanh(), nn.Linear(40, 40), nn.Tanh(), nn.Linear(40, 1))
        return MAML(model, 0.01, 2, loss_fn=F.mse_loss), draw_waves
    pool = glyphs().train
    return MAML(Conv4(5, channels=8), 0.4), lambda generator: sample_episodes(pool, 2, 5, 1, 5, generator)


def draw_waves(generator):
    x, phase, height = (torch.rand(25, n, 1, generator=generator, dtype=torch.float64) for n in (20, 1, 1))
    y = 5 * height * torch.sin(10 * x - 3 * phase)
    return Episode(10 * x[:, :10] - 5, y[:, :10], 10 * x[:, 10:] - 5, y[:, 10:])


@pytest.mark.slow
@pytest.mark.parametrize("name", RECORDED)
def test_a_short_training_has_the_recorded_losses(name):
    """Second order over 50 outer steps, in float64: the inner loop computes what it did before it was rewritten."""
    torch.set_default_dtype(torch.float32)
    learner, sample = make_run(name)
    learner.double()
    generator, optimizer = torch.Generator().manual_seed(0), torch.optim.Adam(learner.parameters(), lr=1e-3)
    losses = []
    for _ in range(50):
        batch = sample(generator).map(lambda leaf: leaf.double() if leaf.is_floating_point() else leaf)
        optimizer.zero_grad()
        losses.append(learner.backward(batch).double())
        optimizer.step()
    found = torch.stack(losses)[[0, 24, 49]]
    torch.testing.assert_close(found, torch.tensor(RECORDED[name], dtype=torch.float64), rtol=1e-6, atol=0)
