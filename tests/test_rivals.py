"""Gains over rivals, from the records of the package."""

from __future__ import annotations

import math

import pytest
import torch

from metalearn import Score, experiments
from metalearn.experiments import Gain, finalists, gain


def test_a_gain_in_accuracy_is_the_mean_difference_in_points() -> None:
    record = experiments.load("glyphs")
    ours, theirs = (record.score(name, "5-way 1-shot").per_task.double() for name in ("MAML", "Transfer"))
    found = gain(record, "MAML", "Transfer", "5-way 1-shot")
    assert found.unit == "points" and found.score.mean == pytest.approx(100 * (ours - theirs).mean().item())
    half = 1.96 * 100 * (ours - theirs).std().item() / math.sqrt(600)
    assert found.score.ci95 == pytest.approx(half)
    assert str(found) == f"{found.score.mean:.1f} ± {half:.1f} points"


def test_a_gain_in_error_is_a_share_and_its_interval_is_that_of_the_bootstrap() -> None:
    record = experiments.load("dynamics_pendulum")
    found = gain(record, "Shrinkage", "joint training", "10 steps")
    scores = [record.over_seeds(name, "10 steps") for name in ("Shrinkage", "joint training")]
    assert found.unit == "%" and found.score.mean == pytest.approx(100 * (1 - scores[0].mean / scores[1].mean))
    generator = torch.Generator().manual_seed(0)
    again = torch.randint(600, (2000, 600), generator=generator)
    ours, theirs = (score.per_task[again].mean(1) for score in scores)
    spread = 100 * (1 - ours / theirs).std().item()
    assert found.score.ci95 == pytest.approx(1.96 * spread, rel=0.1)


def test_a_gain_in_return_is_positive_where_the_return_is_higher() -> None:
    record = experiments.load("navigation")  # returns are negative there
    ours, theirs = (record.over_seeds(name) for name in ("MAML", "pretrained"))
    assert ours.mean > theirs.mean
    assert gain(record, "MAML", "pretrained").score.mean == pytest.approx(100 * (1 - ours.mean / theirs.mean))
    assert gain(record, "pretrained", "MAML").score.mean < 0


def test_gains_of_the_trainings_average_to_the_gain() -> None:
    record = experiments.load("natural")
    each = [gain(record, "MAML", "Transfer", "5-way 5-shot", seed).score.mean for seed in (0, 1, 2)]
    assert sum(each) / 3 == pytest.approx(gain(record, "MAML", "Transfer", "5-way 5-shot").score.mean)
    with pytest.raises(ValueError, match="has no 'nobody'"):
        gain(record, "MAML", "nobody")


def test_finalists_validated_best_and_were_trained_on_tasks() -> None:
    record = experiments.load("sites")
    found = finalists(record, ("MAML", "ANIL", "learned"))
    best = {
        name: sum(max(record.curve(name, seed)[1]) for seed in (0, 1, 2)) / 3
        for name in ("MAML", "ANIL", "learned shrinkage", "learned shrinkage of features")
    }
    assert found == {"10 patients": sorted(best, key=lambda name: -best[name])}
    assert finalists(record, "MAML", without="MAML") == {}
    assert finalists(record, ("site alone", "raw", "Transfer")) == {}, "not trained on tasks"


def test_of_errors_the_lowest_validation_wins_and_each_test_has_its_own() -> None:
    record = experiments.load("ratings")
    errors = {name: sum(min(record.curve(name, seed)[1]) for seed in (0, 1, 2)) for name in ("MeLU", "CAVIA")}
    assert finalists(record, ("MeLU", "CAVIA")) == {"5 ratings": sorted(errors, key=errors.__getitem__)}
    assert set(finalists(experiments.load("languages"))) == {"1-shot", "1-shot, one script", "5-shot, one script"}


def test_a_gain_prints_its_unit() -> None:
    score = gain(experiments.load("natural"), "MAML", "Transfer").score
    assert str(Gain(score, "%")).endswith(" %")


def test_a_gain_with_a_task_that_diverged_is_undefined_and_never_level() -> None:
    record = experiments.load("sinusoids")
    for found in (gain(record, "MetaSGD", "MAML"), gain(record, "MAML", "MetaSGD")):
        assert found.verdict == str(found) == "undefined"
    assert gain(record, "MAML", "joint training").verdict == "better"
    assert gain(record, "joint training", "MAML").verdict == "worse"
    assert gain(record, "MAML", "first-order MAML").verdict == "level"


def test_a_gain_needs_the_same_tasks_and_a_mean_to_take_a_share_of(monkeypatch: pytest.MonkeyPatch) -> None:
    record = experiments.load("ratings")
    values = {"MeLU": torch.ones(3), "fold-in": torch.ones(4)}
    monkeypatch.setattr(record, "over_seeds", lambda name, test: Score.of(values[name], higher_is_better=False))
    with pytest.raises(ValueError, match=r"got 3 of 'MeLU' and 4 of 'fold-in'"):
        gain(record, "MeLU", "fold-in")
    values["fold-in"] = torch.zeros(3)
    with pytest.raises(ValueError, match=r"the mean of 'fold-in' is 0"):
        gain(record, "MeLU", "fold-in")


def test_a_study_of_another_kind_has_no_finalists() -> None:
    assert finalists(experiments.load("mnist_cnn")) == {}
    assert "Reptile" not in finalists(experiments.load("sinusoids"))["10 points"], "two trainings diverged unvalidated"
