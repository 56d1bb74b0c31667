"""Each benchmark runs, in a setting too small to mean anything; the stored numbers have the form that is read."""

from __future__ import annotations

import importlib
import json
from pathlib import Path

import pytest

FOLDER = Path(__file__).with_name("benchmarks")
NAMES = ["sinusoid", "conv4", "sampling", "memory", "prototypical"]
FIELDS = {"what": str, "medians": dict, "unit": str, "ratio": float | int, "goal": str | None, "met": bool | None}


def check_form(results: list[dict[str, object]]) -> None:
    assert results
    for entry in results:
        assert set(entry) == {*FIELDS, "note"}
        assert all(isinstance(entry[name], kind) for name, kind in FIELDS.items()), entry
        assert (entry["goal"] is None) == (entry["met"] is None)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of higher
def test_the_benchmark_runs(name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.syspath_prepend(FOLDER)
    results = importlib.import_module(f"bench_{name}").run(quick=True)
    check_form(results)
    assert len(capsys.readouterr().out.splitlines()) == len(results)


def test_the_step_in_jax_is_the_same_step(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("jax")  # of the extra "bench"
    monkeypatch.syspath_prepend(FOLDER)
    bench, jax = (importlib.import_module(name) for name in ("bench_sinusoid", "_jax"))
    learner = bench.MAML(bench.MLP([1, 4, 1]), bench.INNER_LR, loss_fn=bench.F.mse_loss)
    batch = bench.sinusoids().sample(3, 5, 5)
    step, _ = jax.make_step(learner.model, bench.INNER_LR, batch)
    loss = learner.backward(batch)
    jax.check_step(step, loss, learner.model)
    learner.model[0].weight.grad += 1
    with pytest.raises(AssertionError):
        jax.check_step(step, loss, learner.model)


def test_stored_numbers_are_complete() -> None:
    stored = json.loads((FOLDER / "results.json").read_text(encoding="utf-8"))
    assert set(stored["results"]) == set(NAMES)
    for results in stored["results"].values():
        check_form(results)
    assert stored["environment"]["threads"] == 1
    assert {"processor", "cores", "instructions", "clock", "versions"} < set(stored["environment"])


def test_a_missed_goal_is_explained() -> None:
    stored = json.loads((FOLDER / "results.json").read_text(encoding="utf-8"))["results"]
    assert all(entry["note"] for results in stored.values() for entry in results if entry["met"] is False)
