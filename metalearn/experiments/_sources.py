"""What studies draw tasks from: sources by name, their checksums, and samplers from plain data."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from typing import Any

import torch

from metalearn import control, rl
from metalearn import data as sources
from metalearn._torch import tree_leaves
from metalearn.augment import Augment
from metalearn.data import language_names, own
from metalearn.data._sentences import HOMES
from metalearn.data.cifar100 import SHA256 as CIFAR100
from metalearn.data.glyphs import SHA256 as GLYPHS
from metalearn.data.mnist import SHA256 as MNIST
from metalearn.data.omniglot import SHA256 as OMNIGLOT
from metalearn.data.omniglot import VINYALS
from metalearn.experiments._open import OpenTasks
from metalearn.unlabelled import AugmentedTasks, ClusteredTasks, PartlyLabelledTasks, Views, partitions

KINDS = (  # samplers of a pool, of an environment, or of users
    *("episodes", "batches", "pairs", "triplets", "pictures", "tasks"),
    *("users", "table"),
)
FROM_A_POOL: dict[str, Callable[..., Any]] = {  # samplers that do not read its labels, or hide some
    "augmented": AugmentedTasks,
    "views": Views,
    "partly labelled": PartlyLabelledTasks,
}
TEXTS = {"languages": (), "intents": ("clinc150", "banking77"), "relations": ("fewrel_val",)}  # and their files
OF_FORMS = (*TEXTS, "grey", "omniglot", "cifar100")  # what may have a colon, and a split or form behind it
FAMILIES: dict[str, Callable[[], Any]] = {  # sources that make their tasks themselves
    "sinusoids": sources.sinusoids,
    "linear_problems": sources.linear_problems,
    "ciphers": sources.ciphers,
    "sites": sources.sites,
    "slides": sources.slides,
    "ratings": sources.ratings,
    "bandits_2_20": partial(rl.BanditFamily, 2, 20),  # arms, pulls
    "bandits_5_10": partial(rl.BanditFamily, 5, 10),
    "bandits_5_100": partial(rl.BanditFamily, 5, 100),
    "subtraction": rl.subtraction_games,
    "navigation": rl.Navigation,
    "navigation_shown": partial(rl.Navigation, show_goal=True),
    "pendulum": partial(control.DynamicsTasks, control.Pendulum(), noise=0.1),
    "cart_pole": partial(control.DynamicsTasks, control.CartPole(dt=0.05), noise=0.1),
    "lane": partial(control.DynamicsTasks, control.Lane(), noise=0.1),
}

OWN: dict[str, Callable[[str], Any]] = {  # a user's data, by a path or by the name of a function
    "folder": own.images,
    "npz": own.archive,
    "csv": own.table,
    "python": own.called,
}


@cache
def source(name: str) -> Any:
    """Return what tasks are drawn from: pools of train, validation and test classes, or a task family."""
    kind, _, split = name.partition(":")
    if kind in OWN:
        return OWN[kind](split)
    if split and kind not in OF_FORMS:
        raise ValueError(f"expected {kind!r}, which comes in one form only, without a colon, got {name!r}")
    if kind in FAMILIES:
        return FAMILIES[kind]()
    if kind == "grey":
        return sources.grey(split)
    option = "form" if kind in TEXTS else "split"
    return sources.load(kind, **({option: split} if split else {}))


@cache
def checksum(name: str) -> str:
    """Return the checksum of a source of tasks, without reading it where its loader verifies it."""
    kind, _, of = name.partition(":")
    if kind == "grey":  # resized pixels may differ by a level between processors, so that it is that of the originals
        return digest_of(["grey", MNIST if of == "mnist" else checksum(of)])
    if kind == "glyphs":
        return GLYPHS
    if kind == "cifar100":
        return CIFAR100
    if kind == "omniglot":
        return digest_of([OMNIGLOT, VINYALS])
    if kind in FAMILIES:
        return digest_of(repr(source(name)))
    if kind == "languages":
        return digest_of([name, *(dict(part) for part in language_names())])  # not of floats, which processors round
    if kind in TEXTS:
        return digest_of([name, *(HOMES[file].sha256 for file in TEXTS[kind])])
    found = source(name)
    if not all(hasattr(getattr(found, part, None), "x") for part in ("train", "validation", "test")):
        return digest_of([name, repr(found)])  # a family of the user's own
    pools = [tree_leaves([pool.x, pool.y]) for pool in (found.train, found.validation, found.test)]
    return digest_of([hashlib.sha256(b"".join(leaf.numpy().tobytes() for leaf in pool)).hexdigest() for pool in pools])


def sampler(
    pool: Any,
    kind: str = "episodes",
    within: str | None = None,
    only: Sequence[str] | None = None,
    unknown: Sequence[str] | None = None,
    augment: Mapping[str, Any] | None = None,
    **sizes: int,
) -> Callable[..., Any]:
    """Return what draws batches: from a pool of a source, or of some of its groups, or from a task family."""
    if kind not in KINDS and kind not in FROM_A_POOL:
        raise ValueError(f"episodes are drawn as one of the kinds {KINDS + tuple(FROM_A_POOL)}, got {kind!r}")
    if kind == "users":
        sizes.pop("n_tasks", None)  # a draw gives each of them once
    others = None if unknown is None else _of_groups(pool, unknown)
    if only is not None:
        pool = _of_groups(pool, only)
    groups = {"groups": [name.split("/")[0] for name in pool.class_names]} if within else {}
    changes = {} if augment is None else {"augment": Augment(**augment)}
    draw = partial(FROM_A_POOL[kind], pool) if kind in FROM_A_POOL else getattr(pool, kind)
    found: Callable[..., Any] = draw(**sizes, **groups, **changes)  # what a kind does not know, it refuses
    return found if others is None else OpenTasks(pool.episodes(**sizes, **groups), others)


def _of_groups(pool: Any, groups: Sequence[str]) -> Any:
    """Return the pool of the classes of some groups."""
    return pool.select([i for i, name in enumerate(pool.class_names) if name.split("/")[0] in groups])


def clustered(
    pool: Any, features: torch.Tensor, n_clusters: int, n_partitions: int, seed: int, **sizes: int
) -> ClusteredTasks:
    """Return what draws tasks of clusters of a pool's features as classes."""
    return ClusteredTasks(partitions(pool, features, n_clusters, n_partitions, seed=seed), **sizes)


def some_classes(pool: Any, n_classes: int, generator: torch.Generator) -> Any:
    """Return the pool of some of its classes, drawn at random; more classes include fewer of the same draw."""
    return pool.select(torch.randperm(pool.n_classes, generator=generator)[:n_classes])


def n_examples(episodes: Mapping[str, Any]) -> int:
    """Return how many images or points one training step draws, or how many tasks that are played."""
    for key, factor in (("batch_size", 1), ("n_pairs", 2), ("n_triplets", 3)):
        if key in episodes:
            return factor * int(episodes[key])
    if episodes.get("kind") == "tasks":
        return int(episodes["n_tasks"])
    if episodes.get("kind") == "table":
        return 0  # all there are, each time
    n_shot = episodes["n_shot"]
    n_shot = sum(n_shot) / len(n_shot) if isinstance(n_shot, Sequence) else n_shot  # the least and the most
    return int(episodes["n_tasks"] * episodes.get("n_way", 1) * (n_shot + episodes["n_query"]))


def digest_of(content: Any) -> str:
    """Return the SHA-256 of plain data."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
