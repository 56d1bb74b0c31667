"""Distillation over tasks: a small learner is trained to answer as a large one does."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from metalearn.episodes import Episode
from metalearn.learners._base import Learner


def distillation_backward(
    student: Learner, teacher: Learner, *, temperature: float = 2.0, weight: float = 0.5
) -> Callable[[Any, torch.Generator], Tensor]:
    r"""Return a ``backward`` for :func:`metalearn.fit` that trains a student by a teacher's answers, task by task.

    Both adapt to the same support set. On its queries the loss is :math:`(1 - w) \mathcal{L} + w \tau^2
    \mathrm{KL}(q \,\|\, p)`: the task loss, and how far the student's probabilities :math:`p` are from the teacher's
    :math:`q`, both at temperature :math:`\tau`. In regression the second term is the mean squared difference of their
    predictions.

    Args:
        student: Any learner that learns from episodes.
        teacher: A trained learner; it runs in ``eval`` mode and is not trained.
        temperature: Divides the logits of both; above 0. Higher ones tell more of the wrong classes.
        weight: Weight :math:`w` of the teacher, in [0, 1].

    Raises:
        ValueError: If an option is out of range.

    Reference:
        Hinton, Vinyals, Dean: Distilling the Knowledge in a Neural Network, 2015, arXiv 1503.02531, section 2.

    Differs from the paper:
        Teacher and student both adapt to each task's support set; the classes are the task's.

    Taught in:
        What learning to learn costs.

    Example:
        >>> from torch import nn
        >>> from metalearn import fit
        >>> from metalearn.compression import distillation_backward
        >>> from metalearn.data import digits
        >>> from metalearn.learners import Prototypical
        >>> student, teacher = (Prototypical(nn.Sequential(nn.Flatten(), nn.Linear(64, n))) for n in (4, 32))
        >>> sample = digits().train.episodes(n_tasks=2, n_way=3, n_shot=1, n_query=5)
        >>> fit(student, sample, 2, backward=distillation_backward(student, teacher), progress=False).n_steps
        2
    """
    if temperature <= 0 or not 0 <= weight <= 1:
        raise ValueError(f"expected temperature > 0 and weight in [0, 1], got {temperature} and {weight}")
    teacher.eval()

    def objective(task: Episode) -> Tensor:
        with torch.no_grad():
            told = _answer(teacher, task)
        answer = _answer(student, task)
        own = student.loss_fn(answer, task.query_y)
        return (1 - weight) * own + weight * _distance(answer, told, None if task.n_way is None else temperature)

    def backward(batch: Any, generator: torch.Generator) -> Tensor:
        total = torch.zeros(())
        for i in range(len(batch)):
            loss = objective(batch[i]) / len(batch)
            loss.backward()  # type: ignore[no-untyped-call]
            total = total + loss.detach()
        return total

    return backward


def _answer(learner: Learner, task: Episode) -> Tensor:
    return learner.predict(learner.adapt(task.support_x, task.support_y, n_way=task.n_way), task.query_x)


def _distance(answer: Tensor, told: Tensor, temperature: float | None) -> Tensor:
    if temperature is None:
        return F.mse_loss(answer, told)
    logs = [F.log_softmax(logits / temperature, dim=-1) for logits in (answer, told)]
    return temperature**2 * F.kl_div(logs[0], logs[1], log_target=True, reduction="batchmean")
