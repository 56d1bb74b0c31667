"""Differential privacy: published accountants, exact Gaussian releases, clipping and noise by hand."""

import math
import sys
import warnings
from statistics import NormalDist

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from metalearn import Episode, fit
from metalearn.data import sinusoids
from metalearn.federated import Rounds, client_updates, clients_of
from metalearn.gradients import outer_gradient
from metalearn.learners import MAML, Prototypical, Reptile
from metalearn.networks import MLP, Conv4
from metalearn.privacy import (
    PoissonTasks,
    attack_bound,
    clip_rows,
    epsilon,
    gaussian_delta,
    gaussian_epsilon,
    gaussian_noise,
    noise_for,
    private_backward,
    private_prototypes,
    task_gradients,
)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def learner(kind=MAML, **options):
    torch.manual_seed(0)
    return kind(
        nn.Sequential(nn.Linear(1, 6), nn.Tanh(), nn.Linear(6, 1)).double(), 0.1, 2, loss_fn=F.mse_loss, **options
    )


def waves(n=4):
    return sinusoids().sample(n, 5, 6, seeded()).map(torch.Tensor.double)


def gradient(of, backward, batch, generator=None):
    of.zero_grad()
    backward(batch, generator)
    return torch.cat([param.grad.flatten() for param in of.parameters()])


def test_epsilon_is_that_of_published_accountants():
    assert epsilon(1.0, 0.125, 40, 1e-5) == pytest.approx(6.594, abs=0.01)  # dp-accounting 0.6.0
    assert epsilon(0.0, 0.125, 40) == math.inf
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from opacus.accountants.analysis import rdp

    orders = list(range(2, 64))  # the DP-SGD paper's figure: q = 0.01, noise 4, 10,000 steps: epsilon 1.26 at 1e-5
    bounds = rdp.compute_rdp(q=0.01, noise_multiplier=4.0, steps=10_000, orders=orders)
    moments = min(bound + math.log(1e5) / (order - 1) for bound, order in zip(bounds, orders, strict=True))
    assert moments == pytest.approx(1.26, abs=0.01)
    assert epsilon(4.0, 0.01, 10_000, 1e-5) < moments  # the same bounds, converted more tightly


def test_with_all_tasks_in_each_step_the_exact_release_is_the_reference():
    for noise, steps in ((1.0, 1), (4.0, 16)):  # so many releases are one with less noise
        exact = gaussian_epsilon(noise / math.sqrt(steps))
        assert exact < epsilon(noise, 1.0, steps) < 1.15 * exact


@pytest.mark.parametrize(("eps", "noise"), [(0.0, 1.0), (1.0, 1.0), (3.0, 0.5), (0.2, 5.0)])
def test_the_gaussian_delta_is_an_integral(eps, noise):
    x = torch.linspace(-60, 60, 2_000_001, dtype=torch.float64)
    with_it, without = (torch.exp(-0.5 * ((x - mean) / noise) ** 2) for mean in (1.0, 0.0))
    area = torch.trapezoid((with_it - math.exp(eps) * without).clamp(min=0), x) / (noise * math.sqrt(2 * math.pi))
    assert gaussian_delta(eps, noise) == pytest.approx(area.item(), abs=1e-7)


def test_noise_and_epsilon_are_inverse():
    assert gaussian_epsilon(gaussian_noise(2.0)) == pytest.approx(2.0, rel=1e-4)
    assert epsilon(noise_for(3.0, 0.05, 100), 0.05, 100) == pytest.approx(3.0, rel=1e-3)
    assert gaussian_epsilon(1e6) == 0.0
    assert gaussian_epsilon(1e-3) == math.inf
    with pytest.raises(ValueError, match="no noise multiplier"):
        gaussian_noise(1e-12, 1e-12)


@pytest.mark.parametrize("noise", [0.5, 1.0, 3.0])
def test_no_attack_on_a_gaussian_release_beats_the_bound_and_the_best_one_meets_it(noise):
    normal, margins = NormalDist(), []
    for i in range(1, 100):
        fpr = i / 100
        best = normal.cdf(normal.inv_cdf(fpr) + 1 / noise)  # of the likelihood ratio, which no other test beats
        bounds = [attack_bound(fpr, eps / 20, gaussian_delta(eps / 20, noise)) for eps in range(200)]
        margins.append(min(bounds) - best)
    assert min(margins) > -1e-9
    assert max(margins) < 1e-3  # with all epsilons together the bound is sharp
    assert attack_bound(0.01, math.inf) == 1.0


def test_opacus_is_asked_for_where_it_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "opacus.accountants", None)
    with pytest.raises(ImportError, match="pip install"):
        epsilon(1.0, 0.1, 10)


@pytest.mark.parametrize("kind", [MAML, Reptile])
@pytest.mark.parametrize("how", ["vmap", "loop"])
def test_each_tasks_gradient_is_that_of_a_batch_of_one(kind, how):
    maml, batch = learner(kind), waves()
    maml.how = how
    before = outer_gradient(maml, batch)
    rows, losses = task_gradients(maml, batch)
    assert torch.equal(torch.cat([param.grad.flatten() for param in maml.parameters()]), before)
    torch.testing.assert_close(rows.mean(0), before)
    for i in range(4):
        torch.testing.assert_close(rows[i], outer_gradient(maml, batch[i : i + 1]))
        torch.testing.assert_close(losses[i], maml.backward(batch[i : i + 1]))


def test_clipping_by_hand_and_a_step_with_the_same_noise():
    maml, batch = learner(), waves()
    rows, _ = task_gradients(maml, batch)
    norm = rows.norm(dim=1).median().item()
    clipped = torch.stack([row if row.norm() <= norm else row * norm / row.norm() for row in rows])
    torch.testing.assert_close(clip_rows(rows, norm), clipped)
    assert sorted((clipped.norm(dim=1) < norm * (1 - 1e-9)).tolist()) != [False] * 4
    noise = torch.randn(rows.shape[1], generator=seeded(7), dtype=torch.float64)
    expected = (clipped.sum(0) + 1.5 * norm * noise) / 3.0
    found = gradient(maml, private_backward(maml, norm, 1.5, 3.0), batch, seeded(7))
    torch.testing.assert_close(found, expected)


def test_a_row_that_is_not_finite_is_clipped_to_nothing():
    rows = torch.tensor([[math.inf, 1.0], [math.nan, 1.0], [3.0, 4.0]])
    torch.testing.assert_close(clip_rows(rows, 1.0), torch.tensor([[0.0, 0.0], [0.0, 0.0], [0.6, 0.8]]))


def test_a_task_more_moves_the_sum_by_at_most_the_clip_norm():
    maml, batch = learner(), waves(6)
    backward = private_backward(maml, 0.1, 0.0, 1.0)
    whole = gradient(maml, backward, batch)
    for i in range(6):
        rest = batch.map(lambda leaf, i=i: torch.cat([leaf[:i], leaf[i + 1 :]]))
        moved = (whole - gradient(maml, backward, rest)).norm()
        assert moved == pytest.approx(0.1)  # all of these gradients are longer than the norm
    wild = waves(1)
    wild = Episode(wild.support_x, 1e6 * wild.support_y, wild.query_x, wild.query_y)
    both = batch.map(lambda leaf: leaf[:1])
    joined = Episode(
        *(torch.cat([getattr(e, n) for e in (both, wild)]) for n in Episode.__dataclass_fields__ if n != "n_way")
    )
    assert (gradient(maml, backward, joined) - gradient(maml, backward, both)).norm() <= 0.1 + 1e-9


def test_the_noise_has_the_scale_of_the_clip_norm_and_an_empty_batch_has_it_too():
    maml = learner()
    backward, generator = private_backward(maml, 0.5, 2.0, 10.0), seeded()
    empty = waves().map(lambda leaf: leaf[:0])
    draws = torch.stack([gradient(maml, backward, empty, generator) for _ in range(400)])
    assert draws.std() == pytest.approx(2.0 * 0.5 / 10.0, rel=0.05)
    assert draws.mean().abs() < 0.005
    assert backward(empty, generator) == 0


def test_without_noise_and_with_a_wide_norm_it_is_the_meta_gradient():
    maml, batch = learner(), waves()
    plain = outer_gradient(maml, batch)
    torch.testing.assert_close(gradient(maml, private_backward(maml, 1e9, 0.0, 4.0), batch), plain)


def test_poisson_sampling_takes_each_task_by_itself():
    tasks = sinusoids().sample(200, 5, 5, seeded())
    draw, generator = PoissonTasks(tasks, 0.3), seeded()
    sizes = torch.tensor([float(len(draw(generator))) for _ in range(2000)])
    assert draw.expected == 60.0
    assert sizes.mean() == pytest.approx(60.0, abs=0.6)
    assert sizes.var() == pytest.approx(200 * 0.3 * 0.7, rel=0.1)
    drawn = draw(generator)
    row = (tasks.support_x.squeeze(2) == drawn.support_x[0, :, 0]).all(1).nonzero().item()
    assert torch.equal(tasks.query_y[row], drawn.query_y[0])


def test_poisson_sampling_takes_a_list_of_unequal_tasks():
    x, y = torch.randn(9, 5, generator=seeded()), torch.arange(9) % 3
    tasks = [Episode(x[:n], y[:n], x[n:], y[n:], 3) for n in (3, 4, 5)]
    maml, draw = MAML(MLP([5, 3]), 0.1), PoissonTasks(tasks, 0.3)
    assert draw.expected == pytest.approx(0.9)
    drawn, generator = [draw(seeded(i)) for i in range(200)], seeded()
    sizes = [len(batch[i].support_y) for batch in drawn for i in range(len(batch))]
    assert len(sizes) == pytest.approx(180, abs=35) and set(sizes) == {3, 4, 5}
    assert min(len(batch) for batch in drawn) == 0
    backward = private_backward(maml, 1.0, 1.0, draw.expected)
    history = fit(maml, draw, 10, backward=backward, seed=0, progress=False)
    assert 0 < history.losses.count(0.0) < 10
    rows, _ = task_gradients(maml, PoissonTasks(tasks, 1.0)(generator))
    torch.testing.assert_close(rows[1:2], task_gradients(maml, PoissonTasks(tasks[1:2], 1.0)(generator))[0])


def test_a_round_of_clients_is_not_taken_for_its_tests():
    x, y = torch.randn(8, 5, generator=seeded()), torch.arange(8) % 3
    drawn = Rounds(clients_of([Episode(x[:6], y[:6], x[6:], y[6:], 3)]))(seeded())
    with pytest.raises(ValueError, match="needs updates=client_updates"):
        private_backward(MAML(MLP([5, 3]), 0.1), 1.0, 1.0, 1.0)(drawn)


def test_fit_goes_through_empty_batches():
    maml = learner().float()
    draw = PoissonTasks(sinusoids().sample(5, 5, 5, seeded()), 0.05)
    history = fit(maml, draw, 20, backward=private_backward(maml, 1.0, 1.0, draw.expected), seed=0, progress=False)
    assert history.losses.count(0.0) > 10
    assert all(param.isfinite().all() for param in maml.parameters())


def test_private_federated_averaging_clips_whole_updates():
    x, y = torch.randn(3, 8, 5, generator=seeded()), torch.arange(8) % 3
    clients = clients_of([Episode(part[:6], y[:6], part[6:], y[6:], 3) for part in x])
    torch.manual_seed(0)
    maml, drawn = MAML(MLP([5, 3]), 0.1, 0), Rounds(clients)(seeded())
    updates = client_updates(maml, 0.5, 2)
    rows, _ = updates(drawn, seeded(1))
    assert rows.norm(dim=1).min() > 0.05
    found = gradient(maml, private_backward(maml, 0.05, 0.0, 3.0, updates=updates), drawn, seeded(1))
    torch.testing.assert_close(found, clip_rows(rows, 0.05).sum(0) / 3)


def test_prototypes_with_noise():
    x, y = torch.randn(9, 4, generator=seeded()), torch.arange(9) % 3
    proto = Prototypical(nn.Identity())
    plain = private_prototypes(proto, x, y, n_way=3, clip_norm=100.0, noise_multiplier=0.0)
    torch.testing.assert_close(plain, proto.adapt(x, y, n_way=3))

    def sums(rows, noise=0.0, generator=None):
        found = private_prototypes(
            proto, x[rows], y[rows], n_way=3, clip_norm=0.5, noise_multiplier=noise, generator=generator
        )
        return found["prototypes"] * found["counts"].unsqueeze(1)

    everyone = torch.arange(9)
    for i in range(9):
        moved = (sums(everyone) - sums(everyone[everyone != i])).norm()
        assert moved == pytest.approx(min(0.5, x[i].norm().item()), rel=1e-5)
    generator = seeded(3)
    noise = torch.stack([sums(everyone, 2.0, generator) - sums(everyone) for _ in range(500)])
    assert noise.std() == pytest.approx(1.0, rel=0.05)
    for encoder, images in (
        (Conv4(channels=4, norm="batch"), torch.zeros(2, 1, 28, 28)),
        (nn.BatchNorm1d(4, track_running_stats=False).eval(), torch.zeros(2, 4)),
    ):
        with pytest.raises(ValueError, match="statistics of the support"):
            private_prototypes(
                Prototypical(encoder), images, torch.arange(2), n_way=2, clip_norm=1.0, noise_multiplier=1.0
            )


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: epsilon(1.0, 0.0, 10), r"sample_rate in \(0, 1\]"),
        (lambda: epsilon(-1.0, 0.1, 10), "noise_multiplier >= 0"),
        (lambda: epsilon(1.0, 0.1, 0), "n_steps must be at least 1"),
        (lambda: epsilon(1.0, 0.1, 10, 1.0), "delta must be in"),
        (lambda: gaussian_delta(1.0, 0.0), "noise_multiplier above 0"),
        (lambda: gaussian_noise(0.0), "target epsilon must be above 0"),
        (lambda: epsilon(math.nan, 0.1, 10), "noise_multiplier >= 0"),
        (lambda: attack_bound(2.0, 1.0), "fpr in"),
        (lambda: attack_bound(0.5, math.nan), "epsilon >= 0"),
        (lambda: attack_bound(0.5, 1.0, -3.0), r"delta in \[0, 1\]"),
        (lambda: attack_bound(0.5, 1.0, 5.0), r"delta in \[0, 1\]"),
        (lambda: PoissonTasks(waves(), 0.0), "sample_rate must be in"),
        (lambda: clip_rows(torch.ones(1, 2), 0.0), "clip norm must be above 0"),
        (lambda: private_backward(learner(), 1.0, 1.0, 0.0), "expected above 0"),
        (lambda: private_backward(Prototypical(Conv4(channels=4, norm="frozen")), 1.0, 1.0, 1.0), "frozen"),
    ],
)
def test_bad_options_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_in_the_recorded_study_no_attack_passes_its_bound():
    from metalearn import experiments

    rows = [row for row in experiments.analysis("private")["rows"] if row["part"] == "release"]
    private = [row for row in rows if row["noise"]]
    assert {row["n_shot"] for row in private} == {1, 5, 10}
    for row in private:
        assert row["epsilon"] == pytest.approx(gaussian_epsilon(row["noise"]), rel=1e-3)
        for share in ("1%", "5%"):
            for attack in ("distance", "matched", "loss"):
                assert row[attack][f"tpr at {share}"][0] <= row[f"bound at {share}"], row
    plain = {row["n_shot"]: row for row in rows if not row["noise"]}
    assert plain[1]["distance"]["auc"][0] == 1.0


def test_in_the_recorded_study_noise_hides_tasks_but_no_support_sets():
    from metalearn import experiments

    rows = experiments.analysis("private")["rows"]
    tasks = {row["noise"]: row for row in rows if row["part"] == "tasks"}
    for noise in (0.7, 1.0, 2.0, 4.0):
        assert tasks[noise]["epsilon"] == pytest.approx(epsilon(noise, 0.05, 200), rel=1e-3)
        assert tasks[noise]["accuracy after 1"][0] < tasks[0.0]["accuracy after 1"][0]
    few = {row["noise"]: row["auc"] for row in rows if row["part"] == "few tasks"}
    assert few[4.0][2] < few[0.0][1]  # the intervals are apart
    ratios = [row for row in rows if row["part"] == "support" and row["attack"] == "likelihood ratio"]
    assert len(ratios) == 6
    assert all(row["auc"][1] > 0.65 for row in ratios)  # whatever epsilon is
