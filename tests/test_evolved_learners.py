"""ES-MAML and the evolved rule: against gradients, hand-made steps and the rules that people designed."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from metalearn import Episode, evaluate, fit, inner_loop, over_tasks
from metalearn.data import sinusoids
from metalearn.evolution import cma_es, estimate, evolution_backward, population_losses
from metalearn.learners import ESMAML, MAML, EvolvedRule
from metalearn.learners._settings import from_settings, settings_of
from metalearn.learners.evolved_rule import TERMS
from metalearn.networks import MLP
from metalearn.rules import SGD, Adam


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def smooth() -> nn.Module:
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(1, 4), nn.Tanh(), nn.Linear(4, 1)).double()  # 13 weights


def waves(n_tasks: int = 3) -> Episode:
    return sinusoids().sample(n_tasks, 5, 6, seeded()).map(torch.Tensor.double)


def es_maml(**options) -> ESMAML:
    exact = {"n_directions": 13, "inner_sigma": 1e-4, "n_pairs": 13, "sigma": 1e-4}
    return ESMAML(smooth(), 0.1, 2, **{**exact, **options}, loss_fn=F.mse_loss).double()


def test_with_all_directions_and_small_sigma_an_inner_step_is_a_gradient_step():
    task = waves()[0]
    adapted = es_maml().adapt(task.support_x, task.support_y, n_steps=3)
    expected = MAML(smooth(), 0.1, loss_fn=F.mse_loss).adapt(task.support_x, task.support_y, n_steps=3)
    torch.testing.assert_close(adapted, dict(expected), rtol=1e-5, atol=1e-6)


def test_on_a_linear_loss_a_step_is_exact_whatever_sigma():
    def product(prediction, target):
        return (prediction * target).sum()

    torch.manual_seed(0)
    line, x, y = nn.Linear(2, 1).double(), torch.randn(4, 2).double(), torch.randn(4, 1).double()
    learner = ESMAML(line, 0.1, n_directions=3, inner_sigma=5.0, loss_fn=product).double()
    adapted = learner.adapt(x, y)
    torch.testing.assert_close(adapted["model.weight"], line.weight - 0.1 * (y.T @ x))
    torch.testing.assert_close(adapted["model.bias"], line.bias - 0.1 * y.sum())


def test_a_step_with_few_directions_by_hand():
    learner, task = es_maml(n_directions=2, inner_sigma=0.3), waves()[0]
    theta = inner_loop.to_vector(dict(learner.model.named_parameters())).detach()
    for k in range(3):  # the third step takes the first set of directions again
        move = torch.zeros(13).double()
        for row in learner.directions[k % 2]:
            losses = []
            for sign in (1, -1):
                model = smooth()
                nn.utils.vector_to_parameters(theta + sign * 0.3 * row, model.parameters())
                losses.append(F.mse_loss(model(task.support_x), task.support_y).detach())
            move += (losses[0] - losses[1]) / 0.6 * row / 2
        theta = theta - 0.1 * move
    adapted = learner.adapt(task.support_x, task.support_y, n_steps=3)
    torch.testing.assert_close(inner_loop.to_vector(adapted).detach(), theta)


@pytest.mark.parametrize("n_directions", [3, 13])
def test_the_outer_estimate_is_the_gradient_of_its_own_objective(n_directions):
    """By finite differences of the objective, and by automatic differentiation through the inner loop's losses."""
    learner, batch = es_maml(n_directions=n_directions, inner_sigma=0.2, n_pairs=4000), waves()
    over_tasks(learner.loss, batch).mean().backward()
    exact = {name: param.grad.clone() for name, param in learner.named_parameters()}
    learner.zero_grad()
    learner.backward(batch, seeded())
    found = {name: param.grad for name, param in learner.named_parameters()}
    flat, estimated = inner_loop.to_vector(exact), inner_loop.to_vector(found)
    assert (
        estimated - flat
    ).norm() < 0.12 * flat.norm()  # the theory: sqrt(14 / 4000) = 0.06 is one standard deviation
    params = dict(learner.named_parameters())
    weight = params["model.2.weight"]
    with torch.no_grad():
        for i in range(4):
            losses = []
            for sign in (1, -1):
                weight[0, i] += sign * 1e-5
                losses.append(over_tasks(learner.loss, batch).mean())
                weight[0, i] -= sign * 1e-5
            torch.testing.assert_close((losses[0] - losses[1]) / 2e-5, exact["model.2.weight"][0, i], rtol=1e-5, atol=0)


def test_a_score_without_gradient_can_be_lowered():
    model = MLP([2, 2])
    with torch.no_grad():
        model[0].weight.zero_()
        model[0].bias.zero_()  # a start that answers 0 always
    learner = ESMAML(model, 1.0, 20, n_directions=6, inner_sigma=0.5, support_score="error", kind="orthogonal")
    generator = seeded()
    y = torch.arange(40) % 2
    x = torch.randn(40, 2, generator=generator) * 0.3 + torch.tensor([[2.0, 0.0], [-2.0, 0.5]])[y]
    task = Episode(x[None], y[None], x[None], y[None], 2)
    scores = {n: (learner.predict(learner.adapt(x, y, n_steps=n), x).argmax(1) == y).double().mean() for n in (0, 20)}
    assert scores == {0: 0.5, 20: 1.0}
    by_gradient = MAML(MLP([2, 2]), 1.0, loss_fn=lambda logits, y: (logits.argmax(1) != y).to(logits.dtype).mean())
    start = dict(by_gradient.named_parameters())
    with pytest.raises(RuntimeError, match="does not require grad"):
        by_gradient.loss(task[0]).backward()
    assert start.keys() == {"model.0.weight", "model.0.bias"}


def test_directions_come_from_the_seed_and_are_not_saved():
    first, again, other = es_maml(), es_maml(), es_maml(seed=1)
    assert torch.equal(first.directions, again.directions) and not torch.equal(first.directions, other.directions)
    assert "directions" not in first.state_dict()
    learner, task = (
        ESMAML(MLP([1, 4, 1]), 0.01, n_directions=3, seed=5, loss_fn=F.mse_loss),
        sinusoids().sample(1, 5, 5)[0],
    )
    again = ESMAML(MLP([1, 4, 1]), 0.01, n_directions=3, seed=5, loss_fn=F.mse_loss)
    again.load_state_dict(learner.state_dict())
    for _ in range(2):  # and nothing is drawn later
        one, two = (each.adapt(task.support_x, task.support_y) for each in (learner, again))
        assert all(torch.equal(one[name], two[name]) for name in one)


def test_frozen_weights_stay_and_the_others_move_as_before():
    learner, task = es_maml(n_directions=2, inner_sigma=0.3), waves()[0]
    learner.model[0].requires_grad_(False)
    adapted = learner.adapt(task.support_x, task.support_y)
    assert adapted.keys() == {"model.2.weight", "model.2.bias"}
    learner.backward(waves(), seeded())
    assert learner.model[0].weight.grad is None and learner.model[2].weight.grad.any()
    model = smooth()
    model[0].requires_grad_(False)  # before the learner is built
    early = ESMAML(model, 0.1, 2, n_directions=2, inner_sigma=0.3, loss_fn=F.mse_loss).double()
    torch.testing.assert_close(early.adapt(task.support_x, task.support_y), adapted)


def test_the_moved_weights_take_their_own_columns_of_the_directions():
    learner, task = es_maml(n_directions=2, inner_sigma=0.3), waves()[0]
    learner.model[0].requires_grad_(False)
    head = inner_loop.to_vector({name: p.detach() for name, p in learner.model[2].named_parameters()})

    def losses(heads):
        hidden = learner.model[:2](task.support_x)
        return torch.stack([F.mse_loss(F.linear(hidden, h[None, :4], h[4:]), task.support_y) for h in heads]).detach()

    slope, _ = estimate(losses, head, learner.directions[0, :, 8:], 0.3)
    adapted = inner_loop.to_vector(learner.adapt(task.support_x, task.support_y, n_steps=1))
    torch.testing.assert_close(adapted, head - 0.1 * slope)


def test_the_outer_step_takes_its_options():
    options = {"n_pairs": 3, "sigma": 0.4, "ranks": True}
    learner, other = es_maml(**options), es_maml()
    losses = learner.backward(waves(), seeded()), evolution_backward(other, **options)(waves(), seeded())
    torch.testing.assert_close(*losses)
    torch.testing.assert_close(*([p.grad for p in each.parameters()] for each in (learner, other)))


def test_both_sides_of_a_pair_meet_the_same_dropout():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(1, 4), nn.Dropout(0.5), nn.Linear(4, 1))
    learner = ESMAML(model, 0.1, inner_sigma=1e-7, n_directions=4, n_pairs=2, loss_fn=F.mse_loss).double()
    batch = waves()
    move = learner.adapt(batch[0].support_x, batch[0].support_y)["model.2.bias"] - model[2].bias
    assert move.abs() < 100  # two masks would differ by 0.1 / 1e-7
    assert learner.backward(batch, seeded()).isfinite()


def test_why_targets_are_mapped_over_with_the_candidates():
    """Once torch broadcasts targets of the middle one of three maps, ``ESMAML._path`` need not expand them."""
    x, y = torch.randn(2, 3, 4, 5, 1), torch.randn(3, 5, 1)
    of_tasks = torch.func.vmap(lambda x, y: torch.func.vmap(lambda x: F.mse_loss(x, y))(x))
    with pytest.raises(RuntimeError, match="must match the size"):
        torch.func.vmap(lambda x: of_tasks(x, y))(x)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"support_score": "f1"}, r"support_score must be one of \['loss', 'error'\], got 'f1'"),
        ({"n_directions": 0}, "n_directions must be at least 1, got 0"),
        ({"n_directions": 14}, "13 orthogonal directions at most"),
        ({"inner_sigma": 0.0}, "inner_sigma must be above 0"),
        ({"sigma": -1.0}, "sigma must be above 0"),
    ],
)
def test_es_maml_refuses(options, message):
    with pytest.raises(ValueError, match=message):
        es_maml(**options)
    task = waves()[0]
    with pytest.raises(ValueError, match="counts wrong classes, got float targets"):
        es_maml(support_score="error").adapt(task.support_x, task.support_y)
    with pytest.raises(ValueError, match="n_steps must be at least 0, got -1"):
        es_maml().adapt(task.support_x, task.support_y, n_steps=-1)


@pytest.mark.slow
def test_es_maml_learns_waves_from_losses_alone():
    torch.manual_seed(0)
    learner = ESMAML(MLP([1, 10, 1]), 0.01, n_directions=10, n_pairs=16, sigma=0.05, loss_fn=F.mse_loss)
    test = sinusoids().episodes(n_tasks=50, n_shot=10, n_query=20)
    before = evaluate(learner, test, 200)
    fit(learner, sinusoids().episodes(n_tasks=10, n_shot=10, n_query=10), 400, outer_lr=0.02, progress=False)
    assert evaluate(learner, test, 200).above(before, by=0.5)


def rule_of(terms, vector, **options):
    learner = EvolvedRule(smooth(), 4, terms=terms, unit=1.0, loss_fn=F.mse_loss, **options).double()
    return learner.with_rule(torch.tensor(vector, dtype=torch.float64))


def logit(share: float) -> float:
    return torch.tensor(share, dtype=torch.float64).logit().item()


@pytest.mark.parametrize(
    ("learner", "rule"),
    [
        (rule_of(("g",), [0.1, 0.0, 0.0, 0.0]), SGD(0.1)),
        (rule_of(("g/rms", "m/rms", "w"), [0.0, 0.02, 0.0, logit(0.9), logit(0.999), 0.0]), Adam(0.02)),
        (rule_of(TERMS, [0.0] * 5 + [0.02, 0.0, logit(0.8), logit(0.7), 0.0]), Adam(0.02, (0.8, 0.7))),
    ],
)
def test_known_rules_are_special_cases(learner, rule):
    task, start = waves()[0], {f"model.{name}": p.detach() for name, p in smooth().named_parameters()}
    data = inner_loop.batches(task.support_x, task.support_y, 4)
    path = inner_loop.unroll(start, rule, rule.start(start), learner._support_loss, data, first_order=True)
    expected = list(path)[-1][0]
    torch.testing.assert_close(learner.adapt(task.support_x, task.support_y), dict(expected))


def test_every_term_by_hand():
    first, second, power, c = 0.5, 0.75, 0.3, [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7]
    learner = rule_of(TERMS, [*c, logit(first), logit(second), power])
    w, m, v = torch.tensor([2.0, -1.0]).double(), 0.0, 0.0
    params, state = {"w": w}, learner.rule.start({"w": w})
    for k, g in enumerate(torch.tensor([[1.0, -3.0], [-2.0, 0.5]]).double(), start=1):
        m, v = first * m + (1 - first) * g, second * v + (1 - second) * g**2
        mean, rms = m / (1 - first**k), (v / (1 - second**k)).sqrt() + 1e-8
        terms = [g, mean, g.sign(), mean.sign(), g / rms, mean / rms, w]
        w = w - k**-power * sum(a * term for a, term in zip(c, terms, strict=True))
        params, state = learner.rule(params, {"w": g}, torch.tensor(0.0), state)
        torch.testing.assert_close(params["w"].detach(), w)


def test_a_rule_prints_what_it_does():
    vector = [0.0, 0.0, 0.0, -0.02, 0.0, 0.1, 0.0, logit(0.9), logit(0.99), 0.5]
    assert rule_of(TERMS, vector).expression() == (
        "w <- w - [k^-0.5 (- 0.02 sign(m) + 0.1 m/rms)] with decays m: 0.9, rms: 0.99"
    )
    assert rule_of(("g", "g/rms"), [0.5, 0.25, 0.0, 0.0, 0.0]).expression(3) == (
        "w <- w - [0.5 g + 0.25 g/rms] with decays rms: 0.5"
    )
    assert rule_of(("g",), [0.0, 0.0, 0.0, 0.0]).expression() == "w <- w - [0]"


def test_simplifying_drops_what_is_not_missed_and_keeps_what_is():
    learner, batch = rule_of(TERMS, [0.1, 1e-6, 0.0, 0.0, 0.0, 1e-7, 0.0, 2.0, 2.0, 0.0]), waves(6)
    batch = Episode(batch.support_x, batch.support_y, batch.support_x, batch.support_y)  # where steps surely help
    short = learner.simplified(batch, 0.01)
    assert short.rule_vector().nonzero().flatten().tolist() == [0, 7, 8]
    assert learner.rule_vector()[1] == 1e-6  # the learner itself stays as it was
    whole, less = (over_tasks(each.loss, batch).mean() for each in (learner, short))
    assert less <= 1.01 * whole
    assert torch.equal(learner.simplified(batch, 10.0).rule_vector()[:7] != 0, torch.arange(7) == 0)
    both = rule_of(TERMS, [0.05, 0.0, 0.0, 0.0, 0.02, 0.0, 0.0, 2.0, 2.0, 0.0])
    assert (both.simplified(batch, 0.0).rule_vector() != 0).sum() >= 3


def test_only_the_rule_evolves_and_the_start_is_drawn_anew():
    torch.manual_seed(0)
    learner, batch = EvolvedRule(MLP([1, 4, 1]), 3, loss_fn=F.mse_loss), sinusoids().sample(4, 5, 5, seeded())
    before = copy.deepcopy(learner.state_dict())
    learner.backward(batch, seeded())
    assert learner.rule.vector.grad.any() and all(p.grad is None for p in learner.model.parameters())
    assert not torch.equal(learner.model[0].weight, before["model.0.weight"])
    learner.loss(batch[0]).backward()  # nor is the start learned by who differentiates
    assert all(p.grad is None for p in learner.model.parameters())
    learner.model[0].weight.requires_grad_(False)
    kept, moved = learner.model[0].weight.clone(), learner.model[2].weight.clone()
    learner.backward(batch, seeded())
    assert torch.equal(learner.model[0].weight, kept) and not torch.equal(learner.model[2].weight, moved)
    fixed = EvolvedRule(MLP([1, 4, 1]), 3, initialisation="fixed", loss_fn=F.mse_loss)
    kept = fixed.model[0].weight.clone()
    fixed.backward(batch, seeded())
    assert torch.equal(fixed.model[0].weight, kept)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"terms": ("g", "h")}, r"terms must be some of .*'w'\], each once, got \['g', 'h'\]"),
        ({"terms": ("g", "g")}, "each once"),
        ({"terms": ()}, r"got \[\]"),
        ({"unit": 0.0}, "unit must be above 0"),
        ({"initialisation": "zero"}, "initialisation must be one of .*, got 'zero'"),
        ({"n_inner_steps": 0}, "n_inner_steps must be at least 1"),
    ],
)
def test_the_rule_refuses(options, message):
    with pytest.raises(ValueError, match=message):
        EvolvedRule(MLP([1, 1]), **options)
    with pytest.raises(ValueError, match=r"7 coefficients, two decays and a power, \[10\], got \[3\]"):
        EvolvedRule(MLP([1, 1])).with_rule(torch.zeros(3))
    with pytest.raises(ValueError, match="tolerance must be at least 0"):
        EvolvedRule(MLP([1, 1])).simplified(waves(), -0.1)


@pytest.mark.slow
def test_a_search_finds_a_better_rule_than_the_best_rate():
    torch.manual_seed(0)
    learner = EvolvedRule(MLP([1, 10, 1]), 20, loss_fn=F.mse_loss)
    tasks = sinusoids().sample(10, 50, 50, seeded())
    rates = torch.zeros(6, 10)
    rates[:, 0] = torch.tensor([0.3, 1.0, 3.0, 6.0, 10.0, 20.0])
    sgd = population_losses(learner, tasks, {"rule.vector": rates}).mean(1).nan_to_num(nan=99.0).min()
    found = cma_es(
        lambda vectors: population_losses(learner, tasks, {"rule.vector": vectors}).mean(1),
        learner.rule_vector(),
        1.0,
        n_generations=15,
        generator=seeded(),
    )
    assert found.loss < 0.8 * sgd


def test_both_are_built_again_from_their_settings():
    task = sinusoids().sample(1, 5, 5, seeded())[0]
    for make in (lambda: ESMAML(MLP([1, 3, 1]), 0.01, n_directions=4, loss_fn=F.mse_loss), rule_for_saving):
        learner = make()
        other = from_settings(settings_of(learner))
        other.load_state_dict(learner.state_dict())
        one, two = (each.adapt(task.support_x, task.support_y) for each in (learner, other))
        assert all(torch.equal(one[name], two[name]) for name in one)


def rule_for_saving() -> EvolvedRule:
    return EvolvedRule(MLP([1, 3, 1]), 3, terms=("g", "m/rms"), loss_fn=F.mse_loss).with_rule(torch.ones(5))
