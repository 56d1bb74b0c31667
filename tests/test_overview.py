"""The one table: every learner is in it or left out with a reason; its cells are those of the studies."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

from metalearn import Score, costs, experiments, learners, rl
from metalearn.experiments import _store, table_costs
from metalearn.experiments._overview import COSTS, SOURCES
from metalearn.experiments._published import OMNIGLOT, TESTS
from metalearn.experiments.study import Method, Study
from metalearn.learners import Learner
from metalearn.tables import Cell, sortable

OVERVIEW = experiments.Overview()
CONFIG = {"channels": 4, "norm": "frozen", "downsample": "stride"}
FIVE = {"network": "Conv4", "config": {**CONFIG, "n_outputs": 5, "norm": "support"}}
TINY = Study(
    "table_glyphs",
    {
        "raw pixels": Method("Prototypical", {"encoder": {"network": "Flatten", "config": {}}}, fit={"n_steps": 0}),
        "MAML": Method("MAML", {"model": FIVE}, {"inner_lr": 0.1}, fit={"n_steps": 0}, test={"n_steps": [1, 2]}),
        "MAML, 20-way": Method(
            "MAML",
            {"model": {**FIVE, "config": {**FIVE["config"], "n_outputs": 20}}},
            {"inner_lr": 0.1},
            fit={"n_steps": 0},
            test={"n_steps": [1]},
        ),
    },
    {f"{n}-way {k}-shot": {"n_way": n, "n_shot": k, "n_query": 2, "n_tasks": 20} for n in (5, 20) for k in (1, 5)},
    seeds=(0, 1),
)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> experiments.Overview:
    """Return the table of a study of two methods; MAML has two seeds, its 20-way network one, pixels one."""
    home = tmp_path_factory.mktemp("home")
    for folder in ("results", "weights", "analyses"):
        (home / folder).mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("METALEARN_RUNS", str(home / "runs"))
        for label, seed in (("raw pixels", 0), ("MAML", 0), ("MAML", 1), ("MAML, 20-way", 0)):
            experiments.run(TINY, label, seed, home=home, device="cpu", progress=False)
    return experiments.Overview(home)


def test_every_learner_is_in_the_table_or_left_out_with_a_reason() -> None:
    studies = [experiments.standing()[name] for name in SOURCES.values()]
    used = {method.learner for study in studies for method in study.methods.values()}
    public = [*(getattr(learners, name) for name in learners.__all__), *(getattr(rl, name) for name in rl.__all__)]
    names = {one.__name__ for one in public if isinstance(one, type) and issubclass(one, Learner)} - {"Learner"}
    assert names - used == set(OVERVIEW.left_out) and not used & set(OVERVIEW.left_out)
    assert all(len(reason.split()) > 3 for reason in OVERVIEW.left_out.values())


def test_a_cell_holds_the_seeds_mean_and_apart_from_its_interval_their_spread(small: experiments.Overview) -> None:
    record = experiments.Record("table_glyphs", small.home)
    scores = [record.score("MAML", "5-way 5-shot", 2, seed) for seed in (0, 1)]
    both = Score.of(torch.stack([score.per_task.double() for score in scores]).mean(0))
    found = small.score("MAML", "glyphs", "5-way 5-shot")
    assert found is not None and (found.mean, found.ci95) == pytest.approx((both.mean, both.ci95))
    low, high = sorted(100 * score.mean for score in scores)
    cell = small.cell("MAML", "glyphs", "5-way 5-shot")
    assert cell.text == f"{both:%}" and cell.notes == (f"2 seeds: {low:.1f} to {high:.1f}",)
    assert small.cell("raw pixels", "glyphs", "5-way 1-shot").notes == ("1 seed",)


def test_a_network_for_twenty_classes_stands_in_the_row_of_its_method(small: experiments.Overview) -> None:
    assert small.methods == ("raw pixels", "MAML")
    record = experiments.Record("table_glyphs", small.home)
    found = small.score("MAML", "glyphs", "20-way 1-shot")
    assert found is not None and found.mean == record.score("MAML, 20-way", "20-way 1-shot").mean
    assert list(small.scores("glyphs", "20-way 1-shot")) == ["raw pixels", "MAML"]


def test_what_was_not_run_is_empty(small: experiments.Overview) -> None:
    assert small.score("MAML", "photographs") is None and small.training("MAML", "photographs") is None
    assert small.cell("MAML", "photographs", "5-way 1-shot") == Cell() and small.costs("MAML") == {}
    assert small.printed("raw pixels", "5-way 1-shot") == Cell()
    rows = re.findall(r"<tr><th scope=\"row\">.*?</tr>", small.table().data)
    n_columns = len(SOURCES) * (len(TESTS) + 1) + len(TESTS) + len(COSTS)
    assert [row.count("<td") for row in rows] == [n_columns] * 2
    assert rows[1].count("<td></td>") >= 3 * (len(TESTS) + 1)  # three sources were not run
    assert [row.count("<td") for row in re.findall(r"<tr><th scope=\"row\">.*?</tr>", small.table("glyphs").data)] == [
        len(TESTS) + 1 + len(COSTS)
    ] * 2


def test_unknown_names_are_not_taken_for_what_was_not_run(small: experiments.Overview) -> None:
    for names in (("MAMAL",), ("MAML", "glyph"), ("MAML", "glyphs", "5-way 2-shot")):
        with pytest.raises(ValueError, match=f"got '{names[-1]}'"):
            small.score(*names)
    with pytest.raises(ValueError, match=r"expected a source of .*, got 'photos'"):
        small.table("photos")


def test_seeds_and_agreement_are_those_of_the_scores(small: experiments.Overview) -> None:
    lines = small.seeds("glyphs", "5-way 5-shot").data.splitlines()
    score, (note,) = small.score("MAML", "glyphs", "5-way 5-shot"), small.cell("MAML", "glyphs", "5-way 5-shot").notes
    assert score is not None and len(lines) == 3  # raw pixels have one seed
    assert lines[2] == f"| MAML | 2 | {note.partition(': ')[2]} | ± {100 * score.ci95:.1f} |"
    assert small.agreement()["glyphs"]["glyphs"] != small.agreement()["glyphs"]["glyphs"]  # two methods: no ranking
    columns = [OVERVIEW.scores(source) for source in ("glyphs", "photographs")]
    shared = [method for method in columns[0] if method in columns[1]]
    signs = [
        (columns[0][a].mean - columns[0][b].mean) * (columns[1][a].mean - columns[1][b].mean)
        for k, a in enumerate(shared)
        for b in shared[:k]
    ]
    tau = sum((sign > 0) - (sign < 0) for sign in signs) / len(signs)
    assert OVERVIEW.agreement()["glyphs"]["photographs"] == pytest.approx(tau, abs=0.02)  # ties count apart


def test_recorded_scores_lie_between_the_means_of_their_seeds() -> None:
    for source in OVERVIEW.records:
        for test in TESTS:
            for method, score in OVERVIEW.scores(source, test).items():
                means = [one.mean for one in OVERVIEW.by_seed(method, source, test).values()]
                assert min(means) - 1e-9 <= score.mean <= max(means) + 1e-9


def test_papers_numbers_belong_to_rows_and_tests() -> None:
    assert set(OMNIGLOT) <= set(experiments.standing()["table_omniglot"].methods)
    for paper in OMNIGLOT.values():
        assert set(paper["values"]) <= set(TESTS) and re.search(r"arXiv \d{4}\.\d{5}", paper["source"])
        assert all(60 < mean < 100 for mean, _ in paper["values"].values())
    assert OVERVIEW.printed("MAML", "5-way 1-shot") == Cell("98.7 ± 0.4", 98.7, ("queries normalised together",))


@pytest.mark.parametrize("label", ["MAML", "Prototypical", "Transfer fine-tuned"])
def test_costs_are_counted_as_recorded(label: str) -> None:
    rows = {(row["data"], row["method"]): row for row in experiments.analysis("table_costs")["rows"]}
    row, (fresh, _) = rows["glyphs", label], table_costs.counted(table_costs.STUDIES["glyphs"], label)
    assert row["parameters"] == fresh["parameters"] and row["norm"] == fresh["norm"]
    for test, found in fresh["tests"].items():
        assert row["tests"][test]["operations"] == pytest.approx(found["operations"], rel=1e-3)
        assert row["tests"][test]["peak_bytes"] == pytest.approx(found["peak_bytes"], rel=0.02)
    trained_as = fresh.get("trained_as", label)
    assert row["step_operations"] == rows["glyphs", trained_as]["step_operations"]


def test_every_row_of_costs_is_there() -> None:
    known = {(row["data"], row["method"]) for row in experiments.analysis("table_costs")["rows"]}
    assert known == {(data, label) for data, study in table_costs.STUDIES.items() for label in study.methods}


# A table.


def test_a_table_is_whole_without_a_script() -> None:
    text = sortable({"": ["method"], "a & b": ["%", "s"]}, [["<one>", Cell("9 ± 1", 0.09, ("x<y",)), 3]], "All").data
    assert "<caption>All</caption>" in text and '<th scope="row">&lt;one&gt;</th>' in text and "<script" not in text
    assert '<td data-value="0.09">9 ± 1<br><small>x&lt;y</small></td><td>3</td>' in text
    assert '<th scope="colgroup" colspan="2">a &amp; b</th>' in text
    with pytest.raises(ValueError, match="expected 3 cells in each row, got 2 in that of MAML"):
        sortable({"": ["method", "a", "b"]}, [["MAML", 1]], "All")


def test_what_is_no_number_sorts_like_an_empty_cell() -> None:
    values = [float("nan"), float("inf"), float("-inf"), 1234.5]
    keys = [re.findall('data-value="(.*?)"', Cell("x", value).html) for value in values]
    assert keys == [[""], ["Infinity"], ["-Infinity"], ["1234.5"]]


def test_nothing_on_the_front_is_dominated_and_all_else_is() -> None:
    generator = torch.Generator().manual_seed(0)
    points = {str(i): tuple(torch.rand(2, generator=generator).tolist()) for i in range(60)}
    front = costs.non_dominated(points)
    for name, (cost, quality) in points.items():
        beaten = any(c <= cost and q >= quality and (c, q) != (cost, quality) for c, q in points.values())
        assert beaten == (name not in front)
    assert [points[name][0] for name in front] == sorted(points[name][0] for name in front)
    assert costs.non_dominated({"a": (1.0, 1.0), "b": (1.0, 1.0)}) == ["a"] and costs.non_dominated({}) == []
    with pytest.raises(ValueError, match="expected numbers, got cost nan"):
        costs.non_dominated({"a": (float("nan"), 1.0)})


def test_a_record_of_an_analysis_is_read_from_its_folder(tmp_path: Path) -> None:
    (tmp_path / "analyses").mkdir()
    _store.write_analysis({"name": "mine", "rows": []}, tmp_path)
    assert _store.read_analysis("mine", tmp_path) == {"name": "mine", "rows": []}


def test_tools_are_recorded_with_what_was_tried() -> None:
    record = experiments.analysis("tools")
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", record["date"])
    for tool in record["rows"]:
        assert tool["installed"] in {"pinned here", "yes", "fails", "resolved", "no package"}
        assert tool["note"] or tool["installed"] in {"pinned here", "yes"}, "what does not install says why"
        assert tool["difference"] < 1e-15 if "difference" in tool else True
