"""The compiled meta-gradient equals the eager one, for as long as parameters and statistics change."""

import shutil

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from metalearn import Episode, fit
from metalearn.compiled import compile_backward
from metalearn.data import sinusoids
from metalearn.learners import MAML, Prototypical
from metalearn.networks import MLP

pytestmark = [
    pytest.mark.usefixtures("double"),
    pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning"),  # torch's own, on the first compile
]


def tasks(n_tasks=4):
    x, y = torch.randn(n_tasks, 9, 4), torch.arange(9).repeat(n_tasks, 1) % 3
    return Episode(x[:, :6], y[:, :6], x[:, 6:], y[:, 6:], n_way=3)


def gradient(backward, learner, batch):
    learner.zero_grad()
    loss = backward(batch)
    return loss, [p.grad for p in learner.parameters()]


class Scaled(MAML):
    """MAML with a parameter that the loss does not use and one that is not trained."""

    def __init__(self, *args):
        super().__init__(*args)
        self.unused = nn.Parameter(torch.ones(2))
        next(self.model.parameters()).requires_grad_(False)


LEARNERS = {
    "MAML": lambda: MAML(MLP([4, 8, 3], norm="batch"), 0.3, 2),
    "MAML, layer norm": lambda: MAML(nn.Sequential(nn.Linear(4, 6), nn.LayerNorm(6), nn.Tanh(), nn.Linear(6, 3)), 0.3),
    "with an unused and a fixed parameter": lambda: Scaled(MLP([4, 8, 3]), 0.3),
    "Prototypical": lambda: Prototypical(MLP([4, 8, 5], norm="support")),
}


def check_equal(compiled, learner, batch):
    ours = gradient(compiled, learner, batch)
    torch.testing.assert_close(ours, gradient(learner.backward, learner, batch), rtol=1e-10, atol=1e-12)


def move(learner):
    with torch.no_grad():
        for p in learner.parameters():
            p += 0.1 * torch.randn_like(p)


@pytest.mark.slow
@pytest.mark.parametrize("name", LEARNERS)
def test_the_traced_gradient_equals_the_eager_one(name):
    learner = LEARNERS[name]()
    traced = compile_backward(learner, backend="eager")
    for chunk_size in (None, 2, 3):
        learner.chunk_size = chunk_size
        for _ in range(2):  # the second time at other weights, which must not be built in
            check_equal(traced, learner, tasks())
            move(learner)


def test_gradients_add_up_and_what_is_trained_may_change():
    learner = MAML(MLP([4, 8, 3]), 0.3)
    traced, batch = compile_backward(learner, backend="eager"), tasks()
    _, once = gradient(traced, learner, batch)
    traced(batch)
    torch.testing.assert_close([p.grad for p in learner.parameters()], [2 * grad for grad in once])
    first = next(learner.parameters())
    first.requires_grad_(False)
    check_equal(traced, learner, batch)
    assert first.grad is None
    learner.float()  # another dtype, then: the tensors are read at each step
    loss = traced(batch.map(lambda leaf: leaf.float() if leaf.is_floating_point() else leaf))
    assert loss.dtype == torch.float32


def test_the_device_is_part_of_what_was_compiled():
    """Constants of the trace lie on the first batch's device; a trace for the meta device has no values at all."""
    learner = MAML(MLP([4, 8, 3]), 0.3)
    traced, batch = compile_backward(learner, backend="eager"), tasks()
    traced(batch)
    learner.to("meta")
    assert traced(batch.to("meta")).device.type == "meta"


def test_recompute_with_dropout_is_refused():
    learner = MAML(nn.Sequential(nn.Linear(4, 3), nn.Dropout(0.5)), 0.3, recompute=True)
    with pytest.raises(ValueError, match="recompute=True cannot be compiled with random numbers in the inner loop"):
        compile_backward(learner, backend="eager")(tasks())
    learner = MAML(MLP([4, 8, 3]), 0.3, 2, recompute=True)
    check_equal(compile_backward(learner, backend="eager"), learner, tasks())


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="no C++ compiler here")
def test_the_compiled_gradient_equals_the_eager_one():
    """The canary of ``_torch.compile_graph``, too: norms, a parameter that is not used and one that is not trained."""
    learner = Scaled(MLP([4, 8, 3], norm="batch"), 0.3, 2)
    compiled = compile_backward(learner)
    for _ in range(2):
        check_equal(compiled, learner, tasks())
        move(learner)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="no C++ compiler here")
def test_fit_compiled_learns_the_same_weights():
    weights = []
    for compile in (False, True):
        torch.manual_seed(0)
        learner = MAML(MLP([1, 8, 1]), inner_lr=0.01, loss_fn=F.mse_loss)
        history = fit(learner, lambda g: sinusoids().sample(4, 5, 5, g), 3, progress=False, compile=compile)
        weights.append((torch.tensor(history.losses), *(p.detach() for p in learner.parameters())))
    torch.testing.assert_close(*weights, rtol=1e-10, atol=1e-12)


def test_unequal_tasks_and_an_unknown_backend_are_refused():
    with pytest.raises(ValueError, match=r"backend must be one of \['inductor', 'eager'\], got 'fast'"):
        compile_backward(MAML(MLP([1, 1]), 0.1), backend="fast")
    with pytest.raises(ValueError, match="compile=True needs tasks of one shape, got list"):
        compile_backward(MAML(MLP([1, 1]), 0.1), backend="eager")([tasks()[0]])


def test_a_learner_with_its_own_backward_is_refused():
    class Own(MAML):
        def backward(self, batch):
            return super().backward(batch)

    with pytest.raises(ValueError, match="Own has its own"):
        compile_backward(Own(MLP([1, 1]), 0.1))


def test_a_missing_compiler_is_named(monkeypatch):
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(RuntimeError, match="no 'no-such-compiler'"):
        compile_backward(MAML(MLP([1, 1]), 0.1))
