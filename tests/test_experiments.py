"""Recorded runs hold what they need to be believed, and their numbers follow from their own values."""

import json
import math
import subprocess
import sys

import pytest
import torch

from metalearn import Score, experiments

NEEDED = {
    "name",
    "script",
    "settings",
    "runs_done",
    "runs_planned",
    "minutes",
    "versions",
    "hardware",
    "commit",
    "results",
}


@pytest.mark.parametrize("name", experiments.names())
def test_schema(name):
    run = experiments.load(name)
    assert set(run) >= NEEDED and run["name"] == name and run["commit"] and run["minutes"] > 0
    assert {"python", "torch"} <= set(run["versions"]) and {"cpu", "threads", "gpu"} <= set(run["hardware"])
    assert 0 < run["runs_done"] <= run["runs_planned"] and len(run["settings"]["seeds"]) >= 3
    assert (experiments.Path(__file__).parents[1] / run["script"]).exists()
    assert "norm" in run["settings"], "the norm policy is part of every number"


@pytest.mark.parametrize("name", experiments.names())
def test_every_mean_and_interval_follows_from_its_tasks(name):
    run = experiments.load(name)
    for row in run["results"]:
        values = torch.tensor([math.nan if v is None else v for v in row["per_task"]], dtype=torch.float64)
        assert len(values) == row["n_tasks"] >= 600
        bad = values.isnan() | (values > run["settings"].get("diverged_above", math.inf))
        assert row["diverged"] == pytest.approx(bad.double().mean().item())
        assert row["mean_of_rest"] == pytest.approx(values[~bad].mean().item(), rel=1e-3)
        if row["mean"] is not None:
            assert row["mean"] == pytest.approx(values.mean().item(), rel=1e-3)
            assert row["ci95"] == pytest.approx(1.96 * values.std().item() / math.sqrt(len(values)), rel=1e-3)
        finite = values.nan_to_num(math.inf).sort().values
        median = (finite[len(values) // 2 - 1] + finite[len(values) // 2]).item() / 2
        assert row["median"] == (pytest.approx(median, rel=1e-3) if math.isfinite(median) else None)


def test_summary_of_tasks_that_diverge():
    score = Score.of(torch.tensor([1.0, 3.0, 30.0, math.inf]))
    row = experiments.summary(score, diverged_above=25)
    assert (
        row["mean"] is None
        and row["ci95"] is None
        and row["diverged"] == 0.5
        and row["median"] == 16.5
        and row["mean_of_rest"] == 2
    )
    assert row["per_task"] == [1, 3, 30, None]


def test_what_is_saved_is_what_is_loaded(tmp_path, monkeypatch):
    content = {"name": "x", "results": [{"a": 1, "per_task": [1, None]}, {"a": 2, "per_task": []}]}
    experiments.save(tmp_path / "x.json", content)
    monkeypatch.setattr(experiments, "RESULTS", tmp_path)
    assert experiments.names() == ["x"] and experiments.load("x") == content
    with pytest.raises(ValueError, match=r"no recorded run 'y'; known: \['x'\]"):
        experiments.load("y")


def test_rows_are_found_by_their_fields():
    run = {"results": [{"a": 1, "b": 2, "per_task": []}, {"a": 1, "b": 3, "per_task": []}]}
    assert experiments.rows(run, a=1) == run["results"] and experiments.rows(run, b=3) == run["results"][1:]
    with pytest.raises(ValueError, match=r"no result with {'a': 5}; a result looks like {'a': 1, 'b': 2}"):
        experiments.rows(run, a=5)


def test_a_run_is_cut_short_goes_on_and_is_not_done_twice(tmp_path):
    script = (
        "import metalearn.experiments.sinusoid_maml as m; from metalearn.experiments import record;"
        "m.SETTINGS.update(test_steps=[0, 1], n_test_tasks=100, n_validation_tasks=100);"
        "record('sinusoid_maml', m.SETTINGS, [('maml', 5, 0), ('scratch', None, 0)], m.run, published=m.PUBLISHED)"
    )
    outputs = []
    for steps in ("2", "4", "4"):
        where = ["--folder", str(tmp_path / "parts"), "--output", str(tmp_path / "out.json"), "--steps", steps]
        subprocess.run([sys.executable, "-c", script, *where], check=True, capture_output=True)
        outputs.append(json.loads((tmp_path / "out.json").read_text()))
    trained = [run["results"][0]["trained_steps"] for run in outputs]
    assert trained == [2, 4, 4] and outputs[1]["results"] == outputs[2]["results"]
    assert outputs[2]["settings"]["n_steps"] == 70_000 and outputs[2]["runs_done"] == 2
