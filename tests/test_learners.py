"""What every learner of the package must do, and what each does by hand on small numbers."""

import copy
import io

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils._pytree import tree_leaves

import metalearn.learners
from metalearn import Episode, Pool, evaluate, fit, over_tasks, sample_episodes, sample_pairs, sample_triplets
from metalearn.learners import (
    ANIL,
    ESMAML,
    MAML,
    Contrastive,
    EvolvedRule,
    HyperNetwork,
    ImplicitMAML,
    InContext,
    LearnedOptimizer,
    Learner,
    Matching,
    MetaLSTM,
    MetaNetwork,
    MetaSGD,
    NeuralProcess,
    Prototypical,
    Relation,
    Reptile,
    Shrinkage,
    Siamese,
    SoftKMeans,
    Transfer,
)
from metalearn.networks import MLP, BatchStatistics, Conv4, convert_norms
from metalearn.unlabelled import Views

N_WAY, N_FEATURES, N_SIGNAL = 3, 16, 3

FACTORIES = {  # a new learner is entered here, each of its kinds with a comma and a word, and passes
    "ANIL": lambda: ANIL(encoder(), MLP([8, N_WAY]), 0.3, 5),
    "Contrastive": lambda: Contrastive(encoder(), n_features=8, n_projection=16, temperature=0.3),
    "ESMAML": lambda: ESMAML(MLP([N_FEATURES, 8, N_WAY]), 0.1, 2, n_directions=10),
    "EvolvedRule": lambda: EvolvedRule(linear(), 5, n_pairs=8, unit=0.003),
    "HyperNetwork, per class": lambda: HyperNetwork(encoder(), per_class=True, n_hidden=32),
    "NeuralProcess, per class": lambda: NeuralProcess(encoder(), per_class=True, n_hidden=32, n_embedding=16),
    "HyperNetwork": lambda: HyperNetwork(encoder(), MLP([8, N_WAY]), N_WAY, n_hidden=32, n_embedding=16),
    "ImplicitMAML": lambda: ImplicitMAML(model(), 0.3, 5, strength=0.3, n_cg_steps=3),
    "InContext": lambda: InContext(encoder(), N_WAY, width=32, n_layers=1),
    "LearnedOptimizer": lambda: LearnedOptimizer(model(), 3, n_hidden=8),
    "MAML": lambda: MAML(model(), 0.3, 5),
    "MAML, multi-step loss": lambda: MAML(model(), 0.3, 3, step_weights=[0.2, 0.3, 0.5]),
    "Matching": lambda: Matching(encoder(), temperature=0.3),
    "Matching, full context": lambda: Matching(encoder(), full_context=True, n_reads=2, temperature=0.3),
    "MetaLSTM": lambda: MetaLSTM(model(), 3, n_hidden=8, initial_lr=0.3),
    "MetaLSTM, batches": lambda: MetaLSTM(model(), 5, n_hidden=8, batch_size=5, initial_lr=0.5),
    "MetaNetwork": lambda: awake(MetaNetwork(encoder(), N_WAY, hidden=[16], n_representation=8, n_rule_hidden=4)),
    "MetaSGD": lambda: MetaSGD(model(), 0.3, 2),
    "MetaSGD, per tensor and step": lambda: MetaSGD(model(), 0.3, 2, rate_per="tensor", per_step=True),
    "NeuralProcess": lambda: NeuralProcess(encoder(), N_WAY, n_hidden=32, n_embedding=16),
    "Prototypical": lambda: Prototypical(encoder()),
    "Prototypical, cosine": lambda: Prototypical(encoder(), distance="cosine", temperature=0.3),
    "Relation": lambda: Relation(encoder(), MLP([16, 32, 1])),
    "Reptile": lambda: Reptile(model(), 0.3, 5, batch_size=5),
    "Shrinkage": lambda: Shrinkage(encoder(), N_WAY),
    "Siamese, contrastive": lambda: Siamese(encoder(), margin=2.0),
    "Siamese, logistic": lambda: Siamese(encoder(), pair_loss="logistic"),
    "Siamese, triplet": lambda: Siamese(encoder(), pair_loss="triplet"),
    "SoftKMeans": lambda: SoftKMeans(encoder()),
    "SoftKMeans, cluster": lambda: SoftKMeans(encoder(), distractors="cluster"),
    "SoftKMeans, mask": lambda: SoftKMeans(encoder(), distractors="mask", n_refinements=2),
    "Transfer": lambda: Transfer(encoder(), 200, n_inner_steps=20),
    "Transfer, cosine": lambda: Transfer(encoder(), 200, head="cosine", n_inner_steps=5),
    "Transfer, fine-tuning": lambda: Transfer(encoder(), 200, encoder_lr=0.01, n_inner_steps=5),
}
STARTS = {  # have an initial head
    *("ANIL", "ESMAML", "EvolvedRule", "ImplicitMAML", "LearnedOptimizer", "MAML", "MetaLSTM", "MetaSGD", "Reptile")
}
NAMED = {"HyperNetwork", "InContext", "MetaNetwork", "NeuralProcess"}  # have an output for each class by its number
SLUGGISH = {"HyperNetwork", "InContext", "NeuralProcess"}  # learn to compare from scratch, which takes more steps
ITERATES = {name for name in FACTORIES if name.split(",")[0] in STARTS | {"Shrinkage", "Transfer"}}  # take inner steps
EQUIVARIANT = {  # a permutation of the classes permutes the predictions, exactly
    name for name in FACTORIES if name.split(",")[0] not in STARTS | NAMED or "per class" in name
}
ORDERED = {"Matching, full context", "MetaLSTM, batches", "MetaNetwork", "Reptile"}  # the order of the support matters
EVOLVES = {"ESMAML", "EvolvedRule"}  # learn from losses alone, of which a toy's seconds hold few
SLOW = {
    "ESMAML",
    "LearnedOptimizer",
    "MetaLSTM",
    "MetaLSTM, batches",
    "MetaNetwork",
}  # a recurrent cell for each weight: fewer tasks a step
PAIRS = {"Siamese, contrastive": sample_pairs, "Siamese, logistic": sample_pairs, "Siamese, triplet": sample_triplets}


def model():
    return MLP([N_FEATURES, 32, N_WAY])


def linear():
    return MLP([N_FEATURES, N_WAY])


def awake(learner):
    """Return a meta network whose fast weights count from the start; by default they start small."""
    for last in (learner.base_rule[-1], learner.representation_rule):
        nn.init.normal_(last.weight, std=0.1)
    return learner


def encoder():
    return MLP([N_FEATURES, 32, 8])


def toy(seed, n_classes=60, size=20):
    """Return classes that differ in 3 of 16 directions; the others are noise that a learner must come to ignore."""
    generator = torch.Generator().manual_seed(seed)
    y = torch.arange(n_classes * size) // size
    x = 1.5 * torch.randn(len(y), N_FEATURES, generator=generator)
    x[:, :N_SIGNAL] = 1.5 * torch.randn(n_classes, N_SIGNAL, generator=generator)[y] + 0.3 * x[:, :N_SIGNAL]
    return Pool(x, y)


def redraw(x, generator):
    """Return examples of the toy with other noise: what a good augmentation changes."""
    noise = 1.5 * torch.randn(x.shape, generator=generator)
    return torch.cat([x[:, :N_SIGNAL] + 0.2 * noise[:, :N_SIGNAL], noise[:, N_SIGNAL:]], 1)


def sampler(pool, n_tasks=16, n_shot=2, n_query=5):
    return lambda generator: sample_episodes(pool, n_tasks, N_WAY, n_shot, n_query, generator)


def training_sampler(name, pool, n_tasks=16, n_shot=2):
    """Return what a learner is trained with: episodes, labelled batches, pairs, triplets or views."""
    if name == "Contrastive":
        return Views(pool, redraw, 64)
    if name.startswith("Transfer"):
        return lambda generator: pool.sample_batch(64, generator)
    if name in PAIRS:
        return lambda generator: PAIRS[name](pool, 64, generator)
    return sampler(pool, n_tasks // 4 if name in SLOW else n_tasks, n_shot)


def episodes(seed=0):
    return sampler(toy(0))(torch.Generator().manual_seed(seed))


def predictions(learner, task):
    return learner.predict(learner.adapt(task.support_x, task.support_y, n_way=task.n_way), task.query_x)


@pytest.fixture(params=FACTORIES)
def name(request):
    return request.param


@pytest.fixture
def learner(name):
    torch.manual_seed(0)
    return FACTORIES[name]()


def test_every_learner_of_the_package_is_here():
    assert {name.split(",")[0] for name in FACTORIES} == set(metalearn.learners.__all__) - {
        *("Learner", "Pixels"),
        "ConditionalVAE",  # has no labels: see test_generation.py
        "TaskBank",  # is for regression: see test_task_bank.py
        "MatrixFactorization",  # is for ratings: see test_ratings.py
    }
    assert all(type(FACTORIES[name]()).__name__ == name.split(",")[0] for name in FACTORIES)


def test_adapt_and_predict_are_pure(learner):
    task = episodes()[0]
    attributes = {k: copy.copy(vars(m)) for k, m in learner.named_modules()}
    state, inputs = copy.deepcopy(learner.state_dict()), copy.deepcopy((task.support_x, task.support_y, task.query_x))
    first = predictions(learner, task)
    assert {k: vars(m) for k, m in learner.named_modules()} == attributes
    assert all(torch.equal(learner.state_dict()[k], v) for k, v in state.items())
    assert all(torch.equal(a, b) for a, b in zip(inputs, (task.support_x, task.support_y, task.query_x), strict=True))
    assert torch.equal(predictions(learner, task), first)
    assert all(isinstance(leaf, torch.Tensor) for leaf in tree_leaves(learner.adapt(task.support_x, task.support_y)))


def test_save_and_load(learner, name):
    file = io.BytesIO()
    torch.save(learner.state_dict(), file)
    file.seek(0)
    other = FACTORIES[name]()
    other.load_state_dict(torch.load(file, weights_only=True))
    assert torch.equal(predictions(other, episodes()[0]), predictions(learner, episodes()[0]))


@pytest.mark.parametrize("device", ["meta", "cuda"])
def test_follows_its_inputs_to_a_device(learner, device):
    if device == "cuda" and not torch.cuda.is_available():
        pytest.skip("no GPU here")
    assert predictions(learner.to(device), episodes()[0].to(device)).device.type == device


def test_order_of_the_support_does_not_matter(learner, name):
    learner, order = learner.double(), torch.tensor([5, 2, 0, 4, 1, 3])
    task = episodes()[0].map(lambda t: t.double() if t.is_floating_point() else t)
    shuffled = Episode(task.support_x[order], task.support_y[order], task.query_x, task.query_y, N_WAY)
    same = torch.allclose(predictions(learner, shuffled), predictions(learner, task), rtol=1e-9, atol=1e-11)
    assert same is (name not in ORDERED)


def test_a_permutation_of_the_classes_permutes_the_predictions(learner, name):
    if name not in EQUIVARIANT:
        pytest.skip("its outputs have initial weights of their own")
    task, permutation = episodes()[0], torch.tensor([2, 0, 1])
    renamed = Episode(task.support_x, permutation[task.support_y], task.query_x, task.query_y, N_WAY)
    torch.testing.assert_close(predictions(learner, renamed)[:, permutation], predictions(learner, task))


def test_a_single_query_is_predicted_as_among_others(learner):
    task = episodes()[0]
    alone = Episode(task.support_x, task.support_y, task.query_x[:1], task.query_y[:1], N_WAY)
    torch.testing.assert_close(predictions(learner, alone), predictions(learner, task)[:1])


def test_chance_on_random_labels(learner, name):
    torch.manual_seed(1)
    noise = Pool(torch.randn(600, N_FEATURES), torch.arange(600) // 20)
    fit(learner, training_sampler(name, noise, 8), 20, progress=False)
    score = evaluate(learner, sampler(Pool(torch.randn(600, N_FEATURES), noise.y), 100), 600)
    assert abs(score.mean - 1 / N_WAY) < 2 * score.ci95
    if name != "Relation":  # whose squared error is least, on noise, where all scores are equal
        assert len(predictions(learner, episodes()[0]).argmax(1).unique()) > 1  # at chance by guessing, not by silence


N_STEPS = {
    "ESMAML": 250,
    "HyperNetwork": 250,
    "InContext": 250,
    "MetaNetwork": 160,
    "NeuralProcess": 250,
}  # 120 for all others
RATES = {"ESMAML": 0.03, "EvolvedRule": 0.5, "InContext": 3e-3}  # 0.01 for all others


@pytest.mark.slow
def test_learns_a_toy_in_seconds(learner, name):
    test = sampler(toy(1), 100, n_shot=5)
    before = evaluate(learner, test)
    n_steps = N_STEPS.get(name.split(",")[0], 120)
    sample, rate = training_sampler(name, toy(0, 200), n_shot=5), RATES.get(name, 0.01)
    history = fit(learner, sample, n_steps, outer_lr=rate, progress=False)
    after = evaluate(learner, test)
    assert after.mean > before.mean + 0.15
    assert after.mean > (0.55 if name in EVOLVES else 0.65 if name.split(",")[0] in SLUGGISH else 0.8)
    assert sum(history.losses[-20:]) < sum(history.losses[:20])


def test_loop_and_vmap_agree(learner):
    batch = episodes().map(lambda t: t.double() if t.is_floating_point() else t)
    learner = learner.double()
    loop, vmap = over_tasks(learner.loss, batch, "loop"), over_tasks(learner.loss, batch, "vmap")
    torch.testing.assert_close(vmap, loop, rtol=1e-10, atol=1e-12)


def test_number_of_inner_steps(learner, name):
    task = episodes()[0]
    if name in ITERATES:
        none = learner.adapt(task.support_x, task.support_y, n_way=N_WAY, n_steps=0)
        assert not torch.equal(learner.predict(none, task.query_x), predictions(learner, task))
    else:
        with pytest.raises(ValueError, match=f"{name.split(',')[0]} takes no inner steps, got n_steps=3"):
            learner.adapt(task.support_x, task.support_y, n_way=N_WAY, n_steps=3)


def test_prototypes_by_hand():
    learner = Prototypical(nn.Identity())
    adapted = learner.adapt(torch.tensor([[1.0, 0], [0, 4], [3, 0], [5, 0]]), torch.tensor([0, 1, 0, 0]), n_way=2)
    assert adapted["prototypes"].tolist() == [[3, 0], [0, 4]]  # unequal shots are averaged class by class
    assert learner.predict(adapted, torch.tensor([[0.0, 0]])).tolist() == [[-9, -16]]


def test_prototypical_needs_vectors():
    with pytest.raises(
        ValueError, match=r"the encoder must return vectors \[n, n_features\], got \[2, 4, 3\]: flatten"
    ):
        Prototypical(nn.Identity()).adapt(torch.zeros(2, 4, 3), torch.tensor([0, 1]))


def test_maml_with_zero_inner_steps_is_joint_training():
    torch.manual_seed(0)
    learner, batch = MAML(MLP([1, 8, 1]), 0.1, 0, loss_fn=F.mse_loss), regression()
    learner.backward(batch)
    pooled = F.mse_loss(learner.model(batch.query_x.flatten(0, 1)), batch.query_y.flatten(0, 1))
    expected = torch.autograd.grad(pooled, list(learner.parameters()))
    torch.testing.assert_close([p.grad for p in learner.parameters()], list(expected))
    with pytest.raises(ValueError, match="n_inner_steps must be at least 0, got -1"):
        MAML(MLP([1, 8, 1]), 0.1, -1)


def regression():
    x = torch.linspace(-1, 1, 24).reshape(2, 12, 1)
    return Episode(x[:, :5], x[:, :5] ** 2, x[:, 5:], x[:, 5:] ** 2)


@pytest.mark.parametrize("policy", ["batch", "support", "frozen", "group", "none"])
@pytest.mark.parametrize("method", ["MAML", "Prototypical"])
def test_which_norms_let_one_query_change_anothers_prediction(policy, method):
    torch.manual_seed(0)
    net = Conv4(2 if method == "MAML" else None, channels=4, norm=policy)
    learner = (MAML(net, 0.1) if method == "MAML" else Prototypical(net)).eval()
    x, y = torch.rand(4, 1, 28, 28), torch.tensor([0, 1, 0, 1])
    adapted = learner.adapt(x, y, n_way=2)
    query, neighbour = torch.rand(1, 1, 28, 28), 5 * torch.rand(1, 1, 28, 28)
    alone, beside = learner.predict(adapted, query), learner.predict(adapted, torch.cat([query, neighbour]))[:1]
    assert torch.allclose(alone, beside, rtol=1e-4, atol=1e-5) is not (policy == "batch")


def test_frozen_statistics_stay_out_of_mamls_inner_loop_and_are_estimated_by_fit():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(N_FEATURES, 8), BatchStatistics(8, "frozen"), nn.ReLU(), nn.Linear(8, N_WAY))
    learner = MAML(model, 0.1).train()
    task = episodes()[0]
    alone = learner.predict(learner.adapt(task.support_x, task.support_y), task.query_x[:1])
    torch.testing.assert_close(alone, predictions(learner, task)[:1])
    fit(learner, sampler(toy(0), 4), 3, progress=False)
    assert (model[1].var != 1).all()


BAD_BATCHES = {
    "label too high": (
        lambda b: b.support_y.add_(1),
        r"support_y must hold integer labels 0…2 \(n_way=3\), got torch.int64 from 1 to 3",
    ),
    "label negative": (lambda b: b.query_y.sub_(1), "query_y must hold integer labels 0…2"),
    "NaN": (lambda b: b.support_x[1, 0].fill_(float("nan")), r"support_x holds NaN or infinite values, in tasks \[1\]"),
    "infinite": (lambda b: b.query_x[0, 0].fill_(float("inf")), "query_x holds NaN or infinite values"),
    "no example": (lambda b: b.support_y.masked_fill_(b.support_y == 1, 0), "no support example of class 1"),
}


@pytest.mark.parametrize("fault", BAD_BATCHES)
def test_bad_values_are_refused_by_fit_and_evaluate(learner, fault):
    spoil, message = BAD_BATCHES[fault]
    batch = episodes()
    spoil(batch)
    with pytest.raises(ValueError, match=message):
        evaluate(learner, lambda generator: batch, 16)
    with pytest.raises(ValueError, match=message):
        fit(learner, lambda generator: batch, 1, progress=False)


def test_a_model_with_the_wrong_number_of_outputs():
    learner = MAML(MLP([N_FEATURES, 5]), 0.1)
    with pytest.raises(ValueError, match=r"the task needs predictions of shape \[15, 3\], the model gives \[15, 5\]"):
        evaluate(learner, sampler(toy(0)), 16)
    wide = MAML(MLP([1, 8, 2]), 0.1, loss_fn=lambda p, y: (p - y).square().mean())  # broadcasts without a word
    with pytest.raises(ValueError, match=r"the task needs predictions of shape \[7, 1\], the model gives \[7, 2\]"):
        fit(wide, lambda generator: regression(), 1, progress=False)


class Shifts(nn.Linear):
    """A model that centres its input in place."""

    def forward(self, x):
        return super().forward(x.sub_(0.5))


class Counts(nn.Linear):
    """A model with a buffer that counts its calls."""

    def __init__(self, *sizes):
        super().__init__(*sizes)
        self.register_buffer("n_calls", torch.zeros(()))

    def forward(self, x):
        self.n_calls += 1
        return super().forward(x)


@pytest.mark.parametrize("make", [Counts, Shifts])
def test_a_model_whose_forward_changes_itself_or_its_input(make):
    model, batch = make(N_FEATURES, N_WAY), episodes()
    before, given = copy.deepcopy(model.state_dict()), batch.support_x.clone()
    for learner in (MAML(model, 0.1, 0), MAML(model, 0.1), Prototypical(model)):
        with pytest.raises(ValueError, match=r"the model.s forward pass changes (the model itself|its input)"):
            fit(learner, lambda generator: batch, 1, progress=False)
    assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())  # and it is put back
    assert torch.equal(batch.support_x, given)


@pytest.mark.parametrize("make", [lambda m: MAML(m, 0.1), Prototypical, lambda m: Transfer(m, 5, n_features=N_WAY)])
def test_running_statistics_are_refused_when_the_learner_is_made(make):
    model = nn.Sequential(nn.BatchNorm1d(N_FEATURES), nn.Linear(N_FEATURES, N_WAY))
    with pytest.raises(ValueError, match=r"has BatchNorm layers that write running statistics.*convert_norms\("):
        make(model)
    fit(MAML(convert_norms(model, "batch"), 0.1), sampler(toy(0)), 1, progress=False)


class Reads(nn.Module):
    """A model of sequences: a recurrent layer of torch's own, then the last state."""

    def __init__(self, kind, n_outputs):
        super().__init__()
        self.reads = getattr(nn, kind)(4, 8, batch_first=True)
        self.head = nn.Linear(8, n_outputs)

    def forward(self, x):
        return self.head(self.reads(x.unflatten(1, (4, 4)))[0][:, -1])


@pytest.mark.parametrize("kind", ["GRU", "LSTM", "RNN"])
def test_recurrent_layers_of_torch_are_learned(kind):
    torch.manual_seed(0)
    for learner in (
        MAML(Reads(kind, N_WAY), 0.3, 2),
        Transfer(Reads(kind, 8), 60, n_features=8, encoder_lr=0.01, n_inner_steps=2),
    ):
        draw = training_sampler(type(learner).__name__, toy(0), 2)
        history = fit(learner, draw, 3, progress=False)
        score = evaluate(learner, sampler(toy(1), 4), 8)
        assert len(history.losses) == 3 and 0 <= score.mean <= 1


def test_frozen_parameters_stay_in_both_loops(name):
    torch.manual_seed(0)
    learner = FACTORIES[name]()
    network = "model" if name.split(",")[0] in STARTS - {"ANIL"} else "encoder"
    frozen = f"{network}.0.weight"
    learner.get_parameter(frozen).requires_grad_(False)
    before = learner.get_parameter(frozen).clone()
    task = episodes()[0]
    assert frozen not in learner.adapt(task.support_x, task.support_y, n_way=N_WAY)
    fit(learner, training_sampler(name, toy(0), 4), 3, outer_lr=0.1, progress=False)
    assert torch.equal(learner.get_parameter(frozen), before)


@pytest.mark.parametrize("name", sorted({*STARTS, "Transfer, fine-tuning"}))
def test_weights_to_adapt_that_are_all_frozen_are_named(name):
    task = episodes()[0]
    with pytest.raises(ValueError, match=r"frozen \(requires_grad=False\)"):
        FACTORIES[name]().requires_grad_(False).adapt(task.support_x, task.support_y, n_way=N_WAY)


def test_constant_rates_are_not_trained_and_follow_the_device():
    rate = nn.Parameter(torch.tensor(0.1))
    learner = MAML(model(), rate)
    assert "inner_lr" not in dict(learner.named_parameters())
    fit(learner, sampler(toy(0), 4), 3, outer_lr=0.1, progress=False)
    assert learner.inner_lr == rate.item() == pytest.approx(0.1)
    rates = {f"model.{key}": torch.full_like(p, 0.1) for key, p in model().named_parameters()}
    by_name, task = MAML(model(), rates).to("meta"), episodes()[0].to("meta")
    assert predictions(by_name, task).device.type == "meta"


CONTINUES = {"ANIL", "MAML", "MetaSGD", "Prototypical", "Reptile", "Transfer"}


def test_adaptation_goes_on_from_an_earlier_result(learner, name):
    task = episodes()[0]
    x, y = task.support_x, task.support_y
    assert learner.continues is (name.split(",")[0] in CONTINUES)
    if not learner.continues:
        with pytest.raises(TypeError, match="start"):
            learner.adapt(x, y, n_way=N_WAY, start={})
        return
    if learner.n_inner_steps is None:  # prototypes: halves, one after the other, are the whole
        order = y.argsort(stable=True)
        first, second = order[::2], order[1::2]
        half = learner.adapt(x[first], y[first], n_way=N_WAY)
        whole = learner.adapt(x[second], y[second], n_way=N_WAY, start=half)
        torch.testing.assert_close(whole, learner.adapt(x, y, n_way=N_WAY))
    elif "batches" not in name and name != "Reptile":  # two steps and one are three
        two = learner.adapt(x, y, n_way=N_WAY, n_steps=2)
        three = learner.adapt(x, y, n_way=N_WAY, n_steps=1, start=two)
        if not getattr(learner, "per_step", False):
            torch.testing.assert_close(three, learner.adapt(x, y, n_way=N_WAY, n_steps=3))


@pytest.mark.parametrize("label", [0, 2])
def test_a_new_example_moves_the_prototype_of_its_class_alone(label):
    learner = Prototypical(nn.Identity())
    first = learner.adapt(4 * torch.eye(3), torch.arange(3))
    more = learner.adapt(torch.zeros(1, 3), torch.tensor([label]), start=first)
    expected = 4 * torch.eye(3)
    expected[label] /= 2
    torch.testing.assert_close(more["prototypes"], expected)
    torch.testing.assert_close(more["counts"], 1 + torch.eye(3)[label])
    with pytest.raises(ValueError, match="start has 3 classes, got n_way=4"):
        learner.adapt(torch.zeros(1, 3), torch.tensor([label]), n_way=4, start=first)
    with pytest.raises(ValueError, match=r"expected labels 0…2, got \[3\]"):
        learner.adapt(torch.zeros(1, 3), torch.tensor([3]), start=first)


@pytest.mark.parametrize("learner", [metalearn.learners.Pixels(), Prototypical(nn.Flatten())])
def test_means_of_bytes_do_not_overflow(learner):
    x = torch.tensor([[[200, 100]], [[240, 0]]], dtype=torch.uint8)
    adapted = learner.adapt(x, torch.tensor([0, 0]))
    assert adapted["prototypes"].tolist() == [[220.0, 50.0]]
    assert learner.predict(adapted, x[:1]).item() == -(20.0**2) - 50.0**2


@pytest.mark.parametrize("labels", [[0, 0, 2, 2], [100, 100, 200, 200], [0, 1, 0, 3]])
@pytest.mark.parametrize("make", [Prototypical, Siamese, Matching, lambda e: Transfer(e, 5, n_features=8)])
def test_labels_with_a_gap_are_refused(make, labels):
    n_way = 2 if 3 in labels else None
    with pytest.raises(ValueError, match=r"expected labels 0…\d+ with at least one support example of each class"):
        make(encoder()).adapt(torch.randn(4, N_FEATURES), torch.tensor(labels), n_way=n_way)


def test_norms_of_a_second_network_follow_their_policy():
    """Once a head with stored statistics kept those it was made with, and queries met in a head's norms."""
    torch.manual_seed(0)
    learner = ANIL(encoder(), MLP([8, 16, N_WAY], norm="frozen"), 0.3, 3)
    fit(learner, sampler(toy(0), 4), 5, progress=False)
    assert (learner.head[1].var != 1).all()
    makers = {
        "ANIL": lambda norm: ANIL(encoder(), MLP([8, 16, N_WAY], norm=norm), 0.3, 3),
        "HyperNetwork": lambda norm: HyperNetwork(encoder(), MLP([8, 16, N_WAY], norm=norm), N_WAY),
        "Relation": lambda norm: Relation(encoder(), MLP([16, 32, 1], norm=norm)),
    }
    task = episodes()[0]
    for make in makers.values():
        for norm, alone in (("batch", False), ("support", True), ("frozen", True)):
            torch.manual_seed(0)
            learner = make(norm).eval()
            adapted = learner.adapt(task.support_x, task.support_y, n_way=N_WAY)
            few = learner.predict(adapted, task.query_x[:2])
            same = torch.allclose(few, learner.predict(adapted, task.query_x)[:2], rtol=1e-4, atol=1e-5)
            assert same is alone, (norm, type(learner).__name__)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_batches_take_the_precision_of_the_learner(dtype):
    torch.manual_seed(0)
    learner = MAML(model(), 0.1).to(dtype)
    fit(learner, sampler(toy(0), 4), 2, progress=False)
    assert 0 <= evaluate(learner, sampler(toy(0), 4), 8).mean <= 1
    assert {p.dtype for p in learner.parameters()} == {dtype}


@pytest.mark.parametrize("name", ["Siamese, contrastive", "Transfer", "Contrastive"])
def test_labelled_batches_take_the_precision_of_the_learner(name):
    assert fit(FACTORIES[name]().double(), training_sampler(name, toy(0)), 2, progress=False).n_steps == 2


def test_every_learner_is_registered_by_its_name():
    assert {name.split(",")[0] for name in FACTORIES} <= set(Learner.registry)
    assert all(Learner.registry[type(make()).__name__] is type(make()) for make in FACTORIES.values())


def test_replacements_have_the_names_of_the_learners_own_tensors(learner):
    """Or names of the method's own, which no tensor of the learner has."""
    task = episodes()[0]
    adapted, own = learner.adapt(task.support_x, task.support_y, n_way=N_WAY), learner.state_dict()
    networks = {name for name, _ in learner.named_children()}
    for name, tensor in adapted.items():
        assert isinstance(tensor, torch.Tensor)
        if name.split(".")[0] in networks:
            assert name in own and (own[name].shape == tensor.shape or own[name].numel() == 0)


def test_transfer_keeps_no_graph():
    learner, task = Transfer(encoder(), 5), episodes()[0]
    adapted = learner.adapt(task.support_x, task.support_y, n_way=N_WAY)
    assert not any(tensor.requires_grad for tensor in adapted.values())


def test_pixels_are_prototypes_without_an_encoder():
    task = episodes()[0]
    learner = metalearn.learners.Pixels()
    torch.testing.assert_close(predictions(learner, task), predictions(Prototypical(nn.Identity()), task))
    assert evaluate(learner, sampler(toy(0)), 16).mean > 0.5
    with pytest.raises(ValueError, match="Pixels has no parameter that is trained"):
        fit(learner, sampler(toy(0)), 1, progress=False)
