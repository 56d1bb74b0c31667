"""A classifier for a user's own images: its answers, its refusals, its threshold, its file, its page in the book."""

from __future__ import annotations

import builtins
import copy
import json
import os
import pickle
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import nn
from torch.utils._pytree import tree_map

import metalearn.learners
from metalearn import Pool, fit, sample_episodes
from metalearn.data import glyphs
from metalearn.deploy import Classifier
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
from metalearn.networks import MLP, Conv4, RelationModule, convert_norms
from metalearn.runtime import default_seed, stream

PAGE = Path(__file__).resolve().parents[1] / "book" / "deploy.md"
LABELS = ["pear", "apple", "pear", "fig", "apple"]
NAMES = ("apple", "fig", "pear")
FACTORIES = {  # a new learner is entered here, and passes
    "ANIL": lambda norm: ANIL(Conv4(channels=4, norm=norm), MLP([4, 3]), 0.1, 2),
    "Contrastive": lambda norm: Contrastive(Conv4(channels=4, norm=norm), n_features=4, n_projection=3),
    "ESMAML": lambda norm: ESMAML(Conv4(3, channels=4, norm=norm), 1e-3, 2, n_directions=3),
    "EvolvedRule": lambda norm: EvolvedRule(Conv4(3, channels=4, norm=norm), 2),
    "HyperNetwork": lambda norm: HyperNetwork(Conv4(channels=4, norm=norm), MLP([4, 3]), 3, n_hidden=8, n_embedding=4),
    "ImplicitMAML": lambda norm: ImplicitMAML(Conv4(3, channels=4, norm=norm), 0.1, 2),
    "InContext": lambda norm: InContext(Conv4(channels=4, norm=norm), 3, width=8, n_layers=1, n_heads=2),
    "LearnedOptimizer": lambda norm: LearnedOptimizer(Conv4(3, channels=4, norm=norm), 2, n_hidden=3, truncation=1),
    "MAML": lambda norm: MAML(Conv4(3, channels=4, norm=norm), [0.1, 0.05], 2, step_weights=[0.5, 0.5]),
    "Matching": lambda norm: Matching(Conv4(channels=4, norm=norm), full_context=True, n_reads=2, temperature=0.2),
    "MetaLSTM": lambda norm: MetaLSTM(Conv4(3, channels=4, norm=norm), 2, n_hidden=3, batch_size=2),
    "MetaNetwork": lambda norm: MetaNetwork(Conv4(channels=4, norm=norm), 3, hidden=[5], n_rule_hidden=3),
    "MetaSGD": lambda norm: MetaSGD(Conv4(3, channels=4, norm=norm), 0.1, 2, rate_per="tensor", per_step=True),
    "NeuralProcess": lambda norm: NeuralProcess(Conv4(channels=4, norm=norm), 3, n_hidden=8, n_embedding=4),
    "Prototypical": lambda norm: Prototypical(Conv4(channels=4, norm=norm)),
    "Relation": lambda norm: Relation(
        Conv4(channels=4, norm=norm, downsample="maps"), RelationModule(4, n_hidden=6, norm=norm)
    ),
    "Reptile": lambda norm: Reptile(Conv4(3, channels=4, norm=norm), 0.1, 2, batch_size=2),
    "Shrinkage": lambda norm: Shrinkage(Conv4(channels=4, norm=norm), 3),
    "Siamese": lambda norm: Siamese(Conv4(channels=4, norm=norm), pair_loss="logistic"),
    "SoftKMeans": lambda norm: SoftKMeans(Conv4(channels=4, norm=norm)),
    "Transfer": lambda norm: Transfer(Conv4(channels=4, norm=norm), 7, encoder_lr=0.01, n_inner_steps=3),
}


def photos(n=5, seed=0, shape=(1, 28, 28)):
    return torch.randint(256, (n, *shape), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


def make(method="Prototypical", norm="group", **options):
    torch.manual_seed(0)
    return Classifier.fit(FACTORIES[method](norm), photos(), LABELS, **options)


def test_every_learner_of_the_package_is_here():
    assert set(FACTORIES) == set(metalearn.learners.__all__) - {
        *("ConditionalVAE", "Learner", "MatrixFactorization", "Pixels", "TaskBank")
    }


@pytest.mark.parametrize("method", FACTORIES)
def test_the_answer_is_the_learners_own(method):
    torch.manual_seed(0)
    learner = FACTORIES[method]("frozen").train()
    learner.update_statistics([sample_episodes(Pool(photos(40), torch.arange(40) // 10), 2, 3, 2, 2)])
    before = {name: tensor.clone() for name, tensor in learner.state_dict().items()}
    classifier = Classifier.fit(learner, photos(), LABELS)
    assert learner.training and all(torch.equal(before[name], t) for name, t in learner.state_dict().items())
    learner.eval()
    adapted = learner.adapt(photos() / 255, torch.tensor([2, 0, 2, 1, 0]), n_way=3)
    logits = learner.predict(adapted, photos(6, seed=1) / 255)
    torch.testing.assert_close(classifier.predict_proba(photos(6, seed=1)), logits.softmax(1).detach())
    assert classifier.predict(photos(6, seed=1)) == [NAMES[i] for i in logits.argmax(1)]
    assert classifier.class_names == NAMES and classifier.shots == (2, 1, 2)
    nn.init.zeros_(next(learner.parameters()))  # training on does not change the classifier
    torch.testing.assert_close(classifier.predict_proba(photos(6, seed=1)), logits.softmax(1).detach())


@pytest.mark.parametrize("norm", ["support", "frozen", "group", "none"])
@pytest.mark.parametrize("method", FACTORIES)
def test_one_image_gets_the_same_answer_alone_and_in_a_batch(method, norm):
    classifier, batch = make(method, norm), photos(8, seed=1)
    alone = torch.cat([classifier.predict_proba(image) for image in batch])
    torch.testing.assert_close(alone, classifier.predict_proba(batch), rtol=1e-4, atol=1e-6)
    assert [classifier.predict(image) for image in batch] == classifier.predict(batch)


def test_images_may_come_in_any_usual_form():
    grey = photos()
    files = [Image.fromarray(image.numpy()) for image in grey[:, 0]]
    forms = [grey, grey[:, 0], grey.numpy(), grey / 255, files, list(grey), [i.numpy() for i in grey[:, 0]]]
    probabilities = []
    for form in forms:
        torch.manual_seed(0)
        classifier = Classifier.fit(FACTORIES["Prototypical"]("group"), form, np.array(LABELS))
        queries = list(form)  # a tensor [n, height, width] might be one image of n channels, so a grey batch is a list
        probabilities.append(classifier.predict_proba(queries))
        assert classifier.predict(form[0]) in NAMES and classifier.predict(queries[:1]) == [classifier.predict(form[0])]
    assert all(torch.equal(p, probabilities[0]) for p in probabilities)
    colour = photos(4, shape=(3, 28, 28))
    learner = Prototypical(Conv4(in_channels=3, channels=4, norm="none"))
    rgb = [Image.fromarray(image.permute(1, 2, 0).numpy()) for image in colour]
    by_files, by_tensor = (Classifier.fit(learner, x, [7, 7, 30, 4]) for x in (rgb, colour))
    assert torch.equal(by_files.predict_proba(rgb), by_tensor.predict_proba(colour))
    assert by_files.class_names == (4, 7, 30) and by_files.predict(rgb[2]) == 30
    assert by_files.predict_proba(colour[:0]).shape == (0, 3) and by_files.predict(colour[:0]) == []


def test_threshold_by_hand():
    classifier = Classifier.fit(Prototypical(nn.Identity()), torch.eye(2), ["x", "y"], threshold=0.7)
    queries = torch.tensor([[2.0, 0.0], [0.5, 0.5], [0.4, 0.6]])
    assert classifier.predict(queries) == ["x", None, None]
    assert torch.equal(classifier.confidence(queries), classifier.predict_proba(queries).amax(1))
    classifier.threshold = None
    assert None not in classifier.predict(queries)
    for value in (0, 1, -0.1, 95, float("nan")):
        with pytest.raises(ValueError, match=f"threshold must lie between 0 and 1, both excluded.*got {value}"):
            classifier.threshold = value


@pytest.fixture(scope="module")
def trained():
    torch.manual_seed(0)
    data, learner = glyphs(), Prototypical(Conv4(channels=16, norm="group"))
    fit(learner, lambda g: sample_episodes(data.train, 2, 5, 2, 3, g), 60, outer_lr=3e-3, progress=False)
    return learner.eval(), data


@pytest.mark.slow
def test_the_calibrated_threshold_keeps_its_share_on_other_held_out_classes(trained):
    learner, data = trained
    known, unknown, top = [], [], []
    for user in range(20):  # five letters of scripts that neither training nor calibration saw, five images of each
        task = sample_episodes(data.test, 1, 10, 5, 3, torch.Generator().manual_seed(user))[0]
        rows, own = task.support_y < 5, task.query_y < 5
        labels = [f"my {y}" for y in task.support_y[rows].tolist()]
        classifier = Classifier.fit(learner, task.support_x[rows], labels)
        probability = classifier.confidence(task.query_x)
        top.append(torch.stack([probability[own], probability[~own]]))
        if user == 0:
            elsewhere = classifier.calibrate(data.test, accept=0.9, n_tasks=30)
        classifier.calibrate(data.validation, accept=0.9, n_tasks=8, seed=user)
        accepted = torch.tensor([label is not None for label in classifier.predict(task.query_x)]).double()
        known.append(accepted[own].mean())
        unknown.append(accepted[~own].mean())
    accepted, wrongly_accepted = torch.stack(known).mean(), torch.stack(unknown).mean()
    assert abs(accepted - 0.9) < 0.06
    assert wrongly_accepted < accepted - 0.2
    assert abs(elsewhere.mean - (1 - wrongly_accepted)) < 0.12  # calibrate tells what to expect of such classes
    own, other = torch.cat(top, 1)  # the page says that the top probability rejects fewer at the same share
    assert (other >= own.quantile(0.1)).double().mean() > wrongly_accepted + 0.1


def test_calibration_is_the_share_of_held_out_logits_computed_by_hand(trained):
    learner, data = trained
    support = sample_episodes(data.test, 1, 3, 2, 1, torch.Generator().manual_seed(0))[0]
    y = support.support_y.tolist()
    x, labels = support.support_x[1:], y[1:]  # one class has one image, the others two
    classifier = Classifier.fit(learner, x, labels)
    first = classifier.calibrate(data.validation, 0.8, n_tasks=10)
    generator, known, rejected = stream(default_seed(), "calibration"), [], []
    shots, tops = [labels.count(label) for label in range(3)], []
    for _ in range(10):
        task = sample_episodes(data.validation, 1, 6, 2, 5, generator)[0]
        rows = torch.cat([(task.support_y == label).nonzero().flatten()[: shots[label]] for label in range(3)])
        with torch.no_grad():
            adapted = learner.adapt(task.support_x[rows], task.support_y[rows], n_way=3)
            tops.append(learner.predict(adapted, task.query_x).amax(1))
        known.append(tops[-1][task.query_y < 3])
        rejected.append(tops[-1][task.query_y >= 3])
    known = torch.cat(known)
    with torch.no_grad():
        top = learner.predict(learner.adapt(x, torch.tensor(labels), n_way=3), support.query_x).amax(1)
    share = (known <= top.unsqueeze(1)).double().mean(1)  # of the held-out logits, how many are no higher
    torch.testing.assert_close(classifier.confidence(support.query_x), share)
    assert classifier.threshold == pytest.approx(0.2)
    least = known.sort().values[len(known) // 5 - 1]  # one fifth of them is no higher
    assert (known >= least).double().mean() == pytest.approx(0.8, abs=1.5 / len(known))
    torch.testing.assert_close(first.per_task, torch.stack([(part < least).double().mean() for part in rejected]))
    again = Classifier.fit(learner, x, labels)
    assert torch.equal(again.calibrate(data.validation, 0.8, n_tasks=10).per_task, first.per_task)
    other = again.calibrate(data.validation, 0.8, n_tasks=10, seed=7)
    assert not torch.equal(other.per_task, first.per_task)


def test_calibration_takes_the_default_seed_of_the_session(trained, monkeypatch):
    learner, data = trained
    classifier = Classifier.fit(learner, photos(), LABELS)
    explicit = classifier.calibrate(data.validation, n_tasks=4, seed=2000).per_task
    assert not torch.equal(classifier.calibrate(data.validation, n_tasks=4, seed=0).per_task, explicit)
    monkeypatch.setenv("METALEARN_SEED", "2")
    assert torch.equal(classifier.calibrate(data.validation, n_tasks=4).per_task, explicit)


@pytest.mark.parametrize("norm", ["support", "frozen", "group", "none"])
@pytest.mark.parametrize("method", FACTORIES)
def test_a_saved_classifier_answers_with_the_same_bits(method, norm, tmp_path):
    classifier = make(method, norm, threshold=0.35)
    path = tmp_path / "new folder" / "fruit.safetensors"
    classifier.save(path)
    random = torch.get_rng_state()
    loaded = Classifier.load(path)
    assert torch.equal(torch.get_rng_state(), random)
    assert torch.equal(loaded.predict_proba(photos(9, seed=1)), classifier.predict_proba(photos(9, seed=1)))
    assert loaded.predict(photos(9, seed=1)) == classifier.predict(photos(9, seed=1))
    assert repr(loaded) == repr(classifier) and loaded.shots == classifier.shots and loaded.class_names == NAMES
    pool = Pool(photos(80, seed=2), torch.arange(80) // 10)  # the learner came along, with its settings
    assert torch.equal(loaded.calibrate(pool, n_tasks=3).per_task, classifier.calibrate(pool, n_tasks=3).per_task)
    classifier.save(path)
    assert torch.equal(Classifier.load(path).confidence(photos(seed=1)), classifier.confidence(photos(seed=1)))


def test_networks_that_were_changed_or_are_the_users_own_need_the_module(tmp_path):
    path = tmp_path / "own.safetensors"
    own = [lambda: nn.Sequential(nn.Flatten(), nn.Linear(784, 6), nn.Tanh()), lambda: Conv4(channels=4, norm="none")]
    for build in own:
        model = build()
        if isinstance(model, Conv4):
            model.blocks[2] = nn.Tanh()
        classifier = Classifier.fit(Prototypical(model), photos(), LABELS)
        classifier.save(path)
        with pytest.raises(ValueError, match=r"holds the weights of a \w+ that is not the package's own.*model=\.\.\."):
            Classifier.load(path)
        given = build()
        if isinstance(given, Conv4):
            given.blocks[2] = nn.Tanh()
        loaded = Classifier.load(path, model=given)
        assert loaded.learner.encoder is not given  # a copy: nobody else trains or uses the classifier's network
        assert torch.equal(loaded.predict_proba(photos(seed=1)), classifier.predict_proba(photos(seed=1)))
    wrong = r"do not fit the model: encoder.blocks.0.bias has shape \[4\] in the file and \[8\] in the model"
    with pytest.raises(ValueError, match=wrong):
        Classifier.load(path, model=Conv4(channels=8, norm="none"))
    with pytest.raises(ValueError, match="under the norm policy 'batch'"):
        batch = Conv4(channels=4, norm="batch")
        Classifier.fit(Prototypical(convert_norms(batch, "support")), photos(), LABELS).save(path)
        Classifier.load(path, model=batch)
    assert Classifier.load(path).learner.encoder.config["norm"] == "support"  # the conversion is known to the file


def test_a_learner_of_two_networks(tmp_path):
    path = tmp_path / "relation.safetensors"
    encoder = nn.Sequential(nn.Flatten(), nn.Linear(784, 6))
    classifier = Classifier.fit(Relation(encoder, MLP([12, 4, 1])), photos(), LABELS)
    classifier.save(path)
    with pytest.raises(ValueError, match=r"a Sequential that is not the package's own.*model=\.\.\.\), for 'encoder'"):
        Classifier.load(path)
    with pytest.raises(ValueError, match=r"has the networks \['encoder', 'relation'\]: give them as model=\{'encoder'"):
        Classifier.load(path, model=encoder)
    with pytest.raises(ValueError, match="has the networks"):
        Classifier.load(path, model={"decoder": encoder})
    loaded = Classifier.load(path, model={"encoder": nn.Sequential(nn.Flatten(), nn.Linear(784, 6))})
    assert torch.equal(loaded.predict_proba(photos(seed=1)), classifier.predict_proba(photos(seed=1)))


def test_vectors_and_an_mlp(tmp_path):
    x = torch.randn(5, 2)
    classifier = Classifier.fit(Prototypical(MLP([2, 8, 4], norm="frozen", init_std=0.5)), x, LABELS)
    classifier.save(tmp_path / "a")
    assert torch.equal(Classifier.load(tmp_path / "a").predict_proba(x), classifier.predict_proba(x))
    assert classifier.predict(x[3]) == "fig"


class Malicious:
    def __reduce__(self):
        return exec, ("import builtins; builtins.was_run = True",)


def test_files_that_are_no_whole_classifier_are_refused(tmp_path):
    path, good = tmp_path / "fruit.safetensors", tmp_path / "good.safetensors"
    make().save(good)
    torch.save({"learner": Malicious()}, path)
    with pytest.raises(ValueError, match=r"is no whole classifier file .*it was cut, or something else wrote it"):
        Classifier.load(path)
    assert not hasattr(builtins, "was_run")
    for n in (0, 5, 100, len(good.read_bytes()) // 2, len(good.read_bytes()) - 1):
        path.write_bytes(good.read_bytes()[:n])
        with pytest.raises(ValueError, match="is no whole classifier file"):
            Classifier.load(path)
    save_file({"a": torch.zeros(2)}, path)
    with pytest.raises(
        ValueError, match=r"holds tensors but no classifier: expected a file that Classifier\.save wrote"
    ):
        Classifier.load(path)
    with pytest.raises(ValueError, match=r"is a folder: give the file in it that Classifier\.save wrote"):
        Classifier.load(tmp_path)
    with pytest.raises(FileNotFoundError):
        Classifier.load(tmp_path / "missing")


def tampered(source, target, change):
    """Write a classifier file again, its header or its tensors changed by ``change(header, tensors)``."""
    with safe_open(source, framework="pt") as file:
        header, tensors = dict(file.metadata()), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    change(header, tensors)
    save_file(tensors, target, header)


def test_edited_files_are_refused(tmp_path):
    good, bad = tmp_path / "good.safetensors", tmp_path / "bad.safetensors"
    make().save(good)

    def later_version(header, tensors):
        (key,) = (key for key in header if "metalearn" in key)
        header[key] = "99"

    changes = {
        "has classifier format 99, this version of metalearn reads": later_version,
        "the header of .* was edited after it was saved": lambda h, t: h.update(settings=h["settings"][:-5]),
        "was edited after it was": lambda h, t: h.update(settings=h["settings"].replace('"pear"', '"quince"')),
        r"edited after it was saved: copy the file again": lambda h, t: h.pop("settings"),
        "holds NaN in adapted.prototypes": lambda h, t: t["adapted.prototypes"].fill_(float("nan")),
        "holds NaN in learner.encoder.blocks.0.bias": lambda h, t: t["learner.encoder.blocks.0.bias"][1:].fill_(
            float("nan")
        ),
    }
    for message, change in changes.items():
        tampered(good, bad, change)
        with pytest.raises(ValueError, match=message):
            Classifier.load(bad)
    tampered(good, bad, lambda header, tensors: None)
    assert Classifier.load(bad).class_names == NAMES


def test_the_file_holds_tensors_and_json_and_nothing_else(tmp_path):
    make("MAML").save(tmp_path / "a")
    with safe_open(tmp_path / "a", framework="pt") as file:
        settings = json.loads(file.metadata()["settings"])
    assert settings["learner"] == "MAML" and settings["arguments"]["inner_lr"] == [0.1, 0.05]
    assert settings["arguments"]["model"]["config"]["norm"] == "group" and settings["class_names"] == list(NAMES)


@pytest.mark.parametrize("failing", ["fsync", "replace"])
def test_a_full_disk_leaves_the_old_file(failing, tmp_path, monkeypatch):
    path = tmp_path / "fruit.safetensors"
    make().save(path)
    before = path.read_bytes()

    def no_space(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(*((os, "fsync") if failing == "fsync" else (Path, "replace")), no_space)
    with pytest.raises(OSError, match="No space left"):
        make(norm="none").save(path)
    assert path.read_bytes() == before and [file.name for file in tmp_path.iterdir()] == ["fruit.safetensors"]


def test_what_cannot_be_saved_says_so(tmp_path):
    flat = nn.Sequential(nn.Flatten(), nn.Linear(784, 3))
    for options in ({"inner_lr": torch.tensor(0.1)}, {"inner_lr": 0.1, "loss_fn": nn.CrossEntropyLoss()}):
        with pytest.raises(
            ValueError, match=r"settings are numbers, text, .* losses of torch\.nn\.functional \(cross_en"
        ):
            Classifier.fit(MAML(flat, **options), photos(), LABELS).save(tmp_path / "a")
    assert list(tmp_path.iterdir()) == []


def test_a_loss_of_torch_is_kept_by_its_name(tmp_path):
    network = nn.Sequential(Conv4(3, channels=4, norm="group"), nn.LogSoftmax(1))
    classifier = Classifier.fit(MAML(network, 0.1, 2, loss_fn=nn.functional.nll_loss), photos(), LABELS)
    classifier.save(tmp_path / "a")
    loaded = Classifier.load(tmp_path / "a", model=nn.Sequential(Conv4(3, channels=4, norm="group"), nn.LogSoftmax(1)))
    assert loaded.learner.loss_fn is nn.functional.nll_loss
    assert torch.equal(loaded.predict_proba(photos(6, seed=1)), classifier.predict_proba(photos(6, seed=1)))
    pool = Pool(photos(80, seed=2), torch.arange(80) // 10)  # adapts anew, by that loss
    assert torch.equal(loaded.calibrate(pool, n_tasks=2).per_task, classifier.calibrate(pool, n_tasks=2).per_task)


class Centred(nn.Module):
    """A layer whose outputs depend on their neighbours, and whose name does not say so."""

    def forward(self, x):
        return (x - x.mean(0)).flatten(1)


@pytest.mark.parametrize("model", [Conv4(norm="batch"), nn.BatchNorm2d(1, track_running_stats=False), Centred()])
def test_answers_that_depend_on_their_neighbours_are_refused(model):
    learner = Prototypical(nn.Sequential(model, nn.Flatten()))
    with pytest.raises(ValueError, match=r"depends on the images.*'support', 'frozen', 'group' or 'none', or convert"):
        Classifier.fit(learner, photos(), LABELS)


def test_batchnorm_with_running_statistics_is_constant_in_eval_mode():
    learner = Prototypical(nn.Sequential(nn.BatchNorm2d(1), nn.Flatten()).eval()).train()
    assert Classifier.fit(learner, photos(), LABELS).predict(photos()[3]) == "fig"


LEVELS = r"must lie in \[0, 1\], got levels from 0 to 25\d: divide them by 255, or pass them as uint8"
BAD_SUPPORT = {
    "one class": (photos(2), ["cat", "cat"], "needs at least 2 classes, got only 'cat': add images of another class"),
    "mixed": (photos(2), ["cat", 1], r"all text \(str\) or all integers \(int\), got \['int', 'str'\]"),
    "real numbers": (photos(2), [0.5, 1.5], r"all text \(str\) or all integers \(int\), got \['float'\]"),
    "lengths": (
        photos(3),
        ["cat", "dog"],
        r"expected a label for each support example, got 2 labels for examples \[3, 1, 28, 28\]",
    ),
    "sizes": ([photos(1)[0], photos(1, shape=(1, 30, 30))[0]], [0, 1], r"all of one shape, got shapes .*resize"),
    "none": ([], [], r"expected at least one example, all of one shape, got shapes \[\]"),
    "NaN": (torch.full((2, 1, 28, 28), float("nan")), [0, 1], "the images hold NaN or infinite values: clean"),
    "type": (
        torch.zeros(2, 1, 28, 28, dtype=torch.int64),
        [0, 1],
        r"uint8 \(0 to 255\) or float, .* of type torch.int64",
    ),
    "palette": ([Image.new("P", (28, 28))] * 2, [0, 1], r"mode 'L' or 'RGB', got 'P': image.convert\('RGB'\)"),
    "axes": (torch.zeros(2, 1, 1, 28, 28), [0, 1], r"expected support images .* got shape \[2, 1, 1, 28, 28\]"),
    "colour": (
        photos(2, shape=(3, 28, 28)),
        [0, 1],
        r"does not take examples of shape \[3, 28, 28\]: bring the support",
    ),
    "0 to 255": (
        photos(2).float(),
        [0, 1],
        LEVELS,
    ),
    "a path": (
        ["cat.png", "dog.png"],
        [0, 1],
        r"expected an image, .*, got the text 'cat\.png': read an",
    ),
    "nothing": ([None, None], [0, 1], "expected an image, a vector or tokens, got None"),
    "tuple": ((photos(1)[0], photos(1)[0]), [0, 1], "a list holds examples, a tuple is one input of several tensors"),
    "no tensor": ((), [], r"expected at least one tensor in each example, got \(\)"),
    "threshold": (photos(2), [0, 1], "threshold must lie between 0 and 1"),
}


@pytest.mark.parametrize("fault", BAD_SUPPORT)
def test_bad_support_sets(fault):
    images, labels, message = BAD_SUPPORT[fault]
    learner = Prototypical(Conv4(channels=4, norm="group"))
    with pytest.raises(ValueError, match=message):
        Classifier.fit(learner, images, labels, threshold=1.5 if fault == "threshold" else None)


@pytest.mark.parametrize("n_outputs", [2, 5])
def test_a_head_with_another_number_of_classes(n_outputs):
    learner = MAML(Conv4(n_outputs, channels=4, norm="group"), 0.1)
    with pytest.raises(
        ValueError, match=f"the learner has {n_outputs} outputs, got 3 classes: .*n_way=3.*Prototypical"
    ):
        Classifier.fit(learner, photos(), LABELS)


def test_a_learner_that_diverged():
    learner = FACTORIES["MAML"]("none")
    nn.init.constant_(learner.model.head.weight, float("nan"))
    with pytest.raises(ValueError, match="the adapted learner answers NaN or infinite values"):
        Classifier.fit(learner, photos(), LABELS)


def test_bad_queries():
    classifier = make()
    for shape in ((3, 28, 28), (1, 30, 30), (2, 1, 30, 30), (30, 30), (4, 3, 28, 28)):
        message = rf"expected one example \[1, 28, 28\].*got shape {re.escape(str(list(shape)))}: prepare examples by"
        with pytest.raises(ValueError, match=message):
            classifier.predict(torch.zeros(shape))
    with pytest.raises(
        ValueError, match=r"got levels from 0 to 25\d: divide them by 255, or pass them as uint8"
    ):  # a scale never seen
        classifier.predict(photos().float())
    with pytest.raises(ValueError, match=r"got the text 'new\.png'"):
        classifier.predict("new.png")
    with pytest.raises(ValueError, match=r"got shape integers \[1, 28, 28\]"):
        classifier.predict(photos()[0].long())
    with pytest.raises(ValueError, match="the images hold NaN or infinite values"):
        classifier.predict(torch.full((1, 28, 28), float("inf")))
    for arguments in ((), (FACTORIES["Prototypical"]("group"),)):
        with pytest.raises(ValueError, match=r"cannot predict before it has seen a support set.*Classifier\.fit"):
            Classifier(*arguments)


def test_bad_calibration():
    classifier = make()
    pool = Pool(photos(60), torch.arange(60) // 10)
    faults = {
        r"accept in \(0, 1\) and n_tasks of at least 2, got 95 and 200": (pool, {"accept": 95}),
        r"got 0.95 and 1$": (pool, {"n_tasks": 1}),
        r"need a pool of at least 4 classes, got 3: hold out more": (pool.select([0, 1, 2]), {}),
        r"n_shot \+ n_query = 22": (pool, {"n_query": 20}),
        r"both have \['fig'\]": (Pool.from_arrays(photos(60), ["a", "b", "c", "d", "e", "fig"] * 10), {}),
        r"must hold examples \[1, 28, 28\], as the support set, got \[3, 28, 28\]": (
            Pool(photos(60, shape=(3, 28, 28)), torch.arange(60) // 10),
            {},
        ),
    }
    for message, (source, options) in faults.items():
        with pytest.raises(ValueError, match=message):
            classifier.calibrate(source, **options)
    assert classifier.threshold is None  # and confidence is still the top probability
    assert torch.equal(classifier.confidence(photos()), classifier.predict_proba(photos()).amax(1))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
def test_on_a_gpu():
    classifier = make("MAML", "support")
    expected = classifier.predict_proba(photos(seed=1))
    torch.testing.assert_close(classifier.to("cuda").predict_proba(photos(seed=1)), expected, rtol=1e-3, atol=1e-3)


def paint(folder, n_images, colours):
    """Make a folder for each colour: photographs whose class is their colour, of several sizes."""
    for number, colour in enumerate(colours):
        (folder / f"{folder.name} {number:02}").mkdir(parents=True)
        for i in range(n_images):
            noise = np.random.default_rng(i).integers(-20, 20, (40 + i, 36, 3))
            pixels = (np.array(colour) + noise).clip(0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / f"{folder.name} {number:02}" / f"{i}.png")


def test_the_page_runs(tmp_path, monkeypatch, capsys):
    paint(tmp_path / "photographs", 10, np.random.default_rng(0).integers(30, 220, (20, 3)))  # the least that runs
    paint(tmp_path / "mine", 3, [(240, 30, 30), (30, 240, 30), (30, 30, 240)])
    (tmp_path / "mine" / "mine 02" / "2.png").rename(tmp_path / "new.png")
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    page = "\n".join(blocks)
    for whole, short in (
        ("SIZE = 48", "SIZE = 16"),
        ("n_steps=500", "n_steps=2"),
        ("n_tasks=200", "n_tasks=4"),
        ("=0.95)", "=0.95, n_tasks=20)"),
        ("read_image(file, 48)", "read_image(file, 16)"),
    ):
        assert page.count(whole) == 1
        page = page.replace(whole, short)
    names: dict[str, object] = {}
    exec(page, names)
    assert names["label"] == "mine 02" and names["again"] == names["label"]
    assert names["labels"] == [names["label"]] * 2
    assert len(capsys.readouterr().out.splitlines()) >= 3


# One classifier and several threads.


def test_threads_get_the_answers_of_one_thread_and_leave_the_weights_alone():
    torch.manual_seed(0)
    learner = MAML(nn.Sequential(nn.Flatten(), MLP([784, 64, 3])), 0.5, 5)
    classifier, queries = Classifier.fit(learner, photos(), LABELS), photos(6, seed=1)
    expected = classifier.predict_proba(queries)
    before = {name: tensor.clone() for name, tensor in classifier.learner.state_dict().items()}

    def ask(_):
        return all(torch.equal(classifier.predict_proba(queries), expected) for _ in range(300))

    with ThreadPoolExecutor(4) as pool:
        right = list(pool.map(ask, range(4)))
    changed = [
        name for name, tensor in classifier.learner.state_dict().items() if not torch.equal(tensor, before[name])
    ]
    assert right == [True] * 4 and changed == []


def test_threads_may_save_copy_and_calibrate_while_others_predict(tmp_path):
    torch.manual_seed(0)
    learner = MAML(nn.Sequential(nn.Flatten(), MLP([784, 64, 3])), 0.5, 5)
    classifier, queries = Classifier.fit(learner, photos(), LABELS), photos(6, seed=1)
    expected, before = classifier.predict_proba(queries), classifier.learner.state_dict()
    pool = Pool(photos(80, seed=2), torch.arange(80) // 10)

    def use(turn):
        for i in range(40):
            if turn == 0:
                classifier.calibrate(pool, n_tasks=2)
            elif turn == 1:
                other = copy.deepcopy(classifier) if i % 2 else pickle.loads(pickle.dumps(classifier))
                assert torch.equal(other.predict_proba(queries), expected)
            elif turn == 2:
                classifier.save(tmp_path / "a")
                saved = load_file(tmp_path / "a")
                assert all(torch.equal(saved[f"learner.{name}"], tensor) for name, tensor in before.items())
            else:
                assert torch.equal(classifier.predict_proba(queries), expected)
        return True

    with ThreadPoolExecutor(5) as pool_of_threads:
        assert all(pool_of_threads.map(use, range(5)))


@pytest.mark.parametrize("make_copy", [copy.copy, copy.deepcopy, lambda c: pickle.loads(pickle.dumps(c))])
def test_copies_answer_alike_and_can_be_used(make_copy):
    classifier = make("MAML", threshold=0.4)
    twin = make_copy(classifier)
    assert twin.predict(photos(6, seed=1)) == classifier.predict(photos(6, seed=1)) and repr(twin) == repr(classifier)
    twin.threshold = 0.9
    assert classifier.threshold == 0.4
    if make_copy is not copy.copy:
        nn.init.zeros_(next(twin.learner.parameters()))
        assert next(classifier.learner.parameters()).any()


# What is no image.


class Words(nn.Module):
    """Mean of the embeddings of a sequence's tokens; with a mask, of those that it leaves."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(20, 6)

    def forward(self, x):
        tokens, mask = x if isinstance(x, tuple) else (x["tokens"], x["mask"]) if isinstance(x, dict) else (x, x >= 0)
        weight = mask.float().unsqueeze(2)
        return (self.embedding(tokens) * weight).sum(1) / weight.sum(1)


def sentences(n, seed=0):
    generator = torch.Generator().manual_seed(seed)
    tokens = torch.randint(20, (n, 7), generator=generator)
    return tokens, torch.arange(7) < torch.randint(1, 8, (n, 1), generator=generator)


@pytest.mark.parametrize("learner", [Prototypical, lambda m: MAML(nn.Sequential(m, nn.Linear(6, 3)), 0.1, 2)])
@pytest.mark.parametrize("form", ["tokens", "tuple", "dict"])
def test_tokens_and_tuples_and_dictionaries_of_tensors(form, learner, tmp_path):
    def inputs(n, seed):
        tokens, mask = sentences(n, seed)
        return {"tokens": tokens, "tuple": (tokens, mask), "dict": {"tokens": tokens, "mask": mask}}[form]

    torch.manual_seed(0)
    learner, x = learner(Words()), inputs(5, 0)
    classifier = Classifier.fit(learner, x, LABELS)
    adapted = learner.adapt(x, torch.tensor([2, 0, 2, 1, 0]), n_way=3)
    queries = inputs(6, 1)
    expected = learner.predict(adapted, queries).softmax(1).detach()
    torch.testing.assert_close(classifier.predict_proba(queries), expected)
    singles = [tree_map(lambda leaf, i=i: leaf[i], queries) for i in range(6)]
    names = classifier.predict(queries)
    assert [classifier.predict(single) for single in singles] == names == classifier.predict(singles)
    assert (
        Classifier.fit(learner, [tree_map(lambda leaf, i=i: leaf[i], x) for i in range(5)], LABELS).predict(queries)
        == names
    )  # a list of examples is a batch
    pool = Pool(inputs(80, 2), torch.arange(80) // 10)
    classifier.calibrate(pool, n_tasks=2)
    classifier.save(tmp_path / "a")
    network = Words() if isinstance(learner, Prototypical) else nn.Sequential(Words(), nn.Linear(6, 3))
    loaded = Classifier.load(tmp_path / "a", model=network)
    assert torch.equal(loaded.predict_proba(queries), classifier.predict_proba(queries))
    assert repr(loaded) == repr(classifier) and loaded.input_shape == classifier.input_shape
    with pytest.raises(ValueError, match=r"must hold examples .* as the support set, got"):
        classifier.calibrate(Pool(photos(60), torch.arange(60) // 10))


def test_wrong_tokens():
    tokens, mask = sentences(5)
    by_tokens, by_pairs = (Classifier.fit(Prototypical(Words()), x, LABELS) for x in (tokens, (tokens, mask)))
    faults = {
        r"expected one example integers \[7\].*got shape integers \[5, 6\]": lambda: by_tokens.predict(tokens[:, :6]),
        r"expected one example integers \[7\].*got shape \[5, 7\]": lambda: by_tokens.predict(tokens.float()),
        r"expected one example \(integers \[7\], integers \[7\]\).*got shape integers \[5, 7\]": lambda: (
            by_pairs.predict(tokens)
        ),
        "all of one shape, got shapes .*pad tokens": lambda: by_tokens.predict([[1, 2, 3, 4, 5, 6, 7], [1, 2]]),
        r"got the text 'good morning': .*turn text into tokens": lambda: by_tokens.predict("good morning"),
        r"expected support images .* tokens \[n, length\], got shape \[5\] of": lambda: Classifier.fit(
            Prototypical(Words()), tokens[:, 0], LABELS
        ),
        r"does not take examples of shape integers \[7\]: .*vocabulary": lambda: Classifier.fit(
            Prototypical(Words()), tokens + 20, LABELS
        ),
    }
    for message, act in faults.items():
        with pytest.raises(ValueError, match=message):
            act()


def test_a_learner_of_values_is_refused():
    for loss in (nn.functional.mse_loss, nn.functional.l1_loss, nn.MSELoss(), lambda a, b: (a - b).square().mean()):
        learner = MAML(nn.Sequential(nn.Flatten(), nn.Linear(784, 3)), 0.1, loss_fn=loss)
        with pytest.raises(
            ValueError, match=r"needs a learner of classes, but the loss of this MAML, .*F\.cross_entropy"
        ):
            Classifier.fit(learner, photos(), LABELS)
    weighted = MAML(nn.Sequential(nn.Flatten(), nn.Linear(784, 3)), 0.1, loss_fn=nn.CrossEntropyLoss(torch.ones(3)))
    assert Classifier.fit(weighted, photos(), LABELS).predict(photos()[0]) in NAMES


def test_what_was_frozen_stays_frozen_in_the_file(tmp_path):
    learner = MAML(Conv4(3, channels=4, norm="none"), 0.5, 3)
    learner.model.blocks.requires_grad_(False)
    classifier = Classifier.fit(learner, photos(), LABELS)
    classifier.save(tmp_path / "a")
    loaded = Classifier.load(tmp_path / "a")
    moves = {name: weight.requires_grad for name, weight in loaded.learner.named_parameters()}
    assert moves == {name: weight.requires_grad for name, weight in learner.named_parameters()}
    assert any(moves.values()) and not all(moves.values())
