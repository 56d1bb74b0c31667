"""All learners that compare, and transfer, on glyphs: 5-way 1- and 5-shot, with one budget for all.

Run it with ``python -m metalearn.experiments.glyphs_few_shot``; stop and start it at will. Each step of training sees
120 images (200 for episodes of five shots): one 20-way episode with five queries a class, 120 labelled images, 60 pairs
or 40 triplets; the relation network, which scores each pair of query and class, takes four 5-way episodes. All methods
have the same encoder, optimiser and number of steps and are tested on the same tasks. The norm policy is ``"frozen"``:
test predictions are inductive. What was chosen, was chosen on the validation scripts.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from metalearn import Batch, Episode, sample_pairs, sample_triplets
from metalearn.experiments import _glyphs, record
from metalearn.experiments._glyphs import draw, pixels, splits, test, train, two_rates
from metalearn.learners import Learner, Matching, Prototypical, Relation, Siamese, Transfer
from metalearn.networks import Conv4, RelationModule

SETTINGS: dict[str, Any] = {
    **_glyphs.SETTINGS,
    "n_steps": 300,
    "train_way": 20,
    "n_query": 5,
    "batch_size": 120,
    "head_lr": 0.05,
    "norm": "frozen",
    "downsample": "pool; maps for the relation network",
    "chosen on validation": {
        "temperature": {"matching": 0.1, "prototypical, cosine": 0.1, "transfer, cosine head": 0.1},
        "margin": {"contrastive": 10.0, "triplet": 50.0},
        "n_inner_steps": {"transfer": 100, "transfer, cosine head": 20, "transfer, fine-tuned": 10},
        "inner_lr": {"transfer": 1.0, "transfer, cosine head": 0.01, "transfer, fine-tuned": 1.0},
        "encoder_lr": {"transfer, fine-tuned": 0.01},
    },
}
FIVE_WAY = {"relation", "prototypical, 5-way training"}  # four tasks a step
PAIRS = {"siamese, contrastive", "siamese, logistic", "siamese, triplet"}
EPISODIC = {
    "matching", "matching, full context", "prototypical", "prototypical, cosine", "prototypical, 5-way training",
    "relation",
}  # fmt: skip


def build(method: str) -> Learner:
    """Return the untrained learner of a method."""
    chosen = SETTINGS["chosen on validation"]

    def encoder() -> Conv4:
        return Conv4(channels=SETTINGS["channels"], norm=SETTINGS["norm"])

    def transfer(name: str, **options: Any) -> Transfer:
        options |= {key: chosen[key][name] for key in ("n_inner_steps", "inner_lr")}
        return Transfer(encoder(), splits().train.n_classes, **options)

    temperature, margin = chosen["temperature"], chosen["margin"]
    makers: dict[str, Callable[[], Learner]] = {
        "raw pixels": lambda: Prototypical(pixels()),
        "untrained": lambda: Prototypical(encoder()),
        "transfer": lambda: transfer("transfer"),
        "transfer, cosine head": lambda: transfer(
            "transfer, cosine head", head="cosine", temperature=temperature["transfer, cosine head"]
        ),
        "siamese, contrastive": lambda: Siamese(encoder(), margin=margin["contrastive"]),
        "siamese, logistic": lambda: Siamese(encoder(), pair_loss="logistic"),
        "siamese, triplet": lambda: Siamese(encoder(), pair_loss="triplet", margin=margin["triplet"]),
        "matching": lambda: Matching(encoder(), temperature=temperature["matching"]),
        "matching, full context": lambda: Matching(encoder(), full_context=True, temperature=temperature["matching"]),
        "prototypical": lambda: Prototypical(encoder()),
        "prototypical, 5-way training": lambda: Prototypical(encoder()),
        "prototypical, cosine": lambda: Prototypical(
            encoder(), distance="cosine", temperature=temperature["prototypical, cosine"]
        ),
        "relation": lambda: Relation(
            Conv4(channels=SETTINGS["channels"], norm=SETTINGS["norm"], downsample="maps"),
            RelationModule(SETTINGS["channels"], norm=SETTINGS["norm"]),
        ),
    }
    return makers[method]()


def sampler(method: str, train_shot: int | None) -> Callable[[torch.Generator], Episode | Batch]:
    """Return what a method is trained with: episodes, pairs, triplets or labelled batches."""
    pool, size = splits().train, SETTINGS["batch_size"]
    if method == "siamese, triplet":
        return lambda generator: sample_triplets(pool, size // 3, generator)
    if method in PAIRS:
        return lambda generator: sample_pairs(pool, size // 2, generator)
    if method not in EPISODIC | {"untrained"}:
        return lambda generator: pool.sample_batch(size, generator)
    way = 5 if method in FIVE_WAY else SETTINGS["train_way"]
    return draw(pool, SETTINGS["train_way"] // way, way, train_shot or 1, SETTINGS["n_query"])


def run(method: str, train_shot: int | None, seed: int, folder: Path, n_steps: int) -> list[dict[str, Any]]:
    """Train one learner and test it with the shots it is for; return its rows of results."""
    torch.manual_seed(seed)
    tuned = method == "transfer, fine-tuned"
    trained_as = "transfer" if tuned else method  # these two share their training
    learner = build(trained_as)
    learner.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # the same numbers, faster on a CPU
    done: dict[str, Any] = {"trained_steps": 0, "minutes": 0.0}
    sample = sampler(method, train_shot)
    if method == "untrained":
        learner.update_statistics([sample(torch.Generator().manual_seed(seed))])
    elif method != "raw pixels":
        rates = SETTINGS["outer_lr"], SETTINGS["head_lr"]
        optimizer = two_rates(learner, *rates) if method == "siamese, logistic" else None
        done = train(learner, sample, n_steps, seed, folder / f"{trained_as}_{train_shot}_{seed}.pt", optimizer)
    if tuned:
        for name in ("encoder_lr", "inner_lr", "n_inner_steps"):
            setattr(learner, name, SETTINGS["chosen on validation"][name][method])
    what = {"method": method, "train_shot": train_shot, "seed": seed}
    shots = SETTINGS["shots"] if train_shot is None else [train_shot]
    return [{**what, "n_shot": shot, **done, **row} for shot in shots for row in test(learner, shot)]


TRAIN_SHOTS: dict[str, list[int | None]] = {
    "untrained": [None],
    "transfer": [None],
    "prototypical": [1, 5],
    "matching": [1, 5],
    "relation": [1, 5],
    "transfer, cosine head": [None],
    "prototypical, cosine": [1],
    "prototypical, 5-way training": [1],
    "matching, full context": [1],
    "siamese, contrastive": [None],
    "siamese, logistic": [None],
    "siamese, triplet": [None],
    "transfer, fine-tuned": [None],
}
VARIANTS = [method for method in TRAIN_SHOTS if "," in method and method != "siamese, contrastive"]
PLAN: list[tuple[str, int | None, int]] = [("raw pixels", None, 0)]
PLAN += [(method, shot, seed) for seed in SETTINGS["seeds"] for method, shots in TRAIN_SHOTS.items() for shot in shots]
PLAN.sort(  # a run cut short has three seeds of each method first, then one of the slow one, then the other variants
    key=lambda run: 2 if run[2] > 0 and run[0] in VARIANTS else run[0] == "transfer, fine-tuned"
)

if __name__ == "__main__":
    record("glyphs_few_shot", SETTINGS, PLAN, run)
