"""The meta-step of MAML's sinusoid experiment: 25 tasks, 10 + 10 points, MLP 1-40-40-1, one second-order step."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import _jax
import torch
from _plain import backward_each, backward_once, tasks_of
from _timing import Result, interleave, result
from torch import nn
from torch.nn import functional as F

from metalearn import Episode
from metalearn.compiled import compile_backward
from metalearn.data import sinusoids
from metalearn.learners import MAML
from metalearn.networks import MLP

INNER_LR = 0.01
WHAT = "sinusoid meta-step, 25 tasks, second order"
NOTE = "The loop calls backward for each task, as the examples of higher and learn2learn do."
NOTE_ONCE = "The loop keeps all graphs and calls backward once: faster, with the memory of all tasks."
NOTE_COMPILED = "fit(..., compile=True): traced through vmap and the inner step, compiled by Inductor and g++."


def with_higher(model: nn.Module, batch: Episode) -> tuple[Callable[[], None] | None, str]:
    """Return the meta-step written with ``higher``; or ``None``, and why there is none."""
    try:
        import higher
    except Exception as error:
        return None, f"skipped: {type(error).__name__}: {error}"
    optimizer, tasks = torch.optim.SGD(model.parameters(), lr=INNER_LR), tasks_of(batch)

    def backward() -> None:
        for support_x, support_y, query_x, query_y in tasks:
            with higher.innerloop_ctx(model, optimizer, copy_initial_weights=False) as (fast, inner):
                inner.step(F.mse_loss(fast(support_x), support_y))
                (F.mse_loss(fast(query_x), query_y) / len(tasks)).backward()

    return backward, "higher 0.2.1, differentiable SGD in innerloop_ctx."


def run(quick: bool = False) -> list[Result]:
    """Compare one meta-gradient: ours eager and compiled, the plain loops, ``higher``."""
    torch.manual_seed(0)
    batch = sinusoids().sample(3 if quick else 25, 10, 10)
    learner = MAML(MLP([1, 40, 40, 1]), INNER_LR, loss_fn=F.mse_loss)
    model, tasks = learner.model, tasks_of(batch)

    contestants: dict[str, Callable[[], object]] = {
        "loop": lambda: backward_each(model, F.mse_loss, INNER_LR, tasks),
        "loop, one backward": lambda: backward_once(model, F.mse_loss, INNER_LR, tasks),
        "eager": lambda: learner.backward(batch),
    }
    higher, note = with_higher(model, batch)
    contestants |= {} if higher is None else {"higher": higher}
    check_gradients(contestants, learner)
    jax_step, jax_note = _jax.make_step(model, INNER_LR, batch)
    if jax_step is not None:
        learner.zero_grad()
        _jax.check_step(jax_step, learner.backward(batch), model)
    found = compare(interleave(contestants, 2 if quick else 150, learner.zero_grad), "eager", note)
    if quick:  # compiling takes up to half a minute
        return found
    backward = compile_backward(learner)
    contestants["compiled"] = lambda: backward(batch)
    del contestants["eager"]  # timed before: with the compiler in memory it is slower
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of torch, about itself, on the first compilation
        check_gradients(contestants, learner)
    found += compare(interleave(contestants, 150, learner.zero_grad), "compiled", note)
    return [*found, against_jax(contestants["compiled"], jax_step, jax_note, learner)]


def against_jax(ours: Callable[[], object], jax_step: _jax.Step | None, note: str, learner: MAML) -> Result:
    """Compare the compiled step with JAX's, alone with each other, as either keeps the caches warm in a training."""
    what = f"{WHAT}: compiled against JAX"
    if jax_step is None:
        return result(what, {}, 0, note=note)
    times = interleave({"jax": jax_step, "compiled": ours}, 300, learner.zero_grad)
    return result(what, times, times["jax"] / times["compiled"], ">= 0.91", note=f"{note} 0.91: within 1.1 times.")


def check_gradients(contestants: dict[str, Callable[[], object]], learner: MAML) -> None:
    """Make sure that all contestants compute the same."""
    found = []
    for contestant in contestants.values():
        learner.zero_grad()
        contestant()
        found.append(torch.cat([p.grad.flatten() for p in learner.parameters() if p.grad is not None]))
        torch.testing.assert_close(found[-1], found[0], rtol=1e-4, atol=1e-6)


def compare(times: dict[str, float], ours: str, note_higher: str) -> list[Result]:
    """Turn the medians into results."""
    goal, how = (">= 20", f"{NOTE_COMPILED} ") if ours == "compiled" else (">= 7", "")

    def against(other: str, goal: str | None, note: str) -> Result:
        what = f"{WHAT}: {ours} against {other}"
        if other not in times:
            return result(what, {}, 0, note=note)
        return result(what, {name: times[name] for name in (other, ours)}, times[other] / times[ours], goal, note=note)

    return [
        against("loop", goal, how + NOTE),
        against("loop, one backward", None, how + NOTE_ONCE),
        against("higher", goal, how + note_higher),
    ]
