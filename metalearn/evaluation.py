"""One protocol for every learner: mean and 95 % interval of a metric over test episodes."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, overload

import torch
from torch import Tensor
from torch.nn import functional as F

from metalearn._modes import evaluating
from metalearn._torch import tree_leaves, tree_map
from metalearn.episodes import Episode, EpisodeList
from metalearn.learners._base import Learner
from metalearn.runtime import default_seed, progress_bar
from metalearn.runtime import stream as stream_of
from metalearn.vectorize import over_tasks

Metric = Callable[[Tensor, Tensor], Tensor]
Sample = Callable[[torch.Generator], Episode | EpisodeList]
_LOSSES: tuple[Metric, ...] = (
    *(F.mse_loss, F.l1_loss, F.smooth_l1_loss, F.huber_loss),
    *(F.cross_entropy, F.nll_loss, F.binary_cross_entropy, F.binary_cross_entropy_with_logits),
)


def accuracy(logits: Tensor, y: Tensor) -> Tensor:
    """Return the share of right answers, a scalar in [0, 1], of logits ``[n, n_way]`` and labels ``[n]``.

    Raises:
        ValueError: If there are not as many predictions as labels.

    Example:
        >>> import torch
        >>> from metalearn.evaluation import accuracy
        >>> accuracy(torch.tensor([[2.0, 1.0], [0.0, 3.0]]), torch.tensor([0, 0]))
        tensor(0.5000)
    """
    _check_alike(logits.shape[:-1], y.shape)
    return (logits.argmax(-1) == y).float().mean()


def mean_squared_error(prediction: Tensor, y: Tensor) -> Tensor:
    """Return the mean squared error, a scalar, of predictions and targets ``[n, n_outputs]``.

    Raises:
        ValueError: If their shapes differ.

    Example:
        >>> import torch
        >>> from metalearn.evaluation import mean_squared_error
        >>> mean_squared_error(torch.tensor([[1.0], [5.0]]), torch.tensor([[1.0], [3.0]]))
        tensor(2.)
    """
    _check_alike(prediction.shape, y.shape)
    return (prediction - y).square().mean()


def _check_alike(predicted: torch.Size, target: torch.Size) -> None:
    if predicted != target:  # torch would pair each with each
        raise ValueError(f"expected one prediction for each target {list(target)}, got {list(predicted)}")


@dataclass(frozen=True, eq=False)
class Score:
    """A metric over test tasks.

    The interval covers which tasks happened to be drawn; it does not cover the training seed.

    Args:
        mean: Mean over tasks.
        ci95: Half-width of the 95 % interval of the mean, 1.96 standard errors.
        n_tasks: Number of tasks.
        per_task: The metric of each task ``[n_tasks]``.
        higher_is_better: Whether ``fit`` keeps the highest or the lowest score.

    Example:
        >>> import torch
        >>> from metalearn import Score
        >>> score = Score.of(torch.tensor([0.4, 0.6, 0.5, 0.5]))
        >>> print(score, score.median)
        0.500 ± 0.080 (4 tasks) 0.5
    """

    mean: float
    ci95: float
    n_tasks: int
    per_task: Tensor
    higher_is_better: bool = True

    @classmethod
    def of(cls, per_task: Tensor, *, higher_is_better: bool = True) -> Score:
        """Summarise the metric of each task ``[n_tasks]``.

        Example:
            >>> import torch
            >>> from metalearn import Score
            >>> print(Score.of(torch.tensor([0.0, 1.0, 1.0, 1.0])))
            0.750 ± 0.490 (4 tasks)
        """
        values = per_task.double()
        ci95 = 1.96 * values.std().item() / math.sqrt(len(values)) if len(values) > 1 else math.nan
        return cls(values.mean().item(), ci95, len(values), per_task, higher_is_better)

    @property
    def median(self) -> float:
        """Median over tasks, which a few tasks that diverge do not move; NaN counts as the worst value, infinite."""
        worst = -math.inf if self.higher_is_better else math.inf
        values = self.per_task.double().nan_to_num(worst, posinf=math.inf, neginf=-math.inf)
        below, above = (values.quantile(0.5, interpolation=side).item() for side in ("lower", "higher"))
        return (below + above) / 2  # quantile's own mean of two infinite values is NaN

    def better_than(self, other: Score | None) -> bool:
        """Return whether this mean beats another; anything finite beats nothing or NaN."""
        if other is None or math.isnan(other.mean):
            return not math.isnan(self.mean)
        return self.mean > other.mean if self.higher_is_better else self.mean < other.mean

    def above(self, other: Score | float, by: float = 0.0) -> bool:
        """Return whether this score is better than another by more than ``by``, with 95 % confidence.

        That is whether the lower bound of the interval of the difference, task by task, exceeds ``by``; for a metric of
        which lower is better, the difference is taken the other way round.

        Args:
            other: A score of the same tasks, or a number, such as chance level.
            by: The least difference, in the metric's unit.

        Raises:
            ValueError: If the scores are not of as many tasks, or of metrics of two directions.

        Example:
            >>> import torch
            >>> from metalearn import Score
            >>> score = Score.of(torch.tensor([0.9, 0.8, 0.9, 0.8]))
            >>> score.above(0.5), score.above(0.5, by=0.4), score.above(Score.of(torch.tensor([0.8, 0.7, 0.8, 0.7])))
            (True, False, True)
        """
        values = self.per_task.double()
        rest: Tensor | float = other.per_task.double() if isinstance(other, Score) else float(other)
        if isinstance(other, Score) and (other.n_tasks, other.higher_is_better) != (
            self.n_tasks,
            self.higher_is_better,
        ):
            raise ValueError(
                f"expected scores of the same tasks and metric, got {self.n_tasks} and {other.n_tasks} tasks, higher is"
                f" better: {self.higher_is_better} and {other.higher_is_better}"
            )
        gain = values - rest if self.higher_is_better else rest - values
        margin = 1.96 * gain.std().item() / math.sqrt(len(gain))
        return gain.mean().item() - margin > by

    def __format__(self, spec: str) -> str:
        """Return mean and interval: ``f"{score:%}"`` in percent with a decimal, ``f"{score:.2f}"`` as they are.

        Example:
            >>> import torch
            >>> from metalearn import Score
            >>> score = Score.of(torch.tensor([0.4, 0.6, 0.5, 0.5]))
            >>> f"{score:%}", f"{score:.0%}", f"{score:.2f}"
            ('50.0 ± 8.0', '50 ± 8', '0.50 ± 0.08')
        """
        if not spec:
            return str(self)
        scale, number = (100, (spec[:-1] or ".1") + "f") if spec.endswith("%") else (1, spec)
        return f"{scale * self.mean:{number}} ± {scale * self.ci95:{number}}"

    def __str__(self) -> str:
        """Print mean, interval and number of tasks."""
        return f"{self.mean:.3f} ± {self.ci95:.3f} ({self.n_tasks} tasks)"

    def __repr__(self) -> str:
        """Show what is printed, not hundreds of values."""
        return f"Score({self})"


@overload
def evaluate(
    learner: Learner,
    sample: Sample,
    n_tasks: int = ...,
    n_steps: int | None = ...,
    *,
    metric: Metric | Literal["loss"] | None = ...,
    higher_is_better: bool | None = ...,
    stream: str = ...,
    seed: int | None = ...,
    progress: bool = ...,
) -> Score: ...
@overload
def evaluate(
    learner: Learner,
    sample: Sample,
    n_tasks: int,
    n_steps: Sequence[int],
    *,
    metric: Metric | Literal["loss"] | None = ...,
    higher_is_better: bool | None = ...,
    stream: str = ...,
    seed: int | None = ...,
    progress: bool = ...,
) -> dict[int, Score]: ...
def evaluate(
    learner: Learner,
    sample: Sample,
    n_tasks: int = 600,
    n_steps: int | Sequence[int] | None = None,
    *,
    metric: Metric | Literal["loss"] | None = None,
    higher_is_better: bool | None = None,
    stream: str = "test",
    seed: int | None = None,
    progress: bool = False,
) -> Score | dict[int, Score]:
    """Adapt a learner to each of ``n_tasks`` test tasks and score its predictions of their queries.

    The learner runs in ``eval`` mode and is left as it was. The same seed draws the same tasks, so that learners can
    be compared task by task.

    Args:
        learner: Any learner.
        sample: ``sample(generator) -> batch of episodes``, or a list of unequal ones; called until there are enough
            tasks.
        n_tasks: Number of tasks, at least 2; the literature uses 600 or more.
        n_steps: Inner steps at test time; ``None``: as trained; a sequence: a score for each.
        metric: ``metric(prediction, target) -> scalar`` of one task, a tensor or a number; by default accuracy for
            classes and mean squared error for regression. ``"loss"``: the learner's own outer objective, such as a
            bound on a likelihood. A learner that plays (``Learner.plays``) is scored by its mean return, and takes
            none.
        higher_is_better: Direction of the metric; by default lower for the mean squared error, the learner's loss and
            its ``loss_fn``, and losses of ``torch.nn.functional``, higher for others.
        stream: Stream of the seed from which tasks are drawn: ``"test"``, or ``"validation"`` while anything is still
            chosen; neither shares a task with the other or with training (:func:`metalearn.runtime.stream`).
        seed: Seed of the tasks; ``None``: :func:`metalearn.runtime.default_seed`.
        progress: Whether to show a progress bar.

    Returns:
        A score, or a dictionary from each number of steps to its score.

    Raises:
        ValueError: If ``n_tasks`` is below 2, ``n_steps`` is given beside the loss, a metric for a learner that plays,
            a task's values or shapes are wrong, or ``sample`` returns the same tasks again, instead of new ones.

    Example:
        >>> import torch
        >>> from metalearn import evaluate
        >>> from metalearn.data import sinusoids
        >>> from metalearn.learners import MAML
        >>> from metalearn.networks import MLP
        >>> learner = MAML(MLP([1, 40, 1]), inner_lr=0.01, loss_fn=torch.nn.functional.mse_loss)
        >>> scores = evaluate(learner, lambda g: sinusoids().sample(50, 5, 20, g), n_tasks=100, n_steps=[0, 1])
        >>> sorted(scores), scores[1].n_tasks
        ([0, 1], 100)
    """
    if n_tasks < 2:
        raise ValueError(f"n_tasks must be at least 2 for an interval, got {n_tasks}")
    if metric == "loss" and n_steps is not None:
        raise ValueError(
            f"the loss is taken after the trained number of inner steps, got n_steps={n_steps}: leave it out"
        )
    if learner.plays and metric is not None:
        raise ValueError(f"{type(learner).__name__} is scored by its mean return, got metric={metric!r}: leave it out")
    several = isinstance(n_steps, Sequence)
    steps: Sequence[int | None] = n_steps if isinstance(n_steps, Sequence) else [n_steps]
    if not steps:
        raise ValueError("n_steps is an empty sequence: give a number, or leave it out")
    device = getattr(sample, "device", "cpu")
    seed = default_seed() if seed is None else seed
    generator, games = (stream_of(seed, name, device) for name in (stream, f"{stream} games"))
    results: list[Tensor] = []  # each [n_tasks of a batch, number of entries in steps]
    drawn: Episode | EpisodeList | None = None
    with evaluating(learner), progress_bar(n_tasks, "task", progress) as bar:
        while (done := sum(len(part) for part in results)) < n_tasks:
            drawn, last = sample(generator), drawn
            if drawn is last:
                raise ValueError(
                    f"sample gave the same {len(drawn)} tasks again; counted twice, they would make the interval too"
                    f" narrow. Give n_tasks={done}, or a sample that draws"
                )
            if not len(drawn):
                raise ValueError("sample gave no tasks: each call must return at least one")
            batch = learner.take(drawn)
            if done:
                learner.check_values(batch)
            else:
                learner.check(batch)
            batch = batch[: n_tasks - done]
            if learner.plays:
                results.append(learner.returns(batch, steps, games))
            else:
                metric = metric or (mean_squared_error if batch[0].n_way is None else accuracy)
                results.append(_score_batch(learner, batch, steps, metric))
            bar.update(len(results[-1]))
    lower = metric in (mean_squared_error, "loss", learner.loss_fn, *_LOSSES)
    higher = not lower if higher_is_better is None else higher_is_better
    per_task = torch.cat(results).cpu()  # [n_tasks, number of entries in steps]
    scores = [Score.of(column, higher_is_better=higher) for column in per_task.unbind(1)]
    return dict(zip(n_steps, scores, strict=True)) if several else scores[0]  # type: ignore[arg-type]


def adapt_each(learner: Learner, batch: Episode | EpisodeList, n_steps: int | None = None) -> list[dict[str, Tensor]]:
    """Return what each task of a batch, or of a list, adapts to; supports of one size are adapted to at once.

    Args:
        learner: Any learner.
        batch: Tasks, whose queries may be of unequal numbers.
        n_steps: As :meth:`metalearn.learners.Learner.adapt` takes it.

    Example:
        >>> from metalearn.data import ratings
        >>> from metalearn.evaluation import adapt_each
        >>> from metalearn.learners import MatrixFactorization
        >>> tasks = ratings().validation.tasks(n_shot=5)
        >>> len(adapt_each(MatrixFactorization(300, 2), tasks))
        300
    """

    def adapt(task: Episode) -> dict[str, Tensor]:
        return learner.adapt(task.support_x, task.support_y, n_way=task.n_way, n_steps=n_steps)

    tasks = [batch[i] for i in range(len(batch))]
    supports = [(task.support_x, task.support_y) for task in tasks]
    kinds = {
        (task.n_way, *(leaf.shape for leaf in tree_leaves(part))) for task, part in zip(tasks, supports, strict=True)
    }
    if len(kinds) > 1:
        return [adapt(task) for task in tasks]
    x, y = tree_map(lambda *leaves: torch.stack(leaves), *supports)
    adapted: dict[str, Tensor] = over_tasks(
        adapt, Episode(x, y, x, y, tasks[0].n_way), learner.how, chunk_size=learner.chunk_size, module=learner
    )
    return [{name: tensor[i] for name, tensor in adapted.items()} for i in range(len(tasks))]


def _score_batch(
    learner: Learner, batch: Episode | EpisodeList, steps: Sequence[int | None], metric: Metric | Literal["loss"]
) -> Tensor:
    def score(episode: Episode) -> Tensor:
        if metric == "loss":
            return learner.loss(episode).unsqueeze(0)
        values = []
        for n in steps:
            adapted = learner.adapt(episode.support_x, episode.support_y, n_way=episode.n_way, n_steps=n)
            values.append(torch.as_tensor(metric(learner.predict(adapted, episode.query_x), episode.query_y)))
        return torch.stack(values)

    if isinstance(batch, EpisodeList) and metric != "loss":
        columns = []
        for n in steps:
            pairs = zip(batch, adapt_each(learner, batch, n), strict=True)
            values = [metric(learner.predict(own, task.query_x), task.query_y) for task, own in pairs]
            columns.append(torch.stack([torch.as_tensor(value) for value in values]))
        return torch.stack(columns, 1)
    scores: Tensor = over_tasks(score, batch, learner.how, chunk_size=learner.chunk_size, module=learner)
    return scores
