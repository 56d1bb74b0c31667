"""The one outer loop: draw a batch of tasks, take the learner's gradient, step; keep what is needed to go on."""

from __future__ import annotations

import inspect
import math
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils import clip_grads_with_norm_, get_total_norm

from metalearn._checkpoint import compare, identity, read_checkpoint, write_checkpoint
from metalearn.compiled import compile_backward
from metalearn.distributed import Workers
from metalearn.evaluation import Score
from metalearn.learners._base import Learner
from metalearn.precision import Precision, check_precision, reduced
from metalearn.runtime import default_seed, progress_bar, stream

__all__ = ["History", "TrainingSample", "cosine", "fit", "read_checkpoint"]

TrainingSample = Callable[[torch.Generator], Any]  # Episode, Batch, or anything with .to(device) and .check()

N_STATISTICS = 10  # batches on which stored statistics are measured


@dataclass
class History:
    """What happened during :func:`metalearn.fit`.

    Args:
        losses: Mean loss of each step's batch, before the step.
        validation: ``(step, mean, ci95)`` of each validation.
        best_step: Step of the weights that the learner now has, where there was a validation.
        seconds: Time spent, over all sittings.
        cpu_seconds: Time of the processor spent on the steps, without validations, over all sittings and threads; the
            mean over the processes that train together.
        interrupted: Whether Ctrl-C ended it before its last step.
        stopped: ``"patience"`` or ``"seconds"``, if one of these ended it before its last step.

    Example:
        >>> from metalearn import History
        >>> history = History(losses=[3.0, 2.5], validation=[(2, 2.4, 0.1)], best_step=2)
        >>> history.n_steps, history.best_step
        (2, 2)
    """

    losses: list[float] = field(default_factory=list)
    validation: list[tuple[int, float, float]] = field(default_factory=list)
    best_step: int | None = None
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    interrupted: bool = False
    stopped: str | None = None

    @property
    def n_steps(self) -> int:
        """Number of steps taken."""
        return len(self.losses)


def cosine(n_steps: int, final: float = 0.0) -> Callable[[int], float]:
    """Return a schedule that falls from 1 to ``final`` along half a cosine over ``n_steps`` steps.

    Example:
        >>> from metalearn.training import cosine
        >>> schedule = cosine(100)
        >>> schedule(0), round(schedule(50), 3), round(schedule(100), 3)
        (1.0, 0.5, 0.0)
    """
    return lambda step: final + (1 - final) * 0.5 * (1 + math.cos(math.pi * min(step / n_steps, 1)))


def fit(
    learner: Learner,
    sample: TrainingSample,
    n_steps: int,
    *,
    outer_lr: float = 1e-3,
    optimizer: torch.optim.Optimizer | None = None,
    schedule: Callable[[int], float] | None = None,
    before_step: Callable[[int], None] | None = None,
    after_backward: Callable[[Tensor], Tensor] | None = None,
    max_grad_norm: float | None = None,
    validate: Callable[[], Score] | None = None,
    validate_every: int = 1000,
    patience: int | None = None,
    max_seconds: float | None = None,
    checkpoint: str | Path | None = None,
    checkpoint_every: int = 1000,
    seed: int | None = None,
    progress: bool = True,
    compile: bool = False,
    backward: Callable[[Any, torch.Generator], Tensor] | None = None,
    workers: Workers | None = None,
    precision: Precision | None = None,
) -> History:
    """Train a learner: at each step draw a batch of tasks, call ``learner.backward``, step the outer optimiser.

    With a checkpoint, a run that was stopped goes on where it was; on a CPU it ends with the same bits as a run that
    was not stopped. Ctrl-C finishes the step at hand, saves and returns. With validation, the learner ends with the
    weights that scored best, unless Ctrl-C ended the run. It is left in ``train`` mode; ``evaluate`` sets its own.

    Args:
        learner: Any learner; trained in place.
        sample: ``sample(generator) -> batch``, such as ``pool.episodes(n_tasks=4, n_way=5, n_shot=1, n_query=5)``; all
            randomness must come from the generator. A batch is one of episodes, a labelled batch for learners that take
            such, or anything with ``.to(device)`` and ``.check()`` that the learner's ``backward`` takes.
        n_steps: Number of outer steps in all, those of an earlier sitting included.
        outer_lr: Learning rate of Adam, where no ``optimizer`` is given.
        optimizer: An optimiser over the learner's parameters; its rates are the same afterwards.
        schedule: Factor on the learning rates at a step, such as :func:`metalearn.training.cosine`; a pure function of
            the step.
        before_step: Called with the number of the step before each one, to set what changes in the course of training
            (``learner.first_order = step < 1000``). What it sets must depend on the step alone, so that a run can go
            on where it stopped.
        after_backward: Called with the loss after the gradient is in ``.grad`` and before the optimiser's step; it may
            change gradients (an average over machines, noise), and returns the loss to record.
        max_grad_norm: Clip the gradient to this norm, above 0; ``None``: never.
        validate: Returns a score, by ``metalearn.evaluate(..., stream="validation")`` on validation tasks.
        validate_every: Steps between validations; one more follows the last step.
        patience: Stop after so many validations in a row without a better score, at least 1; ``None``: never.
        max_seconds: Stop when ``History.cpu_seconds`` reaches it; ``None``: never.
        checkpoint: File to save to and to go on from; ``None``: nothing is saved.
        checkpoint_every: Steps between checkpoints; one more follows the last step.
        seed: Seed of all draws; ``None``: :func:`metalearn.runtime.default_seed`. Training draws from the stream
            ``"train"`` of the seed, which shares nothing with the streams of validation and test. Torch's global
            random state, from which dropout draws, is seeded from it before each step.
        progress: Whether to show a progress bar.
        compile: Compile the whole meta-gradient at the first step (a CPU needs a C++ compiler): the same gradient up
            to rounding, several times faster for small networks; see :func:`metalearn.compiled.compile_backward`.
        backward: ``backward(batch, generator) -> loss``, which adds to ``.grad``, in place of the learner's own, such
            as :func:`metalearn.evolution.evolution_backward`; ``None``: the learner's.
        workers: The processes that train together, from :func:`metalearn.distributed.joined`; each draws a batch of its
            own, and process 0 writes the checkpoint. ``None``: this process alone.
        precision: ``"bf16"``: matrix products and convolutions of the gradient in bfloat16; ``"tf32"``: in TF32, on
            GPUs; see :func:`metalearn.precision.reduced`. Weights, optimiser and validation stay in float32. ``None``:
            float32 throughout.

    Returns:
        The history; it includes earlier sittings.

    Raises:
        ValueError: If a batch does not fit the learner, a number is out of its range, the optimiser holds none of the
            learner's parameters, the checkpoint belongs to another run or version, ``before_step`` is given for a
            compiled gradient, into which the settings are built, ``backward`` beside ``compile``, or a precision that
            has no effect here.
        FloatingPointError: If loss or gradient is NaN or infinite; the learner keeps the weights before that step.
        OSError: If a checkpoint cannot be written; the previous one stays whole.

    Example:
        >>> import torch
        >>> from metalearn import fit
        >>> from metalearn.data import sinusoids
        >>> from metalearn.learners import MAML
        >>> from metalearn.networks import MLP
        >>> learner = MAML(MLP([1, 40, 1]), inner_lr=0.01, loss_fn=torch.nn.functional.mse_loss)
        >>> fit(learner, lambda g: sinusoids().sample(4, 5, 5, g), 3, progress=False).n_steps
        3
    """
    if compile and before_step is not None:
        raise ValueError(
            "compile=True builds the learner's settings in, so before_step cannot change them: leave one out"
        )
    if compile and backward is not None:
        raise ValueError("compile=True compiles the learner's own gradient, got a backward beside it: leave one out")
    check_precision(precision, learner)
    for name, value in {"validate_every": validate_every, "checkpoint_every": checkpoint_every}.items():
        if value < 1:
            raise ValueError(f"{name} must be at least 1, got {value}")
    if patience is not None and patience < 1:
        raise ValueError(f"patience must be at least 1, got {patience}")
    if max_grad_norm is not None and not max_grad_norm > 0:
        raise ValueError(f"max_grad_norm must be above 0, got {max_grad_norm}")
    run = _Run(
        learner,
        _optimizer(learner, optimizer, outer_lr),
        sample,
        backward or _backward(learner, compile),
        schedule=schedule,
        before_step=before_step,
        after_backward=after_backward,
        max_grad_norm=max_grad_norm,
        validate=validate,
        seed=default_seed() if seed is None else seed,
        checkpoint=None if checkpoint is None else Path(checkpoint),
        workers=workers,
        precision=precision,
    )
    with torch.random.fork_rng(devices=[]):  # the seeds of the steps are not the caller's business
        run.prepare()
        limits = _Limits(n_steps, patience, max_seconds, validate_every, checkpoint_every)
        with _interrupts() as interrupted, progress_bar(n_steps, "step", progress, done=run.history.n_steps) as bar:
            try:
                run.go(limits, interrupted, bar)
            finally:
                run.set_rates(1.0)  # the caller's optimiser keeps the rates that it came with
        run.finish()
    return run.history


def _optimizer(learner: Learner, optimizer: torch.optim.Optimizer | None, outer_lr: float) -> torch.optim.Optimizer:
    trained = [parameter for parameter in learner.parameters() if parameter.requires_grad]
    if not trained:
        raise ValueError(
            f"{type(learner).__name__} has no parameter that is trained: leave requires_grad on for some, or evaluate"
            " it as it is"
        )
    if optimizer is None:
        return torch.optim.Adam(trained, lr=outer_lr)
    own = {id(parameter) for parameter in learner.parameters()}
    if not any(id(parameter) in own for group in optimizer.param_groups for parameter in group["params"]):
        raise ValueError(
            "the optimizer holds none of the learner's parameters: build it from learner.parameters(), after"
            " convert_norms and .to(device), which make new ones"
        )
    return optimizer


def _backward(learner: Learner, compile: bool) -> Callable[[Any, torch.Generator], Tensor]:
    backward: Callable[..., Tensor] = compile_backward(learner) if compile else learner.backward
    if "generator" in inspect.signature(backward).parameters:
        return backward
    return lambda batch, generator: backward(batch)


@dataclass
class _Limits:
    """When a run ends, and how often it validates and saves."""

    n_steps: int
    patience: int | None
    max_seconds: float | None
    validate_every: int
    checkpoint_every: int

    def reached(self, history: History) -> str | None:
        """Return why a run ends before its last step, if it does."""
        if self.max_seconds is not None and history.cpu_seconds >= self.max_seconds:
            return "seconds"
        if self.patience is not None and history.best_step is not None:
            since = sum(step > history.best_step for step, _, _ in history.validation)
            return "patience" if since >= self.patience else None
        return None


@dataclass
class _Run:
    """The state of one run of :func:`fit`, and what is done with it."""

    learner: Learner
    optimizer: torch.optim.Optimizer
    sample: TrainingSample
    backward: Callable[[Any, torch.Generator], Tensor]
    schedule: Callable[[int], float] | None
    before_step: Callable[[int], None] | None
    after_backward: Callable[[Tensor], Tensor] | None
    max_grad_norm: float | None
    validate: Callable[[], Score] | None
    seed: int
    checkpoint: Path | None
    workers: Workers | None = None
    precision: Precision | None = None
    history: History = field(default_factory=History)
    best: dict[str, Tensor] | None = None
    best_score: Score | None = None
    clock: float = 0.0  # of this process
    asked: bool = False  # to stop

    def prepare(self) -> None:
        """Try a batch, measure statistics, and load the checkpoint where there is one."""
        self.device = next(self.learner.parameters()).device
        self.generator = self.stream("train")
        self.base_lrs = [group["lr"] for group in self.optimizer.param_groups]
        if self.before_step is not None:
            self.before_step(0)  # a run's settings are those of its first step, also where it goes on later
        self.mine = identity(self.learner, self.optimizer, self.schedule, self.max_grad_norm, self.seed)
        if self.precision is not None:
            self.mine["precision"] = self.precision
        self.learner.train()
        self.learner.check(self.draw(self.stream("probe")))
        self.measure()
        state = None
        if self.checkpoint is not None and self.checkpoint.exists() and (self.workers is None or self.workers.first):
            state = read_checkpoint(self.checkpoint)
            compare(self.checkpoint, state["identity"], self.mine)
        if self.workers is not None:
            self.workers.check_same("the run", "; ".join(f"{key} {value}" for key, value in sorted(self.mine.items())))
            state = self.workers.from_first(state)
            self.learner.load_state_dict(self.workers.from_first(self.learner.state_dict()))
        if state is not None:
            self.load(state)

    def stream(self, name: str) -> torch.Generator:
        """Return a generator where the sampler draws."""
        return stream(self.seed, name, getattr(self.sample, "device", "cpu"))

    def draw(self, generator: torch.Generator) -> Any:
        return self.learner.take(self.sample(generator))

    def measure(self) -> None:
        """Measure the stored statistics at the present weights, always on the same batches."""
        generator = self.stream("statistics")
        self.learner.update_statistics(self.draw(generator) for _ in range(N_STATISTICS))

    def go(self, limits: _Limits, interrupted: Callable[[], bool], bar: Any) -> None:
        """Take steps until a limit is reached or Ctrl-C is pressed."""
        history, start = self.history, time.perf_counter() - self.history.seconds
        history.interrupted, history.stopped = False, limits.reached(self.history)
        while history.n_steps < limits.n_steps and not history.stopped and not history.interrupted:
            loss = self.step(interrupted)
            bar.set_postfix(loss=f"{loss:.3g}", refresh=False)
            bar.update()
            step = history.n_steps
            out_of_time = limits.max_seconds is not None and history.cpu_seconds >= limits.max_seconds
            last = step == limits.n_steps or out_of_time
            history.interrupted = self.asked and not last
            if self.validate is not None and (step % limits.validate_every == 0 or last):
                bar.set_description(self.score(self.validate))
            history.stopped = None if step == limits.n_steps else limits.reached(history)
            history.seconds = time.perf_counter() - start
            if last or history.stopped or history.interrupted or step % limits.checkpoint_every == 0:
                self.save()

    def step(self, interrupted: Callable[[], bool]) -> float:
        begun = time.process_time()
        if self.before_step is not None:
            self.before_step(self.history.n_steps)
        torch.manual_seed(int(torch.randint(2**48, (), generator=self.generator, device=self.generator.device)))
        generator = self.generator if self.workers is None else self.workers.generator(self.generator)
        batch = self.draw(generator)
        self.set_rates(1.0 if self.schedule is None else self.schedule(self.history.n_steps))
        self.optimizer.zero_grad(set_to_none=True)
        with reduced(self.precision, self.device):
            total = self.backward(batch, generator)
        if self.workers is not None:  # all take the same step, and stop together
            mine = (self.clock + time.process_time() - begun, float(interrupted()))
            total, (clock, asked) = self.workers.average(self.learner, total, *mine)
        loss = float(total if self.after_backward is None else self.after_backward(total))
        parameters = [p for p in self.learner.parameters() if p.grad is not None]
        norm = get_total_norm([p.grad for p in parameters if p.grad is not None])
        if not (math.isfinite(loss) and torch.isfinite(norm)):
            self.refuse(batch, loss)
        if self.max_grad_norm is not None:
            clip_grads_with_norm_(parameters, self.max_grad_norm, norm)
        self.optimizer.step()
        self.history.losses.append(loss)
        self.clock += time.process_time() - begun
        if self.workers is not None and self.workers.size > 1:
            self.history.cpu_seconds, self.asked = clock, asked > 0
        else:
            self.history.cpu_seconds, self.asked = self.clock, interrupted()
        return loss

    def set_rates(self, factor: float) -> None:
        """Set the optimiser's rates to those that it came with, times a factor."""
        for group, lr in zip(self.optimizer.param_groups, self.base_lrs, strict=True):
            group["lr"] = lr if factor == 1 else lr * factor  # an int stays one

    def refuse(self, batch: Any, loss: float) -> None:
        self.learner.check_values(batch)  # if the data are to blame, say so
        what = "loss" if not math.isfinite(loss) else "gradient"
        half = any(parameter.dtype == torch.float16 for parameter in self.learner.parameters())
        advice = (
            "train in float32 or bfloat16: float16 ends at 65,504"
            if half
            else ("try a smaller outer_lr or inner_lr, fewer inner steps, or max_grad_norm=10")
        )
        raise FloatingPointError(
            f"the {what} is NaN or infinite at step {self.history.n_steps} (loss {loss}); the weights are those before"
            f" this step. What may help: {advice}"
        )

    def score(self, validate: Callable[[], Score]) -> str:
        self.measure()
        score = validate()
        if self.workers is not None:
            mean, ci95 = self.workers.from_first([score.mean, score.ci95])
            score = replace(score, mean=mean, ci95=ci95)
        self.learner.train()
        self.history.validation.append((self.history.n_steps, score.mean, score.ci95))
        if score.better_than(self.best_score):
            self.best_score, self.history.best_step = score, self.history.n_steps
            self.best = {name: tensor.detach().clone() for name, tensor in self.learner.state_dict().items()}
        return f"validation {score.mean:.3g}"

    def finish(self) -> None:
        """Leave the learner with its best weights, and with the statistics that belong to its weights."""
        if self.best is not None and not self.history.interrupted:
            self.learner.load_state_dict(self.best)
        else:
            self.measure()

    def save(self) -> None:
        if self.checkpoint is None or not (self.workers is None or self.workers.first):
            return
        running = {name: buffer.clone() for name, buffer in self.learner.named_buffers()}
        self.measure()  # a checkpoint holds the statistics of its weights ...
        best = self.best_score and [self.best_score.mean, self.best_score.ci95, self.best_score.n_tasks]
        state = {
            "identity": self.mine,
            "learner": {name: tensor.clone() for name, tensor in self.learner.state_dict().items()},
            "running": running,
            "optimizer": self.optimizer.state_dict(),
            "generator": self.generator.get_state(),
            "history": vars(self.history),
            "best": self.best,
            "best_score": best,
        }
        self.restore(running)  # ... and a run does not depend on how often it is saved
        write_checkpoint(self.checkpoint, state, self.history.n_steps)

    def restore(self, running: dict[str, Tensor]) -> None:
        own = dict(self.learner.named_buffers())
        for name, buffer in running.items():
            own[name].copy_(buffer)

    def load(self, state: dict[str, Any]) -> None:
        self.learner.load_state_dict(state["learner"])
        self.restore(state["running"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.generator.set_state(state["generator"])
        self.history = History(**state["history"])
        self.clock = self.history.cpu_seconds
        self.best = state["best"]
        if state["best_score"] is not None:
            mean, ci95, n_tasks = state["best_score"]
            self.best_score = Score(mean, ci95, n_tasks, torch.empty(0))


@contextmanager
def _interrupts() -> Iterator[Callable[[], bool]]:
    """Turn the first Ctrl-C into a request to stop after the step at hand; a second one stops at once."""
    requested = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield requested.is_set  # signals reach the main thread only
        return

    def request(signum: int, frame: Any) -> None:
        if requested.is_set():
            raise KeyboardInterrupt
        requested.set()

    before = signal.signal(signal.SIGINT, request)
    try:
        yield requested.is_set
    finally:
        signal.signal(signal.SIGINT, before)
