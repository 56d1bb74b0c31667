"""Studies: killed, stopped, cut short, failing, diverging, on a full disk, two at a time; and the shipped records."""

from __future__ import annotations

import errno
import json
import math
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from metalearn import Score, _checkpoint, evaluate, experiments
from metalearn.cli import recorded as cli
from metalearn.data import ratings
from metalearn.experiments import Method, Record, Study, _run, _store, run
from metalearn.experiments._run import is_done
from metalearn.experiments._sources import sampler, some_classes, source
from metalearn.experiments.study import TASKS_PER_DRAW
from metalearn.learners import MAML, Learner, MatrixFactorization, Pixels
from metalearn.ranking import judge

ROOT = Path(__file__).resolve().parents[1]
NET = {"model": {"network": "MLP", "config": {"sizes": [1, 8, 1]}}}
MSE = {"loss_fn": "mse_loss"}
POINTS = {"n_tasks": 4, "n_shot": 5, "n_query": 5}
FIT = {"n_steps": 30, "validate_every": 10}
METHODS = {
    "MAML": Method("MAML", NET, {"inner_lr": 0.01, **MSE}, POINTS, FIT, {"n_steps": [1, 2]}),
    "Reptile": Method("Reptile", NET, {"inner_lr": 0.02, "n_inner_steps": 2, **MSE}, POINTS, FIT),
}
TESTS = {"5 points": {"n_shot": 5, "n_query": 5, "n_tasks": 40, "diverged_above": 25.0}}
TINY = Study("tiny", METHODS, TESTS, "sinusoids", seeds=(0, 1), snapshots=())


def with_args(study: Study, **news: Any) -> Study:
    """Return the study with other arguments of its first method."""
    method = study.methods["MAML"]
    changed = replace(method, learner_args={**method.learner_args, **news})
    return replace(study, methods={**study.methods, "MAML": changed})


def prepare(patch: pytest.MonkeyPatch, runs: Path) -> None:
    """Let checkpoints lie in a folder, and validate on a few tasks."""
    patch.setenv("METALEARN_RUNS", str(runs))
    patch.setattr(_run, "N_VALIDATION_TASKS", 20)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder for results; checkpoints lie beside it."""
    prepare(monkeypatch, tmp_path / "runs")
    monkeypatch.setattr(_store, "environment", lambda: {"versions": {}, "hardware": {}, "commit": None})
    return tmp_path / "home"


@pytest.fixture
def make(home: Path) -> Callable[..., str]:
    return partial(run, home=home, device="cpu", progress=False)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """Return the weights of an uninterrupted run."""
    folder = tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as patch:
        prepare(patch, folder / "runs")
        run(TINY, "MAML", 0, home=folder, device="cpu", progress=False)
    return weights(folder)


def weights(home: Path, name: str = "maml-seed0") -> bytes:
    """Return the tensors of a file of weights; before them lie a number, its header's length, and the header."""
    content = (home / "weights" / "tiny" / f"{name}.safetensors").read_bytes()
    return content[8 + int.from_bytes(content[:8], "little") :]


def files(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def at_step(monkeypatch: pytest.MonkeyPatch, step: int, then: Callable[[], Any], kind: type[Learner] = MAML) -> None:
    """Let something happen in the middle of a training step."""
    calls, backward = [0], kind.backward

    def failing(self: Learner, *arguments: Any) -> Any:
        calls[0] += 1
        return then() if calls[0] == step else backward(self, *arguments)

    monkeypatch.setattr(kind, "backward", failing)


def fail(error: BaseException) -> Callable[[], Any]:
    def then() -> Any:
        raise error

    return then


# Stopped in the middle


@pytest.mark.slow
def test_a_killed_run_goes_on_to_the_same_weights(home: Path, make: Callable[..., str], whole: bytes) -> None:
    code = """
import os, signal, sys, torch
from pathlib import Path
torch.set_num_threads(1)
from tests.test_experiments import MAML, TINY, at_step, prepare, run, pytest
with pytest.MonkeyPatch.context() as patch:
    prepare(patch, Path(sys.argv[1]).parent / "runs")
    at_step(patch, 25, lambda: os.kill(os.getpid(), signal.SIGKILL))
    run(TINY, "MAML", 0, home=Path(sys.argv[1]), device="cpu", progress=False)
"""
    ended = subprocess.run([sys.executable, "-c", code, str(home)], cwd=ROOT, capture_output=True, text=True)
    assert ended.returncode == -signal.SIGKILL, ended.stderr
    assert not home.exists() and len(list(home.parent.glob("runs/tiny/*/checkpoint.pt"))) == 1
    counted = []
    with pytest.MonkeyPatch.context() as patch:
        at_step(patch, 100, lambda: None)
        backward = MAML.backward
        patch.setattr(MAML, "backward", lambda *arguments: counted.append(1) or backward(*arguments))
        assert make(TINY, "MAML", 0).startswith("tiny, MAML, seed 0: 30 steps (")
    assert weights(home) == whole and len(counted) == 10


def test_ctrl_c_stops_and_the_same_command_goes_on(
    home: Path, commands: Callable[..., int], whole: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        at_step(patch, 15, fail(KeyboardInterrupt()))
        assert commands("run", "tiny", "--method", "maml", "--seed", "0") == 130
    assert "stopped; the same command goes on from here" in capsys.readouterr().err and not home.exists()
    assert commands("run", "tiny", "--method", "maml", "--seed", "0") == 0
    assert weights(home) == whole


def test_a_part_that_is_cut_short_says_so_and_goes_on(home: Path, make: Callable[..., str]) -> None:
    make(TINY, "MAML", 0, seconds=1e-9)
    record = Record("tiny", home)
    (part,) = record.parts()
    assert part["stopped"] == "cut short" and part["n_steps"] < part["of"] == 30
    assert not is_done(TINY, "MAML", 0, home) and "1 of 30 steps, cut short" in str(record.table().data)
    make(TINY, "MAML", 0)
    (part,) = Record("tiny", home).parts()
    assert part["stopped"] == "steps" and part["n_steps"] == 30 and is_done(TINY, "MAML", 0, home)
    assert make(TINY, "MAML", 0) == "tiny, MAML, seed 0: done before"


def test_a_learner_that_fails_leaves_earlier_parts_whole_and_no_lock(home: Path, make: Callable[..., str]) -> None:
    make(TINY, "Reptile", 0)
    before = files(home)
    with pytest.MonkeyPatch.context() as patch:
        at_step(patch, 15, fail(RuntimeError("out of ideas")))
        with pytest.raises(RuntimeError, match="out of ideas"):
            make(TINY, "MAML", 0)
    assert files(home) == before
    assert "30 steps" in make(TINY, "MAML", 0)
    assert [part["method"] for part in Record("tiny", home).parts()] == ["MAML", "Reptile"]


def test_a_run_that_diverges_is_recorded_as_diverged(home: Path, make: Callable[..., str]) -> None:
    study = with_args(TINY, inner_lr=1e30)
    assert "diverged at step" in make(study, "MAML", 0) and is_done(study, "MAML", 0, home)
    record = Record("tiny", home)
    row = record.row("MAML", "5 points", 1)
    assert row["mean"] is None and row["diverged"] == 1 and not record.score("MAML").per_task.isfinite().any()
    ((_, steps, cell, training, _), _) = record.cells()[1]
    assert (steps, cell) == ("1", "– (100.0 % diverged)") and training.startswith("diverged at step")


@pytest.mark.parametrize("what", ["tiny.npz", "tiny.json", "maml-seed0.safetensors", "checkpoint.pt", "part.json"])
def test_a_full_disk_leaves_earlier_files_whole(what: str, home: Path, make: Callable[..., str], whole: bytes) -> None:
    make(TINY, "Reptile", 0)
    before, write_whole = Record("tiny", home).content, _store.write_whole

    def full(path: Path, write: Callable[..., Any]) -> None:
        if path.name == what:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        write_whole(path, write)

    with pytest.MonkeyPatch.context() as patch:
        for module in (_store, _checkpoint, _run):
            patch.setattr(module, "write_whole", full)
        with pytest.raises(OSError, match="No space left"):
            make(TINY, "MAML", 0)
    record = Record("tiny", home)
    assert record.content == before and record.score("Reptile").n_tasks == 40
    make(TINY, "MAML", 0)
    assert weights(home) == whole


# Which parts are which


def test_other_settings_are_another_part_that_is_made_anew(home: Path, make: Callable[..., str], whole: bytes) -> None:
    make(TINY, "MAML", 0)
    make(TINY, "Reptile", 0)
    other = with_args(TINY, inner_lr=0.02)
    assert not is_done(other, "MAML", 0, home) and is_done(other, "Reptile", 0, home)
    assert "30 steps" in make(other, "MAML", 0)
    assert weights(home) != whole and len(list(home.parent.glob("runs/tiny/maml-seed0-*"))) == 2
    assert {part["digest"] for part in Record("tiny", home).parts()} == {
        other.digest(label, 0) for label in other.methods
    }


def test_what_decides_the_numbers_decides_the_digest(monkeypatch: pytest.MonkeyPatch) -> None:
    method, digest = METHODS["MAML"], TINY.digest("MAML", 0)
    others = [
        with_args(TINY, first_order=True),
        replace(TINY, data="digits"),
        replace(TINY, tests={"5 points": {**TESTS["5 points"], "n_tasks": 50}}),
        *(
            replace(TINY, methods={"MAML": replace(method, **news)})
            for news in (
                {"learner": "Reptile"},
                {"model": {"model": {"network": "MLP", "config": {"sizes": [1, 9, 1]}}}},
                {"episodes": {**POINTS, "n_tasks": 5}},
                {"fit": {**FIT, "outer_lr": 0.01}},
                {"fit": {**FIT, "evolution": {"n_pairs": 4}}},
                {"fit": {**FIT, "evolution": {"n_pairs": 5}}},
                {"test": {"n_steps": [1]}},
            )
        ),
    ]
    digests = [digest, TINY.digest("MAML", 1), *(other.digest("MAML", 0) for other in others)]
    assert len(set(digests)) == len(digests)
    same = replace(TINY, name="other", methods={"MAML": method}, published={"a": 1}, seeds=(0,), snapshots=(5,))
    assert same.digest("MAML", 0) == digest
    monkeypatch.setattr(MAML, "revision", 2)
    assert TINY.digest("MAML", 0) not in digests


def test_a_method_can_evolve_and_goes_on_where_it_was_cut(
    home: Path, make: Callable[..., str], whole: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    evolved = replace(METHODS["MAML"], fit={**FIT, "evolution": {"n_pairs": 4, "sigma": 0.05}})
    study = replace(TINY, methods={"MAML": evolved})
    make(study, "MAML", 0)
    monkeypatch.setenv("METALEARN_RUNS", str(home.parent / "other"))
    other = home.parent / "cut"
    make(study, "MAML", 0, seconds=1e-9, home=other)
    assert Record("tiny", other).part("MAML")["n_steps"] == 1
    make(study, "MAML", 0, home=other)
    assert weights(other) == weights(home) != whole


def test_a_method_can_take_the_weights_of_another(home: Path, make: Callable[..., str], whole: bytes) -> None:
    slow = Method("MAML", NET, {"inner_lr": 0.001, **MSE}, test={"n_steps": [1]}, weights="MAML")
    study = replace(TINY, methods={**METHODS, "slower": slow})
    make(study, "slower", 0)
    assert not (home / "weights").exists() and Record("tiny", home).part("slower")["trained_as"] == "MAML"
    make(study, "MAML", 0)
    assert weights(home) == whole and len(files(home / "weights")) == 1
    values = [Record("tiny", home).score(label, n_steps=1).per_task for label in ("MAML", "slower")]
    assert not torch.equal(*values)


def test_methods_and_tests_can_have_data_of_their_own(home: Path, make: Callable[..., str]) -> None:
    sizes = {"n_way": 2, "n_shot": 1, "n_query": 4}
    network = {"encoder": {"network": "Conv4", "config": {"channels": 8, "norm": "none", "downsample": "stride"}}}
    flat = {"encoder": {"network": "Flatten", "config": {}}}
    methods = {
        "pixels": Method("Prototypical", flat, fit={"n_steps": 0}),
        "on digits": Method("Prototypical", network, {}, {"n_tasks": 2, **sizes}, FIT, data="grey:digits"),
        "on glyphs": Method("Prototypical", network, {}, {"n_tasks": 2, **sizes}, FIT),
    }
    tests = {name: {**sizes, "n_tasks": 60, "data": f"grey:{name}"} for name in ("glyphs", "digits")}
    study = Study("tiny", methods, tests, "grey:glyphs", snapshots=())
    for label in methods:
        make(study, label, 0)
    record = Record("tiny", home)
    for name, test in tests.items():
        tasks = sampler(source(test["data"]).test, n_tasks=TASKS_PER_DRAW, **sizes)
        by_hand = evaluate(Pixels(), tasks, 60, seed=0)
        assert torch.allclose(by_hand.per_task, record.score("pixels", name).per_task)
    assert weights(home, "on_digits-seed0") != weights(home, "on_glyphs-seed0")
    assert record.content["methods"]["on digits"]["data"] == "grey:digits" and "data" not in record.methods["pixels"]
    other = replace(study, methods={**methods, "on digits": replace(methods["on digits"], data="grey:glyphs")})
    assert other.digest("on digits", 0) != study.digest("on digits", 0)
    other = replace(study, tests={**tests, "digits": {**tests["digits"], "data": "digits"}})
    assert other.digest("pixels", 0) != study.digest("pixels", 0)
    assert other.training_digest("on digits", 0) == study.training_digest("on digits", 0)


def test_a_setting_can_be_chosen_on_validation_tasks(home: Path, make: Callable[..., str]) -> None:
    test = {"n_steps": [1, 5], "tune": {"inner_lr": [1e9, 0.01]}}
    tuned = Method("MAML", NET, {"inner_lr": 1.0, **MSE}, fit={"n_steps": 0}, test=test)
    make(replace(TINY, methods={"tuned": tuned}), "tuned", 0)
    part = Record("tiny", home).part("tuned")
    assert [row["inner_lr"] for row in part["rows"]] == [0.01, 0.01] and part["weights"] is None
    assert part["stopped"] == "untrained" and Record("tiny", home).curve("tuned") == ([], [], [])


def test_scores_on_the_way(home: Path, make: Callable[..., str]) -> None:
    study = replace(TINY, snapshots=(1e-9,))
    make(study, "MAML", 0)
    record = Record("tiny", home)
    assert record.row("MAML", n_steps=2, at=1e-9)["trained_steps"] == 1
    assert record.row("MAML", n_steps=2, at=1e9) == record.row("MAML", n_steps=2)  # it had ended by then
    header, lines = record.cells("5 points")
    assert header[2:4] == ["after 1e-09 s, median error", "5 points, median error"] and len(lines) == 2
    seconds, means, half_widths = record.curve("MAML")
    assert len(seconds) == len(means) == len(half_widths) == 4 and seconds == sorted(seconds)
    with pytest.raises(ValueError, match=r"no result of MAML for \('5 points', 9, None\); there are .*'5 points', 2, "):
        record.row("MAML", n_steps=9)
    with pytest.raises(ValueError, match=r"the study tiny has no 'ANIL' with seed 0; it has \[\('MAML', 0\)\]"):
        record.part("ANIL")


class MeanOfClass(Learner):
    """A stranger's learner."""

    def __init__(self, encoder: nn.Module, scale: float = 1.0) -> None:
        super().__init__()
        self.encoder, self.scale = encoder, scale

    def adapt(self, support_x: Any, support_y: Any, *, n_way: Any = None, n_steps: Any = None) -> dict[str, Any]:
        member = nn.functional.one_hot(support_y, n_way).float()
        return {"means": (member.T @ self.run("encoder", {}, support_x)) / member.sum(0).unsqueeze(1)}

    def predict(self, adapted: Any, x: Any) -> Any:
        return -self.scale * torch.cdist(self.run("encoder", adapted, x), adapted["means"])


def test_a_strangers_learner_runs_in_a_study(home: Path, make: Callable[..., str]) -> None:
    parts = [{"network": "Flatten", "config": {}}, {"network": "MLP", "config": {"sizes": [64, 16]}}]
    network = {"encoder": {"network": "Sequential", "config": {"parts": parts}}}
    sizes = {"n_way": 2, "n_shot": 1, "n_query": 4}
    method = Method("MeanOfClass", network, {"scale": 2.0}, {"n_tasks": 4, **sizes}, FIT)
    study = Study("tiny", {"mine": method}, {"2-way": {**sizes, "n_tasks": 60}}, "digits", snapshots=())
    make(study, "mine", 0)
    record = Record("tiny", home)
    assert record.score("mine").above(1 / 2) and re.fullmatch(r"\d\d\.\d ± \d\.\d", record.cells()[1][0][2])
    assert (record.score("mine").per_task * 8 % 1 == 0).all() and len(weights(home, "mine-seed0")) > 64 * 16 * 4


# Two runners, and the command line


@pytest.fixture
def commands(home: Path, make: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    monkeypatch.setattr(cli, "standing", lambda: {"tiny": TINY})
    made = partial(make)
    monkeypatch.setattr(experiments, "run", lambda *some, **named: made(*some, **{**named, "device": "cpu"}))
    monkeypatch.setattr(cli, "is_done", partial(is_done, home=home))
    monkeypatch.setattr(experiments, "load", lambda name: Record(name, home))
    monkeypatch.setattr(torch, "set_num_threads", lambda n: None)  # of this process
    return lambda *arguments: cli.app(list(arguments), standalone_mode=False) or 0


def test_a_second_runner_says_so_and_takes_the_next_part(
    home: Path, commands: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    folder = home.parent / "runs" / "tiny" / f"maml-seed0-{TINY.training_digest('MAML', 0)[:12]}"
    with _store.lock(folder / "lock") as mine:
        assert mine and commands("next") == 0
        said = capsys.readouterr().out.splitlines()
    assert said[0] == f"tiny, MAML, seed 0: left to another runner, process {os.getpid()}, which is at it"
    assert said[1].startswith("tiny, Reptile, seed 0: 30 steps") and len(said) == 2
    assert commands("next") == 0 and "tiny, MAML, seed 0: 30 steps" in capsys.readouterr().out


def test_the_commands(home: Path, commands: Callable[..., int], capsys: pytest.CaptureFixture[str]) -> None:
    def output(*arguments: str) -> list[str]:
        assert commands(*arguments) == 0
        return capsys.readouterr().out.splitlines()

    assert output("list") == ["tiny: 0 of 4 parts done"]
    (said,) = output("run", "tiny", "--method", "reptile", "--seed", "1")
    assert said.startswith("tiny, Reptile, seed 1: 30 steps") and output("list") == ["tiny: 1 of 4 parts done"]
    order = [output("next")[0].partition(": ")[0] for _ in range(3)]
    assert order == ["tiny, MAML, seed 0", "tiny, Reptile, seed 0", "tiny, MAML, seed 1"]
    assert output("next") == ["nothing is left to do"] and output("list") == ["tiny: 4 of 4 parts done"]
    header, *lines = output("show", "tiny")
    assert header.split("  ")[0] == "method" and [line.split()[0] for line in lines] == ["MAML", "MAML", "Reptile"]
    assert all(line.split("  ")[-1].isdecimal() and "30 steps" in line for line in lines)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"learner": "MAMMAL"}, r"MAML: no learner 'MAMMAL'; known: \[.*'MAML'"),
        ({"fit": {"steps": 3}}, r"MAML: fit has no option \['steps'\]; it has \['n_steps'"),
        ({"fit": {"optimizer": "adamw"}}, r"MAML: optimizer must be one of \[None, 'sgd'\], got 'adamw'"),
        ({"fit": {"schedule": "linear"}}, r"MAML: schedule must be one of \[None, 'cosine'\], got 'linear'"),
        ({"learner_args": {"loss_fn": nn.functional.mse_loss}}, r"a study holds plain data only: "),
    ],
)
def test_a_wrong_study_is_refused(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(TINY, methods={"MAML": replace(METHODS["MAML"], **wrong)})


def test_labels_that_would_share_files_are_refused() -> None:
    with pytest.raises(ValueError, match=r"'MAML' and 'maml' would share the files 'maml': rename one of them"):
        replace(TINY, methods={"MAML": METHODS["MAML"], "maml": METHODS["Reptile"]})


def test_two_labels_of_one_setting_are_two_parts(home: Path, make: Callable[..., str]) -> None:
    study = replace(TINY, methods={"MAML": METHODS["MAML"], "again": METHODS["MAML"]}, seeds=(0,))
    for label in study.methods:
        assert not is_done(study, label, 0, home) and "30 steps" in make(study, label, 0)
    assert [part["method"] for part in Record("tiny", home).parts()] == ["MAML", "again"]
    with pytest.raises(ValueError, match="the study tiny has no method 'MAMMAL'"):
        make(study, "MAMMAL", 0)


@pytest.mark.parametrize("name", ["digits:3", "glyphs:foo", "sinusoids:2"])
def test_data_of_one_form_have_nothing_behind_a_colon(name: str) -> None:
    with pytest.raises(ValueError, match=f"which comes in one form only, without a colon, got '{name}'"):
        source(name)


def test_a_wrong_kind_of_batch_is_refused(make: Callable[..., str]) -> None:
    method = replace(METHODS["MAML"], episodes={"kind": "quadruplets"})
    with pytest.raises(ValueError, match=r"one of the kinds \('episodes', .*got 'quadruplets'"):
        make(replace(TINY, methods={"MAML": method}), "MAML", 0)


# Training without labels, and with some

SMALL = {"encoder": {"network": "Conv4", "config": {"channels": 2, "norm": "frozen", "downsample": "stride"}}}
WAYS = {"n_way": 3, "n_shot": 1, "n_query": 2, "n_tasks": 1}
SHORT = {"n_steps": 3, "validate_every": 1_000}
BY_CLUSTERS = {"kind": "clustered", "n_clusters": 20, "n_partitions": 1, "of": "views", **WAYS}
WITHOUT_LABELS = {
    "views": Method(
        "Contrastive", SMALL, {}, {"kind": "views", "batch_size": 6, "augment": {"shift": 2.0, "flip": True}}, SHORT
    ),
    "clusters": Method("Prototypical", SMALL, {}, BY_CLUSTERS, SHORT),
    "augmented": Method("Prototypical", SMALL, {}, {"kind": "augmented", "augment": {"zeroed": 0.5}, **WAYS}, SHORT),
    "hidden": Method(
        "SoftKMeans", SMALL, {"distractors": "mask"}, {"kind": "partly labelled", "n_unlabelled": 2, **WAYS}, SHORT
    ),
    "few": Method("Transfer", SMALL, {"n_classes": 4}, {"kind": "batches", "batch_size": 8, "n_labelled": 4}, SHORT),
}
HIDING = {"shots": {**WAYS, "n_tasks": 20, "kind": "partly labelled", "n_unlabelled": 2, "n_distractors": 1}}
UNLABELLED = Study("tiny", WITHOUT_LABELS, {"shots": {**WAYS, "n_tasks": 20}}, "glyphs", seeds=(0,), snapshots=())


def test_a_study_trains_without_labels_and_with_few(make: Callable[..., str], home: Path) -> None:
    with pytest.raises(ValueError, match="train 'views' with seed 0 first: its encoder is needed"):
        make(UNLABELLED, "clusters", 0)
    for label in WITHOUT_LABELS:
        assert "3 steps" in make(UNLABELLED, label, 0)
    assert len(Record("tiny", home).parts()) == 5
    only = replace(UNLABELLED, name="hiding", methods={"hidden": WITHOUT_LABELS["hidden"]}, tests=HIDING)
    make(only, "hidden", 0)
    assert Record("hiding", home).row("hidden")["n_answers"] == 6


def test_a_study_takes_each_user_once_and_scores_rankings(make: Callable[..., str], home: Path) -> None:
    few = {"kind": "users", "n_shot": 2, "n_tasks": 50}
    tests = {"errors": {**few, "metric": "rmse"}, "rankings": {**few, "metric": "ndcg@5"}}
    sweeps = {"n_steps": 2, "optimizer": "sgd", "outer_lr": 1.0}
    factors = Method("MatrixFactorization", {}, {"n_items": 300, "n_factors": 1}, {"kind": "table"}, sweeps)
    study = Study("users", {"factors": factors}, tests, "ratings", seeds=(0,), snapshots=())
    assert "2 steps" in make(study, "factors", 0)
    record, learner = Record("users", home), MatrixFactorization(300, 1)
    learner.load_state_dict(load_file(home / "weights" / "users" / "factors-seed0.safetensors"))
    expected = judge(learner, ratings().test.tasks(2)[:50], ["rmse", "ndcg@5"])
    for test, score in zip(tests, expected.values(), strict=True):
        found = record.score("factors", test)
        torch.testing.assert_close(found.per_task, score.per_task)
        assert found.higher_is_better is score.higher_is_better
    header, (line,) = record.cells()
    assert header[2:4] == ["errors, rmse", "rankings, ndcg@5"]
    assert line[2] == f"{expected['rmse'].mean:.3f} ± {expected['rmse'].ci95:.3f}"


def test_a_kind_of_episodes_refuses_what_it_does_not_know() -> None:
    pool = source("glyphs").test
    for kind, options in (
        ("augmented", {"augment": {}, "within": "groups"}),
        ("partly labelled", {"n_unlabelled": 2, "unknown": [pool.class_names[0].split("/")[0]]}),
        ("episodes", {"augment": {}}),
    ):
        with pytest.raises(TypeError, match="unexpected keyword argument"):
            sampler(pool, kind, **WAYS, **options)  # type: ignore[arg-type]
    (script, *_) = {name.split("/")[0] for name in pool.class_names}
    some = sampler(pool, "partly labelled", only=[script], n_unlabelled=2, **WAYS)
    assert {name.split("/")[0] for name in some.pool.class_names} == {script}  # type: ignore[attr-defined]


def test_what_clusters_are_made_of_decides_the_digest() -> None:
    other = replace(WITHOUT_LABELS["views"], learner_args={"temperature": 0.2})
    changed = replace(UNLABELLED, methods={**WITHOUT_LABELS, "views": other})
    for label in WITHOUT_LABELS:
        same = UNLABELLED.digest(label, 0) == changed.digest(label, 0)
        assert same is (label not in ("views", "clusters"))


def test_more_labelled_classes_include_the_fewer_of_a_seed() -> None:
    pool = source("glyphs").train
    few, more, others = (
        set(some_classes(pool, n, torch.Generator().manual_seed(seed)).class_names)
        for n, seed in ((8, 0), (64, 0), (64, 1))
    )
    assert len(few) == 8 and len(more) == len(others) == 64
    assert few < more and not few < others


# The shipped records


@pytest.mark.parametrize("name", experiments.names())
def test_recorded_numbers_follow_from_the_values_of_the_tasks(name: str) -> None:
    record = experiments.load(name)
    for part in record.parts():
        values = _store.read_values(name)[part["values"]]
        assert len(values) == sum(row["n_tasks"] for row in part["rows"]) and part["commit"] and part["hardware"]["cpu"]
        for row in part["rows"]:
            higher = row.get("higher_is_better", "n_answers" in row or "returns" in row)
            score = Score.of(_store.unpack(part, row, values), higher_is_better=higher)
            check(row, score, record.tests[row["test"]])


def check(row: dict[str, Any], score: Score, test: dict[str, Any]) -> None:
    assert score.n_tasks == row["n_tasks"] >= 600
    for key in ("mean", "ci95", "median"):
        found = torch.tensor(getattr(score, key))
        assert row[key] == (pytest.approx(found.item(), rel=1e-4, abs=1e-7) if found.isfinite() else None)
    fine = score.per_task <= test.get("diverged_above", torch.finfo().max)  # NaN is not
    assert row["diverged"] == pytest.approx((~fine).double().mean().item())


def test_shipped_parts_were_made_with_the_settings_of_today() -> None:
    for name, study in experiments.standing().items():
        record = experiments.load(name)
        assert record.methods == json.loads(json.dumps(study.describe()["methods"])), name
        for part in record.parts():
            assert part["digest"] == study.digest(part["method"], part["seed"]), (name, part["method"])


def test_a_record_of_another_format_is_refused(tmp_path: Path) -> None:
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "old.json").write_text('{"format": 1, "parts": []}')
    with pytest.raises(ValueError, match=r"old\.json has the format 1, expected 2"):
        Record("old", tmp_path)


def test_a_record_that_there_is_not() -> None:
    with pytest.raises(ValueError, match=r"no recorded study 'nothing'; known: \[.*'glyphs'"):
        experiments.load("nothing")


def test_the_analyses_that_the_docstring_names_are_those_that_there_are() -> None:
    named = re.findall(r'``"(\w+)"``', experiments.analysis.__doc__ or "")
    assert sorted(named) == sorted(path.stem for path in (_store.HERE / "analyses").glob("*.json"))


def test_the_record_of_an_analysis_has_four_digits_and_no_nan(tmp_path: Path) -> None:
    (tmp_path / "analyses").mkdir()
    _store.write_analysis({"name": "mine", "rows": [1.23456, math.nan, 12]}, tmp_path)
    assert json.loads((tmp_path / "analyses" / "mine.json").read_text()) == {"name": "mine", "rows": [1.235, None, 12]}
