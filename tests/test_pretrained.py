"""Trained weights do what their study recorded, elsewhere too; other files are refused. WEIGHTS=all: all tasks."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from metalearn import _pretrained, evaluate, experiments, pretrained
from metalearn.deploy import Classifier
from metalearn.experiments import Record, _store
from metalearn.experiments._run import NO_SIZES, _measure
from metalearn.experiments._sources import sampler, source
from metalearn.experiments.study import TASKS_PER_DRAW
from metalearn.learners import MAML, Learner

ROOT = Path(__file__).resolve().parents[1]
ALL = os.environ.get("WEIGHTS") == "all"
MAX_WHEEL = 16_000_000
NEEDED = {  # a file of data that a study's rows need
    "omniglot": "omniglot/omniglot28_gray8.npz",
    "natural": "cifar100/cifar100_small.npz",
    "intents": "text/clinc150.json.gz",
    "relations": "text/fewrel_val.json.gz",
    **({"across": "cifar100/cifar100_small.npz"} if ALL else {}),
}
RECORDS: dict[str, Record] = {name: experiments.load(name) for name in experiments.STANDING}
TRAINED = [
    (name, part["method"]) for name, record in RECORDS.items() for part in record.parts(seed=0) if part["weights"]
]


def arguments(data: str, label: str) -> dict[str, Any]:
    """Return what `pretrained` is given for a method of a study."""
    method, n_way, n_shot = _pretrained._name(RECORDS[data], label)
    return {"method": method, "data": data} | ({"n_way": n_way, "n_shot": n_shot} if n_way else {})


def rows_to_check(data: str, label: str) -> list[dict[str, Any]]:
    """Return every row of the trained learner, or the quickest one of the first test."""
    rows = [row for row in RECORDS[data].part(label)["rows"] if row.get("at") is None]
    first = [row for row in rows if row["test"] == next(iter(RECORDS[data].tests))]
    return rows if ALL else [min(first, key=lambda row: row["n_steps"] or 0)]


def test_every_file_belongs_to_a_record() -> None:
    shipped = {str(path.relative_to(_store.HERE / "weights")) for path in _store.HERE.glob("weights/*/*.safetensors")}
    named = {part["weights"] for record in RECORDS.values() for part in record.parts()} - {None}
    rules = {name for name in named if name.startswith("evolution/evolved_rule-")}  # of all seeds: they are to be read
    assert shipped == {name for name in named if name.endswith("-seed0.safetensors")} | rules
    assert len(TRAINED) >= len(shipped - rules)


@pytest.mark.slow
@pytest.mark.parametrize(("data", "label"), TRAINED, ids=[f"{data}-{label}" for data, label in TRAINED])
def test_the_recorded_values_are_found_again(data: str, label: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if data in NEEDED:
        folder = Path(os.environ.get("METALEARN_DATA") or ROOT.parent / "shared" / "data")
        if not (folder / NEEDED[data]).is_file():
            pytest.skip(f"{NEEDED[data]} is not in METALEARN_DATA or in shared/data beside the repository")
        monkeypatch.setenv("METALEARN_DATA", str(folder))
    learner, record = pretrained(**arguments(data, label)), RECORDS[data]
    tuned = record.methods[label]["test"].get("tune", {})
    for row in rows_to_check(data, label):
        for key in tuned:
            setattr(learner, key, row[key])
        found, medians = difference(learner, data, label, row)
        # Rounding grows on some of the tasks that diverge, and along the steps of a rule that is a network.
        most = row["diverged"] / 10 if ALL else 0.0
        if ALL and label == "LearnedOptimizer" and row["n_steps"] >= 5:
            most = 1 / 100 if row["n_steps"] <= 10 else 1 / 8
        assert len(found) <= most * row["n_tasks"], found
        if row["diverged"] == 0 and "n_answers" not in row:
            assert medians[0] == pytest.approx(medians[1], rel=0.01)


def difference(
    learner: Learner, data: str, label: str, row: dict[str, Any]
) -> tuple[list[tuple[int, float, float]], tuple[float, float]]:
    """Return the tasks of a row whose values are not found again (number, recorded, found), and both medians."""
    record, test = RECORDS[data], RECORDS[data].tests[row["test"]]
    n_tasks = row["n_tasks"] if ALL else TASKS_PER_DRAW
    recorded = record.score(label, row["test"], row["n_steps"]).per_task[:n_tasks]
    of_method = record.methods[label].get("data") or record.content["data"]["name"]
    splits = source(test.get("data") or of_method)
    sizes = {key: value for key, value in test.items() if key not in NO_SIZES}
    tasks = sampler(getattr(splits, "test", splits), n_tasks=TASKS_PER_DRAW, **sizes)
    found = evaluate(learner, tasks, n_tasks, row["n_steps"], stream="test", seed=0, **_measure(test)).per_task
    if "n_answers" in row:
        same = (found - recorded).abs() * row["n_answers"] < 1.01
    else:
        most = test.get("diverged_above", torch.inf)
        diverged = [~(values <= most) for values in (found, recorded)]  # so that NaN counts, too
        same = torch.isclose(found, recorded, rtol=1e-3, atol=0) | (diverged[0] & diverged[1])
    lost = [(k, recorded[k].item(), found[k].item()) for k in (~same).nonzero().flatten().tolist()]
    return lost, (found.median().item(), recorded.median().item())


def test_it_is_ready_for_use_and_leaves_the_random_numbers_alone() -> None:
    torch.manual_seed(0)
    before = torch.get_rng_state()
    learner = pretrained("maml", "sinusoids")
    assert torch.equal(torch.get_rng_state(), before)
    assert isinstance(learner, MAML) and not learner.training and learner.inner_lr == 0.01 and learner.how == "vmap"


def test_a_classifier_of_it_can_be_saved(tmp_path: Path) -> None:
    images = source("glyphs").test.read(torch.arange(0, 100, 20))
    classifier = Classifier.fit(pretrained("prototypical", "glyphs"), images, list("abcde"))
    classifier.save(tmp_path / "a")
    assert Classifier.load(tmp_path / "a").predict(images) == list("abcde")


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"method": "protonet"}, r"no weights on glyphs for 'protonet' 5-way 1-shot seed 0; .*'prototypical'"),
        ({"method": "siamese"}, r"no weights on glyphs for 'siamese' 5-way 1-shot"),
        ({"method": "raw_pixels"}, r"no weights on glyphs for 'raw_pixels'"),
        ({"n_way": 20}, r"for 'prototypical' 20-way 1-shot seed 0; there are .*'prototypical' 5-way 1-shot seed 0"),
        ({"n_shot": 5}, r"for 'prototypical' 5-way 5-shot seed 0; there are "),
        ({"seed": 7}, r"5-way 1-shot seed 7; there are .*'prototypical' 5-way 1-shot seed 0"),
        ({"data": "letters"}, r"expected data to be one of \['sinusoids', 'glyphs', 'omniglot'.*\], got 'letters'"),
        ({"data": "sinusoids", "method": "maml", "n_shot": 5}, r"'maml' 5-way 5-shot seed 0; .*'maml' seed 0"),
    ],
    ids=str,
)  # fmt: skip
def test_what_there_is_not_is_refused_with_a_list_of_what_there_is(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        pretrained(**{"method": "prototypical", "data": "glyphs", **wrong})


@pytest.fixture
def weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a copy of MAML's file on sine waves, which `pretrained` reads in place of the package's."""
    for name in ("results/sinusoids.json", "weights/sinusoids/maml-seed0.safetensors"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(_store.HERE / name, tmp_path / name)
    monkeypatch.setattr(experiments, "load", lambda name: Record(name, tmp_path))
    return tmp_path / "weights/sinusoids/maml-seed0.safetensors"


def rewrite(path: Path, **news: str) -> None:
    with safe_open(path, framework="pt") as file:
        header, state = {**file.metadata(), **news}, {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118
    save_file(state, path, {key: value for key, value in header.items() if value})


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda path: path.write_bytes(path.read_bytes()[:-1]), r"is no whole file of weights \(.*\): it was cut or"),
        (lambda path: path.write_bytes(path.read_bytes()[:5]), r"is no whole file of weights"),
        (lambda path: path.write_bytes(b""), r"is no whole file of weights"),
        (lambda path: path.write_bytes(b"\x80\x04K\x01." * 100), r"is no whole file of weights"),
        (lambda path: save_file({"a": torch.zeros(1)}, path), r"expected weights of a study, got a file without"),
        (lambda path: rewrite(path, **{_store.KEY: "9"}), r"expected weights of format 1, got format 9 in .*install"),
        (lambda path: rewrite(path, method='"ANIL"'), r"expected the weights of .*'MAML'.* got those of .*'ANIL'"),
        (lambda path: rewrite(path, training_digest='"0"'), r"got those of .*'training_digest': '0'"),
        (lambda path: rewrite(path, training_digest=""), r"got those of .*'training_digest': None"),
        (lambda path: rewrite(path, revision="7"), r"expected weights of revision 1 of MAML, got revision 7 in"),
        (lambda path: path.unlink(), r"no weights on sinusoids for 'maml' seed 0; there are none"),
    ],
)  # fmt: skip
def test_another_file_is_refused(weights: Path, spoil: Callable[[Path], object], message: str) -> None:
    pretrained("maml", "sinusoids")
    spoil(weights)
    with pytest.raises(ValueError, match=message):
        pretrained("maml", "sinusoids")


def test_weights_of_an_earlier_revision_of_the_learner_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(MAML, "revision", 2)
    with pytest.raises(ValueError, match=r"expected weights of revision 2 of MAML, got revision 1 in .*has changed"):
        pretrained("maml", "sinusoids")


@pytest.mark.slow
def test_the_wheel_is_small_and_brings_all_weights(tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(ROOT / "metalearn", copy / "metalearn", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copy)
    build = ["wheel", "--no-deps", "--no-build-isolation", "--quiet", "--wheel-dir", str(tmp_path), str(copy)]
    subprocess.run([sys.executable, "-W", "ignore", "-m", "pip", *build], check=True, cwd=tmp_path)
    (wheel,) = tmp_path.glob("*.whl")
    assert wheel.stat().st_size <= MAX_WHEEL
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "unpacked")
    code = (
        "import json, sys; sys.path.insert(0, sys.argv[1]); import metalearn; print(metalearn.__file__)\n"
        "for wanted in json.loads(sys.argv[2]): print(type(metalearn.pretrained(**wanted)).__name__)"
    )
    wanted = [arguments(data, label) for data, label in TRAINED]
    run = [sys.executable, "-I", "-c", code, str(tmp_path / "unpacked"), json.dumps(wanted)]
    where, *found = subprocess.run(run, check=True, cwd=tmp_path, capture_output=True, text=True).stdout.split()
    assert where == str(tmp_path / "unpacked" / "metalearn" / "__init__.py")
    assert found == [RECORDS[data].methods[label]["learner"] for data, label in TRAINED]
