"""Speed of several processes: the model by hand and beside what was measured, and the numbers that pages show."""

import math
import re
import subprocess
import sys
from pathlib import Path

import pytest

from metalearn import experiments
from metalearn.costs import all_reduce_seconds, scaling, scaling_table
from metalearn.experiments import throughput

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "book" / "command_line.md").read_text()


def lines(header, rows):
    return ["| " + " | ".join(map(str, cells)) + " |" for cells in (header, ["---"] * len(header), *rows)]


# The model


def test_a_ring_by_hand():
    """Four processes, 800 bytes, a millisecond and 100 kilobytes a second: six rounds of 1 ms and 200 bytes."""
    assert math.isclose(all_reduce_seconds(4, 800, 1e-3, 1e5), 6 * (1e-3 + 200 / 1e5))
    assert all_reduce_seconds(1, 800, 1e-3, 1e5) == 0
    large = all_reduce_seconds(10_000, 8e6, 0.0, 1e6)
    assert 15.99 < large < 16  # however many there are, each byte crosses a link twice


def test_a_step_by_hand():
    link = {"latency": 0.01, "bandwidth": 1e4}
    one, four = scaling((1, 4), n_tasks=5, task_seconds=0.2, gradient_bytes=1000, fixed_seconds=0.5, **link)
    assert math.isclose(one.seconds, 1.5) and math.isclose(one.tasks_per_second, 5 / 1.5) and one.efficiency == 1
    talk = 6 * (0.01 + 250 / 1e4)
    assert math.isclose(four.seconds, 1.5 + talk) and math.isclose(four.communication, talk / (1.5 + talk))
    assert four.n_tasks == 20 and math.isclose(four.tasks_per_second, 20 / (1.5 + talk))
    assert math.isclose(four.efficiency, 1.5 / (1.5 + talk))
    (divided,) = scaling((4,), n_tasks=5, task_seconds=0.2, gradient_bytes=1000, fixed_seconds=0.5, divide=True, **link)
    assert divided.n_tasks == 5 and math.isclose(divided.seconds, 0.5 + 2 * 0.2 + talk)  # one has two of the five


@pytest.mark.parametrize(
    "wrong",
    [
        *({"n_tasks": 0}, {"task_seconds": -1.0}, {"latency": -1.0}, {"bandwidth": 0.0}, {"ranks": (0,)}),
        {"ranks": (0,), "divide": True},
    ],
)
def test_what_cannot_be_is_refused(wrong):
    link = {"n_tasks": 4, "task_seconds": 0.1, "gradient_bytes": 8, "latency": 0.0, "bandwidth": 1.0}
    with pytest.raises(ValueError, match="expected at least 1"):
        scaling(**{**link, **wrong})


# What was measured


@pytest.fixture(scope="module")
def record():
    return experiments.analysis("throughput")


def test_the_record_says_under_what_conditions(record):
    assert record["cores"] == 2 and len(record["load_before"]) == 3 and "other programs" in record["note"]
    assert [row["on"] for row in record["rows"]] == [
        "MAML on sine waves",
        "MAML on sine waves, compiled",
        "MAML on glyphs",
    ]
    for row in record["rows"]:
        for rank, key in ((1, "alone"), (2, "beside"), (2, "together")):
            expected = rank * row["n_tasks"] / row[key]["step_seconds"]
            assert math.isclose(row[key]["tasks_per_second"], expected, rel_tol=1e-3)


def test_the_model_beside_what_two_processes_reach(record):
    """It is too hopeful, least so on long steps, since it knows nothing of packing and of waiting."""
    long = record["rows"][-1]
    plain, compiled, images = (row["speedup"]["middle"] / row["predicted"] for row in record["rows"])
    assert compiled < 0.7 < plain < images < 1
    again = (
        2
        * scaling(
            (2,),
            n_tasks=long["n_tasks"],
            task_seconds=long["alone"]["step_seconds"] / long["n_tasks"],
            gradient_bytes=long["gradient_bytes"],
            latency=record["link"]["latency"],
            bandwidth=record["link"]["bandwidth"],
        )[0].efficiency
    )
    assert math.isclose(again, long["predicted"], rel_tol=2e-3)


def test_latency_and_bandwidth_are_those_of_the_ends():
    sizes = [[8, 2e-4], [1000, 2.1e-4], [1_000_000, 1.2e-3]]
    found = throughput.speed_of(sizes)
    assert math.isclose(all_reduce_seconds(2, 8, found["latency"], found["bandwidth"]), 2e-4, rel_tol=1e-3)
    assert math.isclose(all_reduce_seconds(2, 1e6, found["latency"], found["bandwidth"]), 1.2e-3, rel_tol=1e-3)


@pytest.mark.slow
def test_two_processes_can_be_measured(tmp_path):
    """A short measurement of one workload, so that the program of the record still runs."""
    script = tmp_path / "short.py"
    script.write_text(
        "import sys\nfrom pathlib import Path\nimport metalearn.experiments.throughput as t\n"
        "t.N_TURNS, t.TURN_SECONDS, t.SIZES, all = 2, 0.02, (8, 1000), t.workloads\n"
        "t.workloads = lambda: {k: v for k, v in all().items() if k == 'MAML on sine waves'}\n"
        "t.measure(Path(sys.argv[1]))\n"
    )
    command = [
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node=2",
        str(script),
        str(tmp_path / "x.json"),
    ]
    done = subprocess.run([sys.executable, *command], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-3000:]
    import json

    found = json.loads((tmp_path / "x.json").read_text())
    measured, n_tasks = found["workloads"]["MAML on sine waves"]
    row = throughput.row("MAML on sine waves", measured, n_tasks, throughput.speed_of(found["sizes"]))
    assert row["n_parameters"] == 1 * 40 + 40 + 40 * 40 + 40 + 40 + 1 and row["gradient_bytes"] == 8 * (1761 + 3)
    assert row["together"]["all_reduce_seconds"] > 0 and 0 < row["speedup"]["low"] <= row["speedup"]["high"]


# What the page shows


def speeds(record):
    header = ["step", "one process", "two, no averaging", "two", "ratio", "averaging", "waiting"]
    rows = []
    for row in record["rows"]:
        rate = [f"{row[key]['tasks_per_second']:,.0f}" for key in ("alone", "beside", "together")]
        ratio = "{middle:.2f} ({low:.2f} to {high:.2f})".format(**row["speedup"])
        spent = [f"{1000 * row['together'][key]:.1f} ms" for key in ("all_reduce_seconds", "wait_seconds")]
        rows.append([f"{row['on']}, {row['n_tasks']} tasks", f"{rate[0]} tasks/s", *rate[1:], ratio, *spent])
    return lines(header, rows)


def angles(record):
    header = ["gradient", "order", "weights", "a task", "quartiles", "the mean"]
    rows = []
    for row in record["rows"]:
        if row["precision"] == "bf16":
            middle = "{low:.1f}° to {high:.1f}°".format(**row["degrees"])
            cells = [f"{row['degrees']['median']:.1f}°", middle, f"{row['batch_degrees']:.1f}°"]
            weights = {"first": "untrained"}.get(row["weights"], row["weights"])
            rows.append([row["on"], row["order"], weights, *cells])
    return lines(header, rows)


def test_the_page_shows_the_recorded_speeds(record):
    for line in speeds(record):
        assert line in PAGE
    link = record["link"]
    assert f"{1e6 * link['latency']:.0f} microseconds" in PAGE and f"{link['bandwidth'] / 1e9:.1f} gigabytes" in PAGE
    words = " ".join(PAGE.split())
    predicted = [f"{row['predicted']:.2f}" for row in record["rows"]]
    assert "it says {}, {} and {} for the three ratios".format(*predicted) in words
    gaps = [1000 * (row["together"]["step_seconds"] - row["beside"]["step_seconds"]) for row in record["rows"]]
    assert f"makes a step {min(gaps):.1f} to {max(gaps):.1f} ms longer" in words
    short, long = record["rows"][1:]
    assert f"a step of {1000 * long['together']['step_seconds']:.0f} ms on images" in words
    assert f"a small network takes {1000 * short['alone']['step_seconds']:.1f} ms" in words
    assert f"10,000 bytes took {1000 * dict(link['sizes'])[10_000]:.2f} ms" in words
    explained = 1000 * sum(record["rows"][-1]["together"][key] for key in ("all_reduce_seconds", "wait_seconds"))
    assert explained < gaps[-1] / 2
    beside = sorted(row["speedup_beside"]["middle"] for row in record["rows"])
    assert f"{beside[0]:.2f} to {beside[-1]:.2f} times the work of one" in words


def test_the_page_shows_the_recorded_angles():
    record = experiments.analysis("precision")
    for line in angles(record):
        assert line in PAGE
    exact = [row["degrees"]["most"] for row in record["rows"] if row["precision"] == "float32"]
    bound = float(re.search(r"no angle reaches ([\d.]+) degrees", PAGE)[1])
    assert max(exact) < bound < 10 * max(exact)
    rounded = [row for row in record["rows"] if row["precision"] == "bf16" and row["on"] == "MAML on glyphs"]
    assert all(row["batch_degrees"] > 0.9 * row["degrees"]["median"] for row in rounded)


def test_the_page_shows_what_the_model_says():
    """The code of the page gives the table below it."""
    (code,) = [part for part in re.findall(r"```python\n(.*?)```", PAGE, re.S) if "scaling" in part]
    names: dict = {}
    exec(code, names)
    for line in lines(*scaling_table(names["scales"])):
        assert line in PAGE
    assert 8 * experiments.analysis("throughput")["rows"][-1]["n_parameters"] == 8 * 28_485


def test_the_script_for_slurm_takes_all_parts_once(monkeypatch, tmp_path):
    """Its command, as the array's jobs would give it, without Slurm and without training."""
    from typer.testing import CliRunner

    from metalearn.cli import app, recorded

    (script,) = re.findall(r"```bash\n(.*?)```", PAGE, re.S)
    n_jobs = int(re.search(r"--array=1-(\d+)", script)[1])
    assert not subprocess.run(["bash", "-n"], input=script, text=True).returncode
    made, study = [], recorded.standing()["glyphs"]
    monkeypatch.setattr(recorded.experiments, "run", lambda study, *part, **how: made.append((part, how["home"])) or "")
    monkeypatch.setattr(recorded.torch, "set_num_threads", lambda n: None)
    for job in range(1, n_jobs + 1):
        line = script.splitlines()[-1].replace("$SLURM_ARRAY_TASK_ID", str(job)).replace("$HOME", str(tmp_path))
        assert CliRunner().invoke(app, line.split()[1:]).exit_code == 0
    wanted = [(label, seed) for seed in study.seeds for label in study.methods]
    assert sorted(part for part, _ in made) == sorted(wanted)
    assert {home for _, home in made} == {tmp_path / "metalearn-records"}
