"""Two processes train as one: gradients of the union of their tasks, checkpoints for any number, errors for all."""

import os
import signal
import socket
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from metalearn import fit
from metalearn.cli import app
from metalearn.data import sinusoids
from metalearn.distributed import Workers, joined
from metalearn.learners import MAML
from metalearn.networks import MLP
from metalearn.training import read_checkpoint

PRELUDE = """
import sys, torch
from pathlib import Path
from metalearn import fit, Episode
from metalearn.data import sinusoids
from metalearn.distributed import joined
from metalearn.learners import MAML
from metalearn.networks import MLP
from torch.nn import functional as F

torch.set_num_threads(1)
folder = Path(sys.argv[1])

def learner(inner_lr=0.01):
    torch.manual_seed(0)
    return MAML(MLP([1, 8, 1]), inner_lr, loss_fn=F.mse_loss).double()
"""


def together(body, folder, n=2, ok=True):
    """Run a script in processes that are told of each other as torchrun does, and return their exit codes."""
    script = Path(folder, "script.py")
    script.write_text(PRELUDE + textwrap.dedent(body))
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={n}", str(script)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "TQDM_DISABLE": "1"}
    done = subprocess.run([*command, str(folder)], capture_output=True, text=True, timeout=120, env=environment)
    assert (done.returncode == 0) == ok, done.stderr[-3000:]
    return done


@pytest.mark.slow
def test_two_processes_take_the_gradient_of_all_their_tasks(tmp_path):
    together(
        """
        with joined() as workers:
            model, seen = learner(), []
            def sample(generator):
                batch = sinusoids().sample(3, 5, 5, generator).map(lambda x: x.double())
                seen.append(batch)
                return batch
            fit(model, sample, 1, optimizer=torch.optim.SGD(model.parameters(), lr=0.1), progress=False,
                workers=workers)
            torch.save([seen[-1].support_x, seen[-1].support_y, seen[-1].query_x, seen[-1].query_y,
                        model.state_dict()], folder / f"{workers.rank}.pt")
        """,
        tmp_path,
    )
    parts = [torch.load(tmp_path / f"{rank}.pt") for rank in range(2)]
    assert not torch.equal(parts[0][0], parts[1][0])  # each draws tasks of its own
    from metalearn import Episode

    union = Episode(*(torch.cat([part[k] for part in parts]) for k in range(4)))
    torch.manual_seed(0)
    alone = MAML(MLP([1, 8, 1]), 0.01, loss_fn=torch.nn.functional.mse_loss).double()
    fit(alone, lambda g: union, 1, optimizer=torch.optim.SGD(alone.parameters(), lr=0.1), progress=False)
    for name, tensor in alone.state_dict().items():
        for part in parts:
            torch.testing.assert_close(part[4][name], tensor, rtol=1e-12, atol=1e-12)


@pytest.mark.slow
def test_a_run_goes_on_with_another_number_of_processes(tmp_path):
    together(
        """
        with joined() as workers:
            model = learner()
            history = fit(model, lambda g: sinusoids().sample(2, 5, 5, g).map(lambda x: x.double()), 4,
                          checkpoint=folder / "run.pt", progress=False, workers=workers)
            assert history.n_steps == 4, history.n_steps
        """,
        tmp_path,
        n=3,
    )
    path = tmp_path / "run.pt"
    assert len(read_checkpoint(path)["history"]["losses"]) == 4
    torch.manual_seed(0)
    model = MAML(MLP([1, 8, 1]), 0.01, loss_fn=torch.nn.functional.mse_loss).double()
    sample = sinusoids().episodes(n_tasks=2, n_shot=5, n_query=5)
    double = lambda g: sample(g).map(lambda x: x.double())  # noqa: E731
    assert fit(model, double, 6, checkpoint=path, progress=False, workers=Workers()).n_steps == 6
    assert len(read_checkpoint(path)["history"]["losses"]) == 6


@pytest.mark.slow
def test_a_killed_process_ends_the_run_and_leaves_a_whole_checkpoint(tmp_path):
    done = together(
        """
        import os, signal
        with joined() as workers:
            model = learner()
            def kill(step):
                if step == 5 and workers.rank == 1:
                    os.kill(os.getpid(), signal.SIGKILL)
            fit(model, lambda g: sinusoids().sample(2, 5, 5, g).map(lambda x: x.double()), 1000, before_step=kill,
                checkpoint=folder / "run.pt", checkpoint_every=2, progress=False, workers=workers)
        """,
        tmp_path,
        ok=False,
    )
    assert done.returncode != 0
    assert len(read_checkpoint(tmp_path / "run.pt")["history"]["losses"]) == 4


@pytest.mark.slow
def test_the_others_say_that_a_process_is_lost(tmp_path):
    """Without torchrun, which ends them, sometimes before they speak."""
    body = """
        import os, signal
        with joined() as workers:
            def kill(step):
                if step == 3 and workers.rank == 1:
                    os.kill(os.getpid(), signal.SIGKILL)
            fit(learner(), lambda g: sinusoids().sample(2, 5, 5, g).map(lambda x: x.double()), 1000, before_step=kill,
                progress=False, workers=workers)
        """
    script = tmp_path / "script.py"
    script.write_text(PRELUDE + textwrap.dedent(body))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    common = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "OMP_NUM_THREADS": "1"}
    started = [
        subprocess.Popen(
            [sys.executable, str(script), str(tmp_path)], env={**os.environ, **common, "RANK": rank},
            stderr=subprocess.PIPE, text=True,
        )
        for rank in "01"
    ]  # fmt: skip
    _, said = started[0].communicate(timeout=120)
    started[1].communicate(timeout=120)
    assert started[1].returncode == -signal.SIGKILL and started[0].returncode == 1
    assert "another process of the run ended with an error" in said and "resume" in said


@pytest.mark.slow
def test_processes_with_other_settings_are_refused(tmp_path):
    done = together(
        """
        with joined() as workers:
            model = learner(0.01 if workers.rank == 0 else 0.02)
            fit(model, lambda g: sinusoids().sample(2, 5, 5, g).map(lambda x: x.double()), 2, progress=False,
                workers=workers)
        """,
        tmp_path,
        ok=False,
    )
    assert "the processes do not agree about the run: process 1 has" in done.stderr
    assert "inner_lr 0.02" in done.stderr and "inner_lr 0.01" in done.stderr


def test_one_process_trains_as_without_others(monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with joined() as workers:
        assert workers == Workers()
    model = MAML(MLP([1, 4, 1]), 0.01, loss_fn=torch.nn.functional.mse_loss)
    sample = sinusoids().episodes(n_tasks=2, n_shot=5, n_query=5)
    assert fit(model, sample, 3, progress=False, workers=Workers()).n_steps == 3


def test_each_process_draws_numbers_of_its_own_from_a_common_state():
    common = [torch.Generator().manual_seed(3) for _ in range(2)]
    own = [Workers(rank, 2).generator(generator) for rank, generator in enumerate(common)]
    assert torch.equal(*(generator.get_state() for generator in common))
    assert torch.rand((), generator=own[0]) != torch.rand((), generator=own[1])


@pytest.mark.slow
def test_the_command_trains_in_two_processes_and_goes_on_in_one(tmp_path):
    sizes = ["--data", "digits", "--way", "2", "--device", "cpu", "--quiet", "--set", "fit.validate_every=2"]
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m", "metalearn"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "TQDM_DISABLE": "1"}
    run = [*command, "train", "Prototypical", *sizes, "--steps", "4", "--out", str(tmp_path / "run")]
    done = subprocess.run(run, capture_output=True, text=True, timeout=120, env=environment)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "in " in done.stderr and ", 2 processes" in done.stderr and "4 of 4 steps" in done.stdout
    assert done.stdout.count("test: ") == 1
    said = CliRunner().invoke(app, ["train", "--resume", "--out", str(tmp_path / "run"), "--quiet", "--device", "cpu"])
    assert said.exit_code == 0 and "4 of 4 steps" in said.output


@pytest.mark.slow
def test_the_command_refuses_processes_that_were_told_different_things(tmp_path):
    train = f"{sys.executable} -m metalearn train Prototypical --data digits --way 2 --device cpu --quiet --steps 2"
    each = ["sh", "-c", f"{train} --seed $RANK --out {tmp_path}/run"]
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node=2",
        "--no-python",
        *each,
    ]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "TQDM_DISABLE": "1"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, env=environment)
    assert done.returncode != 0 and not (tmp_path / "run").exists()
    assert "metalearn: the processes do not agree about the settings: process 1 has" in done.stderr


def test_a_process_without_a_gpu_is_told_how_many_there_are(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "4")
    monkeypatch.setenv("LOCAL_RANK", "3")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    message = "process 3 of this machine has no GPU, there are 2: lower --nproc-per-node"
    with pytest.raises(ValueError, match=message), joined("cuda"):
        pass


def test_numbers_travel_with_the_gradient_and_one_process_keeps_its_own():
    model = MLP([1, 2, 1])
    loss = torch.tensor(2.0)
    assert Workers().average(model, loss, 3.0, 1.0) == (loss, [3.0, 1.0])
