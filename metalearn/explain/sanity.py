"""A test that an explanation must not survive: draw the network's weights anew, and see whether the map changes."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from metalearn._modes import evaluating
from metalearn.episodes import Episode
from metalearn.evaluation import Score
from metalearn.explain.changes import layers_of
from metalearn.explain.deletion import answer_of
from metalearn.explain.influence import rank_agreement
from metalearn.explain.saliency import Explain
from metalearn.learners import Learner
from metalearn.networks import BatchStatistics
from metalearn.runtime import stream


def randomised(
    learner: Learner,
    layers: Sequence[str] | None = None,
    *,
    episodes: Episode | None = None,
    generator: torch.Generator | None = None,
) -> Learner:
    """Return a copy of a learner in which the weights of some layers are drawn anew, as at the start of a training.

    Args:
        learner: Any learner.
        layers: Names of :func:`layers_of`; ``None``: all of them.
        episodes: A batch on which stored statistics are measured anew; ``None``: they stay.
        generator: Source of the weights.

    Raises:
        ValueError: If a layer is unknown, or does not know how to draw its weights (``reset_parameters``).

    Taught in:
        Trust.

    Example:
        >>> import torch
        >>> from metalearn.explain import randomised
        >>> from metalearn.learners import Prototypical
        >>> learner = Prototypical(torch.nn.Linear(3, 2))
        >>> torch.equal(randomised(learner).encoder.weight, learner.encoder.weight)
        False
    """
    known, fresh = layers_of(learner), copy.deepcopy(learner)
    chosen = list(known) if layers is None else list(layers)
    if unknown := [layer for layer in chosen if layer not in known]:
        raise ValueError(f"expected layers among {list(known)}, got {unknown}")
    modules = dict.fromkeys(name.rpartition(".")[0] for layer in chosen for name in known[layer])
    seed = int(torch.randint(2**62, (), generator=generator))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for name in modules:
            _reset(name, fresh.get_submodule(name))
    if episodes is not None:
        fresh.update_statistics([episodes])
    return fresh.train(learner.training)


@dataclass(frozen=True, eq=False)
class RandomisationTest:
    """How alike explanations stay while layers lose their weights; see :func:`randomisation_test`.

    Args:
        similarity: By the lowest layer that was randomised, the rank correlation with the map of the trained network,
            over tasks.
        threshold: What the correlation must stay below at the end.

    Example:
        >>> import torch
        >>> from metalearn import Score
        >>> from metalearn.explain import RandomisationTest
        >>> RandomisationTest({"encoder": Score.of(torch.ones(3))}, 0.5).passes
        False
    """

    similarity: dict[str, Score]
    threshold: float

    @property
    def last(self) -> Score:
        """The correlation with the map of a network whose weights are all random."""
        return list(self.similarity.values())[-1]

    @property
    def passes(self) -> bool:
        """Whether the map has changed, as the upper end of the last interval lies below the threshold."""
        return self.last.mean + self.last.ci95 < self.threshold


def randomisation_test(
    explain: Explain,
    learner: Learner,
    episodes: Episode,
    *,
    threshold: float = 0.5,
    n_steps: int | None = None,
    seed: int = 0,
) -> RandomisationTest:
    """Draw the weights of more and more layers anew, from the top down, and compare maps with the trained network's.

    A map that stays the same when the weights are random says nothing about what the network has learned. Maps are
    compared by rank over the inked pixels: empty ones, where many maps are 0 whatever the weights, do not count.

    Args:
        explain: ``explain(fn, x) -> attribution``.
        learner: A trained learner; each randomised copy adapts to the tasks itself.
        episodes: A batch of at least two tasks of images.
        threshold: What the rank correlation must stay below when all weights are random.
        n_steps: Inner steps; ``None``: as trained.
        seed: Of the random weights.

    Reference:
        Adebayo, Gilmer, Muelly, Goodfellow, Hardt, Kim: Sanity Checks for Saliency Maps, 2018, arXiv 1810.03292,
        section 3.

    Differs from the paper:
        Only pixels that are not empty are compared, and stored statistics of normalisation are measured anew.

    Taught in:
        Trust.

    Example:
        >>> import metalearn
        >>> from metalearn.data import glyphs
        >>> from metalearn.explain import edges, randomisation_test
        >>> tasks = metalearn.sample_episodes(glyphs().test, 2, n_way=5, n_shot=1, n_query=1)
        >>> print(randomisation_test(edges, metalearn.pretrained("prototypical", "glyphs"), tasks).last)
        1.000 ± 0.000 (2 tasks)
    """
    generator, layers = stream(seed, "randomised"), list(layers_of(learner))[::-1]
    trained, similarity, fresh = _maps(explain, learner, episodes, n_steps), dict[str, Score](), learner
    for layer in layers:
        fresh = randomised(fresh, [layer], episodes=episodes, generator=generator)
        found = _maps(explain, fresh, episodes, n_steps)
        per_task = [
            torch.stack([_on_ink(*rows) for rows in zip(one, other, x, strict=True)]).nanmean()
            for one, other, x in zip(trained, found, episodes.query_x, strict=True)
        ]
        similarity[layer] = Score.of(torch.stack(per_task))
    return RandomisationTest(similarity, threshold)


def _maps(explain: Explain, learner: Learner, episodes: Episode, n_steps: int | None) -> list[Tensor]:
    with evaluating(learner):
        tasks = [episodes[i] for i in range(len(episodes))]
        return [explain(answer_of(learner, task, n_steps), task.query_x).detach() for task in tasks]


def _on_ink(one: Tensor, other: Tensor, image: Tensor) -> Tensor:
    inked = image != 0
    return rank_agreement(one[inked], other[inked])


def _reset(name: str, module: nn.Module) -> None:
    if isinstance(module, BatchStatistics):
        nn.init.ones_(module.weight)
        nn.init.zeros_(module.bias)
    elif callable(reset := getattr(module, "reset_parameters", None)):
        reset()
    else:
        raise ValueError(f"{type(module).__name__} ({name}) has no reset_parameters: it cannot draw its weights anew")
