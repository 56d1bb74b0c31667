"""The one outer loop: draw a batch of tasks, take the learner's gradient, step; keep what is needed to go on."""

from __future__ import annotations

import math
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils import clip_grads_with_norm_, get_total_norm

from metalearn._files import write_whole
from metalearn.compiled import compile_backward
from metalearn.episodes import Batch, Episode
from metalearn.evaluation import Score
from metalearn.learners._base import Learner, check_values
from metalearn.runtime import progress_bar

TrainingSample = Callable[[torch.Generator], Episode | Batch]

FORMAT = 1  # of checkpoints; raise it when their content changes


@dataclass
class History:
    """What happened during :func:`metalearn.fit`.

    Args:
        losses: Mean loss of each step's batch, before the step.
        validation: ``(step, mean, ci95)`` of each validation.
        best_step: Step of the weights that the learner now has, where there was a validation.
        seconds: Time spent, over all sittings.
        interrupted: Whether Ctrl-C ended it before its last step.

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
    interrupted: bool = False

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
    max_grad_norm: float | None = None,
    validate: Callable[[], Score] | None = None,
    validate_every: int = 1000,
    checkpoint: str | Path | None = None,
    checkpoint_every: int = 1000,
    seed: int = 0,
    progress: bool = True,
    compile: bool = False,
) -> History:
    """Train a learner: at each step draw a batch of tasks, call ``learner.backward``, step the outer optimiser.

    With a checkpoint, a run that was stopped goes on where it was; on a CPU it ends with the same bits as a run that
    was not stopped. Ctrl-C finishes the step at hand, saves and returns. With validation, the learner ends with the
    weights that scored best, unless Ctrl-C ended the run.

    Args:
        learner: Any learner; trained in place.
        sample: ``sample(generator) -> batch of episodes`` (or a labelled batch, for learners that take such); all
            randomness must come from the generator.
        n_steps: Number of outer steps in all, those of an earlier sitting included.
        outer_lr: Learning rate of Adam, where no ``optimizer`` is given.
        optimizer: An optimiser over the learner's parameters.
        schedule: Factor on the learning rates at a step, such as :func:`metalearn.training.cosine`; a pure function of
            the step.
        before_step: Called with the number of the step before each one, to set what changes in the course of training
            (``learner.first_order = step < 1000``). What it sets must depend on the step alone, so that a run can go
            on where it stopped.
        max_grad_norm: Clip the gradient to this norm.
        validate: Returns a score, by :func:`metalearn.evaluate` on validation tasks.
        validate_every: Steps between validations; one more follows the last step.
        checkpoint: File to save to and to go on from; ``None``: nothing is saved.
        checkpoint_every: Steps between checkpoints; one more follows the last step.
        seed: Seed of the generator that ``sample`` gets.
        progress: Whether to show a progress bar.
        compile: Compile the whole meta-gradient at the first step (a CPU needs a C++ compiler): the same gradient up
            to rounding, several times faster for small networks; see :func:`metalearn.compiled.compile_backward`.

    Returns:
        The history; it includes earlier sittings.

    Raises:
        ValueError: If a batch does not fit the learner, the checkpoint belongs to another learner or version, or
            ``before_step`` is given for a compiled gradient, into which the settings are built.
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
    optimizer = optimizer or torch.optim.Adam(learner.parameters(), lr=outer_lr)
    backward = compile_backward(learner) if compile else learner.backward
    file = None if checkpoint is None else Path(checkpoint)
    run = _Run(learner, optimizer, sample, backward, schedule, max_grad_norm, seed, file)
    run.prepare()
    learner.train()
    history, start = run.history, time.perf_counter() - run.history.seconds
    history.interrupted = False
    with _interrupts() as interrupted, progress_bar(n_steps, "step", progress, done=history.n_steps) as bar:
        while history.n_steps < n_steps and not history.interrupted:
            if before_step is not None:
                before_step(history.n_steps)
            bar.set_postfix(loss=f"{run.step():.3g}", refresh=False)
            bar.update()
            step, last = history.n_steps, history.n_steps == n_steps
            history.seconds = time.perf_counter() - start
            history.interrupted = interrupted() and not last
            if validate is not None and (step % validate_every == 0 or last):
                bar.set_description(run.validate(validate))
            if last or history.interrupted or step % checkpoint_every == 0:
                run.save()
    run.finish()
    return history


@dataclass
class _Run:
    """The state of one run of :func:`fit`, and what is done with it."""

    learner: Learner
    optimizer: torch.optim.Optimizer
    sample: TrainingSample
    backward: Callable[[Episode | Batch], Tensor]
    schedule: Callable[[int], float] | None
    max_grad_norm: float | None
    seed: int
    checkpoint: Path | None
    history: History = field(default_factory=History)
    best: dict[str, Tensor] | None = None
    best_score: Score | None = None

    def prepare(self) -> None:
        self.generator = torch.Generator().manual_seed(self.seed)
        self.device = next(self.learner.parameters()).device
        self.base_lrs = [group["lr"] for group in self.optimizer.param_groups]
        probe = self.draw(torch.Generator().manual_seed(self.seed))
        self.learner.train()
        self.learner.check(probe)
        self.learner.update_statistics(probe)
        self.mine = self.identity()  # before any setting changes in the course of training
        if self.checkpoint is not None and self.checkpoint.exists():
            self.load()

    def draw(self, generator: torch.Generator) -> Episode | Batch:
        return self.sample(generator).to(self.device)

    def step(self) -> float:
        batch = self.draw(self.generator)
        for group, lr in zip(self.optimizer.param_groups, self.base_lrs, strict=True):
            group["lr"] = lr if self.schedule is None else lr * self.schedule(self.history.n_steps)
        self.optimizer.zero_grad(set_to_none=True)
        loss = float(self.backward(batch))
        parameters = [p for p in self.learner.parameters() if p.grad is not None]
        norm = get_total_norm([p.grad for p in parameters if p.grad is not None])
        if not (math.isfinite(loss) and torch.isfinite(norm)):
            self.refuse(batch, loss)
        if self.max_grad_norm is not None:
            clip_grads_with_norm_(parameters, self.max_grad_norm, norm)
        self.optimizer.step()
        self.history.losses.append(loss)
        return loss

    def refuse(self, batch: Episode | Batch, loss: float) -> None:
        check_values(batch)  # if the data are to blame, say so
        what = "loss" if not math.isfinite(loss) else "gradient"
        raise FloatingPointError(
            f"the {what} is NaN or infinite at step {self.history.n_steps} (loss {loss}); the weights are those before"
            " this step. Try a smaller outer_lr or inner_lr, fewer inner steps, or max_grad_norm=10"
        )

    def validate(self, validate: Callable[[], Score]) -> str:
        self.learner.update_statistics(self.draw(torch.Generator().manual_seed(self.seed)))
        score = validate()
        self.history.validation.append((self.history.n_steps, score.mean, score.ci95))
        if score.better_than(self.best_score):
            self.best_score, self.history.best_step = score, self.history.n_steps
            self.best = {name: tensor.detach().clone() for name, tensor in self.learner.state_dict().items()}
        return f"validation {score.mean:.3g}"

    def finish(self) -> None:
        if self.best is not None and not self.history.interrupted:
            self.learner.load_state_dict(self.best)
        elif self.best is None:
            self.learner.update_statistics(self.draw(torch.Generator().manual_seed(self.seed)))

    def identity(self) -> dict[str, Any]:
        shapes = {name: list(tensor.shape) for name, tensor in self.learner.state_dict().items()}
        settings = {name: value for name, value in vars(self.learner).items() if isinstance(value, int | float | str)}
        for name in ("training", "how", "chunk_size", "recompute"):  # these change no result
            settings.pop(name, None)
        return {"learner": type(self.learner).__name__, "settings": settings, "shapes": shapes, "seed": self.seed}

    def save(self) -> None:
        if self.checkpoint is None:
            return
        best = None
        if self.best_score is not None:
            best = [self.best_score.mean, self.best_score.ci95, self.best_score.n_tasks]
        state = {
            "format": FORMAT,
            "identity": self.mine,
            "learner": self.learner.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "generator": self.generator.get_state(),
            "random": torch.get_rng_state(),
            "history": vars(self.history),
            "best": self.best,
            "best_score": best,
        }
        try:
            write_whole(self.checkpoint, lambda file: torch.save(state, file))
        except OSError as error:
            raise OSError(
                error.errno,
                f"the checkpoint of step {self.history.n_steps} could not be written ({error.strerror}); an earlier"
                " one is untouched. Make room and call fit again with the same checkpoint",
                str(self.checkpoint),
            ) from error

    def load(self) -> None:
        assert self.checkpoint is not None
        state = read_checkpoint(self.checkpoint)
        for key, mine in self.mine.items():
            if state["identity"][key] != mine:
                raise ValueError(
                    f"the checkpoint {self.checkpoint} is of another run: its {key} is"
                    f" {_brief(state['identity'][key])}, here it is {_brief(mine)}. Name another file, or delete this"
                    " one to start anew"
                )
        self.learner.load_state_dict(state["learner"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.generator.set_state(state["generator"])
        torch.set_rng_state(state["random"])
        self.history = History(**state["history"])
        self.best = state["best"]
        if state["best_score"] is not None:
            mean, ci95, n_tasks = state["best_score"]
            self.best_score = Score(mean, ci95, n_tasks, torch.empty(0))


def read_checkpoint(path: str | Path) -> dict[str, Any]:
    """Read a checkpoint of :func:`metalearn.fit` without running any code that it might hold.

    Args:
        path: File that ``fit`` wrote.

    Returns:
        What it holds: among others ``"learner"`` (its weights), ``"optimizer"``, ``"history"`` and ``"best"``, the
        weights that scored best where there was a validation.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is cut, no checkpoint, or of another format.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> from torch import nn
        >>> from metalearn import fit, sample_episodes
        >>> from metalearn.data import digits
        >>> from metalearn.learners import Prototypical
        >>> from metalearn.training import read_checkpoint
        >>> learner, pool = Prototypical(nn.Sequential(nn.Flatten(), nn.Linear(64, 8))), digits().train
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder, "run.pt")
        ...     _ = fit(learner, lambda g: sample_episodes(pool, 1, 2, 1, 1, g), 5, checkpoint=path, progress=False)
        ...     len(read_checkpoint(path)["history"]["losses"])
        5
    """
    try:
        state = torch.load(path, weights_only=True, map_location="cpu")
        found = state["format"]
    except FileNotFoundError:
        raise
    except Exception as error:
        raise ValueError(f"{path} is no whole checkpoint ({type(error).__name__}): delete it to start anew") from error
    if found != FORMAT:
        raise ValueError(
            f"{path} has checkpoint format {found}, this version of metalearn reads {FORMAT}: delete it to start anew,"
            " or use the version that wrote it"
        )
    return dict(state)


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


def _brief(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
