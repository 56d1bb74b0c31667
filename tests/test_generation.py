"""Generating from one picture: the bound by hand and by sampling, what may reach the decoder; pages to search."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.distributions import Bernoulli, Normal, kl_divergence
from torch.nn import functional as F

from metalearn import Episode, Pool, evaluate, experiments, fit, over_tasks, pretrained
from metalearn.data import glyphs, pages, sinusoids
from metalearn.experiments import Method, Record, Study, _run, run
from metalearn.learners import MAML, ConditionalVAE
from metalearn.learners._settings import from_settings, settings_of
from metalearn.networks import MLP, Conv4, PaintDecoder, PairReader, WarpDecoder

N_LATENT = 4
DECODERS = {"bends": WarpDecoder, "paints": PaintDecoder}
PICTURES = {"n_shot": 1, "n_query": 3, "n_latent": N_LATENT}


def make(decoder: str = "bends", kl_weight: float = 1.0) -> ConditionalVAE:
    torch.manual_seed(0)
    encoder = Conv4(channels=8, norm="group", downsample="maps")
    drawn = DECODERS[decoder](N_LATENT, code_channels=8, channels=8)
    learner = ConditionalVAE(encoder, PairReader(N_LATENT, channels=8), drawn, kl_weight)
    for parameter in learner.parameters():  # away from the start, where noise hardly counts
        if parameter.ndim > 1:
            nn.init.normal_(parameter, std=0.2)
    return learner


def tasks(n_tasks: int = 2, seed: int = 0, **sizes: int) -> Episode:
    sampler = glyphs().train.pictures(n_tasks=n_tasks, **{**PICTURES, **sizes})
    return sampler(torch.Generator().manual_seed(seed))


# Tasks


def test_a_task_holds_pictures_of_one_class_none_twice_and_normal_noise() -> None:
    pool = Pool(torch.arange(60).reshape(60, 1, 1, 1) * 1.0, torch.arange(60) // 20)
    batch = pool.pictures(n_tasks=200, n_shot=2, n_query=5, n_latent=8)(torch.Generator().manual_seed(0))
    numbers = torch.cat([batch.support_y, batch.query_y], 1).flatten(1)  # [n_tasks, 7]
    assert all(len(row.unique()) == 7 and len((row // 20).unique()) == 1 for row in numbers)
    noise = torch.cat([batch.support_x, batch.query_x], 1)
    assert batch.n_way is None and noise.shape == (200, 7, 8)
    assert abs(noise.mean()) < 0.03 and abs(noise.std() - 1) < 0.03


def test_the_same_generator_draws_the_same_tasks() -> None:
    first, second, other = tasks(seed=1), tasks(seed=1), tasks(seed=2)
    assert torch.equal(first.query_x, second.query_x) and torch.equal(first.query_y, second.query_y)
    assert not torch.equal(first.query_y, other.query_y)


@pytest.mark.parametrize(
    ("sizes", "message"),
    [({"n_latent": 0}, "n_latent must be at least 1, got 0"), ({"n_query": 20}, r"n_shot \+ n_query = 21 needs")],
)
def test_tasks_that_cannot_be_drawn(sizes: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        tasks(**sizes)


# The bound


@pytest.mark.parametrize("decoder", DECODERS)
def test_the_loss_is_the_bound_that_torchs_distributions_give(decoder: str) -> None:
    learner, task = make(decoder, kl_weight=0.5), tasks()[0]
    adapted = learner.adapt(task.support_x, task.support_y)
    mean, log_var = learner.infer(adapted, task.query_y)
    posterior, prior = Normal(mean, (log_var / 2).exp()), Normal(torch.zeros(()), torch.ones(()))
    z = posterior.loc + posterior.scale * task.query_x
    pixels = Bernoulli(logits=learner.decode(adapted, z), validate_args=False)  # of a grey value: its expectation
    misfit = -pixels.log_prob(task.query_y).sum((1, 2, 3)).mean()
    divergence = kl_divergence(posterior, prior).sum(1).mean()
    torch.testing.assert_close(learner.parts_of_loss(task), (misfit, divergence), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(learner.loss(task), misfit + 0.5 * divergence, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("decoder", DECODERS)
def test_the_bound_lies_below_the_likelihood(decoder: str) -> None:
    learner, task = make(decoder).double(), tasks().map(lambda leaf: leaf.double())[0]
    y = (task.query_y[:1] > 0.5).double()  # binary: the likelihood is one of a picture
    with torch.no_grad():
        adapted = learner.adapt(task.support_x, task.support_y)
        mean, log_var = learner.infer(adapted, y)
        noise = torch.randn(800, N_LATENT, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
        posterior, prior = Normal(mean, (log_var / 2).exp()), Normal(torch.zeros(()).double(), torch.ones(()).double())
        z = posterior.loc + posterior.scale * noise
        given_z = Bernoulli(logits=learner.decode(adapted, z)).log_prob(y.expand(800, -1, -1, -1)).sum((1, 2, 3))
        weights = given_z + prior.log_prob(z).sum(1) - posterior.log_prob(z).sum(1)
        likelihood = weights.logsumexp(0) - math.log(800)  # importance sampling
        repeated = Episode(task.support_x, task.support_y, noise, y.expand(800, -1, -1, -1))
        bound, spread = -learner.loss(repeated), weights.std() / math.sqrt(800)
    assert abs(bound - weights.mean()) < 4 * spread and bound < likelihood


@pytest.mark.parametrize("decoder", DECODERS)
def test_vmap_and_loop_agree_and_so_do_finite_differences(decoder: str) -> None:
    learner, batch = make(decoder).double(), tasks().map(lambda leaf: leaf.double())
    loop, vmap = (over_tasks(learner.loss, batch, how) for how in ("loop", "vmap"))
    torch.testing.assert_close(vmap, loop, rtol=1e-10, atol=1e-12)
    learner.how = "vmap"
    learner.backward(batch)
    for name in ("encoder.blocks.0.weight", "posterior.head.weight", "decoder.spread.weight"):
        parameter = learner.get_parameter(name)
        direction, value, ends = torch.randn_like(parameter), parameter.detach().clone(), []
        for sign in (1, -1):
            parameter.data = value + sign * 1e-7 * direction
            ends.append(torch.stack([learner.loss(task) for task in batch]).mean().item())
        parameter.data = value
        assert parameter.grad is not None
        slope = (parameter.grad * direction).sum().item()
        assert math.isclose(slope, (ends[0] - ends[1]) / 2e-7, rel_tol=1e-4, abs_tol=1e-5), name


# Generating


def test_it_starts_from_the_picture_as_it_is() -> None:
    picture = glyphs().test.read(torch.tensor([3]))
    still = WarpDecoder(N_LATENT)
    nothing = torch.zeros(1, N_LATENT), torch.zeros(1, 32, 7, 7), picture
    with torch.no_grad():
        still.bend.weight.zero_(), still.bend.bias.zero_()  # type: ignore[union-attr]
        torch.testing.assert_close(still.warp(*nothing), picture, rtol=0, atol=1e-5)


def test_a_displacement_of_two_pixels_shifts_by_two_pixels() -> None:
    decoder, picture = WarpDecoder(1, channels=8), glyphs().test.read(torch.tensor([3]))
    with torch.no_grad():
        decoder.bend.weight.zero_()
        decoder.bend.bias.copy_(torch.tensor([2 * 2 * 2 / 27, 0.0]).atanh())  # type: ignore[union-attr]
        moved = decoder.warp(torch.zeros(1, 1), torch.zeros(1, 32, 7, 7), picture)
    torch.testing.assert_close(moved[..., :-2], picture[..., 2:], rtol=0, atol=1e-4)


def test_what_reaches_which_decoder() -> None:
    z, code = torch.randn(2, N_LATENT), torch.randn(2, 8, 7, 7)
    pictures = glyphs().test.read(torch.tensor([3, 40]))
    bends, paints = make("bends").decoder, make("paints").decoder
    assert torch.equal(paints(z, code, pictures), paints(z, code, pictures.flip(0)))
    assert not torch.allclose(bends(z, code, pictures), bends(z, code, pictures.flip(0)))
    blank = bends(z, code, torch.zeros_like(pictures))  # nothing to bend: the noise cannot paint
    inside = blank[:, :, 8:-8, 8:-8].unfold(2, 2, 2).unfold(3, 2, 2)  # the same at every second pixel
    assert (inside - inside[:, :, :1, :1]).abs().max() < 1e-4


def test_generating_is_repeatable_pure_and_takes_several_pictures_in_turn() -> None:
    learner, given = make(), glyphs().test.read(torch.tensor([3, 4]))
    before = {name: tensor.clone() for name, tensor in learner.state_dict().items()}
    first, second = (learner.generate(given, 5, torch.Generator().manual_seed(1)) for _ in range(2))
    assert torch.equal(first, second) and first.shape == (5, 1, 28, 28) and 0 <= first.min() <= first.max() <= 1
    alone = learner.generate(given[:1], 5, torch.Generator().manual_seed(1))
    torch.testing.assert_close(first[::2], alone[::2], rtol=1e-4, atol=1e-5)
    assert not torch.allclose(first[1], alone[1], atol=1e-3)
    assert all(torch.equal(tensor, before[name]) for name, tensor in learner.state_dict().items())


def test_it_is_built_again_from_its_settings() -> None:
    learner = make("paints", kl_weight=0.5)
    again = from_settings(settings_of(learner))
    again.load_state_dict(learner.state_dict())
    task = tasks()[0]
    assert torch.equal(again.loss(task), learner.loss(task)) and again.kl_weight == 0.5


@pytest.mark.parametrize(
    ("make_wrong", "message"),
    [
        (lambda: make(kl_weight=-1.0), r"kl_weight must be at least 0, got -1\.0"),
        (lambda: WarpDecoder(4, image_size=30), "image_size must be a multiple of 4, got 30"),
        (lambda: PairReader(4, image_size=7), "image_size must be even and at least 8, got 7"),
        (lambda: make().adapt(torch.zeros(1, 4), torch.zeros(1, 4)), r"expected pictures .* got support_y \[1, 4\]"),
        (lambda: make().adapt(torch.zeros(1, 4), torch.zeros(1, 1, 28, 28), n_way=5), "and n_way=5: draw tasks"),
        (lambda: make().adapt(torch.zeros(1, 4), torch.zeros(1, 1, 28, 28), n_steps=1), "takes no inner steps"),
        (lambda: make().generate(torch.zeros(1, 1, 28, 28), 0), "n must be at least 1, got 0"),
    ],
)
def test_bad_input(make_wrong: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make_wrong()


# The learner's own loss as a metric, and the study


def test_evaluate_by_the_loss_is_the_mean_loss_of_the_tasks_and_lower_is_better() -> None:
    learner, batch = make(), tasks(n_tasks=6)
    score = evaluate(learner, lambda generator: batch, 6, metric="loss")
    torch.testing.assert_close(score.per_task, torch.stack([learner.loss(task).detach() for task in batch]))
    assert not score.higher_is_better
    maml = MAML(MLP([1, 4, 1]), 0.01, loss_fn=F.mse_loss)
    waves = sinusoids().episodes(n_tasks=5, n_shot=5, n_query=5)
    by_loss, by_error = (evaluate(maml, waves, 10, metric=metric) for metric in ("loss", None))
    torch.testing.assert_close(by_loss.per_task, by_error.per_task)
    with pytest.raises(ValueError, match="got n_steps=1: leave it out"):
        evaluate(maml, waves, 10, 1, metric="loss")


@pytest.mark.slow
def test_a_study_of_generators_runs_and_its_table_names_the_loss(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("METALEARN_RUNS", str(tmp_path / "runs"))
    monkeypatch.setattr(_run, "N_VALIDATION_TASKS", 20)
    sizes = {"kind": "pictures", **PICTURES}
    method = Method(
        "ConditionalVAE", settings_of(make())["arguments"], {}, {**sizes, "n_tasks": 8}, {"n_steps": 60, "how": "vmap"}
    )
    tests = {"one": {**sizes, "n_tasks": 20, "metric": "loss"}}
    study = Study("small", {"bends": method}, tests, "glyphs", snapshots=())
    run(study, "bends", 0, home=tmp_path, device="cpu", progress=False)
    record = Record("small", tmp_path)
    assert record.table().data.splitlines()[0].split(" | ")[2] == "one, median loss"
    untrained = evaluate(make(), glyphs().test.pictures(n_tasks=20, **PICTURES), 20, metric="loss")
    assert record.score("bends", "one").above(untrained, by=50)


@pytest.mark.slow
def test_training_lowers_the_bound() -> None:
    learner = make()
    learner.how = "vmap"
    history = fit(learner, glyphs().train.pictures(n_tasks=8, **PICTURES), 60, outer_lr=3e-3, progress=False)
    assert sum(history.losses[-10:]) < 0.8 * sum(history.losses[:10])


def test_the_shipped_generators_are_told_apart_by_a_judge_they_never_saw() -> None:
    judge, pool = pretrained("prototypical", "glyphs"), glyphs().test
    kept = {}
    for name in ("bends_the_picture", "paints_from_a_code"):
        kept[name] = judged(pretrained(name, "one_shot_generation"), judge, pool)  # type: ignore[arg-type]
    assert kept["bends_the_picture"] > kept["paints_from_a_code"] + 0.1 and kept["bends_the_picture"] > 0.3
    record = experiments.load("one_shot_generation")
    assert {(part["method"], part["seed"]) for part in record.parts()} == {
        (method, seed) for method in record.methods for seed in (0, 1, 2)
    }


@torch.no_grad()
def judged(generator: ConditionalVAE, judge: Any, pool: Pool) -> float:
    """Return how often one in twenty letters is recognised in generated pictures, by another picture of each."""
    draws, shares = torch.Generator().manual_seed(0), []
    for batch in (pool.episodes(n_tasks=1, n_way=20, n_shot=1, n_query=1)(draws) for _ in range(10)):
        task = batch[0]
        adapted = judge.adapt(task.support_x, task.support_y, n_way=20)
        drawn = torch.cat([generator.generate(x.unsqueeze(0), 3, draws) for x in task.query_x])
        shares.append((judge.predict(adapted, drawn).argmax(1) == task.query_y.repeat_interleave(3)).double().mean())
    return torch.stack(shares).mean().item()


# Pages


def test_pages_hold_what_they_say_without_overlap() -> None:
    pool = Pool(torch.arange(1, 61).reshape(60, 1, 1, 1).expand(60, 1, 6, 6) / 60, torch.arange(60) // 6)
    drawn = pages(pool, 30, n_wanted=2, n_others=5, height=30, width=36, generator=torch.Generator().manual_seed(0))
    for page in drawn:
        cut = [page.image[:, row : row + 6, column : column + 6] for row, column in page.places.tolist()]
        assert page.image.count_nonzero() == 7 * 36 and all(len(patch.unique()) == 1 for patch in cut)
        numbers = torch.stack([patch[0, 0, 0] * 60 for patch in cut]).round().int() - 1
        given = int((page.given[0, 0, 0, 0] * 60).round()) - 1
        classes = numbers // 6
        assert (classes == given // 6).tolist() == page.wanted.tolist() == [True] * 2 + [False] * 5
        assert len(classes.unique()) == 6 and given not in numbers
    spots = torch.cat([page.places for page in drawn])
    assert spots.min() == 0 and len(spots.unique(dim=0)) > 150


def test_the_same_generator_draws_the_same_pages() -> None:
    first, second = (pages(glyphs().test, 2, generator=torch.Generator().manual_seed(5)) for _ in range(2))
    assert all(
        torch.equal(a.image, b.image) and torch.equal(a.given, b.given) for a, b in zip(first, second, strict=True)
    )


def small(n: int = 20, shape: tuple[int, ...] = (1, 6, 6)) -> Pool:
    return Pool(torch.ones(n, *shape), torch.arange(n) // 2)


@pytest.mark.parametrize(
    ("pool", "sizes", "message"),
    [
        (small(), {"n_wanted": 0}, "n_wanted must be at least 1, got 0"),
        (small(shape=(1, 6, 7)), {}, r"expected square pictures .* got a pool of \[20, 1, 6, 7\]"),
        (small(), {"n_others": 10}, "11 classes on a page need as many in the pool, it has 10"),
        (small(), {"n_wanted": 2}, "n_wanted=2 and the given picture need 3 of a class, the smallest has 2"),
        (small(), {"n_wanted": 1, "height": 12, "width": 12}, "7 pictures of 6 pixels found no room on a page of 12"),
        (small(), {"n_wanted": 1, "height": 5, "width": 50}, "found no room on a page of 5 by 50"),
    ],
)
def test_pages_that_cannot_be_drawn(pool: Pool, sizes: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        pages(pool, 1, **sizes)
