"""Pools: labelled examples of many classes, from which episodes are drawn."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Self

import numpy as np
import torch
from torch import Tensor

from metalearn._given import at_least_one, check_inputs, class_ids, dims
from metalearn._torch import tree_leaves, tree_map
from metalearn.episodes import Batch, Inputs
from metalearn.samplers import BatchSampler, EpisodeSampler, PairSampler, PictureSampler, TripletSampler
from metalearn.sampling import draws_on, generator_on

Transform = Callable[[Any, torch.Generator | None], Any]


class Pool:
    """Labelled examples of many classes, on one device, from which episodes are drawn.

    Examples are stored sorted by class and in the type they came in: uint8 images stay uint8 and become float in
    [0, 1] when they are drawn; floats and other integers (tokens) are drawn as they are. Class sizes may differ.

    Args:
        x: Examples ``[n, ...]`` as the network takes them, or a pytree of such tensors.
        y: Class of each example ``[n]``, any integers; class ids 0…n_classes-1 follow their order.
        class_names: One name per class id; by default the integers of ``y`` as text.
        transform: ``transform(x, generator) -> x``, applied to each drawn batch ``[n_drawn, ...]`` (augmentation);
            its generator lies on the device of ``x``.

    Raises:
        ValueError: If lengths differ, the pool is empty, labels are no integers, or float images hold levels 0 to 255.

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
        y: Tensor | Sequence[int],
        *,
        class_names: Sequence[str] | None = None,
        transform: Transform | None = None,
    ) -> None:
        labels = class_ids(y)
        check_inputs(x, labels)
        classes, ids = torch.unique(labels, return_inverse=True)
        if class_names is not None and len(class_names) != len(classes):
            raise ValueError(f"expected a name for each of {len(classes)} classes, got {len(class_names)} names")
        order = ids.argsort(stable=True)
        self.x: Inputs = tree_map(lambda leaf: leaf[order.to(leaf.device)], x)
        self.y: Tensor = ids[order].to(tree_leaves(x)[0].device)
        self.class_names = tuple(str(c) for c in (classes.tolist() if class_names is None else class_names))
        self.class_sizes = torch.bincount(ids).cpu()
        self.class_starts = self.class_sizes.cumsum(0) - self.class_sizes
        self.transform = transform

    @classmethod
    def from_arrays(cls, x: Any, y: Any, *, images: bool | None = None, transform: Transform | None = None) -> Self:
        """Build a pool from NumPy arrays or lists.

        Grey images ``[n, height, width]`` and colour images ``[n, height, width, 3]`` are stored channels first, as
        networks take them. Labels may be text or integers.

        Args:
            x: Examples ``[n, ...]``.
            y: Labels ``[n]``, text or integers.
            images: Whether the examples are images. ``None``: arrays of type uint8 are, others are not; three axes of
                floats may be either, so there it must be said.
            transform: As in :class:`Pool`.

        Raises:
            ValueError: If labels are neither text nor integers or do not match the examples, or floats of three axes
                come without ``images``.
        """
        x, y = torch.as_tensor(np.asarray(x)), np.asarray(y)
        if y.dtype.kind not in "iuU":
            raise ValueError(f"labels must be text or integers, got an array of type {y.dtype}")
        if images is None and x.is_floating_point() and x.ndim == 3:
            raise ValueError(
                f"float examples {dims(x)} may be grey images [n, height, width] or sequences [n, length, features]:"
                " say images=True or images=False"
            )
        if x.dtype == torch.uint8 if images is None else images:
            x = _channels_first(x)
        names, ids = np.unique(y, return_inverse=True)
        return cls(x, torch.as_tensor(ids.reshape(-1)), class_names=[str(name) for name in names], transform=transform)

    @classmethod
    def from_dataset(cls, dataset: Any, **options: Any) -> Self:
        """Build a pool from a map-style dataset of ``(image, label)`` pairs (torchvision's, or your own).

        Args:
            dataset: An object with ``len()`` and ``dataset[i] -> (example, label)``; the example is a PIL image, an
                array or a tensor, and all examples have one shape.
            **options: ``images`` and ``transform`` of :meth:`from_arrays`.

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
        shape = tree_map(lambda leaf: dims(leaf)[1:], self.x)
        return f"Pool({len(self)} examples {shape}, {self.n_classes} classes of {size})"

    def to(self, device: torch.device | str) -> Pool:
        """Return the pool with its examples on ``device``; draws then happen there."""
        moved = tree_map(lambda leaf: leaf.to(device), self.x)
        return self._like(moved, self.y.to(device), self.class_names)

    def select(self, classes: Sequence[int] | Tensor) -> Pool:
        """Return the pool of some classes.

        Args:
            classes: Different class ids, or a boolean mask over all classes ``[n_classes]``
                (``pool.class_sizes >= 20``); at least one class.

        Raises:
            ValueError: If a class is named twice or not there, or none is named.
        """
        wanted = torch.as_tensor(classes)
        if wanted.dtype == torch.bool and wanted.shape != self.class_sizes.shape:
            raise ValueError(f"expected a mask of {self.n_classes} classes, got one of shape {dims(wanted)}")
        ids = (wanted.nonzero() if wanted.dtype == torch.bool else wanted).flatten().sort().values
        found = ids.tolist()
        if not found or found[0] < 0 or found[-1] >= self.n_classes or len(set(found)) < len(found):
            got = f"{len(found)} from {found[0]} to {found[-1]}" if found else "none"
            raise ValueError(f"expected different class ids 0…{self.n_classes - 1}, at least one, got {got}")
        rows = torch.isin(self.y, ids.to(self.device))
        return self._like(tree_map(lambda leaf: leaf[rows], self.x), self.y[rows], [self.class_names[i] for i in found])

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
        order = torch.randperm(self.n_classes, generator=generator, device=generator.device if generator else None)
        first = min(max(1, round(fractions[0] * self.n_classes)), self.n_classes - 2)
        second = min(max(first + 1, round((fractions[0] + fractions[1]) * self.n_classes)), self.n_classes - 1)
        return Splits(self.select(order[:first]), self.select(order[first:second]), self.select(order[second:]))

    def sample_batch(self, batch_size: int, generator: torch.Generator | None = None) -> Batch:
        """Draw an ordinary labelled batch, with replacement.

        Returns:
            Examples ``[batch_size, ...]`` and class ids ``[batch_size]``.

        Raises:
            ValueError: If ``batch_size`` is no int, or below 1.
        """
        at_least_one(batch_size=batch_size)
        index = torch.randint(len(self), (batch_size,), generator=generator, device=draws_on(generator, self))
        index = index.to(self.device)
        return Batch(self.read(index, generator), self.y[index])

    def episodes(
        self, *, n_tasks: int, n_way: int, n_shot: int, n_query: int, groups: Sequence[str] | None = None
    ) -> EpisodeSampler:
        """Return a sampler of episodes, with the arguments of :func:`sample_episodes`; its sizes are checked now."""
        return EpisodeSampler(self, n_tasks, n_way, n_shot, n_query, groups)

    def batches(self, batch_size: int) -> BatchSampler:
        """Return a sampler of ordinary labelled batches, as :meth:`sample_batch` draws them."""
        return BatchSampler(self, batch_size)

    def pairs(self, n_pairs: int) -> PairSampler:
        """Return a sampler of pairs, as :func:`sample_pairs` draws them."""
        return PairSampler(self, n_pairs)

    def triplets(self, n_triplets: int) -> TripletSampler:
        """Return a sampler of triplets, as :func:`sample_triplets` draws them."""
        return TripletSampler(self, n_triplets)

    def pictures(self, *, n_tasks: int, n_shot: int, n_query: int, n_latent: int) -> PictureSampler:
        """Return a sampler of tasks of one class each, from noise to its examples, for learners that generate."""
        return PictureSampler(self, n_tasks, n_shot, n_query, n_latent)

    def read(self, index: Tensor, generator: torch.Generator | None = None) -> Inputs:
        """Return the examples at ``index`` (any shape), converted and transformed as drawing does."""
        rows = index.to(self.device).flatten()
        x = tree_map(lambda leaf: _convert(leaf.index_select(0, rows)), self.x)  # leaf[rows] is 15 times slower
        if self.transform is not None:
            x = self.transform(x, generator_on(self.device, generator))
        return tree_map(lambda leaf: leaf.reshape(*index.shape, *leaf.shape[1:]), x)

    def encoded(self, encode: Callable[[Inputs], Inputs], batch_size: int = 500) -> Pool:
        """Return the pool of features: each example encoded once, in order, without gradients.

        A transform is applied once to each example, always with the same random numbers.

        Args:
            encode: From inputs ``[n, ...]`` to features ``[n, ...]``, or a pytree of such; a network in evaluation
                mode, say.
            batch_size: Examples that are encoded together.

        Returns:
            A pool of the same classes and names, where ``encode`` leaves its features, without a transform.

        Raises:
            ValueError: If ``encode`` does not return one row for each example.
        """
        at_least_one(batch_size=batch_size)
        generator = torch.Generator(self.device).manual_seed(0)
        parts = []
        with torch.no_grad():
            for start in range(0, len(self), batch_size):
                index = torch.arange(start, min(start + batch_size, len(self)))
                parts.append(encode(self.read(index, generator)))
                got = [dims(leaf) for leaf in tree_leaves(parts[-1])]
                if any(shape[:1] != [len(index)] for shape in got):
                    raise ValueError(f"encode must return one row for each of {len(index)} examples, got shapes {got}")
        x = tree_map(lambda *leaves: torch.cat(leaves), *parts)
        return Pool(x, self.y, class_names=self.class_names)

    def _like(self, x: Inputs, y: Tensor, names: Sequence[str]) -> Pool:
        return Pool(x, y, class_names=names, transform=self.transform)


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


def _channels_first(x: Tensor) -> Tensor:
    if x.ndim == 3:
        return x.unsqueeze(1)  # [n, 1, height, width]
    if x.ndim == 4 and x.shape[-1] in (1, 3) and x.shape[1] not in (1, 3):
        return x.permute(0, 3, 1, 2).contiguous()  # [n, channels, height, width]
    return x


def _convert(x: Tensor) -> Tensor:
    return x.float().div_(255) if x.dtype == torch.uint8 else x
