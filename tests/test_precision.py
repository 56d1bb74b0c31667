"""Fewer digits: what they change, what they leave alone, and where they are refused."""

import pytest
import torch
from torch.nn import functional as F
from typer.testing import CliRunner

from metalearn import Score, fit
from metalearn.cli import app
from metalearn.compiled import compile_backward
from metalearn.data import glyphs, sinusoids
from metalearn.experiments import Fit, Method, Study
from metalearn.learners import MAML
from metalearn.networks import MLP, Conv4
from metalearn.precision import check_precision, reduced
from metalearn.runs import plan
from metalearn.training import read_checkpoint

SAMPLE = sinusoids().episodes(n_tasks=4, n_shot=5, n_query=5)


def waves():
    torch.manual_seed(0)
    return MAML(MLP([1, 40, 40, 1]), 0.01, loss_fn=F.mse_loss)


def gradient(learner, batch, precision, how="loop", compile=False):
    learner.zero_grad()
    learner.how = how
    with reduced(precision):
        (compile_backward(learner) if compile else learner.backward)(batch)
    assert {parameter.grad.dtype for parameter in learner.parameters()} == {torch.float32}
    return torch.cat([parameter.grad.flatten() for parameter in learner.parameters()])


def cosine(a, b):
    return float(F.cosine_similarity(a, b, dim=0))


@pytest.mark.parametrize("kind", ["waves", "letters"])
def test_bf16_turns_the_meta_gradient_a_little(kind):
    generator = torch.Generator().manual_seed(0)
    if kind == "waves":
        learner, batch = waves(), SAMPLE(generator)
    else:
        torch.manual_seed(0)
        learner = MAML(Conv4(5, channels=8, norm="support", downsample="stride"), 0.1)
        batch = glyphs().train.episodes(n_tasks=2, n_way=5, n_shot=1, n_query=5)(generator)
    exact, rounded = gradient(learner, batch, None), gradient(learner, batch, "bf16")
    assert 0.8 < cosine(exact, rounded) < 0.99999
    assert torch.equal(exact, gradient(learner, batch, None))  # and leaves nothing behind


def test_bf16_is_the_same_in_a_loop_by_vmap_and_compiled():
    learner, batch = waves(), SAMPLE(torch.Generator().manual_seed(0))
    loop = gradient(learner, batch, "bf16")
    assert cosine(loop, gradient(learner, batch, "bf16", "vmap")) > 0.99  # each rounds elsewhere


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*script_method:DeprecationWarning")  # of torch, on the way to its compiler
def test_bf16_can_be_compiled():
    learner, batch = waves(), SAMPLE(torch.Generator().manual_seed(0))
    exact, compiled = gradient(learner, batch, None), gradient(learner, batch, "bf16", compile=True)
    assert 0.9 < cosine(exact, compiled) < 0.99999


def test_training_takes_it_and_validation_does_not(tmp_path):
    seen = []

    def validate():
        seen.append((torch.ones(2, 2) @ torch.ones(2, 2)).dtype)
        return Score.of(torch.rand(3))

    class Seeing(MLP):
        def forward(self, x):
            out = super().forward(x)
            seen.append(out.dtype)
            return out

    torch.manual_seed(0)
    learner = MAML(Seeing([1, 8, 1]), 0.01, loss_fn=F.mse_loss)
    fit(learner, SAMPLE, 1, validate=validate, precision="bf16", progress=False, checkpoint=tmp_path / "run.pt")
    assert torch.bfloat16 in seen and seen[-1] == torch.float32
    assert read_checkpoint(tmp_path / "run.pt")["identity"]["precision"] == "bf16"
    assert {parameter.dtype for parameter in learner.parameters()} == {torch.float32}
    with pytest.raises(ValueError, match="its precision is bf16, here it is None"):
        fit(learner, SAMPLE, 2, progress=False, checkpoint=tmp_path / "run.pt")


def test_where_it_would_do_nothing_it_is_refused():
    with pytest.raises(ValueError, match="tf32' acts on NVIDIA GPUs only, the parameters are on"):
        fit(waves(), SAMPLE, 1, precision="tf32", progress=False)
    with pytest.raises(ValueError, match=r"needs parameters in float32, got \['torch.float64'\]"):
        check_precision("bf16", waves().double())
    with pytest.raises(ValueError, match="precision must be one of"):
        check_precision("fp8", waves())


def test_off_by_default_and_part_of_a_study_when_on():
    assert Fit().precision is None and Fit().chunk_size is None
    network = {"model": {"network": "MLP", "config": {"sizes": [1, 4, 1]}}}
    sizes = {"n_tasks": 2, "n_shot": 5, "n_query": 5}

    def digest(**fit):
        method = Method("MAML", network, {"inner_lr": 0.01, "loss_fn": "mse_loss"}, sizes, fit)
        return Study("s", {"a": method}, {"t": {"n_shot": 5, "n_query": 5, "n_tasks": 9}}, "sinusoids").digest("a", 0)

    assert digest() == digest(precision=None, chunk_size=None) != digest(precision="bf16")


def test_the_command_takes_it(tmp_path):
    short = ["--data", "sinusoids", "--steps", "2", "--set", "fit.compile=false", "--device", "cpu", "--quiet", "--out"]
    done = CliRunner().invoke(app, ["train", "MAML", *short, str(tmp_path / "a"), "--precision", "bf16"])
    assert done.exit_code == 0 and "2 of 2 steps" in done.output, done.exception
    assert read_checkpoint(tmp_path / "a" / "checkpoint.pt")["identity"]["precision"] == "bf16"
    refused = CliRunner().invoke(app, ["train", "MAML", *short, str(tmp_path / "b"), "--precision", "tf32"])
    assert "acts on NVIDIA GPUs only" in str(refused.exception)
    assert plan("MAML", "glyphs", fit={"chunk_size": 3}).methods["MAML"].training.chunk_size == 3
