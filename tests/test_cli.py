"""The command line: what it trains, finds again, judges and says, and how it refuses."""

import csv
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from typer.main import get_command
from typer.testing import CliRunner

from metalearn import Pool, Score
from metalearn.cli import app, main, recorded
from metalearn.data import digits, glyphs, own
from metalearn.experiments import Study, standing
from metalearn.runs import Log, open_run, plan, read_settings
from metalearn.runs.run import read_study, train

SHORT = ["--steps", "6", "--set", "fit.validate_every=3", "--set", "fit.patience=9", "--quiet", "--device", "cpu"]


@pytest.fixture(autouse=True)
def same_threads(monkeypatch):
    monkeypatch.setattr(torch, "set_num_threads", lambda n: None)  # of the process that tests


def call(*arguments, code=0):
    """Run a command and return what it printed, or the message with which it failed."""
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == code, (result.output, result.exception)
    return str(result.exception) if isinstance(result.exception, ValueError) else result.output


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A finished run of a few steps on digits."""
    folder = tmp_path_factory.mktemp("runs") / "mine"
    call("train", "prototypical", "--data", "digits", "--way", "2", *SHORT, "--out", folder)
    return folder


def test_each_command_says_what_it_does():
    for command in (["train"], ["evaluate"], ["predict"], ["reproduce"], ["study", "run"], ["study", "show"]):
        said = call(*command, "--help")
        assert "Usage" in said and len(said) > 180
    assert {"train", "evaluate", "predict", "study", "reproduce"} <= set(call("--help").split())
    assert "Usage" in call("nonsense", code=2)


# Settings


def test_what_is_not_said_comes_from_the_study():
    method = plan("first-order MAML", "glyphs").methods["first-order MAML"]
    assert method == standing()["glyphs"].methods["first-order MAML"]


def test_networks_take_the_size_of_examples_and_answers():
    def network(learner, data, **asked):
        method = next(iter(plan(learner, data, **asked).methods.values()))
        return method.model["model" if "model" in method.model else "encoder"]

    assert network("MAML", "digits", n_way=2)["config"]["image_size"] == 8
    assert network("MAML", "digits", n_way=2)["config"]["n_outputs"] == 2
    assert network("MAML", "sinusoids")["config"]["sizes"][0] == 1
    assert plan("Transfer", "digits", n_way=2).methods["Transfer"].learner_args["n_classes"] == digits().train.n_classes


def test_sizes_hold_for_training_and_test():
    study = plan("Prototypical", "glyphs", n_way=7, n_shot=2, n_query=4)
    method, test = study.methods["Prototypical"], study.tests["test"]
    for sizes in (method.episodes, test):
        assert (sizes["n_way"], sizes["n_shot"], sizes["n_query"]) == (7, 2, 4)
    assert test["n_tasks"] == 600


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("MAMML", "glyphs"), "did you mean 'MAML'"),
        (("MAML", "glyps"), "did you mean 'glyphs'"),
        (("Siamese", "sinusoids"), "no learner 'Siamese' for these data"),
        (("MAML", "folder:/nowhere"), "there is none"),
        (("MAML", "npz:/nowhere"), "could not read"),
        (("MAML", "csv:/nowhere"), "cannot read"),
        (("MAML", "python:nowhere:x"), "expected a function as module:function"),
    ],
)
def test_unknown_names_are_refused_with_the_nearest(arguments, message):
    with pytest.raises(ValueError, match=message):
        plan(*arguments)


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"n_wya": 3}, "did you mean 'n_way'"),
        ({"n_way": 5, "episodes": {"n_way": 4}}, "give one n_way for both"),
        ({"fit": {"n_steps": 0}}, "n_steps of at least 1, got 0"),
        ({"fit": {"stps": 3}}, "fit has no option"),
        ({"n_way": 2000}, "validation classes of glyphs: n_way=2000 needs as many classes"),
    ],
)
def test_settings_that_contradict_are_refused(asked, message):
    with pytest.raises(ValueError, match=message):
        plan("MAML", "glyphs", **asked)
    with pytest.raises(ValueError, match=r"Transfer trains on batches, not tasks: set .*batch_size"):
        plan("Transfer", "glyphs", n_tasks=8)
    with pytest.raises(ValueError, match="no classes: leave n_way out"):
        plan("MAML", "sinusoids", n_way=3)


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"fit": 3}, r"expected \[fit\] as a table of settings, got fit = 3"),
        ({"fit": {"n_steps": "many"}}, "expected n_steps of at least 1, got 'many'"),
        ({"fit": {"patience": 2.5}}, "expected patience of at least 1, got 2.5"),
        ({"fit": {"outer_lr": -1.0}}, "expected outer_lr as a number above 0, got -1.0"),
        ({"fit": {"outer_lr": float("nan")}}, "expected outer_lr as a number above 0, got nan"),
        ({"fit": {"max_seconds": 0}}, "expected max_seconds as a number above 0, got 0"),
        ({"test": {"n_steps": 3}}, r"test.n_steps as a list of numbers of inner steps, such as \[1, 3\], got 3"),
        ({"test": {"n_shots": 5}}, "test has no option 'n_shots'"),
        ({"test": {"tune": 5}}, r"expected test.tune as lists of values by setting, got 5"),
        ({"learner_args": {"iner_lr": 1.0}}, "MAML has no setting 'iner_lr'; did you mean 'inner_lr'"),
        ({"learner_args": {"inner_lr": "abc"}}, "expected inner_lr of MAML as a number, got 'abc'"),
        ({"episodes": {"n_foo": 3}}, "train classes of glyphs: .*n_foo"),
        ({"n_shot": 50}, "validation classes of glyphs: n_shot . n_query = 55 needs as many examples"),
    ],
)
def test_settings_of_another_kind_are_refused(asked, message):
    with pytest.raises(ValueError, match=message):
        plan("MAML", "glyphs", **asked)


def test_inner_steps_of_a_learner_without_any_are_refused_before_it_trains():
    with pytest.raises(ValueError, match=r"Prototypical takes no inner steps: leave test\.n_steps out"):
        plan("Prototypical", "glyphs", test={"n_steps": [1]})


def test_a_class_is_not_the_baseline_that_is_made_of_it():
    study = plan("MAML", "sinusoids")
    assert list(study.methods) == ["MAML"] and study.methods["MAML"].learner_args.get("n_inner_steps") != 0
    assert study.methods["MAML"].fit == standing()["sinusoids"].methods["MAML"].fit
    assert list(plan("joint_training", "sinusoids").methods) == ["joint training"]


def test_a_file_says_what_flags_say(tmp_path, run):
    path = tmp_path / "mine.toml"
    path.write_text(
        'learner = "MAML"\ndata = "digits"\nn_way = 2\n[learner_args]\ninner_lr = 0.2\n[fit]\nn_steps = 9\n'
    )
    asked = read_settings(path)
    study = plan(asked.pop("learner"), asked.pop("data"), **asked)
    assert study == plan("MAML", "digits", n_way=2, learner_args={"inner_lr": 0.2}, fit={"n_steps": 9})
    asked = read_settings(run / "settings.json")
    assert plan(asked.pop("learner"), asked.pop("data"), **asked) == read_study(run)
    path.write_text("leraner = 3")
    with pytest.raises(ValueError, match="no setting 'leraner'; did you mean 'learner'"):
        read_settings(path)
    path.write_text("learner = ")
    with pytest.raises(ValueError, match="could not read"):
        read_settings(path)
    for text, message in (
        ("learner = 3", "expected learner as str, got 3"),
        ('n_way = "2"', "expected n_way as int, got '2'"),
        ("seed = true", "expected seed as int, got True"),
    ):
        path.write_text(text)
        with pytest.raises(ValueError, match=message):
            read_settings(path)
    path.with_suffix(".json").write_text('{"asked": 5}')
    with pytest.raises(ValueError, match="could not read"):
        read_settings(path.with_suffix(".json"))


# Runs


def test_a_run_leaves_all_that_is_needed(run):
    result = json.loads((run / "result.json").read_text())
    assert result["n_steps"] == 6 and result["rows"][0]["n_tasks"] == 600
    rows = list(csv.DictReader((run / "log.csv").read_text().splitlines()))
    assert [row["step"] for row in rows if row["validation"]] == ["3", "6"]
    best = open_run(run)
    assert best.data == "digits" and best.test["n_way"] == 2 and not best.note
    assert f"{100 * result['rows'][0]['mean']:.1f} ± " in call("evaluate", run)


def test_it_is_not_overwritten_and_not_continued_with_other_settings(run):
    again = ["train", "prototypical", "--data", "digits", "--way", "2", *SHORT, "--out", run]
    assert "holds a run already" in call(*again, code=1)
    other = [
        "train",
        "prototypical",
        "--data",
        "digits",
        "--way",
        "2",
        "--query",
        "3",
        *SHORT,
        "--out",
        run,
        "--resume",
    ]
    assert "other settings: methods.Prototypical.episodes.n_query" in call(*other, code=1)
    assert "holds no run to go on with" in call(*again[:-1], run.parent / "none", "--resume", code=1)
    assert "6 of 6 steps" in call("train", "--resume", "--out", run, "--quiet", "--device", "cpu")


def test_a_stopped_run_goes_on_to_the_same_weights(tmp_path, run, monkeypatch):
    study = read_study(run)
    calls = []

    def stop(self, loss, step=Log.step):
        calls.append(1)
        if len(calls) == 5:
            raise KeyboardInterrupt
        return step(self, loss)

    with monkeypatch.context() as patch:
        patch.setattr(Log, "step", stop)
        with pytest.raises(KeyboardInterrupt):
            train(study, tmp_path / "run", device="cpu", progress=False)
    assert open_run(tmp_path / "run").note == "the run is not finished: weights of 3 of 6 steps"
    train(study, tmp_path / "run", resume=True, device="cpu", progress=False)
    once, twice = (open_run(folder).learner.state_dict() for folder in (run, tmp_path / "run"))
    assert all(torch.equal(once[name], twice[name]) for name in once)
    steps = [int(row["step"]) for row in csv.DictReader((tmp_path / "run" / "log.csv").read_text().splitlines())]
    assert steps == sorted(set(steps))


def test_what_is_no_run_is_refused(tmp_path, run):
    with pytest.raises(ValueError, match=r"is no folder of a run: it has no settings\.json"):
        open_run(tmp_path)
    (tmp_path / "settings.json").write_text("{")
    with pytest.raises(ValueError, match="cannot be read"):
        open_run(tmp_path)
    (tmp_path / "settings.json").write_bytes((run / "settings.json").read_bytes())
    with pytest.raises(ValueError, match="stopped before its first checkpoint"):
        open_run(tmp_path)
    (tmp_path / "checkpoint.pt").write_bytes((run / "checkpoint.pt").read_bytes()[:1000])
    with pytest.raises(ValueError, match=r"checkpoint\.pt is no whole checkpoint"):
        open_run(tmp_path)
    with pytest.raises(ValueError, match="did you mean 'glyphs'"):
        open_run("maml/glyph")
    with pytest.raises(ValueError, match="did you mean 'maml'"):
        open_run("mamll/glyphs")
    assert open_run("MAML/glyphs").n_steps == open_run("maml/glyphs").n_steps
    with pytest.raises(ValueError, match=r"expected method/study.* got Prototypical: there are .*prototypical/glyphs"):
        open_run("Prototypical")
    with pytest.raises(ValueError, match=r"settings\.json is a file: name the folder"):
        open_run(run / "settings.json")


def test_a_run_that_could_not_begin_leaves_its_name_free(tmp_path):
    np.savez(tmp_path / "mine.npz", x=np.full((300, 3), np.nan), y=np.arange(300) // 10)
    wanted = ["train", "MAML", "--data", f"npz:{tmp_path / 'mine.npz'}", "--way", "2", *SHORT]
    assert "NaN or infinite values" in call(*wanted, "--out", tmp_path / "run", code=1)
    assert not (tmp_path / "run").exists()
    (tmp_path / "file").write_text("mine")
    assert "file is a file: name a folder for the run" in call(*wanted, "--out", tmp_path / "file", code=1)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").write_text("mine")
    assert "holds no run: name another" in call(*wanted, "--out", tmp_path / "full", code=1)
    assert (tmp_path / "file").read_text() == (tmp_path / "full" / "mine").read_text() == "mine"
    assert "metalearn train --resume --out FOLDER" in call("train", "--resume", code=1)


def test_weights_that_were_cut_are_refused_and_made_again(tmp_path, run):
    folder = tmp_path / "run"
    shutil.copytree(run, folder)
    path = folder / "weights.safetensors"
    whole = path.read_bytes()
    path.write_bytes(whole[:300])
    assert "weights.safetensors is no whole file of weights" in call("evaluate", folder, code=1)
    path.unlink()
    call("train", "--resume", "--out", folder, "--quiet", "--device", "cpu")
    again, before = load_file(path), load_file(run / "weights.safetensors")
    assert all(torch.equal(again[name], before[name]) for name in before)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (MemoryError(), "MemoryError"),
        (RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has"), "asked for 2.00 GiB"),
        (
            RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 64 bytes."),
            "asked for 64 bytes",
        ),
    ],
)
def test_out_of_memory_says_what_to_lower(monkeypatch, error, said):
    def fails(**how):
        raise error

    monkeypatch.setattr("metalearn.cli.app", fails)
    with pytest.raises(SystemExit) as caught:
        main()
    message = str(caught.value)
    assert message.startswith("metalearn: out of memory: lower --tasks, --query or --way") and said in message
    for setting in ("fit.chunk_size=1", "fit.how=loop", "learner_args.recompute=true"):
        name, value = setting.split(".")[1].split("=")
        assert setting in message  # and it is one
        section = {name: tomllib.loads(f"v = {value}")["v"] if value != "loop" else value}
        plan("MAML", "glyphs", **{setting.split(".")[0]: section})


def test_an_error_of_the_program_is_not_hidden(monkeypatch):
    def fails(**how):
        raise RuntimeError("a shape")

    monkeypatch.setattr("metalearn.cli.app", fails)
    with pytest.raises(RuntimeError, match="a shape"):
        main()


def test_a_device_that_is_not_there(tmp_path):
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    said = call("train", "MAML", "--data", "digits", "--way", "2", "--device", "cuda", "--out", tmp_path / "x", code=1)
    assert "device 'cuda' is not available here" in said and not (tmp_path / "x").exists()


def test_evaluation_by_group_and_by_steps():
    said = call("evaluate", "maml/glyphs", "--tasks", "20", "--steps", "1,3", "--by-group").splitlines()
    groups = {name.split("/")[0] for name in glyphs().test.class_names}
    assert [line.split(":")[0] for line in said[:2]] == ["glyphs after 1 inner steps", "glyphs after 3 inner steps"]
    assert {line.split(" after")[0] for line in said[2:]} <= groups and len(said) > 4
    assert "median" in call("evaluate", "maml/sinusoids", "--tasks", "20", "--steps", "1")
    assert "expected numbers of inner steps" in call("evaluate", "maml/glyphs", "--steps", "one", code=1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("maml/glyphs", "--way", "7"), "the learner has 5 outputs, got 7 classes"),
        (("maml/glyphs", "--data", "sinusoids"), "was trained on classes, sinusoids holds regression"),
        (("maml/sinusoids", "--data", "glyphs"), "was trained on regression.*, glyphs holds classes"),
        (("maml/sinusoids", "--way", "5"), "leave --way out, got 5"),
        (("maml/glyphs", "--data", "glyps"), "did you mean 'glyphs'"),
        (("prototypical/glyphs", "--shot", "30"), "test classes of glyphs: .* see --way, --shot and --query"),
    ],
)
def test_tests_that_do_not_fit_the_learner_are_refused(arguments, message):
    assert re.search(message, call("evaluate", *arguments, "--tasks", "20", code=1))


# Data of one's own


def draw_letters(folder, names=3, each=4):
    """Write images of test letters, bright on dark, into a subfolder for each letter."""
    pool = glyphs().test
    for c in range(names):
        for k, image in enumerate(pool.x[pool.y == c][:each]):
            path = Path(folder, f"letter{c}", f"{k}.png")
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image[0].numpy()).save(path)


def test_photographs_in_folders_and_an_answer(tmp_path):
    draw_letters(tmp_path / "support")
    pool = glyphs().test
    for c in range(2):
        Image.fromarray(pool.x[pool.y == c][10][0].numpy()).save(tmp_path / f"{c}.png")
    Image.fromarray(np.full((28, 28), 255, np.uint8)).save(tmp_path / "blank.png")
    query = [part for name in ("0", "1", "blank") for part in ("--query", tmp_path / f"{name}.png")]
    said = call("predict", "prototypical/glyphs", "--support", tmp_path / "support", *query).splitlines()
    assert "letter0" in said[0] and "letter1" in said[1] and "none of these" in said[2]


def test_what_cannot_be_predicted(tmp_path):
    draw_letters(tmp_path / "one", names=1)
    (tmp_path / "bad.png").write_bytes(b"no image")
    wanted = ["predict", "prototypical/glyphs", "--query", tmp_path / "bad.png", "--support"]
    assert "at least two classes" in call(*wanted, tmp_path / "one", code=1)
    draw_letters(tmp_path / "two", names=2)
    assert "cannot read the image" in call(*wanted, tmp_path / "two", code=1)
    assert "expected a learner of images" in call("predict", "maml/sinusoids", *wanted[2:], tmp_path / "two", code=1)
    wanted[3] = tmp_path / "none.png"
    assert "none.png: there is no such file" in call(*wanted, tmp_path / "two", code=1)
    wanted[3] = tmp_path / "two"
    assert "two: it is a folder" in call(*wanted, tmp_path / "two", code=1)
    assert "bad.png: it is a file" in call(*wanted, tmp_path / "bad.png", code=1)
    assert "no folders and 4 files: make" in call(*wanted, tmp_path / "two" / "letter0", code=1)


def test_many_photographs_of_a_class_are_taken_without_a_threshold(tmp_path):
    draw_letters(tmp_path / "support", names=2, each=20)
    query = tmp_path / "support" / "letter1" / "3.png"
    wanted = ["predict", "prototypical/glyphs", "--support", tmp_path / "support", "--query", query]
    said = call(*wanted, "--save", tmp_path / "mine.safetensors")
    assert 'no answer will be "none of these"' in said and "up to 20 images" in said and ": letter1 (" in said
    assert f"kept in {tmp_path / 'mine.safetensors'}" in said and (tmp_path / "mine.safetensors").is_file()


def test_a_folder_an_archive_and_a_function_are_split_by_class(tmp_path, monkeypatch):
    draw_letters(tmp_path / "letters", names=10)
    splits = own.images(tmp_path / "letters")
    assert [part.n_classes for part in splits] == [6, 2, 2]
    assert len({name for part in splits for name in part.class_names}) == 10
    colour = own.images(f"32c:{tmp_path / 'letters'}").train
    assert colour.x.shape[1:] == (3, 32, 32)
    np.savez(tmp_path / "mine.npz", x=np.zeros((20, 4), np.float32), y=np.arange(20) // 2)
    assert [part.n_classes for part in own.archive(tmp_path / "mine.npz")] == [6, 2, 2]
    np.savez(tmp_path / "less.npz", x=np.zeros((20, 4)))
    with pytest.raises(ValueError, match=r"expected arrays x \(examples\) and y"):
        own.archive(tmp_path / "less.npz")
    np.savez(tmp_path / "named.npz", x=np.zeros((20, 4), np.float32), y=[f"class {k // 2}" for k in range(20)])
    named = own.archive(tmp_path / "named.npz")
    assert {name for part in named for name in part.class_names} == {f"class {k}" for k in range(10)}
    (tmp_path / "my_data.py").write_text(
        "import torch\nfrom metalearn import Pool\n"
        "def pool():\n    return Pool(torch.randn(50, 4), torch.arange(50) // 5)\n"
        "def nothing():\n    return 3\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    assert own.called("my_data:pool").train.n_classes == 6
    with pytest.raises(ValueError, match="to return a Pool, Splits or a task family, got int"):
        own.called("my_data:nothing")
    for name in ("./my_data.py:pool", ".my_data:pool", "math:pi"):
        with pytest.raises(ValueError, match="expected a function as module:function"):
            own.called(name)
    with pytest.raises(ValueError, match="at least 3 classes"):
        own.split_classes(Pool(torch.zeros(4, 2), torch.arange(4) // 2))


def test_folders_and_archives_that_are_none_are_refused(tmp_path):
    np.savez(tmp_path / "halves.npz", x=np.zeros((20, 4)), y=np.arange(20) / 4)
    with pytest.raises(ValueError, match="expected whole numbers or names as y"):
        own.archive(tmp_path / "halves.npz")
    (tmp_path / "text.npz").write_text("no archive")
    with pytest.raises(ValueError, match=r"expected an \.npz, as numpy\.savez writes it"):
        own.archive(tmp_path / "text.npz")
    with pytest.raises(ValueError, match=r"expected folder:PATH, .* got no path"):
        own.images("")
    draw_letters(tmp_path / "few", names=4)
    with pytest.raises(ValueError, match=r"validation classes .*\(letter\d\), since classes are divided"):
        plan("Prototypical", f"folder:{tmp_path / 'few'}")


def test_a_table_holds_tasks_of_unequal_sizes(tmp_path):
    rows = [(f"t{t}", x, 3 * t + x) for t in range(10) for x in range(4 + t)]
    path = tmp_path / "mine.csv"
    path.write_text("task,x1,y\n" + "\n".join(",".join(map(str, row)) for row in rows))
    splits = own.table(path)
    assert len({name for part in splits for name in part.names}) == 10
    assert splits.train.x.mean().abs() < 1e-6 and abs(splits.train.y.std() - 1) < 1e-6
    task = splits.train.sample(50, 2, 3, torch.Generator().manual_seed(0))
    slopes = (task.query_y[:, 1] - task.query_y[:, 0]) / (task.query_x[:, 1] - task.query_x[:, 0])
    assert torch.allclose(slopes, slopes[0], rtol=1e-3)  # all rows of a draw are of one task
    both = torch.cat([task.support_x, task.query_x], 1).squeeze(-1)
    assert all(len(row.unique()) == 5 for row in both)
    with pytest.raises(ValueError, match="the largest here has"):
        splits.train.sample(1, 50, 50)
    path.write_text("task,x,y\na,1,2\nb,1,many\nc,1,1")
    with pytest.raises(ValueError, match="expected a finite number in column y, line 3, got 'many'"):
        own.table(path)
    path.write_text("job,x,y\na,1,2")
    with pytest.raises(ValueError, match="expected columns task"):
        own.table(path)


def test_tables_that_a_spreadsheet_wrote_and_tables_that_are_none(tmp_path):
    path = tmp_path / "mine.csv"
    rows = [(f"t{t}", x, t) for t in range(5) for x in range(3)]
    path.write_text("\ufefftask,x,y\n" + "\n".join(",".join(map(str, row)) for row in rows), encoding="utf-8")
    assert len(own.table(path).train.names) == 3  # a spreadsheet's mark is no part of the first name
    with pytest.raises(ValueError, match=r"tasks of csv:.*: expected tasks of at least 10 \+ 100 rows"):
        plan("MAML", f"csv:{path}")
    for text, message in (
        ("task;x;y\na;1;2", "separate columns by commas"),
        ("", "got no row"),
        ("task,x,y\na,1", "column y, line 2, got nothing"),
        ("x,y,task\n1,2,a\n1,2", "a name in column task, line 3, got nothing"),
    ):
        path.write_text(text)
        with pytest.raises(ValueError, match=message):
            own.table(path)
    path.write_bytes(bytes(range(256)))
    with pytest.raises(ValueError, match=r"comma-separated text in UTF-8, could not read .*mine\.csv"):
        own.table(path)


def test_columns_of_large_numbers_and_of_a_single_one_are_scaled(tmp_path):
    path = tmp_path / "mine.csv"
    rows = [f"t{i % 8},{1_700_000_000 + i},0.1,{i}" for i in range(64)]  # seconds, which float32 cannot tell apart
    path.write_text("task,x1,x2,y\n" + "\n".join(rows))
    train = own.table(path).train
    assert len(train.x[:, 0].unique()) == len(train.x) and abs(train.x[:, 0].std() - 1) < 1e-6
    assert train.x[:, 1].abs().max() < 1e-6  # and not its rounding, scaled up
    path.write_text("task,x,y\na,1,1\nb,2,2\nc,3,3")
    (x,) = own.table(path).train.x
    assert x == 0


def test_a_learner_trains_on_a_table_and_on_vectors(tmp_path):
    rng = np.random.default_rng(0)
    lines = [f"t{t},{x:.3f},{x * x:.3f},{t * x:.3f}" for t in range(12) for x in rng.normal(size=30)]
    (tmp_path / "mine.csv").write_text("task,x1,x2,y\n" + "\n".join(lines))
    short = ["--steps", "3", "--set", "fit.compile=false", "--quiet", "--device", "cpu", "--out"]
    said = call("train", "MAML", "--data", f"csv:{tmp_path / 'mine.csv'}", "--query", "5", *short, tmp_path / "a")
    assert "3 of 3 steps" in said and "median" in said
    np.savez(tmp_path / "mine.npz", x=rng.normal(size=(300, 4)).astype(np.float32), y=np.arange(300) // 20)
    said = call("train", "MAML", "--data", f"npz:{tmp_path / 'mine.npz'}", "--way", "2", *short, tmp_path / "b")
    assert "3 of 3 steps" in said and "%" in said


# Studies


TINY = replace(standing()["glyphs"], name="tiny", methods={}, seeds=(0, 1))


@pytest.mark.parametrize(
    ("only", "wanted"),
    [("1/1", [("a", 0), ("b", 0), ("a", 1), ("b", 1)]), ("1/2", [("a", 0), ("a", 1)]), ("4/4", [("b", 1)])],
)
def test_each_machine_has_its_share(only, wanted):
    method = standing()["glyphs"].methods["raw pixels"]
    study = Study("tiny", {"a": method, "b": method}, TINY.tests, "glyphs", (0, 1))
    assert list(recorded._parts(study, None, None, only)) == wanted


def test_wrong_shares_and_names_are_refused():
    for wrong in ("2", "0/2", "3/2", "a/b"):
        with pytest.raises(ValueError, match="expected --only i/n"):
            list(recorded._parts(standing()["glyphs"], None, None, wrong))
    assert "did you mean 'sinusoids'" in call("study", "run", "sinusoid", code=1)
    assert "has no method 'mammal'" in call("study", "run", "glyphs", "--method", "mammal", code=1)
    assert "has the seeds [0, 1, 2], got 5" in call("study", "run", "glyphs", "--seed", "5", code=1)


def test_the_list_and_a_table():
    assert "glyphs: " in call("study", "list") and "parts done" in call("study", "list")
    header, *lines = call("study", "show", "glyphs").splitlines()
    assert header.startswith("method") and any(line.startswith("Prototypical") for line in lines)


def test_scores_agree_within_the_interval_of_their_difference():
    generator = torch.Generator().manual_seed(0)
    tasks = torch.rand(400, generator=generator)
    noise = torch.randn(400, generator=generator)
    old = Score.of(tasks)
    assert recorded.agree(old, old)
    assert recorded.agree(Score.of(tasks + 0.02 * (noise - noise.mean())), old)
    assert not recorded.agree(Score.of(tasks + 0.01 + 0.02 * (noise - noise.mean())), old)  # paired: a small gap shows
    assert recorded.agree(Score.of(tasks[:100] + 0.01), old)  # not paired: it does not


def test_reproducing_compares_with_the_record(tmp_path, monkeypatch):
    made: list[Callable[[], None]] = []
    monkeypatch.setattr(recorded, "_train_anew", lambda *arguments: made.append(arguments))

    def record(study, home):
        return recorded.experiments.load(study)

    monkeypatch.setattr(recorded, "Record", record)
    lines = list(recorded.compare(standing()["sinusoids"], tmp_path))
    assert all("agrees with the record" in line for line in lines) and len(lines) > 20
    assert sum("the paper's 0.67 is" in line for line in lines) == 3  # MAML, 5 points, one step, of each seed
    call("reproduce", "sinusoids", "--quick")
    study, parts, _home, seconds, _workers = made[0]
    assert study.name == "sinusoids" and {seed for _, seed in parts} == {0} and seconds == recorded.QUICK_SECONDS


@pytest.mark.slow
def test_what_is_made_anew_on_the_same_weights_agrees(tmp_path, capsys):
    study = standing()["glyphs"]
    recorded._train_anew(study, [("raw pixels", 0), ("untrained", 0)], tmp_path, None, 2)
    assert sorted(line.split(": ")[0] for line in capsys.readouterr().err.splitlines()) == [
        "glyphs, raw pixels, seed 0",
        "glyphs, untrained, seed 0",
    ]
    lines = list(recorded.compare(study, tmp_path))
    assert len(lines) == 6 and all("; agrees with the record, " in line for line in lines)


@pytest.mark.slow
def test_errors_are_one_line_and_an_exit_code(tmp_path):
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "metalearn", "evaluate", "nothing"], capture_output=True, text=True, env=environment
    )
    assert done.returncode == 1 and done.stderr.startswith("metalearn: nothing is no folder of a run")
    assert "Traceback" not in done.stderr


ROOT = Path(__file__).resolve().parents[1]
SAID = [
    line
    for page in ("book/command_line.md", "README.md", "book/deploy.md")
    for line in (ROOT / page).read_text().splitlines()
    if line.startswith(("metalearn ", "torchrun "))
]


@pytest.mark.parametrize("line", SAID)
def test_commands_on_pages_are_understood(line):
    words = re.sub("^torchrun .* -m ", "", line).split()[1:]
    command = get_command(app)
    while words and words[0] in getattr(command, "commands", {}):
        command = command.commands[words.pop(0)]
    command.make_context("metalearn", words)  # refuses an option that there is not
