"""A learner in one file outside the package, the one of CONTRIBUTING.md: trained, scored, studied, saved, loaded."""

from __future__ import annotations

import importlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch import nn

from metalearn import Pool, evaluate, experiments, fit, over_tasks, sample_episodes
from metalearn.deploy import Classifier
from metalearn.learners import Learner, Prototypical
from metalearn.networks import MLP

ROOT = Path(__file__).resolve().parents[1]
LEARNER, USE = re.findall(
    r"^```python\n(.*?)^```", (ROOT / "CONTRIBUTING.md").read_text("utf-8"), re.DOTALL | re.MULTILINE
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("stranger")
    (path / "ridge.py").write_text(LEARNER, "utf-8")
    return path


@pytest.fixture
def ridge(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    monkeypatch.syspath_prepend(folder)
    monkeypatch.setattr(Learner, "registry", dict(Learner.registry))
    yield importlib.import_module("ridge")
    del sys.modules["ridge"]


def vectors(n_classes: int, seed: int = 0) -> Pool:
    generator = torch.Generator().manual_seed(seed)
    y = torch.arange(10 * n_classes) // 10
    return Pool(torch.randn(n_classes, 8, generator=generator)[y] + torch.randn(len(y), 8, generator=generator), y)


def a_classifier(ridge: ModuleType) -> Classifier:
    torch.manual_seed(0)
    learner = ridge.Ridge(MLP([8, 16], norm="frozen"), penalty=0.5)
    return Classifier.fit(learner, vectors(3).read(torch.arange(0, 30, 4)), ["a", "a", "a", "b", "b", "c", "c", "c"])


def test_the_example_is_ridge_regression(ridge: ModuleType) -> None:
    learner = ridge.Ridge(nn.Identity(), penalty=0.3).double()
    x, y = torch.randn(7, 4, dtype=torch.float64), torch.tensor([0, 1, 2, 0, 1, 2, 0])
    inverse = torch.linalg.inv(x.T @ x + 0.3 * torch.eye(4, dtype=torch.float64))  # the other way to write it
    expected = inverse @ x.T @ nn.functional.one_hot(y, 3).double()
    torch.testing.assert_close(learner.adapt(x, y, n_way=3)["weight"], expected)


def test_fit_and_evaluate(ridge: ModuleType) -> None:
    torch.manual_seed(0)
    learner, pool = ridge.Ridge(MLP([8, 16, 16])), vectors(40)
    sample = lambda generator: sample_episodes(pool, 8, 5, 1, 5, generator)  # noqa: E731
    before = evaluate(learner, sample, n_tasks=96)
    losses = fit(learner, sample, n_steps=60, outer_lr=3e-3, progress=False).losses
    after = evaluate(learner, sample, n_tasks=96)
    assert sum(losses[-10:]) < 0.9 * sum(losses[:10]) and after.above(before) and after.above(0.2, by=0.2)
    batch = sample(torch.Generator().manual_seed(3))
    both = [over_tasks(learner.loss, batch, how) for how in ("loop", "vmap")]
    torch.testing.assert_close(*both)


def test_save_and_load_by_name_by_class_and_by_instance(ridge: ModuleType, tmp_path: Path) -> None:
    classifier, queries = a_classifier(ridge), vectors(5, seed=1).x
    classifier.save(tmp_path / "a")
    like_it = ridge.Ridge(MLP([8, 16], norm="frozen"), penalty=0.5)
    for given in (None, ridge.Ridge, like_it):
        loaded = Classifier.load(tmp_path / "a", learner=given)
        assert torch.equal(loaded.predict_proba(queries), classifier.predict_proba(queries))
        assert type(loaded.learner) is ridge.Ridge and loaded.learner is not like_it and loaded.learner.penalty == 0.5
    assert not torch.equal(like_it.encoder[0].weight, classifier.learner.encoder[0].weight)
    wrong = {
        r"another learner: expected .*'penalty': 0\.5.* got .*'penalty': 2": ridge.Ridge(
            MLP([8, 16], norm="frozen"), 2
        ),
        r"no learner 'Ridge'; known: \['Prototypical'\]": Prototypical,
    }
    for message, given in wrong.items():
        with pytest.raises(ValueError, match=message):
            Classifier.load(tmp_path / "a", learner=given)


@pytest.mark.slow
def test_a_file_imports_nothing_but_says_what_to_import(ridge: ModuleType, folder: Path, tmp_path: Path) -> None:
    classifier, path = a_classifier(ridge), tmp_path / "a"
    classifier.save(path)
    query = vectors(5, seed=1).x[0]
    code = """
import sys, torch
from metalearn.deploy import Classifier
try:
    Classifier.load({path!r})
except ValueError as error:
    print(error)
print("ridge" in sys.modules)
import ridge
print(Classifier.load({path!r}).predict(torch.tensor({query})))
"""
    run = [sys.executable, "-c", code.format(path=str(path), query=query.tolist())]
    there = {"PYTHONPATH": f"{folder}{os.pathsep}{ROOT}"}
    output = subprocess.run(run, capture_output=True, text=True, check=True, env=there).stdout.splitlines()
    assert re.match(
        r"no learner 'Ridge'; known: \[.*\]. Import the module that defines it, or pass learner=", output[0]
    )
    assert output[1:] == ["False", classifier.predict(query)]


def test_a_study(ridge: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("METALEARN_RUNS", str(tmp_path / "runs"))
    parts = [{"network": "Flatten", "config": {}}, {"network": "MLP", "config": {"sizes": [64, 16]}}]
    encoder = {"network": "Sequential", "config": {"parts": parts}}
    sizes = {"n_way": 2, "n_shot": 2, "n_query": 3}
    method = experiments.Method(
        "Ridge", {"encoder": encoder}, {"penalty": 0.5}, {"kind": "episodes", "n_tasks": 4, **sizes}, {"n_steps": 3}
    )
    study = experiments.Study("mine", {"ridge": method}, {"2-way": {**sizes, "n_tasks": 20}}, "digits")
    said = experiments.run(study, "ridge", 0, home=tmp_path, progress=False)
    assert "3 steps" in said and experiments.run(study, "ridge", 0, home=tmp_path).endswith("done before")
    record = json.loads((tmp_path / "results" / "mine.json").read_text("utf-8"))
    (row,) = record["parts"][0]["rows"]
    assert row["n_tasks"] == 20 and 0.5 < row["mean"] <= 1


def test_what_a_stranger_gets_wrong(ridge: ModuleType, tmp_path: Path) -> None:
    class Forgetful(ridge.Ridge):  # type: ignore[misc, name-defined]
        def __init__(self, encoder: nn.Module, bonus: float = 0.0) -> None:
            super().__init__(encoder)

    first = type("Prototypical", (ridge.Ridge,), {})
    x, labels = vectors(2).x[::5], ["a", "a", "b", "b"]
    for learner, message in (
        (Forgetful(nn.Identity()), r"Forgetful has no attribute 'bonus': set self\.bonus = bonus in its __init__"),
        (
            first(nn.Identity()),
            r"by the name of its class, but Prototypical stands for .*: give yours a name of its own",
        ),
    ):
        with pytest.raises(ValueError, match=message):
            Classifier.fit(learner, x, labels).save(tmp_path / "a")
    prototypical = Classifier.fit(Prototypical(nn.Identity()), x, labels)  # the package's own is still itself
    prototypical.save(tmp_path / "b")
    assert type(Classifier.load(tmp_path / "b").learner) is Prototypical


@pytest.mark.slow
def test_the_example_of_its_use_runs(
    ridge: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    code = USE
    for whole, short in (("n_steps=100", "n_steps=3"), ("n_tasks=600", "n_tasks=10")):
        assert code.count(whole) == 1
        code = code.replace(whole, short)
    names: dict[str, object] = {}
    exec(code, names)
    assert len(capsys.readouterr().out.splitlines()) == 2
    assert (tmp_path / "letters.safetensors").is_file()
