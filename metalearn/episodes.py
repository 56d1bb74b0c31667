"""Few-shot episodes: labelled pools of examples, and N-way K-shot tasks drawn from them without a Python loop."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Self

import numpy as np
import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves, tree_map

Inputs = Any  # a tensor whose first axis counts examples, or a pytree of such tensors (tokens with a mask, say)
Transform = Callable[[Any, torch.Generator | None], Any]


@dataclass(frozen=True, eq=False)
class Episode:
    """One task: a support set to adapt to and a query set to be judged on; or a batch of tasks.

    A batch of episodes carries a leading task axis in all four tensors. ``n_way`` is a plain Python int, the same for
    all tasks of a batch, and travels outside the tensors, so that code under ``torch.func.vmap`` can use it as a shape.

    Args:
        support_x: Inputs ``[n_support, ...]``, or a pytree of such (a batch: ``[n_tasks, n_support, ...]``).
        support_y: Class labels 0…n_way-1 ``[n_support]``, or regression targets ``[n_support, n_outputs]``.
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
        support, query = tree_leaves(self.support_x), tree_leaves(self.query_x)
        if len(support) != len(query):
            raise ValueError(f"support_x has {len(support)} tensors, query_x has {len(query)}: give both the same form")
        for name, x, y in [("support", support, self.support_y), ("query", query, self.query_y)]:
            for leaf in x:
                if leaf.ndim == 0 or y.ndim == 0 or leaf.shape[0] != y.shape[0]:
                    raise ValueError(
                        f"{name}_x and {name}_y must share their first axis, got shapes {_shape(leaf)} and {_shape(y)}"
                    )
        pairs = [("x", s, q) for s, q in zip(support, query, strict=True)] + [("y", self.support_y, self.query_y)]
        for name, s, q in pairs:
            if s.ndim != q.ndim or s.shape[2:] != q.shape[2:]:
                raise ValueError(
                    f"support_{name} and query_{name} must hold examples of one shape, got {_shape(s)} and {_shape(q)}"
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

    def __repr__(self) -> str:
        """Show shapes: the contents are rarely what one wants to see."""
        names = ("support_x", "support_y", "query_x", "query_y")
        shapes = ", ".join(f"{name}={tree_map(_shape, getattr(self, name))}" for name in names)
        return f"Episode({shapes}, n_way={self.n_way})"


class Batch(NamedTuple):
    """An ordinary labelled batch: examples and one label each; pairs and triplets hold a tuple of inputs.

    Args:
        x: Inputs ``[n, ...]``, or a tuple of such (the two sides of pairs, the three of triplets).
        y: Labels ``[n]``: class ids, or for pairs 1 where both sides are of one class and 0 where not.

    Example:
        >>> import torch
        >>> from metalearn import Batch
        >>> x, y = Batch(torch.zeros(4, 2), torch.tensor([0, 1, 1, 0]))
        >>> len(y)
        4
    """

    x: Inputs
    y: Tensor

    def to(self, device: torch.device | str) -> Batch:
        """Move every tensor to ``device``."""
        return Batch(tree_map(lambda leaf: leaf.to(device), self.x), self.y.to(device))


class Pool:
    """Labelled examples of many classes, on one device, from which episodes are drawn.

    Examples are stored sorted by class and in the type they came in: uint8 images stay uint8 and become float in
    [0, 1] when they are drawn; floats and integers (tokens) are drawn as they are. Class sizes may differ.

    Args:
        x: Examples ``[n, ...]`` as the network takes them, or a pytree of such tensors.
        y: Class of each example ``[n]``, any integers; class ids 0…n_classes-1 follow their order.
        class_names: One name per class id; by default the integers of ``y`` as text.
        transform: ``transform(x, generator) -> x``, applied to each drawn batch ``[n_drawn, ...]`` (augmentation).
        as_float: ``None`` turns uint8 into float and leaves other types; ``True`` insists on uint8 or float input;
            ``False`` leaves everything as it is.

    Raises:
        ValueError: If lengths differ, the pool is empty, or ``as_float=True`` meets a type that is no image.

    Example:
        >>> import torch
        >>> from metalearn import Pool
        >>> pool = Pool(torch.arange(6.0), torch.tensor([7, 7, 7, 9, 9, 9]))
        >>> pool.n_classes, pool.class_names, pool.class_sizes.tolist()
        (2, ('7', '9'), [3, 3])
    """

    def __init__(
        self,
        x: Inputs,
        y: Tensor,
        *,
        class_names: Sequence[str] | None = None,
        transform: Transform | None = None,
        as_float: bool | None = None,
    ) -> None:
        for leaf in tree_leaves(x):
            if leaf.ndim == 0 or y.ndim != 1 or len(leaf) != len(y) or len(y) == 0:
                raise ValueError(f"expected x [n, ...] and y [n] with n > 0, got shapes {_shape(leaf)} and {_shape(y)}")
            if as_float and not (leaf.dtype == torch.uint8 or leaf.is_floating_point()):
                raise ValueError(
                    f"as_float=True scales uint8 images to [0, 1], got {leaf.dtype}. Leave as_float out to keep"
                    " integers (tokens) as they are, or convert the images to uint8."
                )
        classes, y = torch.unique(y, return_inverse=True)
        if class_names is not None and len(class_names) != len(classes):
            raise ValueError(f"expected a name for each of {len(classes)} classes, got {len(class_names)} names")
        order = y.argsort(stable=True)
        self.x: Inputs = tree_map(lambda leaf: leaf[order.to(leaf.device)], x)
        self.y: Tensor = y[order].to(tree_leaves(x)[0].device)
        self.class_names = tuple(str(c) for c in (classes.tolist() if class_names is None else class_names))
        self.class_sizes = torch.bincount(y).cpu()
        self.class_starts = self.class_sizes.cumsum(0) - self.class_sizes
        self.transform = transform
        self.as_float = as_float

    @classmethod
    def from_arrays(cls, x: Any, y: Any, **options: Any) -> Self:
        """Build a pool from NumPy arrays or lists.

        Grey images ``[n, height, width]`` and colour images ``[n, height, width, 3]`` of type uint8 are stored
        channels first, as networks take them. Labels may be text or integers.

        Args:
            x: Examples ``[n, ...]``.
            y: Labels ``[n]``, text or integers.
            **options: ``transform`` and ``as_float`` of :class:`Pool`.

        Raises:
            ValueError: If labels are neither text nor integers, or do not match the examples.
        """
        x, y = torch.as_tensor(np.asarray(x)), np.asarray(y)
        if y.dtype.kind not in "iuU":
            raise ValueError(f"labels must be text or integers, got an array of type {y.dtype}")
        if x.dtype == torch.uint8 and x.ndim == 3:
            x = x.unsqueeze(1)  # [n, 1, height, width]
        elif x.dtype == torch.uint8 and x.ndim == 4 and x.shape[-1] in (1, 3) and x.shape[1] not in (1, 3):
            x = x.permute(0, 3, 1, 2).contiguous()  # [n, channels, height, width]
        names, ids = np.unique(y, return_inverse=True)
        return cls(x, torch.as_tensor(ids.reshape(-1)), class_names=[str(name) for name in names], **options)

    @classmethod
    def from_dataset(cls, dataset: Any, **options: Any) -> Self:
        """Build a pool from a map-style dataset of ``(image, label)`` pairs (torchvision's, or your own).

        Args:
            dataset: An object with ``len()`` and ``dataset[i] -> (example, label)``; the example is a PIL image, an
                array or a tensor, and all examples have one shape.
            **options: ``transform`` and ``as_float`` of :class:`Pool`.

        Raises:
            ValueError: If examples differ in shape: resize them in the dataset's own transform.
        """
        pairs = [dataset[i] for i in range(len(dataset))]
        arrays = [np.asarray(example) for example, _ in pairs]
        shapes = sorted({array.shape for array in arrays})
        if len(shapes) != 1:
            raise ValueError(
                f"all examples must have one shape, got {shapes[:3]}: resize them in the dataset's transform"
            )
        return cls.from_arrays(np.stack(arrays), [label for _, label in pairs], **options)

    @property
    def n_classes(self) -> int:
        """Number of classes."""
        return len(self.class_sizes)

    @property
    def device(self) -> torch.device:
        """Where the examples lie."""
        return self.y.device

    def __len__(self) -> int:
        """Return the number of examples."""
        return len(self.y)

    def __repr__(self) -> str:
        """Show sizes."""
        low, high = int(self.class_sizes.min()), int(self.class_sizes.max())
        size = f"{low}" if low == high else f"{low} to {high}"
        shape = tree_map(lambda leaf: _shape(leaf)[1:], self.x)
        return f"Pool({len(self)} examples {shape}, {self.n_classes} classes of {size})"

    def to(self, device: torch.device | str) -> Pool:
        """Return the pool with its examples on ``device``; draws then happen there."""
        moved = tree_map(lambda leaf: leaf.to(device), self.x)
        return self._like(moved, self.y.to(device), self.class_names)

    def select(self, classes: Sequence[int] | Tensor) -> Pool:
        """Return the pool of some classes.

        Args:
            classes: Class ids, or a boolean mask over all classes ``[n_classes]`` (``pool.class_sizes >= 20``).
        """
        wanted = torch.as_tensor(classes)
        ids = (wanted.nonzero() if wanted.dtype == torch.bool else wanted).flatten().sort().values
        rows = torch.isin(self.y, ids.to(self.device))
        return self._like(
            tree_map(lambda leaf: leaf[rows], self.x), self.y[rows], [self.class_names[i] for i in ids.tolist()]
        )

    def split_classes(
        self, fractions: Sequence[float] = (0.6, 0.2, 0.2), generator: torch.Generator | None = None
    ) -> Splits:
        """Split the classes at random into disjoint training, validation and test pools.

        Args:
            fractions: Shares of the classes; at least one class goes to each part.
            generator: Source of randomness, for a split that can be repeated.

        Raises:
            ValueError: If there are fewer than three classes or the shares do not sum to one.
        """
        if self.n_classes < 3 or len(fractions) != 3 or abs(sum(fractions) - 1) > 1e-6:
            raise ValueError(
                "expected 3 fractions that sum to 1 and at least 3 classes,"
                f" got {fractions} and {self.n_classes} classes"
            )
        order = torch.randperm(self.n_classes, generator=generator)
        first = min(max(1, round(fractions[0] * self.n_classes)), self.n_classes - 2)
        second = min(max(first + 1, round((fractions[0] + fractions[1]) * self.n_classes)), self.n_classes - 1)
        return Splits(self.select(order[:first]), self.select(order[first:second]), self.select(order[second:]))

    def sample_batch(self, batch_size: int, generator: torch.Generator | None = None) -> Batch:
        """Draw an ordinary labelled batch, with replacement.

        Returns:
            Examples ``[batch_size, ...]`` and class ids ``[batch_size]``.
        """
        index = torch.randint(len(self), (batch_size,), generator=generator, device=_device(generator, self))
        index = index.to(self.device)
        return Batch(self.read(index, generator), self.y[index])

    def read(self, index: Tensor, generator: torch.Generator | None = None) -> Inputs:
        """Return the examples at ``index`` (any shape), converted and transformed as drawing does."""
        rows = index.to(self.device).flatten()
        x = tree_map(lambda leaf: self._convert(leaf.index_select(0, rows)), self.x)  # leaf[rows] is 15 times slower
        if self.transform is not None:
            x = self.transform(x, generator)
        return tree_map(lambda leaf: leaf.reshape(*index.shape, *leaf.shape[1:]), x)

    def _convert(self, x: Tensor) -> Tensor:
        return x.float().div_(255) if x.dtype == torch.uint8 and self.as_float is not False else x

    def _like(self, x: Inputs, y: Tensor, names: Sequence[str]) -> Pool:
        return Pool(x, y, class_names=names, transform=self.transform, as_float=self.as_float)


class Splits(NamedTuple):
    """Pools of disjoint classes: learn on ``train``, choose on ``validation``, report on ``test``.

    Example:
        >>> from metalearn.data import glyphs
        >>> train, validation, test = glyphs()
        >>> set(train.class_names) & set(test.class_names)
        set()
    """

    train: Pool
    validation: Pool
    test: Pool


def sample_episodes(
    pool: Pool,
    n_tasks: int,
    n_way: int,
    n_shot: int,
    n_query: int,
    generator: torch.Generator | None = None,
    *,
    groups: Sequence[str] | None = None,
) -> Episode:
    """Draw a batch of N-way K-shot episodes from a pool.

    Each task has its own classes, drawn without replacement and labelled 0…n_way-1 at random; support and query are
    disjoint. Rows are in random order, so that a row's position says nothing of its class.

    Args:
        pool: Where to draw from.
        n_tasks: Number of tasks, at least 1.
        n_way: Classes of a task, at least 1 and at most ``pool.n_classes``.
        n_shot: Support examples of each class, at least 1.
        n_query: Query examples of each class, at least 1.
        generator: Source of randomness; the same state draws the same episodes.
        groups: Group of each class ``[n_classes]``, such as its alphabet. The classes of a task then come from one
            group, drawn uniformly among those with enough classes.

    Returns:
        A batch of episodes: ``support_x [n_tasks, n_way * n_shot, ...]``, ``query_x [n_tasks, n_way * n_query, ...]``.

    Raises:
        ValueError: If the pool or every group has too few classes, or a class has too few examples.

    Example:
        >>> import torch
        >>> from metalearn import Pool, sample_episodes
        >>> pool = Pool(torch.zeros(60, 1, 28, 28, dtype=torch.uint8), torch.arange(60) // 20)
        >>> sample_episodes(pool, n_tasks=4, n_way=2, n_shot=1, n_query=3)
        Episode(support_x=[4, 2, 1, 28, 28], support_y=[4, 2], query_x=[4, 6, 1, 28, 28], query_y=[4, 6], n_way=2)
    """
    _check_sizes(pool, n_tasks, n_way, n_shot, n_query)
    device = _device(generator, pool)

    def keys(*shape: int) -> Tensor:
        return torch.rand(shape, generator=generator, device=device)

    sizes, starts = pool.class_sizes.to(device), pool.class_starts.to(device)
    class_keys = keys(n_tasks, pool.n_classes)
    if groups is not None:
        member = _group_members(pool, groups, n_way).to(device)  # [n_groups, n_classes]
        picked = (keys(n_tasks) * len(member)).long()
        class_keys = class_keys.masked_fill(~member[picked], -1)
    classes = class_keys.topk(n_way).indices  # [n_tasks, n_way]
    order = keys(n_tasks, n_way, int(sizes.max()))
    order[torch.arange(order.shape[-1], device=device) >= sizes[classes].unsqueeze(-1)] = -1  # beyond the class's end
    chosen = starts[classes].unsqueeze(-1) + order.topk(n_shot + n_query).indices  # [n_tasks, n_way, n_shot + n_query]
    labels = torch.arange(n_way, device=device)

    def rows(index: Tensor) -> tuple[Inputs, Tensor]:
        shuffle = keys(n_tasks, index[0].numel()).argsort(1)
        y = labels.repeat_interleave(index.shape[2]).expand(n_tasks, -1)
        return pool.read(index.flatten(1).gather(1, shuffle), generator), y.gather(1, shuffle).to(pool.device)

    support_x, support_y = rows(chosen[:, :, :n_shot])
    query_x, query_y = rows(chosen[:, :, n_shot:])
    return Episode(support_x, support_y, query_x, query_y, n_way=n_way)


def sample_pairs(pool: Pool, n_pairs: int, generator: torch.Generator | None = None) -> Batch:
    """Draw pairs of examples, half of them of one class and half of two.

    Classes are drawn uniformly, whatever their sizes; the two examples of one class are different ones.

    Args:
        pool: Where to draw from.
        n_pairs: Number of pairs, even and at least 2.
        generator: Source of randomness.

    Returns:
        ``x = (left, right)``, each ``[n_pairs, ...]``, and ``y [n_pairs]``: 1 for one class, 0 for two.

    Raises:
        ValueError: If ``n_pairs`` is odd, the pool has one class only, or a class has a single example.

    Example:
        >>> import torch
        >>> from metalearn import Pool, sample_pairs
        >>> (left, right), y = sample_pairs(Pool(torch.zeros(6, 2), torch.tensor([0, 0, 0, 1, 1, 1])), 4)
        >>> left.shape, y
        (torch.Size([4, 2]), tensor([1, 0, 1, 0]))
    """
    if n_pairs < 2 or n_pairs % 2:
        raise ValueError(f"n_pairs must be even and at least 2, for as many equal as unequal pairs, got {n_pairs}")
    anchor, positive, negative, _ = _triplets(pool, n_pairs, generator)
    y = 1 - torch.arange(n_pairs, device=pool.device) % 2
    other = torch.where(y.bool(), positive, negative)
    return Batch((pool.read(anchor, generator), pool.read(other, generator)), y)


def sample_triplets(pool: Pool, n_triplets: int, generator: torch.Generator | None = None) -> Batch:
    """Draw triplets: an anchor, another example of its class, and an example of another class.

    Args:
        pool: Where to draw from.
        n_triplets: Number of triplets, at least 1.
        generator: Source of randomness.

    Returns:
        ``x = (anchor, positive, negative)``, each ``[n_triplets, ...]``, and ``y [n_triplets]``: the anchor's class id.

    Raises:
        ValueError: If the pool has one class only, or a class has a single example.

    Example:
        >>> import torch
        >>> from metalearn import Pool, sample_triplets
        >>> pool = Pool(torch.tensor([0.0, 0.0, 1.0, 1.0]), torch.tensor([0, 0, 1, 1]))
        >>> (anchor, positive, negative), y = sample_triplets(pool, 8)
        >>> bool((anchor == positive).all()), bool((anchor == negative).any())
        (True, False)
    """
    if n_triplets < 1:
        raise ValueError(f"n_triplets must be at least 1, got {n_triplets}")
    *rows, y = _triplets(pool, n_triplets, generator)
    return Batch(tuple(pool.read(index, generator) for index in rows), y)


def _triplets(pool: Pool, n: int, generator: torch.Generator | None) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return rows of anchors, positives and negatives, and the anchors' class ids, each ``[n]``."""
    smallest = int(pool.class_sizes.argmin())
    if pool.n_classes < 2:
        raise ValueError(
            f"unequal pairs need at least 2 classes, the pool has {pool.n_classes}: {pool.class_names[0]!r}"
        )
    if pool.class_sizes[smallest] < 2:
        raise ValueError(
            f"equal pairs need at least 2 examples of each class, but class {pool.class_names[smallest]!r} has 1: keep"
            " the larger classes with pool.select(pool.class_sizes >= 2)"
        )
    device = _device(generator, pool)
    sizes, starts = pool.class_sizes.to(device), pool.class_starts.to(device)

    def below(high: Tensor | int) -> Tensor:
        return (torch.rand(n, generator=generator, device=device) * high).long()

    first = below(pool.n_classes)
    second = (first + 1 + below(pool.n_classes - 1)) % pool.n_classes
    anchor = below(sizes[first])
    positive = (anchor + 1 + below(sizes[first] - 1)) % sizes[first]
    rows = starts[first] + anchor, starts[first] + positive, starts[second] + below(sizes[second])
    return rows[0].to(pool.device), rows[1].to(pool.device), rows[2].to(pool.device), first.to(pool.device)


def _group_members(pool: Pool, groups: Sequence[str], n_way: int) -> Tensor:
    """Return which classes belong to which group ``[n_groups, n_classes]``, groups of fewer than n_way left out."""
    if len(groups) != pool.n_classes:
        raise ValueError(f"groups must name the group of each of {pool.n_classes} classes, got {len(groups)} names")
    member = torch.tensor([[group == own for own in groups] for group in dict.fromkeys(groups)])
    member = member[member.sum(1) >= n_way]
    if not len(member):
        raise ValueError(f"n_way={n_way} needs a group of as many classes, the largest has {_largest(groups)}")
    return member


def _largest(groups: Sequence[str]) -> int:
    return max(list(groups).count(group) for group in dict.fromkeys(groups))


def _check_sizes(pool: Pool, n_tasks: int, n_way: int, n_shot: int, n_query: int) -> None:
    for name, value in {"n_tasks": n_tasks, "n_way": n_way, "n_shot": n_shot, "n_query": n_query}.items():
        if value < 1:
            raise ValueError(f"{name} must be at least 1, got {value}")
    if n_way > pool.n_classes:
        raise ValueError(f"n_way={n_way} needs as many classes, the pool has {pool.n_classes}")
    smallest = int(pool.class_sizes.argmin())
    if n_shot + n_query > pool.class_sizes[smallest]:
        raise ValueError(
            f"n_shot + n_query = {n_shot + n_query} needs as many examples in every class, but class "
            f"{pool.class_names[smallest]!r} has {int(pool.class_sizes[smallest])}: draw fewer, or keep the larger "
            f"classes with pool.select(pool.class_sizes >= {n_shot + n_query})"
        )


def _device(generator: torch.Generator | None, pool: Pool) -> torch.device:
    return pool.device if generator is None else generator.device


def _shape(x: Tensor) -> list[int]:
    return list(x.shape)
