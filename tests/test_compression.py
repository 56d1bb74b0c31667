"""Compressed learners do what their masks, numbers and ranks say; adapters start as nothing and can be anything."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils import prune as torch_prune

from metalearn import Episode, adapters, compression, fit
from metalearn.data import sinusoids
from metalearn.learners import ANIL, MAML, MetaSGD, Prototypical
from metalearn.networks import MLP, Conv4


def maml(model=None, **options):
    torch.manual_seed(0)
    return MAML(model or MLP([1, 20, 20, 1]), inner_lr=0.05, loss_fn=F.mse_loss, **options)


def points(n=10, n_inputs=1):
    generator = torch.Generator().manual_seed(1)
    return torch.randn(n, n_inputs, generator=generator), torch.randn(n, 1, generator=generator)


def images(n=5):
    return torch.randn(n, 1, 28, 28, generator=torch.Generator().manual_seed(1)), torch.arange(n)


def conv(n_outputs=5, **options):
    torch.manual_seed(0)
    return Conv4(n_outputs, channels=8, downsample="stride", norm="none", **options)


# Pruning


def test_masks_are_those_of_torch():
    learner, theirs = maml(), maml()
    layers = [(layer, "weight") for layer in theirs.model if isinstance(layer, nn.Linear)]
    torch_prune.global_unstructured(layers, torch_prune.L1Unstructured, amount=0.6)
    ours = [layer.weight for layer in compression.prune(learner, 0.6).learner.model if isinstance(layer, nn.Linear)]
    for mine, (layer, _) in zip(ours, layers, strict=True):
        torch.testing.assert_close(mine, layer.weight)


def test_each_layer_may_lose_its_share():
    learner, theirs = compression.prune(maml(), 0.6, each_layer=True).learner, maml()
    for layer, other in zip(learner.model, theirs.model, strict=True):
        if isinstance(layer, nn.Linear):
            torch_prune.l1_unstructured(other, "weight", amount=0.6)
            torch.testing.assert_close(layer.weight, other.weight)
    assert compression.prune(maml(), 0.6, each_layer=True).n_bytes == 4 * (8 + 160 + 8 + 41) + 55


@pytest.mark.parametrize("first_order", [False, True])
def test_masks_hold_in_both_loops_and_without_them_weights_grow_again(first_order):
    x, y = points()
    held, loose = (compression.prune(maml(first_order=first_order), 0.6, hold=hold).learner for hold in (True, False))
    assert compression.sparsity(held) == compression.sparsity(loose) == 0.6
    moved = held.adapt(x, y, n_steps=5)
    assert compression.sparsity(moved) == 0.6
    assert any(not torch.equal(moved[name], tensor) for name, tensor in held.named_parameters())  # it did adapt
    assert compression.sparsity(loose.adapt(x, y, n_steps=5)) < 0.4
    fit(held, lambda g: sinusoids().sample(4, 5, 5, g), 2, progress=False, seed=0)
    assert compression.sparsity(held) == 0.6
    assert compression.sparsity(held.adapt(x, y)) == 0.6


def test_a_held_start_adapts_as_masked_gradient_steps_do():
    x, y = points()
    found = compression.prune(maml(), 0.5)
    weights = {name: part.clone() for name, part in found.learner.adapt(x, y, n_steps=1).items()}
    plain = compression.prune(maml(), 0.5, hold=False).learner  # the same zeros, no mask
    for name, moved in plain.adapt(x, y, n_steps=1).items():
        start = plain.state_dict()[name]
        mask = (start != 0).float() if start.ndim == 2 else torch.ones_like(start)
        masked = start + (moved - start) * mask
        key = name if name in weights else name.replace("weight", "parametrizations.weight.original")
        torch.testing.assert_close(weights[key], masked)


def test_bytes_are_a_bit_for_each_weight_and_four_bytes_for_each_that_is_left():
    n_weights, n_others = 20 + 400 + 20, 41
    assert compression.stored_bytes(maml()) == 4 * (n_weights + n_others)
    assert compression.prune(maml(), 0.75).n_bytes == 4 * (110 + n_others) + 55
    assert compression.prune(maml(), 0.0).n_bytes == 4 * (n_weights + n_others) + 55
    learner = maml()
    before = {name: part.clone() for name, part in learner.state_dict().items()}
    compression.prune(learner, 0.5)
    assert all(torch.equal(part, before[name]) for name, part in learner.state_dict().items())


@pytest.mark.parametrize("how", ["vmap", "loop"])
def test_pruned_learners_run_under_vmap_and_in_a_loop(how):
    learner = compression.prune(maml(), 0.5).learner.double()
    batch = sinusoids().sample(3, 5, 5, torch.Generator().manual_seed(0)).map(lambda leaf: leaf.double())
    learner.how = "loop"
    expected = learner.backward(batch)
    grads = [parameter.grad.clone() for parameter in learner.parameters()]
    learner.zero_grad()
    learner.how = how
    torch.testing.assert_close(learner.backward(batch), expected)
    for parameter, grad in zip(learner.parameters(), grads, strict=True):
        torch.testing.assert_close(parameter.grad, grad)


# int8


def test_int8_is_torchs_own_by_channel():
    weight = torch.randn(6, 4, 3, 3, generator=torch.Generator().manual_seed(0))
    weight[2] = 0.0
    numbers, scales = compression.to_int8(weight)
    zeros = torch.zeros(6, dtype=torch.int32)
    theirs = torch.fake_quantize_per_channel_affine(weight, scales, zeros, 0, -127, 127)  # rounds to what int8 can hold
    assert numbers.dtype == torch.int8
    torch.testing.assert_close(compression.from_int8(numbers, scales), theirs)
    error = (compression.from_int8(numbers, scales) - weight).abs()
    assert (error <= scales.view(-1, 1, 1, 1) / 2 * 1.0001).all()
    assert numbers.abs().amax((1, 2, 3)).tolist() == [127, 127, 0, 127, 127, 127]


def test_a_quantised_start_is_rounded_once_and_adapts_in_float():
    found, (x, y) = compression.quantize(maml()), points()
    weight = found.learner.model[2].weight.detach()
    again = compression.from_int8(*compression.to_int8(weight))
    torch.testing.assert_close(again, weight)  # rounding again changes nothing
    assert not torch.equal(weight, maml().model[2].weight)
    moved = found.learner.adapt(x, y)["model.2.weight"]
    assert moved.dtype == torch.float32 and not torch.equal(moved, weight)
    assert found.n_bytes == 440 + 4 * (20 + 20 + 1) + 4 * 41


# Low rank


@pytest.mark.parametrize("hold", [True, False])
def test_factors_are_the_nearest_matrix_of_their_rank(hold):
    torch.manual_seed(0)
    for layer, x in ((nn.Linear(30, 20), torch.randn(4, 30)), (nn.Conv2d(3, 20, 3, 2, 1), torch.randn(2, 3, 9, 9))):
        found = compression.factorise(MAML(nn.Sequential(layer), 0.1), 0.25, hold=hold).learner.model[0]
        matrix = layer.weight.detach().flatten(1)
        u, s, v = torch.linalg.svd(matrix, full_matrices=False)
        best = nn.Linear(30, 20) if isinstance(layer, nn.Linear) else nn.Conv2d(3, 20, 3, 2, 1)
        best.weight.data = (u[:, :5] * s[:5] @ v[:5]).view_as(layer.weight)
        best.bias.data = layer.bias.data
        torch.testing.assert_close(found(x), best(x), atol=1e-5, rtol=1e-4)
        assert isinstance(found, nn.Sequential) == hold


def test_full_rank_and_layers_that_would_grow_stay():
    learner = maml()
    found = compression.factorise(learner, 1.0)
    assert repr(found.learner) == repr(learner) and found.n_bytes == compression.stored_bytes(learner)
    thin = compression.factorise(learner, 0.25)
    assert thin.n_bytes == compression.stored_bytes(learner) - 4 * (400 - 5 * 40)
    moved = thin.learner.adapt(*points())
    assert {"model.2.0.weight", "model.2.1.weight", "model.2.1.bias"} <= set(moved)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: compression.prune(maml(), 1.0), "share must lie in"),
        (lambda: compression.factorise(maml(), 0.0), "share must lie in"),
        (lambda: compression.prune(Prototypical(nn.Flatten()), 0.5), "no linear or convolutional layer"),
        (lambda: compression.quantize(Prototypical(nn.Flatten())), "no linear or convolutional layer"),
        (lambda: compression.factorise(Prototypical(nn.Flatten()), 0.5), "no linear or convolutional layer"),
        (lambda: adapters.LoRA(nn.Conv2d(4, 4, 3, groups=2), 1), "one group"),
        (lambda: adapters.LoRA(nn.Linear(2, 2), 0), "rank must be at least 1"),
        (lambda: adapters.Adapter(nn.Linear(2, 2), 0), "n_hidden must be at least 1"),
        (lambda: adapters.only(MLP([1, 2]), ["head"]), "no part"),
        (lambda: compression.distillation_backward(maml(), maml(), temperature=0.0), "temperature > 0"),
    ],
)
def test_wrong_options_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize("again", [lambda one: compression.prune(one, 0.8), compression.quantize,
                                   lambda one: compression.factorise(one, 0.25)])  # fmt: skip
def test_a_learner_held_by_masks_is_not_compressed_again_in_silence(again):
    with pytest.raises(ValueError, match="masks hold their weights"):
        again(compression.prune(maml(), 0.5).learner)
    again(compression.prune(maml(), 0.5, hold=False).learner)


class Tied(nn.Module):
    """Two linear layers with one weight, or one layer under two names."""

    def __init__(self, as_layers):
        super().__init__()
        self.one = nn.Linear(4, 4)
        self.other = self.one if as_layers else nn.Linear(4, 4)
        self.other.weight = self.one.weight

    def forward(self, x):
        return self.other(self.one(x))


ALL = [lambda one: compression.prune(one, 0.5), compression.quantize, lambda one: compression.factorise(one, 0.25)]


@pytest.mark.parametrize("compress", ALL)
def test_layers_that_are_not_counted_are_refused(compress):
    texts = nn.Sequential(nn.Conv1d(2, 3, 3), nn.Flatten(), nn.Linear(6, 2))
    with pytest.raises(ValueError, match=r"cannot \w+ \{'encoder.0': 'Conv1d'\}: expected convolutions of the kind"):
        compress(Prototypical(texts))
    for as_layers in (True, False):
        with pytest.raises(ValueError, match=r"encoder.one.weight and encoder.other.weight are one weight"):
            compress(Prototypical(Tied(as_layers)))


def test_a_weight_with_two_names_is_stored_once():
    assert compression.stored_bytes(Tied(True)) == 4 * (16 + 4)
    assert compression.stored_bytes(Tied(False)) == 4 * (16 + 4 + 4)


@pytest.mark.parametrize("add", [adapters.add_lora, adapters.add_adapters])
def test_additions_are_not_added_to_additions(add):
    once = adapters.add_lora(MLP([4, 8, 2]), 1, train=())
    with pytest.raises(ValueError, match=r"\['0', '2'\] have additions already: merge_lora"):
        add(once, 1, train=())
    assert adapters.n_trained(adapters.only(once, ["0"])) == 4 * 8 + 8 + 4 + 8
    add(adapters.merge_lora(once), 1, train=())


@pytest.mark.parametrize("add", [adapters.add_lora, adapters.add_adapters])
@pytest.mark.parametrize("as_layers", [True, False])
def test_additions_refuse_a_weight_with_two_names(add, as_layers):
    with pytest.raises(ValueError, match=r"one\.weight and other\.weight are one weight"):
        add(Tied(as_layers), 1, train=())


def test_no_weights_have_no_share_of_zeros():
    with pytest.raises(ValueError, match="at least one tensor with two axes"):
        compression.sparsity({"bias": torch.zeros(3)})


# Distillation


def episode(n_way=3):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, 2 * n_way, 4, generator=generator)
    y = torch.arange(n_way).repeat(2).expand(2, -1)
    return Episode(x, y, x + 0.1 * torch.randn(x.shape, generator=generator), y, n_way)


def test_distillation_is_its_formula():
    torch.manual_seed(0)
    student, teacher, batch = Prototypical(nn.Linear(4, 2)), Prototypical(nn.Linear(4, 8)), episode()
    backward = compression.distillation_backward(student, teacher, temperature=3.0, weight=0.3)
    found = backward(batch, torch.Generator())
    grad = student.encoder.weight.grad.clone()
    student.zero_grad()
    total = 0.0
    for task in (batch[0], batch[1]):
        q = student.predict(student.adapt(task.support_x, task.support_y), task.query_x)
        p = teacher.predict(teacher.adapt(task.support_x, task.support_y), task.query_x).detach()
        p3 = (p / 3).softmax(1)
        divergence = (p3 * (p3.log() - (q / 3).softmax(1).log())).sum(1).mean()
        total = total + (0.7 * F.cross_entropy(q, task.query_y) + 0.3 * 9 * divergence) / 2
    total.backward()
    torch.testing.assert_close(found, total.detach())
    torch.testing.assert_close(grad, student.encoder.weight.grad)
    assert all(parameter.grad is None for parameter in teacher.parameters())


def test_a_student_that_answers_as_its_teacher_has_nothing_to_learn_from_it():
    teacher = Prototypical(nn.Linear(4, 8))
    student = Prototypical(nn.Linear(4, 8))
    student.load_state_dict(teacher.state_dict())
    loss = compression.distillation_backward(student, teacher, weight=1.0)(episode(), torch.Generator())
    assert abs(loss) < 1e-6 and student.encoder.weight.grad.abs().max() < 1e-5


def test_regression_is_distilled_by_squared_differences():
    student, teacher = maml(), maml()
    nn.init.ones_(teacher.model[0].bias)
    batch = sinusoids().sample(1, 5, 5, torch.Generator().manual_seed(0))
    loss = compression.distillation_backward(student, teacher, weight=1.0)(batch, torch.Generator())
    task = batch[0]
    answers = [one.predict(one.adapt(task.support_x, task.support_y), task.query_x) for one in (student, teacher)]
    torch.testing.assert_close(loss, F.mse_loss(*answers).detach())


# Adapters and LoRA

LAYERS = [
    (lambda: nn.Linear(6, 4), (3, 6)),
    (lambda: nn.Conv2d(2, 4, 3, stride=2, padding=1), (3, 2, 7, 7)),
    (lambda: nn.Conv2d(2, 4, 3, padding="same", dilation=2), (3, 2, 7, 7)),
]


@pytest.mark.parametrize(("make", "shape"), LAYERS)
def test_additions_are_nothing_at_the_start(make, shape):
    layer, x = make(), torch.randn(shape)
    assert torch.equal(adapters.LoRA(layer, 2)(x), layer(x))
    assert torch.equal(adapters.Adapter(layer, 2)(x), layer(x))


@pytest.mark.parametrize(("make", "shape"), LAYERS)
def test_at_full_rank_lora_is_any_change_of_the_weight(make, shape):
    layer, x = make(), torch.randn(shape)
    change = torch.randn_like(layer.weight)
    u, s, v = torch.linalg.svd(change.flatten(1), full_matrices=False)
    lora = adapters.LoRA(layer, len(s))
    lora.up.weight.data, lora.down.weight.data = (u * s).view_as(lora.up.weight), v.view_as(lora.down.weight)
    torch.testing.assert_close(lora.delta(), change, atol=1e-5, rtol=1e-4)
    dense = make()
    dense.weight.data, dense.bias.data = layer.weight.data + change, layer.bias.data
    torch.testing.assert_close(lora(x), dense(x), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(adapters.merge_lora(nn.Sequential(lora))(x), dense(x), atol=1e-4, rtol=1e-4)


def test_a_step_of_the_second_matrix_is_the_dense_step_where_the_first_is_orthogonal():
    torch.manual_seed(0)
    layer, x, y = nn.Linear(5, 3), torch.randn(8, 5), torch.randn(8, 3)
    lora = adapters.LoRA(layer, 5)
    lora.down.weight.data = torch.linalg.qr(torch.randn(5, 5)).Q
    loss = F.mse_loss(lora(x), y)
    up, dense = torch.autograd.grad(loss, [lora.up.weight, layer.weight])
    lora.up.weight.data -= 0.1 * up
    torch.testing.assert_close(lora.delta(), -0.1 * dense)


@pytest.mark.parametrize("add", [adapters.add_lora, adapters.add_adapters])
@pytest.mark.parametrize("learner", [MAML, MetaSGD])
def test_only_what_was_added_and_the_head_move_in_either_loop(add, learner):
    model, (x, y) = conv(), images()
    added = add(model, 2)
    assert torch.equal(added(x), model(x))
    made = learner(added, 0.1)
    trained = {name for name, parameter in made.named_parameters() if parameter.requires_grad}
    moved = made.adapt(x, y)
    assert set(moved) <= trained
    assert all(
        ".down." in name or ".up." in name or "head" in name or "log_lr" in name or "rate" in name for name in trained
    )
    before = {name: part.clone() for name, part in made.named_parameters()}
    batch = Episode(x[None], y[None], x[None], y[None], 5)
    fit(made, lambda generator: batch, 2, progress=False, seed=0)
    changed = {name for name, part in made.named_parameters() if not torch.equal(part, before[name])}
    assert changed and changed <= trained
    assert all(parameter.requires_grad for parameter in model.parameters())  # the model itself is as it was


def test_numbers_of_adapted_weights_by_hand():
    model = conv()
    assert adapters.n_trained(adapters.only(model)) == 8 * 5 + 5
    lora = adapters.add_lora(model, 2)  # first layer 9 inputs, others 72, 8 outputs each
    assert adapters.n_trained(lora) == 45 + 2 * (9 + 8) + 3 * 2 * (72 + 8)
    assert adapters.n_trained(adapters.add_adapters(model, 3)) == 45 + 4 * 2 * 3 * 8
    assert compression.stored_bytes(MAML(lora, 0.1).adapt(*images())) == 4 * adapters.n_trained(lora)
    assert repr(adapters.merge_lora(lora)) == repr(model)


def test_a_frozen_encoder_leaves_the_head_to_anil():
    encoder = conv(None)
    learner = ANIL(adapters.only(encoder, []), nn.Linear(8, 5), 0.1)
    assert adapters.n_trained(learner) == 45
