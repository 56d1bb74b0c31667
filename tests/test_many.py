"""Studies over many workers: the same results, what waits for what, and what is said of a node that fails."""

import errno
import importlib.util
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from typer.testing import CliRunner

from metalearn import experiments
from metalearn.cli import app, recorded
from metalearn.experiments import Method, Study, _run, _store
from metalearn.runs import many, run_many
from metalearn.runs._why import is_out_of_memory, on_node, out_of_memory
from metalearn.runs.engines import Died, InTurn, ray_cluster, slurm

ROOT = Path(__file__).resolve().parents[1]
TESTS = {"2-way": {"n_way": 2, "n_shot": 1, "n_query": 5, "n_tasks": 40}}
EPISODES = {"n_tasks": 2, "n_way": 2, "n_shot": 1, "n_query": 5}
FLAT = {"encoder": {"network": "Flatten", "config": {}}}


def trained(n_steps=6, every=3, **also):
    """Return a small method on the digits' 8 by 8 pixels."""
    model = {
        "encoder": {
            "network": "Conv4",
            "config": {"channels": 4, "norm": "frozen", "image_size": 8, "downsample": "stride"},
        }
    }
    return Method("Prototypical", model, episodes=EPISODES, fit={"n_steps": n_steps, "validate_every": every}, **also)


METHODS = {
    "raw": Method("Prototypical", FLAT, fit={"n_steps": 0}),
    "borrows": trained(weights="net", test={"n_way": 2}),
    "net": trained(),
    "borrows too": trained(weights="net", learner_args={"distance": "cosine"}),
}
STUDY = Study("tiny", METHODS, TESTS, "digits", (0, 1), snapshots=())
PARTS = [(label, seed) for seed in STUDY.seeds for label in METHODS]


@pytest.fixture(autouse=True)
def own_folders(tmp_path, monkeypatch):
    monkeypatch.setenv("METALEARN_RUNS", str(tmp_path / "runs"))
    monkeypatch.setattr(torch, "set_num_threads", lambda n: None)  # of the process that tests


def rows(home, name="tiny"):
    """Return what is recorded of each part, without times, and the values of all tasks."""
    record = _store.read_record(name, home)
    kept = {
        part["values"]: [part["n_steps"], part["validation"] and [row[:3] for row in part["validation"]], part["rows"]]
        for part in record["parts"]
    }
    return kept, {key: values.tolist() for key, values in _store.read_values(name, home).items()}


def same_weights(home, other):
    """Compare the trained weights of two folders bit by bit, and return how many files there are."""
    pairs = [
        [load_file(place / "weights" / "tiny" / path.name) for place in (home, other)]
        for path in (other / "weights" / "tiny").iterdir()
    ]
    for mine, theirs in pairs:
        assert mine.keys() == theirs.keys() and all(torch.equal(mine[name], theirs[name]) for name in mine)
    return len(pairs)


def in_turn(study, parts, home):
    for label, seed in parts:
        experiments.run(study, label, seed, device="cpu", home=home, progress=False)


def test_tasks_give_what_one_run_after_another_gives(tmp_path, monkeypatch):
    outcomes = run_many(STUDY, PARTS, InTurn(), device="cpu", home=tmp_path / "many")
    assert [(o.label, o.seed) for o in outcomes] == PARTS and all(o.made and o.n_tries == 1 for o in outcomes)
    monkeypatch.setenv("METALEARN_RUNS", str(tmp_path / "runs again"))
    in_turn(STUDY, PARTS, tmp_path / "one")
    assert rows(tmp_path / "many") == rows(tmp_path / "one")
    assert same_weights(tmp_path / "many", tmp_path / "one") == 2
    again = run_many(STUDY, PARTS, Noting(), device="cpu", home=tmp_path / "many")
    assert all(o.made and o.n_tries == 0 and o.said.endswith("done before") for o in again)


class Noting(InTurn):
    """An engine that notes the order of tasks, and whose workers die so many times of the part that is named."""

    def __init__(self, dies=(), times=0):
        super().__init__()
        self.begun, self.dies, self.times = [], dies, times

    def submit(self, function, study, label, seed, given):
        self.begun.append((label, seed))
        if (label, seed) == self.dies and self.times:
            self.times -= 1
            return -1
        return super().submit(function, study, label, seed, given)

    def finished(self, tasks):
        assert tasks  # other engines wait for ever
        return super().finished(tasks)

    def result(self, task):
        if task == -1:
            raise Died("its worker died (killed)")
        return super().result(task)


def test_what_takes_weights_waits_for_them(tmp_path):
    engine = Noting()
    run_many(STUDY, [part for part in PARTS if part[1] == 0], engine, device="cpu", home=tmp_path)
    assert engine.begun.index(("net", 0)) < engine.begun.index(("borrows", 0)) < engine.begun.index(("borrows too", 0))
    assert many._order(STUDY, ("borrows", 0), [("borrows", 0), ("borrows too", 0)]) == ([], [])
    assert many._order(STUDY, ("borrows too", 0), [("borrows", 0), ("borrows too", 0)]) == (
        [("borrows", 0)] * 2,
        [("borrows", 0)],
    )
    clustered = replace(STUDY, methods={**METHODS, "clusters": trained()})
    clustered.methods["clusters"].episodes["of"] = "net"
    assert many._order(clustered, ("clusters", 1), [("clusters", 1), ("net", 1)])[1] == [("net", 1)]
    del EPISODES["of"]


def test_a_part_is_begun_again_so_often_and_no_more(tmp_path):
    said = []
    parts = [("net", 0), ("borrows", 0), ("raw", 0)]
    found = run_many(STUDY, parts, Noting(("net", 0), 3), device="cpu", home=tmp_path / "a", say=said.append)
    assert [o.made for o in found] == [True, True, True] and found[0].n_tries == 4
    assert sum("begun again" in line for line in said) == 3
    found = run_many(STUDY, parts, Noting(("net", 0), 4), device="cpu", home=tmp_path / "b")
    assert [o.made for o in found] == [False, False, True]
    assert "tiny, net, seed 0: its worker died (killed), 4 times" in found[0].said
    assert found[1].said == "tiny, borrows, seed 0: needs tiny, net, seed 0" and found[1].n_tries == 0


def test_a_full_disk_ends_a_part_and_says_where(tmp_path, monkeypatch):
    whole = Path.replace

    def full(self, target):
        if "net-seed0" in str(target) and Path(target).name == "checkpoint.pt":
            raise OSError(errno.ENOSPC, "No space left on device")
        return whole(self, target)

    monkeypatch.setattr(Path, "replace", full)
    found = run_many(STUDY, [("net", 0), ("net", 1)], InTurn(), device="cpu", home=tmp_path)
    assert [o.made for o in found] == [False, True]
    assert "tiny, net, seed 0: the disk is full on node " in found[0].said and found[0].node in found[0].said
    assert "checkpoint.pt could not be written. Make room there, or set METALEARN_RUNS" in found[0].said


def test_a_node_without_the_data_says_so(tmp_path, monkeypatch):
    monkeypatch.setenv("METALEARN_DATA", str(tmp_path / "none"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "none either"))
    _run.source.cache_clear()

    def nothing(*arguments, **options):
        raise ConnectionError("could not download omniglot")

    monkeypatch.setattr(sys.modules["metalearn.data.omniglot"], "read_arrays", nothing)
    study = replace(STUDY, methods={"raw": METHODS["raw"], "far": trained(data="omniglot:vinyals")})
    found = run_many(study, [("far", 0), ("raw", 0)], InTurn(), device="cpu", home=tmp_path)
    _run.source.cache_clear()
    assert [o.made for o in found] == [False, True]
    assert f"node {found[0].node} does not have the data omniglot:vinyals: could not download" in found[0].said
    assert "METALEARN_DATA" in found[0].said


def test_what_an_error_means():
    full = OSError(errno.ENOSPC, "No space left on device", "/runs/a")
    assert on_node(full, "n3").startswith("the disk is full on node n3: /runs/a could not be written. Make room there")
    for error in (MemoryError(), RuntimeError("CUDA out of memory. Tried"), RuntimeError("can't allocate memory: you")):
        assert is_out_of_memory(error) and "node n3: out of memory: lower --tasks" in on_node(error, "n3")
    assert "chunk_size" in out_of_memory(MemoryError()) and "recompute" in out_of_memory(MemoryError())
    assert on_node(ValueError("odd"), "n3") == "node n3: ValueError: odd"


def test_the_command_lists_what_was_not_made_and_fails(tmp_path, monkeypatch):
    monkeypatch.setattr(recorded, "standing", lambda: {"tiny": STUDY})
    monkeypatch.setattr(recorded.engines, "slurm", lambda folder, options: Noting(("net", 1), 9))
    call = ["study", "run", "tiny", "--slurm", "timeout_min=5", "--device", "cpu", "--home", str(tmp_path / "home")]
    done = CliRunner().invoke(app, call)
    assert done.exit_code == 1
    assert "3 of 8 parts were not made:\n  tiny, borrows, seed 1: needs tiny, net, seed 1\n" in done.output
    assert "tiny, net, seed 1: its worker died (killed), 4 times" in done.output
    for wrong, message in (("timeout_min", "expected --slurm key=value"), ("=3", "expected --slurm key=value")):
        assert message in str(CliRunner().invoke(app, [*call[:4], wrong]).exception)
    both = CliRunner().invoke(app, [*call, "--ray", "local"])
    assert "expected --ray or --slurm, got both" in str(both.exception)


def test_shares_of_machines_without_an_engine_make_the_whole(tmp_path, monkeypatch):
    monkeypatch.setattr(recorded, "standing", lambda: {"tiny": STUDY})
    for i in (1, 2, 3):
        call = ["study", "run", "tiny", "--only", f"{i}/3", "--device", "cpu", "--home", str(tmp_path / "home")]
        assert CliRunner().invoke(app, call).exit_code == 0
    assert len(rows(tmp_path / "home")[0]) == len(PARTS)


@pytest.mark.skipif(importlib.util.find_spec("ray") is not None, reason="Ray is installed")
def test_without_ray_the_message_says_what_to_install():
    with pytest.raises(ImportError, match=r"pip install 'metalearn-book\[ray\]'"), ray_cluster():
        pass


@pytest.mark.skipif(importlib.util.find_spec("submitit") is not None, reason="submitit is installed")
def test_without_submitit_the_message_says_what_to_install(tmp_path):
    with pytest.raises(ImportError, match="pip install submitit"):
        slurm(tmp_path)


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("submitit") is None, reason="submitit is not installed")
def test_jobs_of_submitit_give_what_one_run_after_another_gives(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    parts = [("net", 0), ("borrows", 0), ("raw", 0)]
    engine = slurm(tmp_path / "jobs", {"cluster": "local", "timeout_min": 5})
    found = run_many(STUDY, parts, engine, device="cpu", home=tmp_path / "many")
    assert all(o.made for o in found), found
    monkeypatch.setenv("METALEARN_RUNS", str(tmp_path / "runs again"))
    in_turn(STUDY, parts, tmp_path / "one")
    assert rows(tmp_path / "many") == rows(tmp_path / "one")
    with pytest.raises(ValueError, match="Slurm cannot be used so"):
        slurm(tmp_path / "jobs", {"cluster": "local", "nonsense": 5})


# On Ray: one cluster of two workers, on loopback, in namespaces of its own where these can be made


SCRIPT = """
import fcntl, json, os, signal, socket, struct, subprocess, sys, threading, time
from dataclasses import asdict
from pathlib import Path
from metalearn import experiments
from metalearn.experiments import Study, _run
from metalearn.runs import run_many
from metalearn.runs.engines import ray_cluster
from tests.test_many import METHODS, TESTS, trained, in_turn, rows

here, apart = Path(sys.argv[1]), sys.argv[2] == "apart"

def main():
    methods = {**METHODS, "victim": trained(300, 20), "full": trained(9), "far": trained(data="omniglot:vinyals")}
    methods["needs full"] = trained(9, weights="full", test={"n_way": 2})
    study = Study("tiny", methods, TESTS, "digits", (0,), snapshots=())
    parts = [(label, 0) for label in methods]
    os.environ["METALEARN_RUNS"] = str(here / "runs")
    if apart:  # a disk of two pages
        full = _run.folder_of(study, "full", 0)
        full.mkdir(parents=True)
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8k", "tmpfs", str(full)], check=True)
    else:
        parts = [part for part in parts if "full" not in part[0]]
    victim, killed = _run.folder_of(study, "victim", 0), []

    def kill():
        while not (victim / "checkpoint.pt").exists():
            time.sleep(0.01)
        killed.append(int((victim / "lock").read_text()))
        os.kill(killed[0], signal.SIGKILL)

    threading.Thread(target=kill, daemon=True).start()
    said, before = [], dict(os.environ)
    with ray_cluster("local", n_workers=2) as engine:
        cluster = os.environ["HOME"]
        found = run_many(study, parts, engine, device="cpu", home=here / "many", say=said.append)
    assert dict(os.environ) == before and not Path(cluster).exists()
    os.environ["METALEARN_RUNS"] = str(here / "runs in turn")
    made = [part for part in parts if part[0] not in ("full", "needs full", "far")]
    in_turn(study, made, here / "one")
    left = [path.parent.name for path in Path("/proc").glob("[0-9]*/environ") if cluster in read(path)]
    own = socket.gethostname()
    content = {"found": {o.label: asdict(o) for o in found}, "said": said, "killed": killed, "left": left, "node": own}
    (here / "found.json").write_text(json.dumps(content))

def read(path):
    try:
        return path.read_bytes().decode(errors="replace")
    except OSError:
        return ""

if __name__ == "__main__":
    if apart:  # loopback is down in a new namespace
        with socket.socket() as s:
            fcntl.ioctl(s, 0x8914, struct.pack("16sh", b"lo", 1))
    main()
"""


@pytest.fixture(scope="module")
def on_ray(tmp_path_factory) -> Iterator[tuple[Path, dict]]:
    if importlib.util.find_spec("ray") is None:
        pytest.skip("Ray is not installed: pip install 'metalearn-book[ray]'")
    here = tmp_path_factory.mktemp("ray")
    (here / "script.py").write_text(SCRIPT)
    apart = [
        "unshare",
        "--user",
        "--map-root-user",
        "--net",
        "--mount",
        "--pid",
        "--fork",
        "--kill-child",
        "--mount-proc",
    ]
    can = shutil.which("unshare") and not subprocess.run([*apart, "true"], capture_output=True).returncode
    none = str(here / "none")
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "TQDM_DISABLE": "1"}
    environment |= {"METALEARN_DATA": none, "XDG_CACHE_HOME": none}
    command = [*(apart if can else []), sys.executable, str(here / "script.py"), str(here), "apart" if can else "here"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=150, env=environment, cwd=ROOT)
    assert done.returncode == 0, (done.stdout + done.stderr)[-5000:]
    yield here, json.loads((here / "found.json").read_text())


@pytest.mark.slow
def test_ray_gives_what_one_run_after_another_gives(on_ray):
    here, content = on_ray
    made = [label for label, outcome in content["found"].items() if outcome["made"]]
    assert made == [*METHODS, "victim"]
    assert rows(here / "many") == rows(here / "one")
    assert same_weights(here / "many", here / "one") == 2


@pytest.mark.slow
def test_a_worker_that_is_killed_goes_on_from_its_checkpoint(on_ray):
    _, content = on_ray
    victim = content["found"]["victim"]
    assert len(content["killed"]) == 1 and victim["n_tries"] == 2 and victim["went_on_from"] >= 20
    assert any(
        "tiny, victim, seed 0: its worker died (WorkerCrashedError); begun again" in line for line in content["said"]
    )


@pytest.mark.slow
def test_a_disk_that_is_full_and_data_that_are_not_there_are_said(on_ray):
    _, content = on_ray
    found, node = content["found"], content["node"]
    assert f"node {node} does not have the data omniglot:vinyals" in found["far"]["said"]
    if "full" not in found:
        pytest.skip("a small disk cannot be mounted here")
    assert f"the disk is full on node {node}: " in found["full"]["said"] and found["full"]["n_tries"] == 1
    assert "checkpoint.pt could not be written" in found["full"]["said"]
    assert found["needs full"]["said"] == "tiny, needs full, seed 0: needs tiny, full, seed 0"


@pytest.mark.slow
def test_no_process_of_ray_is_left(on_ray):
    assert on_ray[1]["left"] == []
