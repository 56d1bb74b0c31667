"""What the studies of the one table share: every learner, one network, one minute of one processor for each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from metalearn.experiments.glyphs import IMAGES, PAIRS, RULE, TRIPLETS, TUNED, WIDE
from metalearn.experiments.natural import MEANS
from metalearn.experiments.study import Method, Study
from metalearn.experiments.unlabelled import AUGMENT

SIZES = {"n_query": 5, "n_tasks": 600}
TESTS = {f"{n}-way {k}-shot": {"n_way": n, "n_shot": k, **SIZES} for n in (5, 20) for k in (1, 5)}
FIT = {"max_seconds": 60, "patience": 8, "validate_every": 250, "channels_last": True}
CLIPPED = {**FIT, "max_grad_norm": 10.0}
INNER = {**CLIPPED, "channels_last": False}  # under vmap the other layout has no rule for one pooling
STEPS = {"n_steps": [1, 5]}
SLOW = {**INNER, "outer_lr": 3e-3, "validate_every": 100, "how": "loop"}


def tasks(n_tasks: int, n_query: int = 5, n_way: int = 5) -> dict[str, int]:
    """Return the sizes of a batch of 1-shot tasks."""
    return {"n_tasks": n_tasks, "n_way": n_way, "n_shot": 1, "n_query": n_query}


def table(
    name: str, data: str, n_classes: int, images: dict[str, int], *, inner_lr: float, ways: tuple[int, ...]
) -> Study:
    """Return the study of every learner on a source of images; with a fixed number of classes, for each."""

    def conv4(norm: str = "frozen", n_outputs: int | None = None, downsample: str = "stride") -> dict[str, Any]:
        config = {"n_outputs": n_outputs, "channels": 32, "norm": norm, "downsample": downsample, **images}
        return {"network": "Conv4", "config": config}

    encoder = {"encoder": conv4()}
    methods = {
        "raw pixels": Method("Prototypical", {"encoder": {"network": "Flatten", "config": {}}}, fit={"n_steps": 0}),
        "untrained": Method("Prototypical", encoder, {}, WIDE, {"n_steps": 0}),
        **_by_features(conv4, n_classes),
        **_by_gradient(conv4, inner_lr, 5),
        **_by_rule(conv4, inner_lr),
    }
    if 20 in ways:
        methods |= {f"{label}, 20-way": method for label, method in _by_gradient(conv4, inner_lr, 20).items()}
    return Study(name, methods, TESTS, data, snapshots=(), ship=False)


def _by_features(conv4: Callable[..., dict[str, Any]], n_classes: int) -> dict[str, Method]:
    """Return the learners that take any number of classes: they compare, or write a classifier, in one go."""
    encoder, of_all = {"encoder": conv4()}, {"n_classes": n_classes}
    maps: dict[str, Any] = {"channels": 32, "norm": "frozen"}
    if "image_size" in conv4()["config"]:
        maps["map_size"] = conv4()["config"]["image_size"] // 4
    relation = {"encoder": conv4(downsample="maps"), "relation": {"network": "RelationModule", "config": maps}}
    views = {"kind": "views", "batch_size": 120, "augment": AUGMENT}
    return {
        "Transfer": Method("Transfer", encoder, of_all, IMAGES, FIT),
        "Transfer nearest mean": Method("Transfer", encoder, {**of_all, **MEANS}, weights="Transfer"),
        "Transfer fine-tuned": Method("Transfer", encoder, {**of_all, **TUNED}, weights="Transfer"),
        "Siamese contrastive": Method("Siamese", encoder, {"margin": 10.0}, PAIRS, FIT),
        "Siamese logistic": Method("Siamese", encoder, {"pair_loss": "logistic"}, PAIRS, {**FIT, "head_lr": 0.05}),
        "Siamese triplet": Method("Siamese", encoder, {"pair_loss": "triplet", "margin": 50.0}, TRIPLETS, FIT),
        "Matching": Method("Matching", encoder, {"temperature": 0.1}, WIDE, FIT),
        "Matching full context": Method("Matching", encoder, {"temperature": 0.1, "full_context": True}, WIDE, FIT),
        "Prototypical": Method("Prototypical", encoder, {}, WIDE, FIT),
        "Relation": Method("Relation", relation, {}, tasks(4), FIT),
        "HyperNetwork": Method("HyperNetwork", encoder, {"per_class": True}, WIDE, CLIPPED),
        "NeuralProcess": Method("NeuralProcess", encoder, {"per_class": True}, WIDE, CLIPPED),
        "InContext": Method("InContext", encoder, {"max_way": 20}, WIDE, CLIPPED),
        "Contrastive": Method("Contrastive", encoder, {"n_projection": 32, "temperature": 0.1}, views, FIT),
    }


def _by_gradient(conv4: Callable[..., dict[str, Any]], inner_lr: float, n_way: int) -> dict[str, Method]:
    """Return MAML and its family, for one number of classes; a step sees as many images for either number."""
    whole, rate = {"model": conv4("support", n_way)}, {"inner_lr": inner_lr}
    head = {"encoder": conv4(), "head": {"network": "MLP", "config": {"sizes": [32, n_way]}}}
    fit = {**INNER, "how": "vmap"} | ({} if n_way == 5 else {"validate_on": f"{n_way}-way 1-shot"})
    few, nine = tasks(40 // n_way, n_way=n_way), tasks(20 // n_way, 9, n_way)
    return {
        "MAML": Method("MAML", whole, rate, few, fit, STEPS),
        "first-order MAML": Method("MAML", whole, {**rate, "first_order": True}, few, fit, STEPS),
        "Reptile": Method("Reptile", whole, {"inner_lr": 0.75 * inner_lr, "batch_size": 2 * n_way}, nine, fit, STEPS),
        "ANIL": Method("ANIL", head, {"inner_lr": 0.5, "n_inner_steps": 5}, few, fit, STEPS),
        "MetaSGD": Method("MetaSGD", whole, {"initial_lr": inner_lr}, few, fit, STEPS),
    }


def _by_rule(conv4: Callable[..., dict[str, Any]], inner_lr: float) -> dict[str, Method]:
    """Return the slower learners of a start, a rule or a memory, for five classes."""
    whole, implicit = {"model": conv4("support", 5)}, {"n_inner_steps": 5, "strength": 0.5, "n_cg_steps": 3}
    lstm = {**RULE, "initial_lr": 0.75 * inner_lr, "first_order": False}
    return {
        "ImplicitMAML": Method(
            "ImplicitMAML", whole, {"inner_lr": inner_lr, **implicit}, tasks(4), {**INNER, "how": "vmap"}, STEPS
        ),
        "MetaLSTM": Method("MetaLSTM", whole, lstm, tasks(4), SLOW, {"n_steps": [3]}),
        "LearnedOptimizer": Method(
            "LearnedOptimizer", whole, {**RULE, "scale": 0.01}, tasks(4), SLOW, {"n_steps": [3]}
        ),
        "MetaNetwork": Method("MetaNetwork", {"encoder": conv4()}, {"n_way": 5}, tasks(4), {**INNER, "how": "loop"}),
        "EvolvedRule": Method("EvolvedRule", whole, {"n_inner_steps": 5}, tasks(8), {**SLOW, "outer_lr": 0.1}, STEPS),
    }
