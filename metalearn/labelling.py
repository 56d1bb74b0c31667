"""Automatic labelling: a few-shot learner labels what has no label, says how sure it is, and may learn from it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from metalearn._given import at_least_one
from metalearn._modes import evaluating
from metalearn._torch import tree_map
from metalearn.episodes import Inputs
from metalearn.evaluation import Sample
from metalearn.learners import Learner
from metalearn.learners._base import Adapted
from metalearn.learners._checks import positive
from metalearn.runtime import default_seed, stream

LOWEST, HIGHEST, HALVINGS = 1e-3, 1e3, 50  # of the inverse temperature, and how often its interval is halved


class PseudoLabels(NamedTuple):
    """What a learner says of unlabelled examples.

    Attributes:
        labels: The most probable class of each example ``[n]``.
        confidence: Its probability ``[n]``.

    Example:
        >>> import torch
        >>> from metalearn.labelling import PseudoLabels
        >>> PseudoLabels(torch.tensor([1, 0]), torch.tensor([0.9, 0.6])).kept(0.8)
        tensor([ True, False])
    """

    labels: Tensor
    confidence: Tensor

    def kept(self, threshold: float) -> Tensor:
        """Return which examples are labelled with at least this confidence, bool ``[n]``."""
        return self.confidence >= threshold


def pseudo_labels(learner: Learner, adapted: Adapted, x: Inputs, temperature: float = 1.0) -> PseudoLabels:
    """Label examples by an adapted learner.

    Args:
        learner: A learner in ``eval`` mode that classifies.
        adapted: What its ``adapt`` made of the labelled examples.
        x: Unlabelled examples ``[n, ...]``.
        temperature: Divides the logits, above 0; :func:`fit_temperature` measures it.

    Returns:
        Labels and confidences.

    Raises:
        ValueError: If the temperature is not above 0.

    Taught in:
        Without labels.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> from metalearn.labelling import pseudo_labels
        >>> from metalearn.learners import Prototypical
        >>> learner = Prototypical(nn.Identity())
        >>> adapted = learner.adapt(torch.tensor([[0.0], [4.0]]), torch.tensor([0, 1]))
        >>> pseudo_labels(learner, adapted, torch.tensor([[1.9], [9.0]])).labels
        tensor([0, 1])
    """
    with torch.no_grad():
        logits = learner.predict(adapted, x) / positive("temperature", temperature)
    confidence, labels = logits.softmax(1).max(1)
    return PseudoLabels(labels, confidence)


def fit_temperature(
    learner: Learner, sample: Sample, n_tasks: int = 100, *, n_steps: int | None = None, seed: int | None = None
) -> float:
    """Return the temperature by which the learner's logits are to be divided, so that its confidences are right.

    It minimises the cross-entropy of the queries of validation tasks, which is convex in the inverse temperature: its
    root of the derivative is found by bisection.

    Args:
        learner: A learner that classifies.
        sample: ``sample(generator) -> batch`` of validation tasks, of classes that training has not seen.
        n_tasks: Number of tasks, at least 1.
        n_steps: Inner steps; ``None``: as trained.
        seed: Seed of the tasks, of the stream ``"calibration"``; ``None``: :func:`metalearn.runtime.default_seed`.

    Returns:
        The temperature, between 0.001 and 1,000; above 1 where the learner is too sure of itself.

    Raises:
        ValueError: If ``n_tasks`` is below 1.

    Reference:
        Guo, Pleiss, Sun, Weinberger: On Calibration of Modern Neural Networks, 2017, arXiv 1706.04599, section 4.2.

    Taught in:
        Without labels.

    Example:
        >>> from metalearn import pretrained
        >>> from metalearn.data import glyphs
        >>> from metalearn.labelling import fit_temperature
        >>> tasks = glyphs().validation.episodes(n_tasks=10, n_way=5, n_shot=1, n_query=5)
        >>> 0.5 < fit_temperature(pretrained("prototypical", "glyphs"), tasks, n_tasks=20) < 5
        True
    """
    at_least_one(n_tasks=n_tasks)
    generator = stream(default_seed() if seed is None else seed, "calibration", getattr(sample, "device", "cpu"))
    logits: list[Tensor] = []
    targets: list[Tensor] = []
    with torch.no_grad(), evaluating(learner):
        while len(logits) < n_tasks:
            batch = learner.take(sample(generator))
            for task in (batch[i] for i in range(len(batch))):
                adapted = learner.adapt(task.support_x, task.support_y, n_way=task.n_way, n_steps=n_steps)
                logits.append(learner.predict(adapted, task.query_x).double())
                targets.append(task.query_y)
    return best_temperature(torch.cat(logits[:n_tasks]), torch.cat(targets[:n_tasks]))


def best_temperature(logits: Tensor, y: Tensor) -> float:
    """Return the temperature, between 0.001 and 1,000, at which the cross-entropy of logits ``[n, n_way]`` is least.

    Raises:
        ValueError: If a logit is not finite.

    Example:
        >>> import torch
        >>> from metalearn.labelling import best_temperature
        >>> logits = torch.tensor([[2.0, 0.0]]).repeat(4, 1)  # three of four are right: the odds should be 3 to 1
        >>> round(best_temperature(logits, torch.tensor([0, 0, 0, 1])), 3)  # 2 / log 3
        1.82
    """
    if not logits.isfinite().all():
        raise ValueError(f"{int((~logits.isfinite()).sum())} logits are not finite: the learner has diverged")
    target = logits.gather(1, y.unsqueeze(1)).squeeze(1)

    def rising(inverse: float) -> bool:
        slope = ((inverse * logits).softmax(1) * logits).sum(1) - target  # of the cross-entropy
        return bool(slope.mean() > 0)

    low, high = LOWEST, HIGHEST
    for _ in range(HALVINGS):
        middle = (low * high) ** 0.5
        low, high = (low, middle) if rising(middle) else (middle, high)
    return float((low * high) ** -0.5)


@dataclass(frozen=True, eq=False)
class Round:
    """One round of self-training.

    Attributes:
        adapted: What the learner had adapted to when it labelled.
        pseudo: Its labels of the unlabelled examples, and confidences.
        kept: Which of them are used in the next round, bool ``[n]``.

    Example:
        >>> import torch
        >>> from metalearn.labelling import PseudoLabels, Round
        >>> pseudo = PseudoLabels(torch.tensor([1, 0]), torch.tensor([0.9, 0.6]))
        >>> Round({}, pseudo, pseudo.kept(0.8)).kept.sum()
        tensor(1)
    """

    adapted: Any
    pseudo: PseudoLabels
    kept: Tensor


def self_train(
    learner: Learner,
    support_x: Inputs,
    support_y: Tensor,
    unlabelled_x: Inputs,
    *,
    n_way: int,
    threshold: float = 0.9,
    temperature: float = 1.0,
    n_rounds: int = 1,
) -> list[Round]:
    """Label what has no label, adapt again to labelled examples and confident pseudo-labels, and go on so.

    Every round adapts anew: to the support, and to the unlabelled examples that the round before was sure of, with its
    labels for them. So a label may be given up, but wrong ones that draw the learner towards them may stay.

    Args:
        learner: A learner in ``eval`` mode that classifies; it is not changed.
        support_x: Labelled examples ``[n_support, ...]``.
        support_y: Labels 0…n_way-1 ``[n_support]``.
        unlabelled_x: Unlabelled examples ``[n, ...]``.
        n_way: Number of classes.
        threshold: Least confidence of a label that is used, in [0, 1].
        temperature: Divides the logits, above 0.
        n_rounds: How often the learner adapts again, at least 0.

    Returns:
        ``n_rounds + 1`` rounds; the first has seen the support alone.

    Raises:
        ValueError: If a number is out of range.

    Reference:
        Lee: Pseudo-Label, the Simple and Efficient Semi-Supervised Learning Method for Deep Neural Networks, 2013.

    Differs from the paper:
        A few-shot learner adapts anew in each round, to pseudo-labels of weight 1 above a threshold.

    Taught in:
        Without labels.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> from metalearn.labelling import self_train
        >>> from metalearn.learners import Prototypical
        >>> x, y, more = torch.tensor([[0.0], [10.0]]), torch.tensor([0, 1]), torch.tensor([[2.0], [14.0]])
        >>> first, second = self_train(Prototypical(nn.Identity()), x, y, more, n_way=2)
        >>> second.adapted["prototypes"].flatten()
        tensor([ 1., 12.])
    """
    if not 0 <= threshold <= 1 or n_rounds < 0:
        raise ValueError(f"expected threshold in [0, 1] and n_rounds >= 0, got {threshold} and {n_rounds}")
    rounds: list[Round] = []
    x, y = support_x, support_y
    for _ in range(n_rounds + 1):
        with torch.no_grad():
            adapted = learner.adapt(x, y, n_way=n_way)
        pseudo = pseudo_labels(learner, adapted, unlabelled_x, temperature)
        kept = pseudo.kept(threshold)
        rounds.append(Round(adapted, pseudo, kept))
        x = tree_map(lambda mine, more, kept=kept: torch.cat([mine, more[kept]]), support_x, unlabelled_x)
        y = torch.cat([support_y, pseudo.labels[kept]])
    return rounds
