"""Whether a saliency map names the pixels that count: delete or insert them in its order, and watch the answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from metalearn._modes import evaluating
from metalearn.episodes import Episode
from metalearn.evaluation import Score
from metalearn.explain.saliency import Answer, Explain, log_odds
from metalearn.learners import Learner
from metalearn.runtime import stream

Among = Literal["inked", "all"]


def pixel_order(attribution: Tensor) -> Tensor:
    """Return the pixels of each image, those of the highest attribution first; channels are summed.

    Args:
        attribution: ``[n, channels, height, width]``.

    Returns:
        Places in the flat image ``[n, height * width]``.

    Example:
        >>> import torch
        >>> from metalearn.explain import pixel_order
        >>> pixel_order(torch.tensor([[[[0.1, 0.7], [-0.3, 0.2]]]]))
        tensor([[1, 3, 0, 2]])
    """
    return torch.sort(attribution.sum(1).flatten(1), dim=1, descending=True, stable=True).indices


def random_order(x: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """Return a random order of the pixels of each image ``[n, height * width]``.

    Args:
        x: Images ``[n, channels, height, width]``.
        generator: Source of randomness.

    Example:
        >>> import torch
        >>> from metalearn.explain import random_order
        >>> random_order(torch.zeros(2, 1, 2, 2)).sort().values
        tensor([[0, 1, 2, 3],
                [0, 1, 2, 3]])
    """
    return torch.rand(len(x), x[0, 0].numel(), generator=generator, device=x.device).argsort(1)


def centre_order(x: Tensor) -> Tensor:
    """Return the pixels from the centre outwards ``[n, height * width]``: an order that needs no network.

    Args:
        x: Images ``[n, channels, height, width]``.

    Example:
        >>> import torch
        >>> from metalearn.explain import centre_order
        >>> centre_order(torch.zeros(1, 1, 1, 3))
        tensor([[1, 0, 2]])
    """
    rows, columns = (torch.arange(n, device=x.device) - (n - 1) / 2 for n in x.shape[-2:])
    distance = (rows.unsqueeze(1).square() + columns.square()).flatten()  # [height * width]
    return distance.argsort(stable=True).expand(len(x), -1)


def deletion_curve(
    fn: Answer, x: Tensor, order: Tensor, *, n_points: int = 10, baseline: float = 0.0, among: Among = "inked"
) -> Tensor:
    """Cover more and more pixels in an order, and return the answers ``[n, n_points + 1]``, from none to all covered.

    Args:
        fn: From inputs ``[n, ...]`` to numbers ``[n]``.
        x: Images ``[n, channels, height, width]``.
        order: Places in the flat image ``[n, height * width]``.
        n_points: Equal parts in which pixels are covered.
        baseline: What pixels are covered with.
        among: ``"inked"``: only pixels that differ from the baseline count, in the order given, since covering another
            one changes nothing; an order that puts empty pixels last has then no advantage. ``"all"``: as usual.

    Reference:
        Petsiuk, Das, Saenko: RISE: Randomized Input Sampling for Explanation of Black-box Models, 2018,
        arXiv 1806.07421, section 4.2.

    Differs from the paper:
        Shares are of the inked pixels, unless ``among="all"``.

    Taught in:
        Trust.

    Example:
        >>> import torch
        >>> from metalearn.explain import deletion_curve
        >>> x = torch.tensor([[[[3.0, 0.0, 1.0]]]])
        >>> deletion_curve(lambda x: x.sum((1, 2, 3)), x, torch.tensor([[0, 1, 2]]), n_points=2)
        tensor([[4., 1., 0.]])
    """
    return _curve(fn, x, order, n_points, baseline, among, insertion=False)


def insertion_curve(
    fn: Answer, x: Tensor, order: Tensor, *, n_points: int = 10, baseline: float = 0.0, among: Among = "inked"
) -> Tensor:
    """Uncover more and more pixels of an empty image; arguments are those of :func:`deletion_curve`.

    Example:
        >>> import torch
        >>> from metalearn.explain import insertion_curve
        >>> x = torch.tensor([[[[3.0, 0.0, 1.0]]]])
        >>> insertion_curve(lambda x: x.sum((1, 2, 3)), x, torch.tensor([[0, 1, 2]]), n_points=2)
        tensor([[0., 3., 4.]])
    """
    return _curve(fn, x, order, n_points, baseline, among, insertion=True)


@dataclass(frozen=True, eq=False)
class DeletionTest:
    """Curves of an explanation and of orders that need no network; see :func:`deletion_test`.

    Args:
        curves: By order, the mean probability of the label on each task ``[n_tasks, n_points + 1]``.
        gains: By order without a network, by how much area the explanation beats it, task by task; above 0: better.

    Example:
        >>> import torch
        >>> from metalearn import Score
        >>> from metalearn.explain import DeletionTest
        >>> DeletionTest({}, {"random": Score.of(torch.tensor([0.1, 0.2])), "centre": Score.of(torch.zeros(2))}).passes
        False
    """

    curves: dict[str, Tensor]
    gains: dict[str, Score]

    @property
    def passes(self) -> bool:
        """Whether the explanation beats every other order with 95 % confidence."""
        return all(score.above(0.0) for score in self.gains.values())


def deletion_test(
    explain: Explain,
    learner: Learner,
    episodes: Episode,
    *,
    judge: Learner | None = None,
    against: Sequence[str] = ("random", "centre"),
    insertion: bool = False,
    among: Among = "inked",
    n_points: int = 10,
    n_steps: int | None = None,
    seed: int = 0,
) -> DeletionTest:
    """Test an explanation of the answers to queries against orders that need no network.

    Args:
        explain: ``explain(fn, x) -> attribution``, such as :func:`metalearn.explain.gradient`.
        learner: The learner whose answers are explained; it adapts to each task.
        episodes: A batch of at least two tasks of images.
        judge: The learner whose answers are watched while pixels go; ``None``: the same. An explanation of another
            network, an untrained one say, is worth what it says about this one.
        against: Orders to beat: ``"random"``, ``"centre"`` (from there outwards), ``"size"`` (of the pixels, largest
            first), which is the hardest one where the pixels of a stroke are of unequal ink.
        insertion: Insert pixels instead.
        among: As in :func:`deletion_curve`.
        n_points: As there.
        n_steps: Inner steps; ``None``: as trained.
        seed: Of the random orders.

    Raises:
        ValueError: If an order is unknown.

    Taught in:
        Trust.

    Example:
        >>> import metalearn
        >>> from metalearn.data import glyphs
        >>> from metalearn.explain import deletion_test, gradient_times_input
        >>> tasks = metalearn.sample_episodes(glyphs().test, 3, n_way=5, n_shot=1, n_query=1)
        >>> found = deletion_test(gradient_times_input, metalearn.pretrained("prototypical", "glyphs"), tasks)
        >>> found.curves["explanation"].shape, sorted(found.gains)
        (torch.Size([3, 11]), ['centre', 'random'])
    """
    if not against or set(against) - {"random", "centre", "size"}:
        raise ValueError(f"expected orders among 'random', 'centre' and 'size', got {list(against)}")
    judge, generator = judge or learner, stream(seed, "deletion", episodes.query_y.device)
    curves: dict[str, list[Tensor]] = {}
    with evaluating(learner), evaluating(judge):
        for task in (episodes[i] for i in range(len(episodes))):
            fn, watched = (answer_of(one, task, n_steps) for one in (learner, judge))
            orders = {
                "explanation": pixel_order(explain(fn, task.query_x)),
                "random": random_order(task.query_x, generator),
                "centre": centre_order(task.query_x),
                "size": pixel_order(task.query_x.abs()),
            }
            for name, order in ((name, orders[name]) for name in ("explanation", *against)):
                curve = _curve(watched, task.query_x, order, n_points, 0.0, among, insertion).sigmoid()
                curves.setdefault(name, []).append(curve.mean(0))
    stacked = {name: torch.stack(parts) for name, parts in curves.items()}  # each [n_tasks, n_points + 1]
    areas = {name: torch.trapezoid(curve, dim=1) / n_points for name, curve in stacked.items()}
    sign = 1 if insertion else -1
    gains = {name: Score.of(sign * (areas["explanation"] - areas[name])) for name in against}
    return DeletionTest(stacked, gains)


def answer_of(learner: Learner, task: Episode, n_steps: int | None = None) -> Answer:
    """Return the log odds of the queries' labels after adaptation, as a function of the queries' pixels."""
    with torch.no_grad():
        adapted = learner.adapt(task.support_x, task.support_y, n_way=task.n_way, n_steps=n_steps)
    return log_odds(learner, adapted, task.query_y)


def _curve(
    fn: Answer, x: Tensor, order: Tensor, n_points: int, baseline: float, among: Among, insertion: bool
) -> Tensor:
    n_pixels = x[0, 0].numel()
    if list(order.shape) != [len(x), n_pixels] or n_points < 1:
        raise ValueError(f"expected an order [{len(x)}, {n_pixels}] and a point, got {list(order.shape)}, {n_points}")
    inked = (x != baseline).any(1).flatten(1) if among == "inked" else torch.ones_like(order, dtype=torch.bool)
    counts = inked.gather(1, order).cumsum(1)  # [n, n_pixels]: which of the pixels that count each one is, from 1
    number = torch.zeros_like(counts).scatter(1, order, counts)  # the same by place
    n_inked, values = inked.sum(1, keepdim=True), []
    with torch.no_grad():
        for k in range(n_points + 1):
            reached = (number <= k * n_inked / n_points).reshape(len(x), 1, *x.shape[-2:])
            values.append(fn(torch.where(reached == insertion, x, torch.full_like(x, baseline))))
    return torch.stack(values, 1)
