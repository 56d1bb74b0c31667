"""Learners that compare or transfer: each by hand on small numbers, each gradient by finite differences."""

import copy
import math
import re

import pytest
import torch
from torch import nn
from torch.autograd import gradcheck
from torch.nn import functional as F

from metalearn import Batch, Episode, Pool, evaluate, fit, sample_episodes, sample_pairs, sample_triplets
from metalearn.learners import MAML, Matching, Prototypical, Relation, Siamese, Transfer
from metalearn.networks import MLP, BatchStatistics, Conv4, LSTMCell, RelationModule

SUPPORT_X = torch.tensor([[2.0, 0.0], [0.0, 3.0], [4.0, 0.0]])
SUPPORT_Y = torch.tensor([0, 1, 0])
FLAT = [
    lambda: Prototypical(nn.Identity()),
    lambda: Prototypical(nn.Identity(), distance="cosine"),
    lambda: Matching(nn.Identity()),
    lambda: Matching(nn.Identity(), full_context=True, n_features=2),
    lambda: Siamese(nn.Identity()),
    lambda: Siamese(nn.Identity(), pair_loss="logistic", n_features=2),
    lambda: Relation(nn.Identity(), MLP([4, 8, 1])),
    lambda: Transfer(nn.Identity(), 4, n_features=2),
    lambda: Transfer(nn.Identity(), 4, n_features=2, head="cosine"),
]


@pytest.fixture(params=FLAT)
def learner(request):
    torch.manual_seed(0)
    return request.param()


def answer(learner, x, y, query, n_way):
    return learner.predict(learner.adapt(x, y, n_way=n_way), query)


def test_matching_attention_by_hand():
    query = torch.tensor([[1.0, 0.0]])  # cosines 1, 0, 1
    probability = answer(Matching(nn.Identity(), temperature=0.5), SUPPORT_X, SUPPORT_Y, query, 2).exp()
    e = math.exp(2)
    torch.testing.assert_close(probability, torch.tensor([[2 * e / (2 * e + 1), 1 / (2 * e + 1)]]))


def test_cosine_prototypes_by_hand():
    learner = Prototypical(nn.Identity(), distance="cosine", temperature=0.5)
    logits = answer(learner, SUPPORT_X, SUPPORT_Y, torch.tensor([[3.0, 4.0]]), 2)
    torch.testing.assert_close(logits, torch.tensor([[2 * 0.6, 2 * 0.8]]))


def test_siamese_scores_by_hand():
    query = torch.tensor([[1.0, 1.0]])
    scores = answer(Siamese(nn.Identity()), SUPPORT_X, SUPPORT_Y, query, 2)
    torch.testing.assert_close(scores, torch.tensor([[-(2.0 + 10.0) / 2, -5.0]]))
    logistic = Siamese(nn.Identity(), pair_loss="logistic", n_features=2)
    logistic.load_state_dict({"weight": torch.tensor([-1.0, -2.0]), "bias": torch.tensor(3.0)})
    scores = answer(logistic, SUPPORT_X, SUPPORT_Y, query, 2)
    torch.testing.assert_close(scores, torch.tensor([[3.0 - (3.0 + 5.0) / 2, 3.0 - 5.0]]))


def test_pair_losses_by_hand():
    left, right = torch.tensor([[0.0], [0.0], [0.0]]), torch.tensor([[3.0], [0.5], [4.0]])
    pairs = Batch((left, right), torch.tensor([1, 0, 0]), "pairs")  # 9/2, (2 - 0.5)²/2, beyond the margin
    torch.testing.assert_close(
        Siamese(nn.Identity(), margin=2.0).batch_loss(pairs), torch.tensor((4.5 + 1.125 + 0.0) / 3)
    )
    triplets = Batch((left, right, right.flip(0)), torch.zeros(3, dtype=torch.long), "triplets")
    # margin + d+² - d-²: 1 + 9 - 16 < 0, 1 + 0.25 - 0.25, 1 + 16 - 9
    torch.testing.assert_close(
        Siamese(nn.Identity(), pair_loss="triplet").batch_loss(triplets), torch.tensor((0.0 + 1.0 + 8.0) / 3)
    )


@pytest.mark.parametrize("pair_loss", ["contrastive", "logistic", "triplet"])
def test_gradients_of_pair_losses(pair_loss):
    torch.manual_seed(0)
    learner = Siamese(nn.Tanh(), pair_loss=pair_loss, margin=1.5, n_features=3).double()
    y = torch.tensor([1, 0, 1, 0, 0])
    sides = torch.randn(3 if pair_loss == "triplet" else 2, 5, 3, dtype=torch.float64, requires_grad=True)
    kind = "triplets" if pair_loss == "triplet" else "pairs"
    loss = lambda sides, *_: learner.batch_loss(Batch(tuple(sides), y, kind))  # noqa: E731
    assert gradcheck(loss, (sides, *learner.parameters()))
    fresh = copy.deepcopy(learner)
    returned = fresh.backward(Batch(tuple(sides), y, kind))
    torch.testing.assert_close(returned, loss(sides).detach())
    if pair_loss == "logistic":
        expected = torch.autograd.grad(loss(sides), list(learner.parameters()))
        torch.testing.assert_close([p.grad for p in fresh.parameters()], list(expected))


def test_the_contrastive_gradient_is_finite_where_two_embeddings_coincide():
    x = torch.zeros(2, 3, requires_grad=True)
    Siamese(nn.Identity()).batch_loss(Batch((x, torch.zeros(2, 3)), torch.tensor([0, 1]), "pairs")).backward()
    assert x.grad.isfinite().all()


def test_gradients_of_the_other_losses():
    torch.manual_seed(0)
    x, query = (torch.randn(n, 3, dtype=torch.float64, requires_grad=True) for n in (4, 3))
    y, query_y = torch.tensor([1, 0, 1, 2]), torch.tensor([2, 0, 1])
    for learner in (
        Matching(nn.Tanh(), full_context=True, n_features=3, n_reads=2),
        Prototypical(nn.Tanh(), distance="cosine"),
        Relation(nn.Tanh(), nn.Sequential(nn.Linear(6, 4), nn.Tanh(), nn.Linear(4, 1))),
    ):
        learner = learner.double()
        assert gradcheck(lambda s, q, one=learner: one.loss(Episode(s, y, q, query_y, 3)), (x, query))


def test_an_lstm_cell_is_torchs_own():
    torch.manual_seed(0)
    ours, theirs = LSTMCell(3, 4).double(), nn.LSTMCell(3, 4).double()
    weight, bias = torch.cat([theirs.weight_ih, theirs.weight_hh], 1), theirs.bias_ih + theirs.bias_hh
    ours.load_state_dict({"gates.weight": weight, "gates.bias": bias})
    x, state = torch.randn(5, 3).double(), (torch.randn(5, 4).double(), torch.randn(5, 4).double())
    torch.testing.assert_close(ours(x, state), theirs(x, state))


def test_full_context_embeddings_are_the_papers():
    """Written a second time with torch's own bidirectional LSTM, and the reading loop from the paper's equations."""
    torch.manual_seed(0)
    learner = Matching(nn.Identity(), full_context=True, n_features=3, n_reads=4, temperature=0.7).double()
    support, queries, y = torch.randn(5, 3).double(), torch.randn(2, 3).double(), torch.tensor([0, 1, 1, 0, 2])
    lstm = nn.LSTM(3, 3, bidirectional=True).double()
    for name, cell in (("", learner.forward_cell), ("_reverse", learner.backward_cell)):
        getattr(lstm, f"weight_ih_l0{name}").data = cell.gates.weight[:, :3].detach()
        getattr(lstm, f"weight_hh_l0{name}").data = cell.gates.weight[:, 3:].detach()
        getattr(lstm, f"bias_ih_l0{name}").data = cell.gates.bias.detach()
        getattr(lstm, f"bias_hh_l0{name}").data.zero_()
    g = lstm(support)[0].unflatten(1, (2, 3)).sum(1) + support  # h→ + h← + g'
    logits = []
    for f in queries:
        h, c = torch.zeros(3).double(), torch.zeros(3).double()
        for _ in range(4):
            a = torch.softmax(g @ h, 0)
            r = (a.unsqueeze(1) * g).sum(0)
            i, forget, candidate, o = (
                learner.read_cell.gates.weight @ torch.cat([f, r, h]) + learner.read_cell.gates.bias
            ).chunk(4)
            c = torch.sigmoid(forget) * c + torch.sigmoid(i) * torch.tanh(candidate)
            h = torch.sigmoid(o) * torch.tanh(c) + f
        a = torch.softmax(F.cosine_similarity(g, h.unsqueeze(0)) / 0.7, 0)
        logits.append(torch.stack([a[y == n].sum() for n in range(3)]).log())
    torch.testing.assert_close(answer(learner, support, y, queries, 3), torch.stack(logits))


def test_relation_by_hand():
    scorer = nn.Linear(2, 1, bias=False)
    scorer.weight.data = torch.tensor([[1.0, 10.0]])
    learner = Relation(nn.Identity(), scorer)
    x, y = torch.tensor([[1.0], [3.0], [5.0]]), torch.tensor([0, 0, 1])
    scores = answer(learner, x, y, torch.tensor([[7.0], [8.0]]), 2)
    torch.testing.assert_close(scores, torch.tensor([[72.0, 75.0], [82.0, 85.0]]))  # class mean + 10 x query
    task = Episode(x, y, torch.zeros(1, 1), torch.tensor([1]), 2)
    expected = (torch.tensor(2.0).sigmoid() ** 2 + (torch.tensor(5.0).sigmoid() - 1) ** 2) / 2
    torch.testing.assert_close(learner.loss(task), expected)


@pytest.mark.slow
def test_the_linear_probe_is_scikit_learns():
    from sklearn.linear_model import LogisticRegression

    torch.manual_seed(0)
    x, query, y = torch.randn(30, 4).double(), torch.randn(20, 4).double(), torch.arange(30) % 3
    learner = Transfer(nn.Identity(), 3, n_features=4, n_inner_steps=5_000).double()
    scale = x.square().sum(1).mean().sqrt()
    theirs = LogisticRegression(C=1e10, tol=1e-10, max_iter=10_000).fit((x / scale).numpy(), y.numpy())
    expected = torch.as_tensor(theirs.predict_proba((query / scale).numpy()))
    torch.testing.assert_close(answer(learner, x, y, query, 3).softmax(1).detach(), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("factor", [0.01, 100.0])
def test_the_probe_does_not_depend_on_the_scale_of_the_features(factor):
    one, other = (Transfer(nn.Identity(), 3, n_features=2) for _ in range(2))
    query = torch.randn(5, 2)
    torch.testing.assert_close(
        answer(other, factor * SUPPORT_X, SUPPORT_Y, factor * query, 2), answer(one, SUPPORT_X, SUPPORT_Y, query, 2)
    )


def test_the_support_loss_of_transfer_falls_and_fine_tuning_moves_the_encoder():
    torch.manual_seed(0)
    x, y = torch.randn(12, 6), torch.arange(12) % 3
    for head in ("linear", "cosine"):
        learner = Transfer(MLP([6, 16, 8]), 4, head=head)
        for encoder_lr in (0.0, 0.01):
            learner.encoder_lr = encoder_lr
            losses = [
                float(F.cross_entropy(learner.predict(learner.adapt(x, y, n_way=3, n_steps=k), x), y).detach())
                for k in (0, 5, 50)
            ]
            assert losses[0] > losses[1] > losses[2]
        moved = learner.adapt(x, y, n_way=3)
        assert not torch.equal(moved["encoder.0.weight"], learner.encoder[0].weight)
    assert "encoder.0.weight" not in Transfer(MLP([6, 16, 8]), 4).adapt(x, y, n_way=3)


def test_pretraining_is_ordinary_training():
    torch.manual_seed(0)
    learner = Transfer(nn.Linear(3, 5), 4, n_features=5)
    x, y = torch.randn(7, 3), torch.arange(7) % 4
    learner.backward(Batch(x, y))
    loss = F.cross_entropy(learner.encoder(x) @ learner.weight.T + learner.bias, y)
    expected = torch.autograd.grad(loss, list(learner.parameters()))
    torch.testing.assert_close([p.grad for p in learner.parameters()], list(expected))


def test_one_class_and_a_duplicated_image(learner):
    query = torch.tensor([[1.0, 1.0], [2.0, 0.5]])
    one = answer(learner, SUPPORT_X, torch.zeros(3, dtype=torch.long), query, 1)
    assert one.shape == (2, 1) and one.isfinite().all()
    twice = torch.cat([SUPPORT_X, SUPPORT_X[:1]])
    assert answer(learner, twice, torch.tensor([0, 1, 0, 0]), SUPPORT_X, 2).isfinite().all()  # distance 0, too
    both = answer(learner, SUPPORT_X[[0, 0]], torch.tensor([0, 1]), query, 2)  # one image under two labels
    if not isinstance(learner, Matching) or not learner.full_context:  # order tells the two apart there
        torch.testing.assert_close(both[:, 0], both[:, 1])


@pytest.mark.parametrize("make", FLAT[:3] + FLAT[4:7])
def test_unequal_shots_are_weighed_class_by_class(make):
    """Three copies of an example count as one for a class, but for matching, whose attention sums over examples."""
    torch.manual_seed(0)
    learner = make()
    query, x = torch.tensor([[1.0, 1.0], [0.5, 2.0]]), SUPPORT_X[:2]
    once = answer(learner, x, torch.tensor([0, 1]), query, 2)
    thrice = answer(learner, x[[0, 0, 0, 1]], torch.tensor([0, 0, 0, 1]), query, 2)
    if isinstance(learner, Matching):
        torch.testing.assert_close(thrice.diff(dim=1), once.diff(dim=1) - math.log(3))
    else:
        torch.testing.assert_close(thrice, once)


@pytest.mark.slow
def test_transfer_weighs_examples_and_not_classes():
    """Copies of an example weigh in the linear probe as scikit-learn's sample_weight does."""
    from sklearn.linear_model import LogisticRegression

    torch.manual_seed(0)
    x, query, y, copies = torch.randn(30, 4).double(), torch.randn(20, 4).double(), torch.arange(30) % 3, [1, 2, 3] * 10
    rows = torch.arange(30).repeat_interleave(torch.tensor(copies))
    scale = x[rows].square().sum(1).mean().sqrt()
    learner = Transfer(nn.Identity(), 3, n_features=4, n_inner_steps=5_000).double()
    theirs = LogisticRegression(C=1e10, tol=1e-10, max_iter=10_000)
    theirs.fit((x / scale).numpy(), y.numpy(), sample_weight=copies)
    expected = torch.as_tensor(theirs.predict_proba((query / scale).numpy()))
    found = answer(learner, x[rows], y[rows], query, 3).softmax(1).detach()
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("policy", ["batch", "support", "frozen", "group", "none"])
@pytest.mark.parametrize("method", ["Matching", "Siamese", "Transfer", "Transfer, fine-tuning", "Relation"])
def test_which_norms_let_one_query_change_anothers_prediction(policy, method):
    torch.manual_seed(0)
    net = Conv4(channels=4, norm=policy, downsample="maps" if method == "Relation" else "pool")
    learner = {
        "Matching": lambda: Matching(net, full_context=True),
        "Siamese": lambda: Siamese(net),
        "Transfer": lambda: Transfer(net, 3, n_inner_steps=3),
        "Transfer, fine-tuning": lambda: Transfer(net, 3, n_inner_steps=2, encoder_lr=0.1),
        "Relation": lambda: Relation(net, RelationModule(4, norm=policy)),
    }[method]().eval()
    x, y = torch.rand(4, 1, 28, 28), torch.tensor([0, 1, 0, 1])
    adapted = learner.adapt(x, y, n_way=2)
    query, neighbour = torch.rand(1, 1, 28, 28), 5 * torch.rand(1, 1, 28, 28)
    alone, beside = learner.predict(adapted, query), learner.predict(adapted, torch.cat([query, neighbour]))[:1]
    assert torch.allclose(alone, beside, rtol=1e-4, atol=1e-5) is not (policy == "batch")


def test_statistics_of_the_relation_module_are_estimated():
    learner = Relation(Conv4(channels=4, norm="frozen", downsample="maps"), RelationModule(4, norm="frozen"))
    pool = Pool(torch.rand(40, 1, 28, 28), torch.arange(40) // 10)
    fit(learner, lambda g: sample_episodes(pool, 2, 3, 1, 2, g), 2, progress=False)
    layers = [part for part in learner.modules() if isinstance(part, BatchStatistics)]
    assert len(layers) == 6 and all((layer.var != 1).all() for layer in layers)


POOL = Pool(torch.arange(30.0).reshape(30, 1), torch.arange(30) // 5)


def test_pairs_are_balanced_and_never_an_example_with_itself():
    (left, right), y = sample_pairs(POOL, 10_000, torch.Generator().manual_seed(0))
    assert y.double().mean() == 0.5
    same = left.long() // 5 == right.long() // 5
    assert torch.equal(same[:, 0].long(), y)
    assert not (left == right).any()
    assert set(left[:, 0].tolist()) == set(right[:, 0].tolist()) == set(range(30))
    kinds = {(a, b) for a, b in zip(left[:, 0].tolist(), right[:, 0].tolist(), strict=True) if a // 5 == b // 5}
    assert len(kinds) == 6 * 5 * 4  # every ordered pair of different examples of a class


def test_triplets():
    (anchor, positive, negative), y = sample_triplets(POOL, 2_000, torch.Generator().manual_seed(0))
    classes = [side[:, 0].long() // 5 for side in (anchor, positive, negative)]
    assert torch.equal(classes[0], y) and torch.equal(classes[1], y) and not (classes[2] == y).any()
    assert not (anchor == positive).any()
    again = sample_triplets(POOL, 2_000, torch.Generator().manual_seed(0))
    assert all(torch.equal(a, b) for a, b in zip(again.x, (anchor, positive, negative), strict=True))


def test_pairs_of_unequal_class_sizes_draw_classes_uniformly():
    pool = Pool(torch.arange(102.0).reshape(102, 1), torch.tensor([0] * 2 + [1] * 100))
    (left, _), _ = sample_pairs(pool, 4_000, torch.Generator().manual_seed(0))
    assert abs((left < 2).double().mean() - 0.5) < 0.03


@pytest.mark.parametrize(
    "draw, message",
    [
        (lambda: sample_pairs(POOL.select([2]), 4), "unequal pairs need at least 2 classes, the pool has 1: '2'"),
        (lambda: sample_triplets(POOL.select([2]), 4), "unequal pairs need at least 2 classes"),
        (lambda: sample_pairs(POOL, 5), "n_pairs must be even and at least 2.*got 5"),
        (lambda: sample_pairs(POOL, 0), "n_pairs must be even and at least 2.*got 0"),
        (lambda: sample_triplets(POOL, 0), "n_triplets must be at least 1, got 0"),
        (
            lambda: sample_pairs(Pool(torch.zeros(3), torch.tensor([0, 0, 1])), 2),
            r"at least 2 examples of each class, but class '1' has 1: keep the larger classes with pool\.select",
        ),
        (lambda: Siamese(nn.Identity(), margin=0), "margin must be above 0, got 0"),
        (lambda: Siamese(nn.Identity(), margin=-1.0), "margin must be above 0, got -1.0"),
        (lambda: Siamese(nn.Identity(), margin=math.nan), "margin must be above 0, got nan"),
        (lambda: Siamese(nn.Identity(), pair_loss="hinge"), "pair_loss must be one of .*'triplet'.*, got 'hinge'"),
        (lambda: Siamese(nn.Identity(), pair_loss="logistic"), "n_features is needed, since Identity does not name"),
        (lambda: Matching(nn.Identity(), temperature=0), "temperature must be above 0, got 0"),
        (lambda: Matching(nn.Identity(), full_context=True), "n_features is needed"),
        (lambda: Matching(nn.Identity(), full_context=True, n_features=2, n_reads=0), "n_reads must be at least 1"),
        (lambda: Prototypical(nn.Identity(), temperature=-1), "temperature must be above 0, got -1"),
        (
            lambda: Prototypical(nn.Identity(), distance="dot"),
            r"distance must be one of \['squared euclidean', 'cosine'",
        ),
        (lambda: Transfer(nn.Identity(), 4, n_features=2, temperature=0), "temperature must be above 0, got 0"),
        (lambda: Transfer(nn.Identity(), 4, n_features=2, head="bilinear"), "head must be one of"),
        (lambda: Transfer(nn.Identity(), 1, n_features=2), "n_classes >= 2"),
        (lambda: Transfer(nn.Identity(), 4, n_features=2, inner_lr=0), "inner_lr must be above 0, got 0"),
        (lambda: Transfer(nn.Identity(), 4, n_features=2, n_inner_steps=-1), "n_inner_steps >= 0"),
        (lambda: Conv4(downsample="half"), "downsample must be 'pool', 'stride' or 'maps', got 'half'"),
        (lambda: Conv4(5, downsample="maps"), "leave n_outputs out, got n_outputs=5"),
        (lambda: RelationModule(map_size=3), "at least 4 pixels, got map_size=3"),
    ],
)
def test_bad_input(draw, message):
    with pytest.raises(ValueError, match=message):
        draw()


def test_an_encoder_that_returns_a_map():
    x, y = torch.rand(2, 1, 28, 28), torch.tensor([0, 1])
    maps = Conv4(channels=4, downsample="maps")
    for learner in (Prototypical(maps), Matching(maps), Siamese(maps), Transfer(maps, 3)):
        with pytest.raises(
            ValueError, match=re.escape("must return vectors [n, n_features], got [2, 4, 7, 7]: flatten")
        ):
            learner.adapt(x, y, n_way=2)
    with pytest.raises(ValueError, match=re.escape("one score a pair, [4, 1], got [4, 2]")):
        answer(Relation(nn.Flatten(), nn.Linear(1568, 2)), x, y, x, 2)
    with pytest.raises(ValueError, match="the encoder returns vectors of size 6, but n_features=5: correct it"):
        Transfer(nn.Linear(2, 6), 3, n_features=5).adapt(SUPPORT_X, SUPPORT_Y, n_way=2)


def test_what_is_drawn_must_be_what_the_learner_learns_from():
    encoder = nn.Linear(1, 2)
    pairs, batches = (lambda g: sample_pairs(POOL, 4, g)), (lambda g: POOL.sample_batch(99, g))
    tasks = lambda g: sample_episodes(POOL, 2, 2, 1, 1, g)  # noqa: E731
    wrong = [
        (MAML(nn.Linear(1, 2), 0.1), pairs, "MAML learns from episodes, got a labelled batch: sample with .*episodes"),
        (Prototypical(encoder), batches, "Prototypical learns from episodes, got a labelled batch"),
        (Relation(encoder, nn.Linear(4, 1)), batches, "Relation learns from episodes"),
        (Siamese(encoder), tasks, r"'contrastive' learns from pairs, got Episode\(.*sample with pool.pairs"),
        (
            Siamese(encoder),
            batches,
            "'contrastive' learns from pairs, got a batch of kind 'labelled': sample with pool.pairs",
        ),
        (
            Siamese(encoder, pair_loss="triplet"),
            pairs,
            "'triplet' learns from triplets, got a batch of kind 'pairs': sample with pool.triplets",
        ),
        (
            Siamese(encoder),
            lambda g: Batch((torch.zeros(2, 1),) * 2, torch.ones(2), "pairs"),
            "all equal or all unequal",
        ),
        (
            Transfer(encoder, 6, n_features=2),
            tasks,
            r"Transfer learns from labelled batches, got Episode.*pool.batches\(",
        ),
        (Transfer(encoder, 5, n_features=2), batches, r"class ids 0…4 \(n_classes=5\), got torch.int64 from \d to 5"),
        (
            Transfer(encoder, 6, n_features=2),
            lambda g: Batch(torch.tensor([[math.nan]]), torch.tensor([0])),
            "x holds NaN",
        ),
    ]
    for learner, sample, message in wrong:
        with pytest.raises(ValueError, match=message):
            fit(learner, sample, 1, progress=False)


def test_tasks_within_a_group():
    pool = Pool(torch.arange(60.0).reshape(60, 1), torch.arange(60) // 5)  # 12 classes
    groups = ["a"] * 5 + ["b"] * 4 + ["c"] * 3
    x = sample_episodes(pool, 500, 4, 1, 2, torch.Generator().manual_seed(0), groups=groups).query_x[..., 0].long() // 5
    group = torch.tensor([0] * 5 + [1] * 4 + [2] * 3)[x]
    assert (group == group[:, :1]).all() and not (group == 2).any()  # group c has too few classes
    assert abs((group[:, 0] == 0).double().mean() - 0.5) < 0.07
    with pytest.raises(ValueError, match="n_way=6 needs a group of as many classes, the largest has 5"):
        sample_episodes(pool, 1, 6, 1, 1, groups=groups)
    with pytest.raises(ValueError, match="groups must name the group of each of 12 classes, got 3 names"):
        sample_episodes(pool, 1, 2, 1, 1, groups=["a", "b", "c"])


def test_raw_pixels_by_three_learners_agree_with_one_shot():
    pool = Pool(torch.rand(100, 1, 4, 4), torch.arange(100) // 10)
    sample = lambda g: sample_episodes(pool, 50, 5, 1, 5, g)  # noqa: E731
    scores = [
        evaluate(learner, sample, 100).per_task for learner in (Prototypical(nn.Flatten()), Siamese(nn.Flatten()))
    ]
    assert torch.equal(*scores)
