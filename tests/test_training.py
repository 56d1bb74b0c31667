"""fit: resumes bit for bit, survives Ctrl-C, a full disk and a bad step, and keeps the best weights."""

import errno
import itertools
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from metalearn import evaluate, fit
from metalearn.data import sinusoids
from metalearn.learners import MAML
from metalearn.networks import MLP
from metalearn.training import cosine, read_checkpoint


def waves(generator):
    return sinusoids().sample(4, 5, 5, generator)


def build(**options):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(1, 8), nn.ReLU(), nn.Dropout(0.2), nn.Linear(8, 1))  # dropout draws globally
    return MAML(model, options.pop("inner_lr", 0.01), loss_fn=F.mse_loss, **options)


def train(n_steps, learner=None, **options):
    learner = learner or build()
    torch.manual_seed(5)
    settings = {"schedule": cosine(20), "max_grad_norm": 5.0, "validate_every": 4, "progress": False}
    validate = lambda: evaluate(learner, waves, 16)  # noqa: E731
    history = fit(learner, waves, n_steps, **{**settings, "validate": validate, **options})
    return learner, history


def test_a_resumed_run_ends_with_the_same_bits(tmp_path):
    whole, expected = train(20)
    for stop in (6, 13):
        train(stop, checkpoint=tmp_path / "run.pt")
    torch.manual_seed(99)  # what the process drew in between does not matter
    resumed, history = train(20, checkpoint=tmp_path / "run.pt")
    assert history.losses == expected.losses and history.n_steps == 20
    final = read_checkpoint(tmp_path / "run.pt")["learner"]
    straight = train(20, checkpoint=tmp_path / "other.pt")[0]
    assert all(torch.equal(final[k], v) for k, v in read_checkpoint(tmp_path / "other.pt")["learner"].items())
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), straight.parameters(), strict=True))
    assert all(p.isfinite().all() for p in resumed.parameters())


def test_a_finished_run_is_read_not_run_again(tmp_path):
    first, expected = train(8, checkpoint=tmp_path / "run.pt")
    again, history = train(8, checkpoint=tmp_path / "run.pt")
    assert history.losses == expected.losses and history.seconds == expected.seconds
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), again.parameters(), strict=True))


def test_the_best_validated_weights_are_kept():
    learner = build()
    scores = iter([3.0, 1.0, 2.0])
    weights = []

    def validate():
        weights.append(nn.utils.parameters_to_vector(learner.parameters()).detach().clone())
        score = evaluate(learner, waves, 16)
        object.__setattr__(score, "mean", next(scores))  # errors 3, 1, 2: the second is best
        return score

    history = fit(learner, waves, 12, validate=validate, validate_every=4, progress=False)
    assert history.best_step == 8 and [step for step, _, _ in history.validation] == [4, 8, 12]
    assert torch.equal(nn.utils.parameters_to_vector(learner.parameters()), weights[1])
    assert not torch.equal(weights[1], weights[2])


def interrupting(at, times=1):
    """Return a sampler that sends Ctrl-C to this process on its draw number ``at``."""
    draws = itertools.count(1)

    def sample(generator):
        if next(draws) == at:
            for _ in range(times):
                os.kill(os.getpid(), signal.SIGINT)
        return waves(generator)

    return sample


def test_ctrl_c_finishes_the_step_saves_and_goes_on_later(tmp_path):
    handler = signal.getsignal(signal.SIGINT)
    history = fit(build(), interrupting(at=8), 20, checkpoint=tmp_path / "run.pt", progress=False)
    assert history.interrupted and 0 < history.n_steps < 20 and signal.getsignal(signal.SIGINT) is handler
    history = fit(build(), waves, 20, checkpoint=tmp_path / "run.pt", progress=False)
    assert history.n_steps == 20 and not history.interrupted


def test_a_second_ctrl_c_stops_at_once():
    with pytest.raises(KeyboardInterrupt):
        fit(build(), interrupting(at=8, times=2), 20, progress=False)


def test_a_step_that_diverges_stops_with_the_weights_before_it():
    learner = MAML(MLP([1, 8, 1]), 1e12, 5, loss_fn=F.mse_loss)
    start = [p.detach().clone() for p in learner.parameters()]
    with pytest.raises(FloatingPointError, match=r"is NaN or infinite at step 0 .* try a smaller outer_lr or inner_lr"):
        fit(learner, waves, 5, progress=False)
    assert all(torch.equal(a, b) for a, b in zip(start, learner.parameters(), strict=True))


def test_nan_that_comes_with_the_data_is_called_so():
    count = []

    def spoiled(generator):
        batch = waves(generator)
        count.append(1)
        if len(count) == 4:
            batch.support_x[2, 0] = float("nan")
        return batch

    with pytest.raises(ValueError, match=r"support_x holds NaN or infinite values, in tasks \[2\]"):
        fit(build(), spoiled, 5, progress=False)


def test_gradients_are_clipped_to_the_norm():
    norms = []

    class Watch(torch.optim.SGD):
        def step(self, closure=None):
            norms.append(torch.nn.utils.get_total_norm([p.grad for p in self.param_groups[0]["params"]]).item())
            return super().step(closure)

    learner = build()
    fit(learner, waves, 3, optimizer=Watch(learner.parameters(), lr=0.1), max_grad_norm=0.01, progress=False)
    assert norms == pytest.approx([0.01] * 3, rel=1e-3)


def test_schedule_scales_the_rate_of_each_step():
    rates = []

    class Watch(torch.optim.SGD):
        def step(self, closure=None):
            rates.append(self.param_groups[0]["lr"])
            return super().step(closure)

    learner = build()
    fit(learner, waves, 4, optimizer=Watch(learner.parameters(), lr=0.1), schedule=cosine(4), progress=False)
    assert rates == pytest.approx([0.1, 0.0853553, 0.05, 0.0146447], rel=1e-4)


class Renamed(MAML):
    pass


WRONG = {
    "learner": (
        lambda: Renamed(MLP([1, 8, 1]), 0.01, loss_fn=F.mse_loss),
        {},
        "its learner is MAML, here it is Renamed",
    ),
    "settings": (lambda: build(n_inner_steps=2), {}, "its settings is"),
    "shapes": (lambda: MAML(MLP([1, 9, 1]), 0.01, loss_fn=F.mse_loss), {}, "its shapes is"),
    "seed": (build, {"seed": 1}, "its seed is 0, here it is 1"),
}


@pytest.mark.parametrize("what", WRONG)
def test_a_checkpoint_of_another_run_is_refused(tmp_path, what):
    train(2, checkpoint=tmp_path / "run.pt")
    make, options, message = WRONG[what]
    with pytest.raises(ValueError, match=f"run.pt is of another run: {message}"):
        train(4, make(), checkpoint=tmp_path / "run.pt", **options)


def test_a_cut_file_and_another_format_are_refused(tmp_path):
    path = tmp_path / "run.pt"
    train(2, checkpoint=path)
    state = read_checkpoint(path)
    torch.save({**state, "format": 99}, path)
    with pytest.raises(ValueError, match="has checkpoint format 99, this version of metalearn reads 1"):
        read_checkpoint(path)
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(ValueError, match=r"run.pt is no whole checkpoint \(.*\): delete it to start anew"):
        train(4, checkpoint=path)


def test_a_checkpoint_runs_no_code(tmp_path):
    class Evil:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "hacked"),)

    torch.save({"format": 1, "evil": Evil()}, tmp_path / "run.pt")
    with pytest.raises(ValueError, match="no whole checkpoint"):
        read_checkpoint(tmp_path / "run.pt")
    assert not (tmp_path / "hacked").exists()


def test_a_full_disk_leaves_the_earlier_checkpoint_whole(tmp_path):
    """A real limit on the size of files, in a process of its own: the second save is larger than the first."""
    script = f"""
        import resource, signal, torch
        from pathlib import Path
        from test_training import build, fit, waves
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        path = Path({str(tmp_path / "run.pt")!r})
        fit(build(), waves, 2, checkpoint=path, progress=False)
        resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size // 2,) * 2)
        fit(build(), waves, 4, checkpoint=path, progress=False)
    """
    result = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], cwd=Path(__file__).parent, capture_output=True, text=True
    )
    assert result.returncode == 1 and "the checkpoint of step 4 could not be written" in result.stderr, result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["run.pt"]
    assert len(read_checkpoint(tmp_path / "run.pt")["history"]["losses"]) == 2


def test_a_failed_write_names_what_to_do(tmp_path, monkeypatch):
    def full(*args):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(
        OSError, match=r"step 2 could not be written \(No space left on device\); an earlier one is untouched"
    ):
        train(2, checkpoint=tmp_path / "run.pt")
    assert not list(tmp_path.iterdir())
