"""Attacks on membership: areas by counting pairs, shadows one by one, and cases whose answer is known."""

import pytest
import torch
from torch import nn

from metalearn import Episode
from metalearn.data import sinusoids
from metalearn.learners import MAML, Prototypical
from metalearn.membership import (
    Attack,
    _log_density,
    _logit,
    distance_scores,
    likelihood_ratio_scores,
    loss_scores,
    task_scores,
)
from metalearn.networks import MLP


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def blobs(n_tasks, n_shot, n_others, n_features=8, seed=0, apart=2.0):
    """Two classes of Gaussian vectors in each task: support, others, labels."""
    generator = seeded(seed)
    y, y_other = torch.arange(2).repeat(n_shot), torch.arange(2).repeat(n_others)
    shift = torch.eye(n_features)[0] * apart
    x, x_other = (
        torch.randn(n_tasks, len(t), n_features, generator=generator) + t.unsqueeze(1) * shift for t in (y, y_other)
    )
    return x, y, x_other, y_other


def test_area_and_rates_by_counting_pairs():
    members, others = (
        torch.randn(6, 5, generator=seeded()).round(decimals=1) + 0.5,
        torch.randn(6, 8, generator=seeded(1)).round(decimals=1),
    )
    attack = Attack(members, others)
    pairs = members.flatten().unsqueeze(1) - others.flatten()
    auc = attack.auc()
    assert auc.value == pytest.approx(((pairs > 0).double() + 0.5 * (pairs == 0)).mean().item())
    assert auc.low < auc.value < auc.high
    fpr, tpr = attack.curve()
    assert torch.trapezoid(tpr, fpr).item() == pytest.approx(auc.value, abs=1e-6)
    assert (fpr.diff() >= 0).all()
    assert (fpr[0], fpr[-1], tpr[-1]) == (0, 1, 1)
    for rate in (0.0, 0.05, 0.3):
        best = max(t for f, t in zip(fpr.tolist(), tpr.tolist(), strict=True) if f <= rate + 1e-9)
        assert attack.tpr_at(rate).value == pytest.approx(best)
    assert attack.tpr_at(1.0).value == 1.0


def test_an_attack_that_knows_nothing_is_at_chance():
    scores = torch.randn(200, 20, generator=seeded())
    attack = Attack(scores[:, :10], scores[:, 10:])
    assert attack.auc().low < 0.5 < attack.auc().high
    assert attack.tpr_at(0.05).value == pytest.approx(0.05, abs=0.02)


def test_one_shot_prototypes_give_their_examples_away():
    proto, (x, y, x_other, y_other) = Prototypical(nn.Identity()), blobs(20, 1, 10)
    adapted = [proto.adapt(part, y) for part in x]
    members = torch.stack([distance_scores(a["prototypes"], part, y) for a, part in zip(adapted, x, strict=True)])
    others = torch.stack([distance_scores(a["prototypes"], o, y_other) for a, o in zip(adapted, x_other, strict=True)])
    assert (members == 0).all()
    assert Attack(members, others).tpr_at(0.0).value == 1.0


def test_losses_are_those_of_the_adapted_model():
    maml, (x, y, *_) = MAML(MLP([8, 2]), 0.5, 3), blobs(1, 4, 1)
    adapted = maml.adapt(x[0], y)
    expected = maml.predict(adapted, x[0]).log_softmax(1)[torch.arange(8), y]
    found = loss_scores(maml, adapted, x[0], y)
    torch.testing.assert_close(found, expected)
    assert Attack(found[None], found[None]).auc().value == 0.5  # scores carry no gradients, which NumPy would refuse


def test_likelihood_ratios_are_those_of_shadows_made_one_by_one():
    proto, (x, y, x_other, y_other) = Prototypical(nn.Identity()), blobs(1, 3, 10)
    adapted, background = proto.adapt(x[0], y), Episode(x[0], y, x_other[0], y_other, 2)
    found = likelihood_ratio_scores(proto, adapted, x[0], y, background, n_shadows=4, generator=seeded(5))
    generator, sets = seeded(5), []
    for _ in range(4):
        rows = []
        for label in (0, 1):
            own = (y_other == label).nonzero().squeeze(1)
            rows.append(own[torch.randperm(10, generator=generator)[:3]])
        sets.append(torch.cat(rows))
    labels = torch.tensor([0, 0, 0, 1, 1, 1])
    for i in range(6):
        seen, unseen = [], []
        for rows in sets:
            support = x_other[0][rows]
            for into, values in ((unseen, support), (seen, support.index_copy(0, 3 * y[i : i + 1], x[0][i : i + 1]))):
                shadow = proto.adapt(values, labels, n_way=2)
                into.append(_logit(proto, shadow, x[0][i : i + 1], y[i : i + 1])[0])
        now = _logit(proto, adapted, x[0][i : i + 1], y[i : i + 1])
        expected = _log_density(now, torch.stack(seen)[None]) - _log_density(now, torch.stack(unseen)[None])
        torch.testing.assert_close(found[i : i + 1], expected)


def test_shadows_tell_members_better_than_the_loss_where_some_examples_are_easy():
    proto, (x, y, x_other, y_other) = Prototypical(nn.Identity()), blobs(40, 3, 20, apart=4.0)
    scores = {"loss": ([], []), "ratio": ([], [])}
    for part, other in zip(x, x_other, strict=True):
        adapted = proto.adapt(part, y)
        half = Episode(part, y, other[20:], y_other[20:], 2)  # the attacker's own examples
        for i, (points, labels) in enumerate(((part, y), (other[:20], y_other[:20]))):
            scores["loss"][i].append(loss_scores(proto, adapted, points, labels))
            ratio = likelihood_ratio_scores(proto, adapted, points, labels, half, generator=seeded(1))
            scores["ratio"][i].append(ratio)
    loss, ratio = (Attack(*map(torch.stack, scores[name])) for name in ("loss", "ratio"))
    assert loss.auc().value > 0.55
    assert ratio.auc().value > loss.auc().value + 0.03
    assert ratio.tpr_at(0.05).value > loss.tpr_at(0.05).value + 0.1  # easy examples have a low loss, seen or not


def test_tasks_of_training_score_by_their_outer_loss():
    torch.manual_seed(0)
    maml = MAML(MLP([1, 8, 1]), 0.01, loss_fn=nn.functional.mse_loss)
    batch = sinusoids().sample(3, 5, 5, seeded())
    torch.testing.assert_close(task_scores(maml, batch), -torch.stack([maml.loss(batch[i]) for i in range(3)]).detach())


def test_bad_scores_are_refused():
    with pytest.raises(ValueError, match="of as many tasks each"):
        Attack(torch.zeros(3, 2), torch.zeros(2, 2))
    with pytest.raises(ValueError, match="NaN"):
        Attack(torch.zeros(1, 2), torch.full((1, 2), torch.nan))
    proto, (x, y, x_other, y_other) = Prototypical(nn.Identity()), blobs(1, 3, 2)
    with pytest.raises(ValueError, match="2 examples in the background, 3 are needed"):
        likelihood_ratio_scores(proto, proto.adapt(x[0], y), x[0], y, Episode(x[0], y, x_other[0], y_other, 2))
    known = Episode(x[0], y, x[0], y, 2)
    with pytest.raises(ValueError, match=r"the support's classes, got labels \[7\], which it lacks"):
        likelihood_ratio_scores(proto, proto.adapt(x[0], y), x[0][:1], torch.tensor([7]), known)
    with pytest.raises(ValueError, match="n_draws must be at least 1"):
        Attack(torch.zeros(2, 2), torch.ones(2, 2)).auc(n_draws=0)
    with pytest.raises(ValueError, match="fpr must be in"):
        Attack(torch.zeros(2, 2), torch.ones(2, 2)).tpr_at(1.5)


def test_the_matched_attack_is_a_likelihood_ratio():
    from metalearn.experiments.private import by_class, matched_scores

    generator, noise = seeded(), 0.7
    means, points, y = (
        torch.randn(2, 3, generator=generator),
        torch.randn(4, 3, generator=generator),
        torch.tensor([0, 1, 1, 0]),
    )
    prototypes, counts = torch.randn(2, 3, generator=generator), torch.tensor([2.0, 5.0])
    total, rest = counts.unsqueeze(1) * prototypes, (counts - 1).unsqueeze(1) * means

    def density(of):  # of the released sums, if this example is in its class's
        return torch.distributions.Normal(rest[y] + of, noise).log_prob(total[y]).sum(1)

    expected = noise**2 * (density(points) - density(means[y]))
    torch.testing.assert_close(matched_scores(prototypes, counts, points, y, means), expected)
    labels = torch.arange(3).repeat(6)
    first, second, others = by_class(labels, (1, 2), seeded())
    assert sorted(torch.cat([first, second, others]).tolist()) == list(range(18))
    assert torch.bincount(labels[first]).tolist() == [1, 1, 1]
    assert torch.bincount(labels[second]).tolist() == [2, 2, 2]
