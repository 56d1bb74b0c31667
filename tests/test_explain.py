"""Explaining a meta-learner: changes, transplants, influence, saliency, deletion, sanity."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from metalearn import Episode, evaluate, experiments, pretrained, sample_episodes
from metalearn.data import glyphs
from metalearn.experiments import explanation
from metalearn.explain import (
    centre_order,
    cka,
    deletion_curve,
    deletion_test,
    edges,
    gradient,
    gradient_influence,
    gradient_times_input,
    insertion_curve,
    integrated_gradients,
    layer_changes,
    layers_of,
    leave_one_out,
    log_odds,
    magnitude,
    occlusion,
    pixel_order,
    prototype_influence,
    random_order,
    randomisation_test,
    randomised,
    rank_agreement,
    representations,
    similarity_after,
    transplant,
    transplanted,
    weighted_adapt,
)
from metalearn.explain.influence import each_loss
from metalearn.learners import ANIL, MAML, Learner, MetaSGD, Prototypical, Relation
from metalearn.networks import MLP, Conv4, RelationModule, make_norm


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def vectors(n_shot: int = 3, n_query: int = 4, dtype: torch.dtype = torch.float64) -> Episode:
    """Return a task of three classes of vectors of four numbers."""
    generator = seeded()
    y, query_y = torch.arange(3).repeat_interleave(n_shot), torch.arange(3).repeat_interleave(n_query)
    x, query_x = (torch.randn(len(labels), 4, generator=generator, dtype=dtype) for labels in (y, query_y))
    return Episode(x + y.unsqueeze(1), y, query_x + query_y.unsqueeze(1), query_y, 3)


def smooth(n_outputs: int = 3, norm: str = "none") -> nn.Module:
    torch.manual_seed(0)
    hidden: list[nn.Module] = [nn.Linear(4, 6), make_norm(norm, 6), nn.Tanh()]
    return nn.Sequential(*hidden, nn.Linear(6, n_outputs)).double()


def images(n_tasks: int = 3, n_shot: int = 1, n_query: int = 2) -> Episode:
    return sample_episodes(glyphs().validation, n_tasks, n_way=5, n_shot=n_shot, n_query=n_query, generator=seeded())


# What adaptation changes


def test_cka_is_one_for_itself_rotated_scaled_and_shifted() -> None:
    a = torch.randn(30, 5, generator=seeded(), dtype=torch.float64)
    rotation, _ = torch.linalg.qr(torch.randn(5, 5, generator=seeded(1), dtype=torch.float64))
    b = torch.randn(30, 7, generator=seeded(2), dtype=torch.float64)
    assert cka(a, a).item() == pytest.approx(1, abs=1e-12)
    assert cka(a, 2.5 * a @ rotation + 3).item() == pytest.approx(1, abs=1e-12)
    torch.testing.assert_close(cka(a @ rotation * 4 - 1, b), cka(a, b))
    assert cka(a, a * torch.tensor([1.0, 1, 1, 1, 50])).item() < 0.9  # no invariance under other linear maps
    assert cka(a, b).item() < 0.6


def test_cka_is_the_formula_with_features() -> None:
    a, b = (torch.randn(20, n, generator=seeded(n), dtype=torch.float64) for n in (3, 4))
    a, b = a - a.mean(0), b - b.mean(0)
    expected = (b.T @ a).square().sum() / ((a.T @ a).norm() * (b.T @ b).norm())
    torch.testing.assert_close(cka(a, b), expected)


def test_cka_refuses_what_does_not_vary_and_other_lengths() -> None:
    with pytest.raises(ValueError, match="the same for all"):
        cka(torch.ones(3, 2), torch.rand(3, 2))
    with pytest.raises(ValueError, match="3 and 4 rows"):
        cka(torch.rand(3, 2), torch.rand(4, 2))


def test_normalisations_count_with_the_layer_before_them() -> None:
    layers = layers_of(MAML(Conv4(5, channels=8, norm="support"), inner_lr=0.1))
    assert layers["model.blocks.0"] == [f"model.blocks.{i}.{name}" for i in (0, 1) for name in ("weight", "bias")]
    assert [*layers][-1] == "model.head" and len(layers) == 5


def test_changes_of_one_step_are_the_gradient() -> None:
    tasks = vectors().map(lambda leaf: torch.stack([leaf, leaf.flip(0)]))
    learner = MAML(smooth(), inner_lr=0.1)
    changes = layer_changes(learner, tasks)
    loss = learner.loss_fn(learner.model(tasks[0].support_x), tasks[0].support_y)
    grads = dict(zip(dict(learner.named_parameters()), torch.autograd.grad(loss, [*learner.parameters()]), strict=True))
    for k, (layer, names) in enumerate(layers_of(learner).items()):
        own = torch.cat([learner.get_parameter(name).flatten() for name in names])
        step = torch.cat([0.1 * grads[name].flatten() for name in names])
        torch.testing.assert_close(changes.size[0, k], (step.norm() / own.norm()).detach())
        assert changes.score(layer).n_tasks == 2
    torch.testing.assert_close(changes.agreement, torch.ones_like(changes.agreement))  # the same examples, turned round
    torch.testing.assert_close(changes.dimensions, torch.ones_like(changes.dimensions))


def test_opposite_changes_disagree_and_orthogonal_ones_span_two_dimensions() -> None:
    """A linear layer without bias whose gradient lies in the direction of the input."""
    learner = MAML(nn.Linear(2, 1, bias=False), inner_lr=0.1, loss_fn=nn.functional.mse_loss)
    nn.init.constant_(learner.model.weight, 0.5)
    x = torch.tensor([[[1.0, 0.0]], [[0.0, 1.0]], [[-1.0, 0.0]]])
    y = torch.tensor([[[5.0]], [[5.0]], [[5.0]]])
    changes = layer_changes(learner, Episode(x, y, x, y))
    torch.testing.assert_close(changes.agreement[:, 0], torch.tensor([-0.5, 0.0, -0.5]))
    torch.testing.assert_close(changes.dimensions, torch.tensor([9 / 5]))


def test_prototypes_change_no_weights() -> None:
    tasks = vectors().map(lambda leaf: torch.stack([leaf, leaf]))
    with pytest.raises(ValueError, match="changes weights, got Prototypical"):
        layer_changes(Prototypical(smooth()), tasks)
    with pytest.raises(ValueError, match="at least two tasks"):
        layer_changes(MAML(smooth(), inner_lr=0.1), tasks[:1])


def test_representations_end_behind_the_normalisation_and_leave_no_hook() -> None:
    learner, task = MAML(smooth(norm="group"), inner_lr=0.1), vectors()
    adapted = learner.adapt(task.support_x, task.support_y)
    found = representations(learner, adapted, task.query_x)
    assert [*found] == ["model.0", "model.3"]
    torch.testing.assert_close(found["model.3"], learner.predict(adapted, task.query_x).detach())
    assert not any(module._forward_hooks for module in learner.modules())
    unchanged = learner.adapt(task.support_x, task.support_y, n_steps=0)
    torch.testing.assert_close(
        representations(learner, unchanged, task.query_x)["model.0"],
        learner.model[1](learner.model[0](task.query_x)).detach(),
    )


def test_similarity_falls_with_the_steps() -> None:
    learner, tasks = pretrained("maml", "glyphs"), images(n_query=5)
    assert all(score.mean == pytest.approx(1) for score in similarity_after(learner, tasks, 0).values())
    after = [score.mean for score in similarity_after(learner, tasks).values()]
    assert after[0] > 0.99 > 0.9 > after[-2]


def test_transplants_of_all_layers_are_the_two_ends() -> None:
    learner, task = MAML(smooth(), inner_lr=0.5, n_inner_steps=3), vectors()
    adapted = learner.adapt(task.support_x, task.support_y)
    layers = [*layers_of(learner)]
    for chosen, keep, n_steps in (([], False, 3), (layers, True, 3), (layers, False, 0), ([], True, 0)):
        mixed = transplant(learner, task, adapted, chosen, keep=keep)
        expected = learner.adapt(task.support_x, task.support_y, n_steps=n_steps)
        assert mixed.keys() == expected.keys()
        for name, tensor in mixed.items():
            torch.testing.assert_close(tensor, expected[name])
    one = transplant(learner, task, adapted, ["model.0"])
    assert torch.equal(one["model.0.weight"], learner.model[0].weight)
    assert torch.equal(one["model.3.weight"], adapted["model.3.weight"])
    with pytest.raises(ValueError, match="expected layers among"):
        transplant(learner, task, adapted, ["model.1"])


def test_transplanted_ends_are_those_of_evaluate() -> None:
    learner, pool = pretrained("maml", "glyphs"), glyphs().test
    sampler = pool.episodes(n_tasks=5, n_way=5, n_shot=1, n_query=3)
    drawn = []

    def sample(generator: torch.Generator) -> Episode:
        drawn.append(sampler(generator))
        return drawn[-1]

    expected = evaluate(learner, sample, 5, [0, 1], seed=0)
    found = transplanted(learner, drawn[0])
    torch.testing.assert_close(found["all old"].per_task, expected[0].per_task)
    torch.testing.assert_close(found["all new"].per_task, expected[1].per_task)
    assert found["model.blocks.9"].mean < found["all new"].mean - 0.2


# Influence


@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_the_closed_form_of_prototypes_is_leaving_one_out(temperature: float) -> None:
    learner, task = Prototypical(smooth(), temperature=temperature), vectors()
    exact = leave_one_out(learner, task, of="logits")  # [n_query, n_support, n_way]
    own = torch.nn.functional.one_hot(task.support_y, 3).bool().expand_as(exact)
    closed = prototype_influence(learner, task)
    torch.testing.assert_close(closed, exact[own].reshape(closed.shape), rtol=0, atol=1e-10)
    torch.testing.assert_close(exact[~own], torch.zeros_like(exact[~own]), rtol=0, atol=1e-12)


def test_the_closed_form_refuses_what_it_does_not_hold_for() -> None:
    one_shot = vectors(n_shot=1)
    with pytest.raises(ValueError, match=r"two examples of each class at least, got \[1, 1, 1\]"):
        prototype_influence(Prototypical(smooth()), one_shot)
    with pytest.raises(ValueError, match="two examples"):
        leave_one_out(MAML(smooth(), inner_lr=0.1), one_shot)
    for learner in (Prototypical(smooth(), distance="cosine"), Prototypical(smooth(norm="support"))):
        with pytest.raises(ValueError, match="the closed form is that of"):
            prototype_influence(learner, vectors())


def learners() -> list[Learner]:
    return [
        Prototypical(smooth()),
        Prototypical(smooth(norm="support")),
        MAML(smooth(), inner_lr=0.3, n_inner_steps=3),
        MAML(smooth(norm="support"), inner_lr=0.3, n_inner_steps=2),
        MAML(smooth(norm="group"), inner_lr=0.3, n_inner_steps=2),
        MAML(smooth(), inner_lr=0.3, n_inner_steps=2, first_order=True),
        MAML(smooth(), inner_lr=0.3, n_inner_steps=2, recompute=True),
        MetaSGD(smooth(), initial_lr=0.3, n_inner_steps=2).double(),
        ANIL(smooth(6), MLP([6, 3]).double(), inner_lr=0.3, n_inner_steps=2),
    ]


@pytest.mark.parametrize("learner", learners(), ids=lambda learner: type(learner).__name__)
def test_weights_of_one_adapt_and_their_gradient_is_the_finite_difference(learner: Learner) -> None:
    task, ones = vectors(), torch.ones(9, dtype=torch.float64)
    plain = learner.adapt(task.support_x, task.support_y, n_way=3)
    weighted = weighted_adapt(learner, task.support_x, task.support_y, ones, n_way=3)
    assert plain.keys() == weighted.keys()
    for name, tensor in plain.items():
        torch.testing.assert_close(weighted[name], tensor)

    def losses(weights: Tensor) -> Tensor:
        adapted = weighted_adapt(learner, task.support_x, task.support_y, weights, n_way=3)
        return each_loss(learner.loss_fn, learner.predict(adapted, task.query_x), task.query_y)

    influence, step = gradient_influence(learner, task), 1e-5
    with torch.no_grad():
        for i in (0, 4, 8):
            move = step * torch.eye(9, dtype=torch.float64)[i]
            expected = -(losses(ones + move) - losses(ones - move)) / (2 * step)
            torch.testing.assert_close(influence[:, i], expected, rtol=1e-6, atol=1e-9)
    torch.testing.assert_close(gradient_influence(learner, task, mean=True), influence.mean(0))
    assert influence.abs().max() > 1e-3


@pytest.mark.parametrize("learner", [Prototypical(smooth()), MAML(smooth(), inner_lr=0.3, n_inner_steps=3)])
def test_a_weight_of_zero_leaves_the_example_out(learner: Learner) -> None:
    task, weights = vectors(), torch.ones(9, dtype=torch.float64)
    weights[4] = 0
    with torch.no_grad():
        without = weighted_adapt(learner, task.support_x, task.support_y, weights, n_way=3)
        after = each_loss(learner.loss_fn, learner.predict(without, task.query_x), task.query_y)
        whole = learner.adapt(task.support_x, task.support_y, n_way=3)
        before = each_loss(learner.loss_fn, learner.predict(whole, task.query_x), task.query_y)
    torch.testing.assert_close(leave_one_out(learner, task)[:, 4], after - before)


def test_weights_are_refused_where_they_mean_nothing() -> None:
    task = images(1)[0]
    learner = Relation(Conv4(channels=8, norm="none", downsample="maps"), RelationModule(8, norm="none"))
    with pytest.raises(ValueError, match="got Relation: take leave_one_out"):
        weighted_adapt(learner, task.support_x, task.support_y, torch.ones(5), n_way=5)
    with pytest.raises(ValueError, match=r"a weight for each example, \[5\], got \[4\]"):
        weighted_adapt(learner, task.support_x, task.support_y, torch.ones(4), n_way=5)


def test_influence_leaves_the_learner_as_it_was() -> None:
    learner, task = MAML(smooth(), inner_lr=0.3, first_order=True), vectors()
    loss_fn, before = learner.loss_fn, copy.deepcopy(learner.state_dict())
    gradient_influence(learner, task)
    assert learner.loss_fn is loss_fn and learner.first_order
    assert all(torch.equal(before[name], tensor) for name, tensor in learner.state_dict().items())
    assert all(param.grad is None for param in learner.parameters())


def test_rank_agreement_is_scipys() -> None:
    stats = pytest.importorskip("scipy.stats")
    a, b = torch.randint(6, (4, 20), generator=seeded()), torch.randn(4, 20, generator=seeded(1))
    for row in range(4):
        expected = stats.spearmanr(a[row].numpy(), b[row].numpy()).statistic
        assert rank_agreement(a, b)[row].item() == pytest.approx(expected)
    assert rank_agreement(torch.ones(3), torch.arange(3)).isnan()
    assert rank_agreement(torch.tensor([torch.nan, 1.0, 2.0]), torch.arange(3)).isnan()


# Saliency


def function(x: Tensor) -> Tensor:
    """Return something smooth of the pixels of images [n, 1, 4, 4]."""
    return (x.flatten(1) @ torch.linspace(-1, 1, 16, dtype=x.dtype)).tanh() + x[:, 0, 1, 2] * x[:, 0, 0, 3] ** 2


def test_log_odds_are_those_of_the_softmax() -> None:
    learner, task = Prototypical(smooth()), vectors()
    adapted = learner.adapt(task.support_x, task.support_y, n_way=3)
    p = learner.predict(adapted, task.query_x).softmax(1)[torch.arange(12), task.query_y]
    found = log_odds(learner, adapted, task.query_y)(task.query_x)
    torch.testing.assert_close(found, (p / (1 - p)).log())


def test_the_gradient_is_the_finite_difference() -> None:
    x = torch.rand(2, 1, 4, 4, generator=seeded(), dtype=torch.float64)
    found = gradient(function, x)
    for place in ((0, 0), (1, 2), (0, 3)):
        move = torch.zeros_like(x)
        move[(..., *place)] = 1e-6
        expected = (function(x + move) - function(x - move)) / 2e-6
        torch.testing.assert_close(found[(..., *place)][:, 0], expected, rtol=1e-6, atol=1e-8)
    torch.testing.assert_close(gradient_times_input(function, x, baseline=0.5), found * (x - 0.5))


def test_integrated_gradients_are_complete() -> None:
    x = torch.rand(3, 1, 4, 4, generator=seeded(), dtype=torch.float64)
    baseline = torch.full_like(x, 0.2)
    difference = function(x) - function(baseline)
    gaps = []
    for n_points in (4, 16, 64):
        total = integrated_gradients(function, x, baseline=0.2, n_points=n_points).sum((1, 2, 3))
        gaps.append((total - difference).abs().max().item())
    assert gaps[2] < 1e-4 and gaps[1] < gaps[0] / 10 and gaps[2] < gaps[1] / 10  # the midpoint rule: 16 times each
    with pytest.raises(ValueError, match="n_points=0"):
        integrated_gradients(function, x, n_points=0)


@pytest.mark.slow
def test_integrated_gradients_of_a_trained_network_are_complete() -> None:
    learner, task = pretrained("prototypical", "glyphs"), images(1)[0]
    fn = log_odds(learner, learner.adapt(task.support_x, task.support_y, n_way=5), task.query_y)
    with torch.no_grad():
        difference = fn(task.query_x) - fn(torch.zeros_like(task.query_x))
    total = integrated_gradients(fn, task.query_x, n_points=64).sum((1, 2, 3))
    assert ((total - difference).abs() / difference.abs().clamp_min(1)).median() < 0.02


def test_occlusion_of_a_linear_function_is_the_mean_over_squares() -> None:
    weights = torch.arange(16.0).reshape(4, 4)
    x = torch.ones(1, 1, 4, 4)
    found = occlusion(lambda x: (x[:, 0] * weights).sum((1, 2)), x, size=2, stride=1)
    corner = weights[:2, :2].sum()  # the corner lies in one square
    torch.testing.assert_close(found[0, 0, 0, 0], corner)
    inner = torch.stack([weights[i : i + 2, j : j + 2].sum() for i in (0, 1) for j in (0, 1)]).mean()
    torch.testing.assert_close(found[0, 0, 1, 1], inner)
    pixels = occlusion(lambda x: (x[:, 0] * weights).sum((1, 2)), x, size=1, stride=1)
    torch.testing.assert_close(pixels[0, 0], weights)
    with pytest.raises(ValueError, match="stride=3, size=2"):
        occlusion(function, x, size=2, stride=3)


def test_the_two_maps_that_explain_nothing_ignore_the_network() -> None:
    x = torch.rand(2, 1, 6, 6, generator=seeded())
    for explain in (magnitude, edges):
        torch.testing.assert_close(explain(function, x), explain(lambda x: x.sum((1, 2, 3)), x))
    assert edges(function, torch.full((1, 1, 5, 5), 0.7)).abs().max() < 1e-6


# Deletion


def test_curves_by_hand() -> None:
    x = torch.tensor([[[[4.0, 0.0], [1.0, 2.0]]]])
    order = torch.tensor([[1, 3, 0, 2]])  # the empty pixel, 2, 4, 1
    total = lambda x: x.sum((1, 2, 3))  # noqa: E731
    inked = deletion_curve(total, x, order, n_points=3)
    torch.testing.assert_close(inked, torch.tensor([[7.0, 5, 1, 0]]))
    everything = deletion_curve(total, x, order, n_points=4, among="all")
    torch.testing.assert_close(everything, torch.tensor([[7.0, 7, 5, 1, 0]]))
    torch.testing.assert_close(insertion_curve(total, x, order, n_points=3), 7 - inked)
    with pytest.raises(ValueError, match=r"an order \[1, 4\] and a point, got \[1, 3\], 3"):
        deletion_curve(total, x, order[:, :3], n_points=3)


def test_no_order_deletes_a_sum_faster_than_the_largest_first() -> None:
    x = torch.rand(5, 1, 4, 4, generator=seeded()) + 0.1
    total = lambda x: x.sum((1, 2, 3))  # noqa: E731
    best = deletion_curve(total, x, pixel_order(x), n_points=16)
    for order in (random_order(x, seeded(1)), centre_order(x)):
        assert (best <= deletion_curve(total, x, order, n_points=16) + 1e-5).all()


def test_orders_are_permutations_and_the_centre_is_first() -> None:
    x = torch.zeros(3, 2, 5, 5)
    for order in (random_order(x, seeded()), centre_order(x), pixel_order(torch.rand(3, 2, 5, 5))):
        assert torch.equal(order.sort().values, torch.arange(25).expand(3, -1))
    assert centre_order(x)[0, 0] == 12 and set(centre_order(x)[0, -4:].tolist()) == {0, 4, 20, 24}


@pytest.fixture(scope="module")
def reader() -> Learner:
    return pretrained("prototypical", "glyphs")


@pytest.fixture(scope="module")
def tasks() -> Episode:
    return images(12, n_query=2)


def test_gradients_of_a_trained_network_pass_both_tests(reader: Learner, tasks: Episode) -> None:
    found = deletion_test(gradient_times_input, reader, tasks)
    assert found.passes and found.gains["random"].above(0.05)
    ends = [curve[:, [0, -1]] for curve in found.curves.values()]  # all orders start and end at the same images
    torch.testing.assert_close(ends[0], ends[1])
    torch.testing.assert_close(ends[0], ends[2])
    assert deletion_test(gradient_times_input, reader, tasks, insertion=True).passes
    sanity = randomisation_test(gradient_times_input, reader, tasks)
    assert sanity.passes and abs(sanity.last.mean) < 0.1
    assert [*sanity.similarity] == [*layers_of(reader)][::-1]


@pytest.mark.slow
def test_the_size_of_pixels_passes_by_deletion_of_all_but_no_weights_change_it(reader: Learner, tasks: Episode) -> None:
    assert deletion_test(magnitude, reader, tasks, among="all").passes
    assert not deletion_test(magnitude, reader, tasks).passes
    sanity = randomisation_test(magnitude, reader, tasks)
    assert not sanity.passes and sanity.last.mean == pytest.approx(1)


@pytest.mark.slow
def test_an_untrained_network_explains_nothing_of_a_trained_one(reader: Learner, tasks: Episode) -> None:
    untrained = randomised(reader, episodes=tasks, generator=seeded(1))
    hard = ("random", "centre", "size")
    assert not deletion_test(gradient, untrained, tasks, judge=reader, against=hard).passes
    assert deletion_test(gradient, reader, tasks, against=hard).passes
    assert not deletion_test(edges, reader, tasks).passes
    itself = deletion_test(gradient, untrained, tasks)  # faithful to noise
    assert (
        itself.passes
        and itself.curves["random"][:, 0].mean()
        < 0.5
        < 0.9
        < deletion_test(gradient, reader, tasks).curves["random"][:, 0].mean()
    )


def test_pixels_by_size_gain_nothing_over_themselves(reader: Learner, tasks: Episode) -> None:
    gains = deletion_test(magnitude, reader, tasks[:3], against=["size"]).gains
    assert [*gains] == ["size"] and not gains["size"].per_task.any()
    with pytest.raises(ValueError, match=r"expected orders among .*, got \['edges'\]"):
        deletion_test(magnitude, reader, tasks[:3], against=["edges"])


def test_randomised_layers_change_and_others_stay() -> None:
    learner = MAML(Conv4(5, channels=8, norm="support", downsample="stride"), inner_lr=0.4)
    with torch.no_grad():
        for param in learner.parameters():
            param.fill_(3.0)
    fresh = randomised(learner, ["model.blocks.3", "model.head"], generator=seeded())
    for layer, names in layers_of(learner).items():
        for name in names:
            same = torch.equal(fresh.get_parameter(name), learner.get_parameter(name))
            assert same == (layer not in ("model.blocks.3", "model.head")), name
    assert torch.equal(fresh.get_parameter("model.blocks.4.weight"), torch.ones(8))
    again = randomised(learner, ["model.blocks.3", "model.head"], generator=seeded())
    assert torch.equal(fresh.get_parameter("model.head.weight"), again.get_parameter("model.head.weight"))
    state = torch.get_rng_state()
    randomised(learner, generator=seeded())
    assert torch.equal(state, torch.get_rng_state())
    with pytest.raises(ValueError, match="expected layers among"):
        randomised(learner, ["model.blocks.1"])


def test_randomised_refuses_a_layer_that_cannot_be_drawn() -> None:
    class Scale(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.factor = nn.Parameter(torch.ones(1))

        def forward(self, x: Tensor) -> Tensor:
            return self.factor * x

    with pytest.raises(ValueError, match=r"Scale .* has no reset_parameters"):
        randomised(Prototypical(Scale()))


def test_the_recorded_agreement_is_found_again() -> None:
    recorded = experiments.analysis("explanation")["influence"]["Prototypical"]
    drawn, learner = explanation.tasks(recorded["n_tasks"], 5, 5, "influence"), pretrained("prototypical", "glyphs")
    for i in (0, 1):
        exact, cheap = leave_one_out(learner, drawn[i]), gradient_influence(learner, drawn[i])
        found = rank_agreement(exact, cheap).mean().item()
        assert found == pytest.approx(recorded["per task, each query"][i], abs=0.01)
    mean, ci95 = recorded["for each query"]
    assert mean - ci95 > 0.5
