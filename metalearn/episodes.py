"""What learners are fed: episodes, lists of unequal episodes, and ordinary labelled batches."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args, overload

import torch
from torch import Tensor
from torch.nn import functional as F

from metalearn._given import check_finite, dims, int64
from metalearn._torch import tree_leaves, tree_map

Inputs = Any  # a tensor whose first axis counts examples, or a pytree of such tensors (tokens with a mask, say)
BatchKind = Literal["labelled", "pairs", "triplets", "views"]


@dataclass(frozen=True, eq=False)
class Episode:
    """One task: a support set to adapt to and a query set to be judged on; or a batch of tasks.

    A batch of episodes carries a leading task axis in all four tensors. ``n_way`` is a plain Python int, the same for
    all tasks of a batch, and travels outside the tensors, so that code under ``torch.func.vmap`` can use it as a shape.

    Args:
        support_x: Inputs ``[n_support, ...]``, or a pytree of such (a batch: ``[n_tasks, n_support, ...]``).
        support_y: Class labels 0…n_way-1 ``[n_support]``, or regression targets ``[n_support, n_outputs]``. Labels of
            any integer type, and booleans, become int64.
        query_x: Inputs to predict, like ``support_x``.
        query_y: Labels or targets of the query, like ``support_y``.
        n_way: Number of classes of a task; ``None`` for regression.

    Raises:
        ValueError: If inputs and labels, or support and query, do not fit together.

    Example:
        >>> import torch
        >>> from metalearn import Episode
        >>> episode = Episode(torch.zeros(5, 2), torch.arange(5), torch.zeros(1, 2), torch.tensor([3]), n_way=5)
        >>> episode
        Episode(support_x=[5, 2], support_y=[5], query_x=[1, 2], query_y=[1], n_way=5)
    """

    support_x: Inputs
    support_y: Tensor
    query_x: Inputs
    query_y: Tensor
    n_way: int | None = None

    def __post_init__(self) -> None:
        if self.n_way is not None:
            for name in ("support_y", "query_y"):
                object.__setattr__(self, name, int64(getattr(self, name)))
        support, query = tree_leaves(self.support_x), tree_leaves(self.query_x)
        if len(support) != len(query):
            raise ValueError(f"support_x has {len(support)} tensors, query_x has {len(query)}: give both the same form")
        for name, x, y in [("support", support, self.support_y), ("query", query, self.query_y)]:
            for leaf in x:
                if leaf.ndim == 0 or y.ndim == 0 or leaf.shape[0] != y.shape[0]:
                    raise ValueError(
                        f"{name}_x and {name}_y must share their first axis, got shapes {dims(leaf)} and {dims(y)}"
                    )
        pairs = [("x", s, q) for s, q in zip(support, query, strict=True)] + [("y", self.support_y, self.query_y)]
        for name, s, q in pairs:
            if s.ndim != q.ndim or s.shape[2:] != q.shape[2:]:
                raise ValueError(
                    f"support_{name} and query_{name} must hold examples of one shape, got {dims(s)} and {dims(q)}"
                )

    def __len__(self) -> int:
        """Return the length of the first axis: the number of tasks, where this is a batch of episodes."""
        return len(self.query_y)

    def __getitem__(self, task: int | slice) -> Episode:
        """Return one task of a batch (``episodes[0]``) or some of its tasks (``episodes[:4]``)."""
        return self.map(lambda leaf: leaf[task])

    def map(self, fn: Callable[[Tensor], Tensor]) -> Episode:
        """Apply ``fn`` to every tensor and keep ``n_way``."""
        parts = (self.support_x, self.support_y, self.query_x, self.query_y)
        support_x, support_y, query_x, query_y = (tree_map(fn, part) for part in parts)
        return Episode(support_x, support_y, query_x, query_y, self.n_way)

    def to(self, device: torch.device | str) -> Episode:
        """Move every tensor to ``device``."""
        return self.map(lambda leaf: leaf.to(device))

    def check(self, *, unlabelled: bool = False) -> None:
        """Refuse labels that are not 0…n_way-1, classes without support and values that are not finite.

        Args:
            unlabelled: Whether the support may hold unlabelled examples, of the label -1.

        Raises:
            ValueError: With what was expected and what was found.
        """
        many = self.support_y.ndim > (2 if self.n_way is None else 1)
        names = ("support_x", "query_x", "support_y", "query_y")
        check_finite({name: getattr(self, name) for name in names}, "tasks" if many else "rows")
        if self.n_way is None or (many and not len(self)):  # a batch of no tasks, as Poisson sampling draws them
            return
        for name, y in {"support_y": self.support_y, "query_y": self.query_y}.items():
            if not y.numel():
                raise ValueError(f"{name} is empty, of shape {dims(y)}: a task needs support and query examples")
            least = -1 if unlabelled and name == "support_y" else 0
            if y.is_floating_point() or y.min() < least or y.max() >= self.n_way:
                raise ValueError(
                    f"{name} must hold integer labels 0…{self.n_way - 1} (n_way={self.n_way}), "
                    f"got {y.dtype} from {y.min().item()} to {y.max().item()}"
                )
        labels = self.support_y if many else self.support_y.unsqueeze(0)  # [n_tasks, n_support]
        shifted = F.one_hot(labels + 1, self.n_way + 1)  # an unlabelled example counts for no class
        present = shifted[..., 1:].sum(1) > 0  # [n_tasks, n_way]
        if not present.all():
            task, label = (~present).nonzero()[0].tolist()
            where = f"task {task} of the batch" if many else "the task"
            raise ValueError(f"{where} has no support example of class {label}: each class needs one")

    def __repr__(self) -> str:
        """Show shapes: the contents are rarely what one wants to see."""
        names = ("support_x", "support_y", "query_x", "query_y")
        shapes = ", ".join(f"{name}={tree_map(dims, getattr(self, name))}" for name in names)
        return f"Episode({shapes}, n_way={self.n_way})"


def _has_task_axis(episode: Episode) -> bool:
    """Return whether this is a batch: by its labels, or by targets ``[n_tasks, n_support, n_outputs]`` and inputs."""
    y = episode.support_y
    if episode.n_way is not None:
        return y.ndim != 1
    if y.ndim != 3 or len(y) != len(episode.query_y):  # targets of four axes are pictures
        return False
    return all(leaf.ndim >= 3 and leaf.shape[:2] == y.shape[:2] for leaf in tree_leaves(episode.support_x))


class EpisodeList:
    """Tasks that cannot be stacked, since their sizes or numbers of classes differ.

    Args:
        episodes: The tasks, one :class:`Episode` each, without a task axis.

    Raises:
        ValueError: If there is no task, or an element is a batch of tasks or no episode.

    Example:
        >>> import torch
        >>> from metalearn import Episode, EpisodeList
        >>> def task(n_way):
        ...     return Episode(torch.zeros(n_way, 2), torch.arange(n_way), torch.zeros(1, 2), torch.tensor([0]), n_way)
        >>> tasks = EpisodeList([task(2), task(3), task(5)])
        >>> tasks, len(tasks[1:]), tasks[2].n_way
        (EpisodeList(3 tasks), 2, 5)
    """

    def __init__(self, episodes: Sequence[Episode]) -> None:
        self.episodes = tuple(episodes)
        if not self.episodes:
            raise ValueError("expected at least one episode, got an empty list")
        for i, episode in enumerate(self.episodes):
            if not isinstance(episode, Episode):
                raise ValueError(f"expected a list of episodes, got {type(episode).__name__} at position {i}")
            if _has_task_axis(episode):
                raise ValueError(
                    "each element is one task, with labels [n_support] or targets [n_support, n_outputs], got a batch"
                    f" of {len(episode)} tasks at position {i}: put in its tasks, list(batch)"
                )

    def __len__(self) -> int:
        """Return the number of tasks."""
        return len(self.episodes)

    def __iter__(self) -> Iterator[Episode]:
        """Go through the tasks."""
        return iter(self.episodes)

    @overload
    def __getitem__(self, task: int) -> Episode: ...
    @overload
    def __getitem__(self, task: slice) -> EpisodeList: ...
    def __getitem__(self, task: int | slice) -> Episode | EpisodeList:
        """Return one task (``tasks[0]``) or a list of some (``tasks[:4]``)."""
        return EpisodeList(self.episodes[task]) if isinstance(task, slice) else self.episodes[task]

    def map(self, fn: Callable[[Tensor], Tensor]) -> EpisodeList:
        """Apply ``fn`` to every tensor of every task."""
        return EpisodeList([episode.map(fn) for episode in self.episodes])

    def to(self, device: torch.device | str) -> EpisodeList:
        """Move every tensor to ``device``."""
        return EpisodeList([episode.to(device) for episode in self.episodes])

    def check(self, *, unlabelled: bool = False) -> None:
        """Check every task as :meth:`Episode.check` does.

        Args:
            unlabelled: As there.

        Raises:
            ValueError: With the task's position, what was expected and what was found.
        """
        for i, episode in enumerate(self.episodes):
            try:
                episode.check(unlabelled=unlabelled)
            except ValueError as error:
                raise ValueError(f"task {i} of the list: {error}") from error

    def __repr__(self) -> str:
        """Show the number of tasks."""
        return f"EpisodeList({len(self)} tasks)"


@dataclass(frozen=True, eq=False)
class Batch:
    """An ordinary labelled batch, or a batch of pairs, triplets or views; ``x, y = batch`` takes it apart.

    Args:
        x: Inputs ``[n, ...]``, or a pytree of such (tokens with a mask, say); of pairs, triplets and views a tuple of
            two or three of these, the sides.
        y: Labels ``[n]``: class ids, or for pairs 1 where both sides are of one class and 0 where not. Labels of any
            integer type, and booleans, become int64.
        kind: ``"labelled"``, ``"pairs"``, ``"triplets"``, or ``"views"``: two augmentations of each image, ``y`` then
            counts images.

    Raises:
        ValueError: If the kind is unknown, or sides and labels do not fit together.

    Example:
        >>> import torch
        >>> from metalearn import Batch
        >>> batch = Batch((torch.zeros(4, 2), torch.ones(4, 2)), torch.tensor([0, 1, 1, 0]), kind="pairs")
        >>> (left, right), y = batch
        >>> batch, len(batch)
        (Batch(x=([4, 2], [4, 2]), y=[4], kind='pairs'), 4)
    """

    x: Inputs
    y: Tensor
    kind: BatchKind = "labelled"

    def __post_init__(self) -> None:
        if self.kind not in get_args(BatchKind):
            raise ValueError(f"kind must be one of {list(get_args(BatchKind))}, got {self.kind!r}")
        n_sides = {"pairs": 2, "triplets": 3, "views": 2}.get(self.kind)
        if n_sides is not None and not (isinstance(self.x, tuple) and len(self.x) == n_sides):
            got = f"a tuple of {len(self.x)}" if isinstance(self.x, tuple) else type(self.x).__name__
            raise ValueError(f"kind={self.kind!r} needs x to be a tuple of {n_sides} inputs, got {got}")
        object.__setattr__(self, "y", int64(self.y))
        for leaf in tree_leaves(self.x):
            if leaf.ndim == 0 or self.y.ndim == 0 or len(leaf) != len(self.y):
                raise ValueError(f"x and y must share their first axis, got shapes {dims(leaf)} and {dims(self.y)}")

    @property
    def sides(self) -> tuple[Inputs, ...]:
        """Inputs of each side in a tuple, two for pairs and views, three for triplets, one for a labelled batch."""
        return (self.x,) if self.kind == "labelled" else tuple(self.x)

    def __len__(self) -> int:
        """Return the number of examples (of pairs, of triplets)."""
        return len(self.y)

    def __iter__(self) -> Iterator[Any]:
        """Yield ``x`` and ``y``."""
        return iter((self.x, self.y))

    def map(self, fn: Callable[[Tensor], Tensor]) -> Batch:
        """Apply ``fn`` to every tensor and keep the kind."""
        return Batch(tree_map(fn, self.x), fn(self.y), self.kind)

    def to(self, device: torch.device | str) -> Batch:
        """Move every tensor to ``device``."""
        return self.map(lambda leaf: leaf.to(device))

    def check(self) -> None:
        """Refuse values that are not finite.

        Raises:
            ValueError: With the rows that hold them.
        """
        check_finite({"x": self.x, "y": self.y}, "rows")

    def __repr__(self) -> str:
        """Show shapes."""
        return f"Batch(x={tree_map(dims, self.x)}, y={dims(self.y)}, kind={self.kind!r})"
