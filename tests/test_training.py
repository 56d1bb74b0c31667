"""fit: resumes bit for bit, survives Ctrl-C, a full disk and a bad step, and keeps the best weights."""

import errno
import itertools
import os
import signal
import subprocess
import sys
import textwrap
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from metalearn import Score, evaluate, fit
from metalearn.data import sinusoids
from metalearn.learners import MAML
from metalearn.networks import MLP
from metalearn.runtime import stream
from metalearn.training import cosine, read_checkpoint


def waves(generator):
    return sinusoids().sample(4, 5, 5, generator)


def model(activation=None):
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(1, 8), activation or nn.ReLU(), nn.Dropout(0.2), nn.Linear(8, 1))


def build(**options):
    return MAML(model(), options.pop("inner_lr", 0.01), loss_fn=F.mse_loss, **options)


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


def test_a_schedule_leaves_the_optimisers_rates_as_they_were(tmp_path):
    learner = build()
    first, *rest = learner.parameters()
    optimizer = torch.optim.SGD([{"params": [first], "lr": 0.1}, {"params": rest, "lr": 0}])
    options = {"optimizer": optimizer, "schedule": cosine(8), "progress": False}

    def rates():
        return [group["lr"] for group in optimizer.param_groups]

    fit(learner, waves, 4, checkpoint=tmp_path / "run.pt", **options)
    assert rates() == [0.1, 0]
    history = fit(learner, waves, 8, checkpoint=tmp_path / "run.pt", **options)  # the same run, so it goes on
    assert history.n_steps == 8 and rates() == [0.1, 0]
    with pytest.raises(FloatingPointError):
        fit(learner, lambda generator: waves(generator).map(lambda leaf: 1e30 * leaf), 3, **options)
    assert rates() == [0.1, 0]


class Renamed(MAML):
    pass


WRONG = {
    "learner": (
        lambda: Renamed(MLP([1, 8, 1]), 0.01, loss_fn=F.mse_loss),
        {},
        "its learner is MAML, here it is Renamed",
    ),
    "settings": (lambda: build(n_inner_steps=2), {}, "its learner.n_inner_steps is 1, here it is 2"),
    "inner rates": (lambda: build(inner_lr=0.02), {}, "its learner.inner_lr is 0.01, here it is 0.02"),
    "loss": (
        lambda: MAML(model(), 0.01, loss_fn=F.l1_loss),
        {},
        "its learner.loss_fn is torch.nn.functional.mse_loss, here it is torch.nn.functional.l1_loss",
    ),
    "activation": (lambda: MAML(model(nn.Tanh()), 0.01, loss_fn=F.mse_loss), {}, r"its learner.model is .*Tanh"),
    "shapes": (lambda: MAML(MLP([1, 9, 1]), 0.01, loss_fn=F.mse_loss), {}, "its learner.model is .*MLP"),
    "outer rate": (build, {"outer_lr": 10.0}, "its optimizer group 0, lr is 0.001, here it is 10.0"),
    "optimizer": (
        build,
        {"optimizer": lambda learner: torch.optim.SGD(learner.parameters(), 0.001)},
        "its optimizer is Adam, here it is SGD",
    ),
    "schedule": (build, {"schedule": cosine(30)}, "its schedule is"),
    "clipping": (build, {"max_grad_norm": 1.0}, "its max_grad_norm is 5.0, here it is 1.0"),
    "seed": (build, {"seed": 1}, "its seed is 0, here it is 1"),
}


@pytest.mark.parametrize("what", WRONG)
def test_a_checkpoint_of_another_run_is_refused(tmp_path, what):
    train(2, checkpoint=tmp_path / "run.pt")
    make, options, message = WRONG[what]
    learner = make()
    if "optimizer" in options:
        options = {"optimizer": options["optimizer"](learner)}
    with pytest.raises(ValueError, match=f"run.pt is of another run: {message}"):
        train(4, learner, checkpoint=tmp_path / "run.pt", **options)


@pytest.mark.parametrize("loss", [lambda d: partial(F.huber_loss, delta=d), lambda d: nn.HuberLoss(delta=d)])
def test_a_checkpoint_of_a_loss_with_other_settings_is_refused(tmp_path, loss):
    def learner(delta):
        return MAML(MLP([1, 8, 1]), 0.01, loss_fn=loss(delta))

    path = tmp_path / "run.pt"
    fit(learner(0.5), waves, 2, checkpoint=path, progress=False)
    assert fit(learner(0.5), waves, 3, checkpoint=path, progress=False).n_steps == 3
    with pytest.raises(ValueError, match=r"its learner.loss_fn is .*delta: 0.5.*, here it is .*delta: 2.0"):
        fit(learner(2.0), waves, 4, checkpoint=path, progress=False)


def test_a_cut_file_and_another_format_are_refused(tmp_path):
    path = tmp_path / "run.pt"
    train(2, checkpoint=path)
    state = read_checkpoint(path)
    torch.save({**state, "format": 99}, path)
    with pytest.raises(ValueError, match="has checkpoint format 99, this version of metalearn reads 2"):
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


@pytest.mark.slow
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

    monkeypatch.setattr("metalearn._checkpoint.write_whole", full)
    with pytest.raises(
        OSError, match=r"step 2 could not be written \(No space left on device\); an earlier one is untouched"
    ):
        train(2, checkpoint=tmp_path / "run.pt")
    assert not list(tmp_path.iterdir())


def test_no_test_task_is_a_training_task():
    """Same sampler, same (default) seed: training, validation and test draw from streams of their own."""
    drawn = {"train": [], "validation": [], "test": []}

    def watched(name):
        def sample(generator):
            batch = waves(generator)
            drawn[name] += batch.support_x.flatten(1).tolist()
            return batch

        return sample

    learner = build()
    fit(learner, watched("train"), 24, progress=False)
    for name in ("validation", "test"):
        evaluate(learner, watched(name), 600, stream=name)
    tasks = {name: {tuple(task) for task in found} for name, found in drawn.items()}
    assert len(tasks["test"]) == len(tasks["validation"]) == 600
    assert not tasks["train"] & tasks["test"] and not tasks["train"] & tasks["validation"]
    assert not tasks["validation"] & tasks["test"]


def frozen_learner():
    torch.manual_seed(0)
    return MAML(MLP([1, 16, 1], norm="frozen"), 0.01, loss_fn=F.mse_loss)


def test_a_checkpoint_holds_the_statistics_of_its_weights(tmp_path):
    learner = frozen_learner()
    fit(learner, waves, 20, outer_lr=0.05, checkpoint=tmp_path / "run.pt", progress=False)
    stored = read_checkpoint(tmp_path / "run.pt")["learner"]
    assert stored["model.1.mean"].abs().sum() > 0
    for name, tensor in learner.state_dict().items():
        torch.testing.assert_close(stored[name], tensor, rtol=0, atol=0)


def test_statistics_after_an_interruption_belong_to_the_weights(tmp_path):
    """Also with validations, which measure them now and then."""
    learner = frozen_learner()
    score = lambda: evaluate(learner, waves, 16, stream="validation")  # noqa: E731
    stop = lambda step: os.kill(os.getpid(), signal.SIGINT) if step == 7 else None  # noqa: E731
    history = fit(learner, waves, 20, outer_lr=0.05, before_step=stop, validate=score, validate_every=4, progress=False)
    assert history.interrupted and history.n_steps == 8
    statistics = {name: buffer.clone() for name, buffer in learner.named_buffers()}
    learner.update_statistics(waves(generator) for generator in [stream(0, "statistics")] for _ in range(10))
    for name, buffer in learner.named_buffers():
        torch.testing.assert_close(buffer, statistics[name])


def test_saving_more_often_changes_nothing(tmp_path):
    ends = []
    for every in (1, 100):
        learner = frozen_learner()
        fit(
            learner,
            waves,
            6,
            outer_lr=0.05,
            checkpoint=tmp_path / f"{every}.pt",
            checkpoint_every=every,
            progress=False,
        )
        ends.append(torch.cat([p.detach().flatten() for p in learner.parameters()]))
    assert torch.equal(*ends)


def test_a_run_goes_on_after_its_settings_changed_in_its_course(tmp_path):
    """What before_step sets late in a run is not what the run is compared by."""
    learner, whole = build(), build()

    def switch(of):
        return lambda step: setattr(of, "first_order", step < 3)

    for n_steps in (5, 8):
        fit(learner, waves, n_steps, before_step=switch(learner), checkpoint=tmp_path / "run.pt", progress=False)
    fit(whole, waves, 8, before_step=switch(whole), progress=False)
    for mine, other in zip(learner.parameters(), whole.parameters(), strict=True):
        assert torch.equal(mine, other)


def test_patience_and_seconds_end_a_run(tmp_path):
    values = iter([3.0, 2.0, 2.5, 2.5, 1.0])
    learner = build()
    history = fit(
        learner,
        waves,
        100,
        validate=lambda: Score.of(torch.full((2,), next(values)), higher_is_better=False),
        validate_every=2,
        patience=2,
        progress=False,
    )
    assert (history.stopped, history.n_steps, history.best_step) == ("patience", 8, 4)
    history = fit(build(), waves, 100, max_seconds=0.0, checkpoint=tmp_path / "run.pt", progress=False)
    assert (history.stopped, history.n_steps) == ("seconds", 0)
    history = fit(build(), waves, 3, max_seconds=60.0, checkpoint=tmp_path / "run.pt", progress=False)
    assert (history.stopped, history.n_steps) == (None, 3) and 0 < history.cpu_seconds < 60


def test_an_optimizer_of_other_parameters_is_refused():
    learner = build()
    with pytest.raises(ValueError, match="the optimizer holds none of the learner's parameters"):
        fit(learner, waves, 1, optimizer=torch.optim.Adam(build().parameters()), progress=False)


def test_a_learner_with_nothing_to_train_is_refused():
    with pytest.raises(ValueError, match="MAML has no parameter that is trained"):
        fit(build().requires_grad_(False), waves, 1, progress=False)


def test_regression_without_its_loss_is_refused():
    with pytest.raises(ValueError, match=r"loss_fn is cross-entropy: build the learner with MAML\(..., loss_fn="):
        fit(MAML(MLP([1, 8, 1]), 0.01), waves, 1, progress=False)


def test_after_backward_comes_between_gradient_and_step():
    learner = build()
    before = [p.detach().clone() for p in learner.parameters()]

    def nothing(loss):
        for parameter in learner.parameters():
            parameter.grad.zero_()
        return 2 * loss

    history = fit(
        learner, waves, 1, optimizer=torch.optim.SGD(learner.parameters(), 0.1), after_backward=nothing, progress=False
    )
    plain = fit(build(), waves, 1, progress=False)
    assert history.losses == [2 * plain.losses[0]]
    assert all(torch.equal(*pair) for pair in zip(before, learner.parameters(), strict=True))


def test_batches_of_any_type_and_a_backward_that_draws():
    class Batch:
        checked = 0

        def to(self, device):
            return self

        def check(self):
            Batch.checked += 1

    class Drawn(MAML):
        def check(self, batch):
            self.check_values(batch)

        def update_statistics(self, batches):
            pass

        def backward(self, batch, generator):
            draws.append(torch.rand((), generator=generator).item())
            loss = sum(p.sum() for p in self.parameters())
            loss.backward()
            return loss.detach()

    ends = []
    for _ in range(2):
        draws = []
        fit(Drawn(model(), 0.01), lambda generator: Batch(), 3, progress=False)
        ends.append(draws)
    assert ends[0] == ends[1] and len(set(ends[0])) == 3 and Batch.checked == 2


@pytest.mark.parametrize("name", ["checkpoint_every", "patience", "validate_every"])
def test_intervals_of_no_steps_are_refused(name):
    with pytest.raises(ValueError, match=f"{name} must be at least 1, got 0"):
        fit(build(), waves, 1, progress=False, **{name: 0})


def test_a_norm_to_clip_to_is_above_zero():
    with pytest.raises(ValueError, match=r"max_grad_norm must be above 0, got -1\.0"):
        fit(build(), waves, 1, max_grad_norm=-1.0, progress=False)
