"""Every method that classifies, on glyphs 5-way 1-shot: accuracy against the compute of training.

Run it with ``python -m metalearn.experiments.glyphs_methods``; stop and start it at will. Each run is tested after a
quarter, a half and all of its outer steps, whose number is chosen so that training takes about a minute on one core of
a CPU. All test predictions are inductive. Methods that adapt the whole network have the strided one, which is cheap,
with the norm policy ``"support"``; methods with an encoder that stays as it is in a task have the one with pooling and
``"frozen"``, as in the run ``glyphs_few_shot``, whose settings Transfer and Prototypical keep. The two learned rules
run a recurrent cell for each weight: their networks have 16 channels in place of 64. What was chosen, was chosen on
the validation scripts with one seed.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from metalearn.experiments import _glyphs, record
from metalearn.experiments._glyphs import draw, splits, test
from metalearn.learners import (
    ANIL,
    MAML,
    HyperNetwork,
    ImplicitMAML,
    LearnedOptimizer,
    Learner,
    MetaLSTM,
    MetaNetwork,
    MetaSGD,
    NeuralProcess,
    Prototypical,
    Reptile,
    Transfer,
)
from metalearn.networks import MLP, Conv4
from metalearn.training import TrainingSample, fit, read_checkpoint

SETTINGS: dict[str, Any] = {
    **_glyphs.SETTINGS,
    "shots": [1],
    "n_steps": 400,
    "points": [0.25, 0.5, 1.0],
    "max_grad_norm": 10.0,
    "norm": "support for networks that adapt, frozen for encoders",
    "narrow": 16,
    "methods": {  # the learner's arguments; tasks, queries a class, share of the steps, inner steps of the test
        "transfer": {"n_images": 120, "share": 0.75},
        "prototypical": {"n_tasks": 1, "way": 20, "n_query": 5, "share": 0.75},
        "maml": {"inner_lr": 0.4, "n_inner_steps": 1, "n_tasks": 8, "n_query": 1, "test_steps": 3},
        "first-order maml": {
            "inner_lr": 0.4, "n_inner_steps": 1, "first_order": True, "n_tasks": 8, "n_query": 1, "share": 1.5,
            "test_steps": 3,
        },
        "reptile": {
            "inner_lr": 0.3, "n_inner_steps": 5, "batch_size": 10, "n_tasks": 4, "n_query": 9, "share": 0.75,
            "test_steps": 10, "max_grad_norm": None,
        },
        "anil": {"inner_lr": 0.5, "n_inner_steps": 5, "n_tasks": 4, "n_query": 5, "share": 0.75, "test_steps": 10},
        "implicit maml": {
            "inner_lr": 0.4, "n_inner_steps": 5, "strength": 0.5, "n_cg_steps": 3, "n_tasks": 4, "n_query": 2,
            "share": 0.5, "test_steps": 5,
        },
        "meta-sgd": {"initial_lr": 0.4, "n_inner_steps": 1, "n_tasks": 8, "n_query": 1, "test_steps": 3},
        "meta-lstm": {
            "n_inner_steps": 3, "initial_lr": 0.3, "n_tasks": 4, "n_query": 1, "outer_lr": 3e-3, "test_steps": 3,
        },
        "learned optimiser": {
            "n_inner_steps": 3, "scale": 0.01, "n_tasks": 4, "n_query": 1, "outer_lr": 3e-3, "share": 0.75,
            "test_steps": 3,
        },
        "hypernetwork": {"n_tasks": 8, "n_query": 2, "share": 0.6, "outer_lr": 3e-3},
        "neural process": {"n_tasks": 8, "n_query": 2, "share": 0.6, "outer_lr": 3e-3},
        "meta network": {"n_tasks": 4, "n_query": 5, "share": 0.5},
    },
}  # fmt: skip
OUTER = {"n_tasks", "way", "n_query", "share", "test_steps", "outer_lr", "max_grad_norm", "n_images"}


def build(method: str) -> Learner:
    """Return the untrained learner of a method."""
    n_way, channels = SETTINGS["n_way"], SETTINGS["channels"]
    chosen = {key: value for key, value in SETTINGS["methods"][method].items() if key not in OUTER}

    def network(channels: int = channels) -> Conv4:
        return Conv4(n_way, channels=channels, norm="support", downsample="stride")

    def encoder() -> Conv4:
        return Conv4(channels=channels, norm="frozen")

    makers: dict[str, Callable[[], Learner]] = {
        "transfer": lambda: Transfer(encoder(), splits().train.n_classes),
        "prototypical": lambda: Prototypical(encoder()),
        "reptile": lambda: Reptile(network(), **chosen),
        "anil": lambda: ANIL(encoder(), MLP([channels, n_way]), **chosen),
        "implicit maml": lambda: ImplicitMAML(network(), **chosen),
        "meta-sgd": lambda: MetaSGD(network(), **chosen),
        "meta-lstm": lambda: MetaLSTM(network(SETTINGS["narrow"]), **chosen),
        "learned optimiser": lambda: LearnedOptimizer(network(SETTINGS["narrow"]), **chosen),
        "hypernetwork": lambda: HyperNetwork(encoder(), MLP([channels, n_way]), n_way),
        "neural process": lambda: NeuralProcess(encoder(), n_way),
        "meta network": lambda: MetaNetwork(encoder(), n_way),
    }
    return makers.get(method, lambda: MAML(network(), **chosen))()


def sampler(method: str) -> tuple[TrainingSample, int]:
    """Return what a method is trained with, and how many images that is in a step."""
    chosen, pool, n_way = SETTINGS["methods"][method], splits().train, SETTINGS["n_way"]
    if size := chosen.get("n_images"):
        return lambda generator: pool.sample_batch(size, generator), size
    way, n_query, n_tasks = chosen.get("way", n_way), chosen["n_query"], chosen["n_tasks"]
    return draw(pool, n_tasks, way, 1, n_query), n_tasks * way * (1 + n_query)


def run(method: str, seed: int, folder: Path, n_steps: int) -> list[dict[str, Any]]:
    """Train one learner, and test it on the way; return a row of results for each point."""
    torch.manual_seed(seed)
    chosen, rows, previous = SETTINGS["methods"][method], [], None
    learner, (sample, n_images) = build(method), sampler(method)
    if isinstance(learner, Transfer | Prototypical):
        learner.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # as in glyphs_few_shot
    spent, taken = 0.0, 0
    for point in SETTINGS["points"]:
        n = round(n_steps * chosen.get("share", 1.0) * point)
        checkpoint = folder / f"{method}_{seed}_{n}.pt"
        if previous is not None and not checkpoint.exists():
            shutil.copy(previous, checkpoint)
        before = len(read_checkpoint(checkpoint)["history"]["losses"]) if checkpoint.exists() else 0
        begun = time.process_time()
        history = fit(
            learner,
            sample,
            n,
            outer_lr=chosen.get("outer_lr", SETTINGS["outer_lr"]),
            max_grad_norm=chosen.get("max_grad_norm", SETTINGS["max_grad_norm"]),
            seed=seed,
            checkpoint=checkpoint,
            checkpoint_every=50,
        )
        if history.interrupted:
            raise KeyboardInterrupt
        spent, taken, previous = spent + time.process_time() - begun, taken + n - before, checkpoint
        done = {"trained_steps": n, "n_images": n * n_images, "minutes": round(history.seconds / 60, 2)}
        # Of the processor, which other programs do not stretch; by the steps of this sitting.
        done["seconds"] = round(spent / taken * n, 1) if taken else round(history.seconds, 1)
        steps = [chosen["test_steps"]] if "test_steps" in chosen else None
        result = test(learner, 1, steps)[0]
        rows.append({"method": method, "seed": seed, "n_shot": 1, **done, "n_steps": None, **result})
    return rows


PLAN = [(method, seed) for seed in SETTINGS["seeds"] for method in SETTINGS["methods"]]

if __name__ == "__main__":
    record("glyphs_methods", SETTINGS, PLAN, run)
