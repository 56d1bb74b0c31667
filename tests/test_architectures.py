"""Architecture search: the space, proxies by hand, the mixed network against single ones, budgets."""

from __future__ import annotations

import copy
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from metalearn import Episode, experiments, sample_episodes
from metalearn.architectures import (
    PROXIES,
    SPACE,
    MixedNet,
    all_architectures,
    build,
    darts,
    gradient_norm,
    jacob_cov,
    n_parameters,
    naswot,
    operations,
    random_search_within,
    synflow,
)
from metalearn.architectures.proxies import flows
from metalearn.data import glyphs
from metalearn.deploy import Classifier
from metalearn.learners import Prototypical
from metalearn.networks import MLP, BlockNet
from metalearn.runtime import stream
from metalearn.search import Choice, Uniform, draw


def tasks(n_tasks: int = 2, n_query: int = 2) -> Episode:
    return sample_episodes(glyphs().train, n_tasks, 3, 1, n_query, stream(0, "tests"))


def vectors(x: Tensor) -> Episode:
    """Return a batch of one task with these inputs as queries and support."""
    y = torch.arange(len(x)).unsqueeze(0)
    return Episode(x.unsqueeze(0), y, x.unsqueeze(0), y, len(x))


SOME = all_architectures()[::73]


def test_the_space_has_512_architectures_without_twins() -> None:
    found = all_architectures()
    assert len(found) == 4**3 * 2 * 2 * 2 == len({tuple(settings.values()) for settings in found})
    assert all(set(settings) == set(SPACE) for settings in found)
    assert draw(SPACE, torch.Generator().manual_seed(0)) in found


def test_a_network_is_what_its_blocks_say() -> None:
    net = BlockNet(["conv 3", "none", "residual 3"], norm="group", pool="mean", width=8)
    x = torch.rand(2, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    stem, first, last = net.stem, net.blocks[0], net.blocks[2].layer
    functional = nn.functional
    out = functional.conv2d(x, stem[0].weight, stem[0].bias, stride=2, padding=1)
    out = functional.group_norm(out, 4, stem[1].weight, stem[1].bias).relu()
    out = functional.group_norm(functional.conv2d(out, first[0].weight, first[0].bias, padding=1), 4).relu()
    out = functional.avg_pool2d(functional.avg_pool2d(out, 2), 2)  # nothing between the two
    out = out + functional.group_norm(functional.conv2d(out, last[0].weight, last[0].bias, padding=1), 4).relu()
    torch.testing.assert_close(net(x), out.flatten(1))
    assert out.flatten(1).shape[1] == net.n_features == 8 * 9


def test_depth_and_width_count_in_the_parameters() -> None:
    def weights(*blocks: str, **options: Any) -> int:
        return int(n_parameters(Prototypical(BlockNet(blocks, **options)), tasks()))

    stem = 9 * 16 + 16
    assert weights("none", "none", "none") == stem
    assert weights("conv 3", "none", "none") == stem + 9 * 16 * 16 + 16
    assert weights("residual 3", "conv 5", "none") == stem + (9 + 25) * 16 * 16 + 32
    assert weights("conv 3", "none", "none", norm="group") == stem + 9 * 16 * 16 + 16 + 2 * 32
    assert weights("none", "none", "conv 3", width=8) == 9 * 8 + 8 + 9 * 8 * 8 + 8


@pytest.mark.parametrize(
    "wrong",
    [{"blocks": ["conv 7"]}, {"norm": "batch"}, {"pool": "min"}, {"width": 7}, {"blocks": []}, {"image_size": 4}],
)
def test_a_wrong_choice_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"expected blocks of|expected a block at least"):
        BlockNet(**wrong)
    with pytest.raises(ValueError, match="expected settings for"):
        build({"width": 8})


def test_a_found_architecture_is_saved_as_any_learner(tmp_path: Path) -> None:
    learner, task = build(SOME[3]).eval(), tasks()[0]
    classifier = Classifier.fit(learner, task.support_x, list("abc"))
    classifier.save(tmp_path / "found.safetensors")
    again = Classifier.load(tmp_path / "found.safetensors")
    assert again.predict(task.query_x) == classifier.predict(task.query_x)


@pytest.mark.parametrize("settings", SOME, ids=lambda settings: "-".join(map(str, settings.values())))
def test_the_mixed_network_with_all_weight_on_one_is_that_one(settings: dict[str, Any]) -> None:
    torch.manual_seed(0)
    mixed, x = MixedNet(), torch.rand(3, 1, 28, 28)
    with torch.no_grad():
        for name, param in mixed.named_parameters():
            if "norms" in name or "stem_norm" in name:
                param.add_(0.3 * torch.randn_like(param))  # no scale of 1 and shift of 0 that hides a mistake
        for name, logits in mixed.choices.items():
            logits.fill_(-1e4)
            logits[list(SPACE[name].values).index(settings[name])] = 0.0
        whole, single = mixed(x), mixed.extract(settings)(x)
    assert mixed.chosen() == settings
    width = settings["width"]
    torch.testing.assert_close(whole[:, : 9 * width], single, rtol=1e-4, atol=1e-6)
    assert not whole[:, 9 * width :].any()


def test_the_gradient_of_choices_is_the_finite_difference() -> None:
    torch.manual_seed(0)
    learner = Prototypical(MixedNet()).double()
    with torch.no_grad():
        for logits in learner.encoder.choices.values():
            logits.normal_()
    batch = learner.take(tasks(1))
    learner.backward(batch)
    for logits in learner.encoder.choices.values():
        for k in range(len(logits)):
            values = []
            with torch.no_grad():
                for move in (1e-5, -2e-5):
                    logits[k] += move
                    values.append(learner.loss(batch[0]))
                logits[k] += 1e-5
            torch.testing.assert_close(logits.grad[k], (values[0] - values[1]) / 2e-5, rtol=1e-4, atol=1e-8)


def test_each_kind_of_tasks_moves_its_own_side() -> None:
    parts = glyphs()
    sampler, others = (
        part.episodes(n_tasks=1, n_way=3, n_shot=1, n_query=2) for part in (parts.train, parts.validation)
    )
    for outer_lr, choice_lr in ((0.0, 0.1), (0.01, 0.0)):
        torch.manual_seed(0)
        learner = Prototypical(MixedNet())
        before = copy.deepcopy(learner.state_dict())
        found = darts(learner, sampler, others, 3, outer_lr=outer_lr, choice_lr=choice_lr, seed=0)
        moved = {name for name, tensor in learner.state_dict().items() if not torch.equal(before[name], tensor)}
        choices = {name for name in before if ".choices." in name}
        assert moved == (choices if choice_lr else set(before) - choices)
        assert found.settings == learner.encoder.chosen()
        for name, rows in found.history.items():
            torch.testing.assert_close(rows.sum(1), torch.ones(3))
            assert rows[-1].tolist() == pytest.approx([*learner.encoder.weights()[name].values()])
    with pytest.raises(ValueError, match="expected a MixedNet and a step, got BlockNet"):
        darts(build(SOME[0]), sampler, others, 3)


def test_the_first_step_of_choices_goes_down_the_loss_of_their_tasks() -> None:
    parts = glyphs()
    sampler, others = (part.episodes(n_tasks=1, n_way=5, n_shot=1, n_query=2) for part in parts[:2])
    torch.manual_seed(0)
    learner = Prototypical(MixedNet())
    before = copy.deepcopy(learner)
    darts(learner, sampler, others, 1, outer_lr=0.0, choice_lr=0.1, seed=7)
    before.backward(others(stream(7, "choices")))
    for name, logits in before.encoder.choices.items():
        step = -0.1 * logits.grad.sign()  # Adam's first step
        torch.testing.assert_close(learner.encoder.choices[name].detach(), step, rtol=1e-2, atol=1e-4)


def test_the_flow_of_every_layer_is_the_same() -> None:
    """The conservation law of synaptic flow: what enters a layer leaves it."""
    torch.manual_seed(0)
    for net, x in (
        (MLP([5, 7, 3, 2]), torch.rand(2, 5)),
        (BlockNet(["conv 3", "conv 5", "none"], pool="mean", norm="group"), None),
    ):
        episodes = tasks() if x is None else vectors(x)
        sums = [scores.sum().item() for scores in flows(net, episodes).values()]
        assert len(sums) == 3 and sums == pytest.approx([sums[0]] * 3)
        assert synflow(Prototypical(net), episodes) == pytest.approx(math.log(3 * sums[0]))


def test_synflow_by_hand_ignores_signs_biases_and_data() -> None:
    net = MLP([2, 2, 1])
    with torch.no_grad():
        net[0].weight.copy_(torch.tensor([[1.0, -2.0], [3.0, 4.0]]))
        net[2].weight.copy_(torch.tensor([[5.0, -6.0]]))
    flow = 5 * (1 + 2) + 6 * (3 + 4)  # twice: once for each layer
    for x in (torch.zeros(2, 2), torch.randn(3, 2)):
        assert synflow(Prototypical(net), vectors(x)) == pytest.approx(math.log(2 * flow))


def test_naswot_by_hand() -> None:
    """Three inputs, four units: codes 1100, 1000, 0011."""
    net = nn.Sequential(nn.Linear(3, 4, bias=False), nn.ReLU())
    with torch.no_grad():
        net[0].weight.copy_(torch.tensor([[1.0, 1, -1], [1, -1, -1], [-1, -1, 1], [-1, -1, 1]]))
    kernel = torch.tensor([[4.0, 3, 0], [3, 4, 1], [0, 1, 4]])
    assert naswot(Prototypical(net), vectors(torch.eye(3))) == pytest.approx(math.log(kernel.det().item()), rel=1e-5)
    with pytest.raises(ValueError, match=r"nn\.ReLU"):
        naswot(Prototypical(nn.Linear(3, 2)), vectors(torch.eye(3)))


def test_jacob_cov_at_its_two_ends() -> None:
    n, k = 4, 1e-5
    same = jacob_cov(Prototypical(nn.Linear(6, 2)), vectors(torch.rand(n, 6)))  # a linear map: one gradient for all
    score = lambda value: -(math.log(value + k) + 1 / (value + k))  # noqa: E731
    assert same == pytest.approx(score(n) + (n - 1) * score(0), rel=1e-3)

    class Orthogonal(nn.Module):
        """Half the square, so that the gradient of an input is the input."""

        def forward(self, x: Tensor) -> Tensor:
            return x.square() / 2

    rows = torch.tensor([[1.0, 1, 1, 1], [1, -1, 1, -1], [1, 1, -1, -1], [1, -1, -1, 1]])[1:]  # of mean 0, orthogonal
    found = jacob_cov(Prototypical(Orthogonal()), vectors(rows))
    assert found == pytest.approx(3 * score(1), rel=1e-5)
    assert found > same


def test_the_gradient_norm_is_that_of_the_mean_loss() -> None:
    learner, batch = build(SOME[2]), tasks()
    loss = torch.stack([learner.loss(batch[i]) for i in range(len(batch))]).mean()
    grads = torch.autograd.grad(loss, [*learner.parameters()])
    expected = torch.cat([grad.flatten() for grad in grads]).norm().item()
    assert gradient_norm(learner, batch) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("name", PROXIES)
def test_proxies_leave_the_learner_as_it_was(name: str) -> None:
    learner, batch = build(SOME[4]), tasks()
    before = copy.deepcopy(learner.state_dict())
    assert math.isfinite(PROXIES[name](learner, batch))
    assert all(torch.equal(before[key], tensor) for key, tensor in learner.state_dict().items())
    assert all(param.grad is None for param in learner.parameters())
    assert not any(module._forward_hooks for module in learner.modules())


def test_operations_of_a_step_by_hand() -> None:
    batch = tasks(1)  # three classes: 3 + 6 images
    learner = Prototypical(BlockNet(["none", "none", "none"], width=8))
    stem, means = 2 * 9 * 8 * 14 * 14, 2 * 3 * 3 * 72
    # Forward, and back to the weights; the images need no gradient. The means: forward, and back to the features.
    assert operations(learner, batch) == 9 * stem * 2 + means * 2
    assert all(param.grad is None for param in learner.parameters())


def test_a_search_within_a_budget_spends_no_more_and_judges_none_twice() -> None:
    space = {"x": Choice(tuple(range(10)))}
    judged = []

    def score(settings: dict[str, Any], tasks: range) -> Tensor:
        judged.append(settings["x"])
        return torch.full((len(tasks),), float(settings["x"]))

    def cost(settings: dict[str, Any]) -> float:
        return 1.0 + settings["x"]

    generator = torch.Generator().manual_seed(1)
    found, spent = random_search_within(space, score, cost, budget=20, n_tasks=2, generator=generator)
    assert len(judged) == len(set(judged)) == len(found.trials)
    assert spent == sum(1 + x for x in judged) <= 20
    assert found.best.settings["x"] == min(judged) and found.n_tasks == 2 * len(judged)
    left = set(range(10)) - set(judged)
    assert all(1 + x > 20 - spent for x in left) or len(judged) == 10  # twenty draws find what would still fit
    with pytest.raises(ValueError, match=r"for one candidate at least, got 0\.5"):
        random_search_within(space, score, cost, budget=0.5, n_tasks=2)


@pytest.mark.parametrize("price", [0.0, -1.0, math.nan])
def test_a_candidate_that_costs_nothing_is_refused_since_no_budget_would_end_the_search(price: float) -> None:
    judged = []

    def score(settings: dict[str, Any], tasks: range) -> Tensor:
        judged.append(settings)
        assert len(judged) < 100, "the search does not end"
        return torch.zeros(len(tasks))

    with pytest.raises(ValueError, match="a candidate must cost more than 0"):
        random_search_within({"x": Uniform(0, 1)}, score, lambda _: price, budget=1.0, n_tasks=2)


def test_the_record_says_what_was_spent_and_why_each_was_taken() -> None:
    record = experiments.analysis("architectures")
    batch = glyphs().train.episodes(n_tasks=1, **record["tasks"])(stream(0, "price"))
    for search in record["searches"]:
        trials, picks = search["random"]["trials"], search["picks"]
        assert search["random"]["operations"] <= search["gradients"]["operations"]
        assert sum(trial["operations"] for trial in trials) == pytest.approx(search["random"]["operations"], rel=1e-3)
        best = max(trials, key=lambda trial: trial["accuracy"])
        assert best["accuracy"] == pytest.approx(
            next(t["accuracy"] for t in trials if t["settings"] == picks["random, equal operations"]["settings"])
        )
        assert picks["gradients"]["settings"] == search["gradients"]["settings"]
        assert all(len(pick["accuracies"]) == record["n_test_tasks"] for pick in picks.values())
        first, steps = trials[0], record["n_short"] + record["n_validation_tasks"] / 2  # a task has 60 images forward
        assert first["operations"] == pytest.approx(operations(build(first["settings"]), batch) * steps, rel=1e-3)
    assert set(record["correlations"]) >= {*PROXIES, "operations"}
