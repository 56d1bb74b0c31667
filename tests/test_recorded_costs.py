"""The recorded analyses of costs say what is counted today, and hold together."""

import pytest
import torch

from metalearn import Score, adapters, costs, experiments, pretrained
from metalearn.data import glyphs, sinusoids
from metalearn.experiments import adapters as on_a_frozen_base
from metalearn.experiments import compression
from metalearn.experiments._rows import seeded, tasks
from metalearn.learners import MAML


def test_adapters_are_as_large_as_recorded():
    record, task = experiments.analysis("adapters"), tasks(glyphs().test, 1)(seeded(0))[0]
    for part, make in on_a_frozen_base.PARTS.items():
        learner = MAML(make(on_a_frozen_base.base()), 0.1, n_inner_steps=record["n_inner_steps"])
        (row, *_) = [row for row in record["rows"] if (row["part"], row["seed"]) == (part, 0)]
        assert row["n_adapted"] == adapters.n_trained(learner) == row["bytes_per_task"] / 4
        assert row["operations"] == pytest.approx(costs.adaptation(learner, task).operations, rel=1e-3)


@pytest.mark.parametrize("label", ["Prototypical", "MAML, sine waves"])
def test_compressed_learners_are_as_large_and_as_good_as_recorded(label):
    rows = [row for row in experiments.analysis("compression")["rows"] if row["method"] == label]
    learner, test, _ = compression.shipped(label)
    for kind, size, hold, found in compression.compressed(learner):
        same = [row for row in rows if (row["kind"], row["size"], row["hold"]) == (kind, size, hold)]
        assert same[0]["n_bytes"] == pytest.approx(found.n_bytes, rel=1e-3)
        if kind in ("none", "int8"):
            row = compression.row(label, kind, size, hold, found, test)
            assert row["mean"] == pytest.approx(same[0]["mean"], rel=0.01)
            assert row["per_task"] == pytest.approx(same[0]["per_task"], abs=0.05)


def test_rows_are_summaries_of_their_tasks():
    for name in ("adapters", "compression"):
        for row in experiments.analysis(name)["rows"]:
            if row["mean"] is not None:
                score = Score.of(torch.tensor(row["per_task"], dtype=torch.float64))
                assert (score.mean, score.ci95) == pytest.approx((row["mean"], row["ci95"]), rel=2e-3, abs=1e-3)


def test_operations_are_counted_as_recorded():
    rows = {(row["data"], row["n_shot"], row["method"]): row for row in experiments.analysis("costs")["rows"]}
    task, learner = sinusoids().sample(1, 10, 5, seeded(0))[0], pretrained("maml", "sinusoids")
    row = rows["sinusoids", 10, "MAML"]
    for steps, operations in zip(row["steps"], row["operations"], strict=True):
        assert operations == pytest.approx(costs.adaptation(learner, task, steps).operations, rel=1e-3)
    task = glyphs().test.episodes(n_tasks=1, n_way=5, n_shot=1, n_query=1)(seeded(0))[0]
    counted = costs.adaptation(pretrained("prototypical", "glyphs"), task).operations
    assert rows["glyphs", 1, "Prototypical"]["operations"] == [pytest.approx(counted, rel=1e-3)]
    for row in rows.values():
        for found in row["reached"].values():
            assert {value for value in found if value is not None} <= set(row["operations"])


def test_the_plain_way_is_the_unit_of_the_table_of_hardware():
    rows = experiments.analysis("hardware")["rows"]
    for row in rows:
        plain = next(other for other in rows if other["on"] == row["on"])
        assert plain["what"] == "plain" and plain["ratio"] == 1
        assert row["ratio"] == pytest.approx(row["seconds"] / plain["seconds"], rel=2e-3)
        assert row["cpu_ratio"][0] == pytest.approx(row["cpu_seconds"] / plain["cpu_seconds"], rel=2e-3)
        if "cosine" in row and row["what"] not in ("bf16", "recompute"):
            assert row["cosine"] > 0.9999
