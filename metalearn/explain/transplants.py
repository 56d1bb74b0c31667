"""A check of what adaptation does: put a layer's old weights back into an adapted network, and test it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from metalearn._modes import evaluating
from metalearn.episodes import Episode
from metalearn.evaluation import Score, accuracy
from metalearn.explain.changes import layers_of, moved
from metalearn.learners import Learner
from metalearn.learners._base import Adapted


def transplant(
    learner: Learner, task: Episode, adapted: Adapted, layers: Sequence[str], *, keep: bool = False
) -> Adapted:
    """Return adapted weights in which some layers have their old weights again.

    Args:
        learner: A learner whose adaptation changes weights.
        task: One task; statistics of its support are measured anew, where the learner uses them.
        adapted: What the learner adapted to.
        layers: Names of :func:`layers_of`.
        keep: Keep the new weights of these layers, and put the old ones into all others.

    Raises:
        ValueError: If a layer is unknown.

    Taught in:
        Trust.

    Example:
        >>> import torch
        >>> from metalearn import Episode
        >>> from metalearn.explain import transplant
        >>> from metalearn.learners import MAML
        >>> learner = MAML(torch.nn.Linear(1, 2), inner_lr=0.1)
        >>> task = Episode(torch.ones(2, 1), torch.arange(2), torch.ones(1, 1), torch.tensor([0]), 2)
        >>> old = transplant(learner, task, learner.adapt(task.support_x, task.support_y), ["model"])
        >>> torch.equal(old["model.weight"], learner.model.weight)
        True
    """
    known, own = layers_of(learner), dict(learner.named_parameters())
    unknown = [layer for layer in layers if layer not in known]
    if unknown:
        raise ValueError(f"expected layers among {list(known)}, got {unknown}")
    chosen = {name for layer in layers for name in known[layer]}
    mixed = {
        name: own[name].detach() if name in own and (name in chosen) != keep else value
        for name, value in adapted.items()
    }
    return learner.with_statistics(mixed, task.support_x)


def transplanted(
    learner: Learner, episodes: Episode, n_steps: int | None = None, *, keep: bool = False
) -> dict[str, Score]:
    """Return the accuracy on queries with each layer's old weights put back, one layer at a time.

    Nothing is adapted again: the other layers are those that moved together with the one that is put back.

    Args:
        learner: A learner whose adaptation changes weights.
        episodes: A batch of at least two tasks.
        n_steps: Inner steps; ``None``: as trained.
        keep: Let each layer alone keep its new weights instead.

    Returns:
        A score by layer, with ``"all new"`` and ``"all old"`` before them; all on the same tasks.

    Raises:
        ValueError: If adaptation changes no weights.

    Taught in:
        Trust.

    Example:
        >>> import metalearn
        >>> from metalearn.data import glyphs
        >>> from metalearn.explain import transplanted
        >>> tasks = metalearn.sample_episodes(glyphs().test, 2, n_way=5, n_shot=1, n_query=1)
        >>> list(transplanted(metalearn.pretrained("maml", "glyphs"), tasks))[:3]
        ['all new', 'all old', 'model.blocks.0']
    """
    layers, found = layers_of(learner), dict[str, list[Tensor]]()
    with evaluating(learner):
        for task in (episodes[i] for i in range(len(episodes))):
            adapted = learner.adapt(task.support_x, task.support_y, n_way=task.n_way, n_steps=n_steps)
            changed = moved(layers, adapted, learner)
            cases = {"all new": [], "all old": changed} | {layer: [layer] for layer in changed}
            for name, chosen in cases.items():
                mixed = transplant(learner, task, adapted, chosen, keep=keep and name in layers)
                score = accuracy(learner.predict(mixed, task.query_x), task.query_y)
                found.setdefault(name, []).append(score)
    return {name: Score.of(torch.stack(values)) for name, values in found.items()}
