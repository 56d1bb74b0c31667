"""A trained learner and a few labelled images make a classifier: predict one image, say "none of these", save, load."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from metalearn._saved import read_file, rebuild, write_file
from metalearn._support import Label, check_answers, check_outputs, like, prepare, read_images, read_support
from metalearn.episodes import Pool, sample_episodes
from metalearn.evaluation import Score
from metalearn.learners import Learner
from metalearn.learners._settings import settings_of


class Classifier:
    """A learner that has adapted to a user's images and predicts one image, or many, by the user's own labels.

    :meth:`fit` and :meth:`load` make it. It holds a copy of the learner, which later training does not change.

    Attributes:
        learner: The learner, in ``eval`` mode.
        adapted: What ``learner.adapt`` made of the support images.
        class_names: The user's labels, sorted: the order of the columns of :meth:`predict_proba`.
        image_shape: Shape of one image, ``(channels, height, width)``, or of one vector, ``(n_features,)``.
        shots: Number of support images of each class.

    Example:
        >>> import torch
        >>> from metalearn.deploy import Classifier
        >>> from metalearn.learners import Prototypical
        >>> from metalearn.networks import Conv4
        >>> dark, bright = torch.zeros(1, 28, 28), torch.ones(1, 28, 28)
        >>> classifier = Classifier.fit(Prototypical(Conv4(norm="none")), [dark, bright], ["night", "day"])
        >>> classifier.predict(dark), classifier.predict([bright, dark])
        ('night', ['day', 'night'])
    """

    learner: Learner
    adapted: Any
    class_names: tuple[Label, ...]
    image_shape: tuple[int, ...]
    shots: tuple[int, ...]
    _threshold: float | None = None
    _known: Tensor | None = None  # top logits [n] of held-out images whose class was in the support, rising

    def __init__(self, *arguments: object, **named: object) -> None:
        raise ValueError(
            "a classifier cannot predict before it has seen a support set: make it with"
            " Classifier.fit(learner, images, labels) or Classifier.load(path)"
        )

    @classmethod
    def fit(cls, learner: Learner, images: Any, labels: Sequence[Label], *, threshold: float | None = None) -> Self:
        """Let a trained learner adapt to labelled images, once, in ``eval`` mode; the learner is left as it is.

        Args:
            learner: A trained learner whose norm policy is not ``"batch"``.
            images: Support ``[n, channels, height, width]``, ``[n, height, width]`` (grey) or ``[n, n_features]``; or
                a list of PIL images of mode ``"L"`` or ``"RGB"``. uint8 is scaled to [0, 1], as pools do; floats are
                taken as they are and must have the scale of training.
            labels: A label for each image, all text or all integers, of at least two classes.
            threshold: See :attr:`threshold`.

        Raises:
            ValueError: If images, labels, learner or threshold do not fit; the message says what to do.

        Example:
            >>> import torch
            >>> from metalearn.deploy import Classifier
            >>> from metalearn.learners import Prototypical
            >>> Classifier.fit(Prototypical(torch.nn.Identity()), torch.eye(3), ["x", "y", "y"])
            Classifier(Prototypical, 2 classes, image_shape=(3,), threshold=None)
        """
        learner = prepare(copy.deepcopy(learner))
        x, y, names = read_support(images, labels)
        x, y = x.to(like(learner)), y.to(like(learner).device)
        with torch.no_grad():
            check_outputs(learner, x, len(names))
            adapted = learner.adapt(x, y, n_way=len(names))
            check_answers(learner.predict(adapted, x), learner.predict(adapted, x[:1]))
        shape, shots = tuple(x.shape[1:]), tuple(torch.bincount(y).tolist())
        return cls._of(threshold, learner=learner, adapted=adapted, class_names=names, image_shape=shape, shots=shots)

    @classmethod
    def _of(cls, threshold: float | None, **parts: Any) -> Self:
        self = cls.__new__(cls)
        vars(self).update(parts)
        self.threshold = threshold
        return self

    @property
    def threshold(self) -> float | None:
        """Least :meth:`confidence`, in (0, 1), at which :meth:`predict` names a class; ``None``: it always does."""
        return self._threshold

    @threshold.setter
    def threshold(self, value: float | None) -> None:
        if value is not None and not 0 < value < 1:
            raise ValueError(
                f"threshold must lie between 0 and 1, both excluded, or be None to accept all, got {value}"
            )
        self._threshold = value

    def predict(self, images: Any) -> Label | list[Label | None] | None:
        """Name the class of one image, or of each image of a batch; ``None`` stands for "none of these".

        Args:
            images: One image ``[channels, height, width]`` or ``[height, width]`` (grey), a batch
                ``[n, channels, height, width]``, or a list; of the types that :meth:`fit` takes.

        Returns:
            A label for one image, a list of labels for a batch. A batch gives the answers that its images get alone.

        Raises:
            ValueError: If the images differ from the support's in shape, or hold NaN.

        Example:
            >>> import torch
            >>> from metalearn.deploy import Classifier
            >>> from metalearn.learners import Prototypical
            >>> classifier = Classifier.fit(Prototypical(torch.nn.Identity()), torch.eye(2), ["x", "y"], threshold=0.7)
            >>> classifier.predict(torch.tensor([[2.0, 0.0], [0.5, 0.5]]))
            ['x', None]
        """
        x, single = self._read(images)
        logits = self._logits(x)
        sure = [self._threshold is None or c >= self._threshold for c in self._confidence(logits).tolist()]
        names = [self.class_names[i] if s else None for i, s in zip(logits.argmax(1).tolist(), sure, strict=True)]
        return names[0] if single else names

    def predict_proba(self, images: Any) -> Tensor:
        """Return probabilities ``[n, n_classes]``, the softmax of the logits; they know of no "none of these".

        Example:
            >>> import torch
            >>> from metalearn.deploy import Classifier
            >>> from metalearn.learners import Prototypical
            >>> classifier = Classifier.fit(Prototypical(torch.nn.Identity()), torch.eye(2), ["x", "y"])
            >>> classifier.predict_proba(torch.tensor([0.5, 0.5]))
            tensor([[0.5000, 0.5000]])
        """
        return self._logits(self._read(images)[0]).softmax(1).cpu()

    def confidence(self, images: Any) -> Tensor:
        """Return what :attr:`threshold` is compared with, a number in [0, 1] for each image ``[n]``.

        Before :meth:`calibrate` it is the top probability. After it, it is the share of the held-out images of known
        classes whose top logit was no higher. The top logit tells more: a softmax is relative, so an image that is far
        from all classes still has a top probability near 1 if it is a little less far from one of them.

        Reference:
            Hendrycks et al.: Scaling Out-of-Distribution Detection for Real-World Settings, 2019, arXiv 1911.11132;
            Vaze, Han, Vedaldi, Zisserman: Open-Set Recognition: a Good Closed-Set Classifier is All You Need?, 2021,
            arXiv 2110.06207.

        Example:
            >>> import torch
            >>> from metalearn.deploy import Classifier
            >>> from metalearn.learners import Prototypical
            >>> classifier = Classifier.fit(Prototypical(torch.nn.Identity()), torch.eye(2), ["x", "y"])
            >>> classifier.confidence(torch.tensor([0.5, 0.5]))
            tensor([0.5000])
        """
        return self._confidence(self._logits(self._read(images)[0]))

    def calibrate(
        self, pool: Pool, accept: float = 0.95, *, n_tasks: int = 200, n_query: int = 5, seed: int = 0
    ) -> Score:
        """Set the threshold that accepts a wanted share of the images that do belong, measured on held-out classes.

        Each drawn task is like the user's (as many classes, as many images in each), and half of its queries are of
        further classes where the pool has as many.

        Args:
            pool: Images of classes that neither the learner nor the user's support set has seen.
            accept: Share in (0, 1) of the queries of known classes that is to be accepted.
            n_tasks: Number of tasks, at least 2.
            n_query: Queries of each class.
            seed: Seed of the draws.

        Returns:
            The share of the queries of unknown classes that the threshold rejects, with its interval over tasks.

        Raises:
            ValueError: If the pool has too few classes or images, images of another shape, or classes of the user's.

        Example:
            >>> import torch
            >>> from metalearn import Pool
            >>> from metalearn.deploy import Classifier
            >>> from metalearn.learners import Prototypical
            >>> classifier = Classifier.fit(Prototypical(torch.nn.Identity()), torch.eye(2), ["x", "y"])
            >>> y = torch.arange(200) // 10  # 20 classes, far apart
            >>> print(classifier.calibrate(Pool(torch.stack([y, y % 7], 1) + 0.1 * torch.rand(200, 2), y)))
            1.000 ± 0.000 (200 tasks)
        """
        self._check_pool(pool, accept, n_tasks)
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            draws = [self._draw(pool, n_query, generator) for _ in range(n_tasks)]
        self._known = torch.cat([known for known, _ in draws]).sort().values
        self.threshold = 1 - accept
        rejected = [(self._rank(unknown) < self.threshold).double().mean() for _, unknown in draws]
        return Score.of(torch.stack(rejected))

    def save(self, path: str | Path) -> None:
        """Write everything to one safetensors file, whole or not at all.

        Args:
            path: Where to write; its folder is made where it is missing.

        Raises:
            ValueError: If the learner is none of the package's, or a setting of it is no number.
            OSError: If the file cannot be written; an earlier one stays as it was.

        Example:
            >>> import tempfile, torch
            >>> from pathlib import Path
            >>> from metalearn.deploy import Classifier
            >>> from metalearn.learners import Prototypical
            >>> from metalearn.networks import MLP
            >>> classifier = Classifier.fit(Prototypical(MLP([2, 8])), torch.eye(2), ["x", "y"])
            >>> with tempfile.TemporaryDirectory() as folder:
            ...     classifier.save(Path(folder, "xy.safetensors"))
            ...     Classifier.load(Path(folder, "xy.safetensors")).predict(torch.tensor([1.0, 0.0]))
            'x'
        """
        settings = settings_of(self.learner)
        state = {f"learner.{name}": tensor for name, tensor in self.learner.state_dict().items()}
        state |= {f"adapted.{name}": tensor for name, tensor in self.adapted.items()}
        state |= {} if self._known is None else {"known": self._known}
        own = {name: getattr(self, name) for name in ("class_names", "image_shape", "shots", "threshold")}
        write_file(Path(path), {**own, **settings}, state)

    @classmethod
    def load(cls, path: str | Path, model: nn.Module | Mapping[str, nn.Module] | None = None) -> Self:
        """Read a saved classifier, onto the CPU. No code that a file might hold is run.

        Args:
            path: A file that :meth:`save` wrote.
            model: The network, where it is a module of your own: it gets the weights of the file and stays in ``eval``
                mode without gradients. For a learner with several networks, a mapping from the argument's name to the
                network. The package's networks are built from the file.

        Raises:
            ValueError: If the file is cut, of another version or not of a classifier, or the model does not fit it.

        Example:
            >>> from metalearn.deploy import Classifier
            >>> Classifier.load("mine.safetensors", model=torchvision.models.resnet18())  # doctest: +SKIP
        """
        settings, state = read_file(Path(path))
        learner = prepare(rebuild(settings, state, model, path))
        adapted = {name[8:]: tensor for name, tensor in state.items() if name.startswith("adapted.")}
        own = {name: tuple(settings[name]) for name in ("class_names", "image_shape", "shots")}
        return cls._of(settings["threshold"], learner=learner, adapted=adapted, _known=state.get("known"), **own)

    def to(self, device: torch.device | str) -> Self:
        """Move the classifier to a device and return it; images follow it there.

        Example:
            >>> from metalearn.deploy import Classifier
            >>> Classifier.load("mine.safetensors").to("cuda")  # doctest: +SKIP
        """
        self.learner.to(device)
        self.adapted = tree_map(lambda tensor: tensor.to(device), self.adapted)
        return self

    def __repr__(self) -> str:
        """Show what it is made of."""
        kind, n = type(self.learner).__name__, len(self.class_names)
        return f"Classifier({kind}, {n} classes, image_shape={self.image_shape}, threshold={self.threshold})"

    def _read(self, images: Any) -> tuple[Tensor, bool]:
        x = read_images(images)
        single = tuple(x.shape) == self.image_shape or (1, *x.shape) == self.image_shape
        x = x.reshape(1, *self.image_shape) if single else x
        if tuple(x.shape[1:]) != self.image_shape:
            raise ValueError(
                f"expected one image {list(self.image_shape)} ([channels, height, width]), as in the support set, or a"
                f" batch [n, ...] of such, got shape {list(x.shape)}: prepare images by the function that prepared the"
                " support images (size, grey or colour, channels first)"
            )
        return x.to(like(self.learner)), single

    @torch.no_grad()
    def _logits(self, x: Tensor) -> Tensor:
        return self.learner.predict(self.adapted, x)

    def _confidence(self, logits: Tensor) -> Tensor:
        return (logits.softmax(1) if self._known is None else self._rank(logits)).amax(1).cpu()

    def _rank(self, top: Tensor) -> Tensor:
        assert self._known is not None
        return torch.searchsorted(self._known, top.contiguous().cpu(), right=True).double() / len(self._known)

    def _draw(self, pool: Pool, n_query: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Return the top logits of one task's queries of known and of unknown classes."""
        n_way = len(self.shots)
        task = sample_episodes(pool, 1, min(2 * n_way, pool.n_classes), max(self.shots), n_query, generator)[0]
        of_class = [(task.support_y == label).nonzero().flatten() for label in range(n_way)]
        rows = torch.cat([row[:n_shot] for row, n_shot in zip(of_class, self.shots, strict=True)])
        goal = like(self.learner)
        y = task.support_y[rows].to(goal.device)
        adapted = self.learner.adapt(task.support_x[rows].to(goal), y, n_way=n_way)
        top = self.learner.predict(adapted, task.query_x.to(goal)).amax(1).cpu()
        known = task.query_y.cpu() < n_way
        return top[known], top[~known]

    def _check_pool(self, pool: Pool, accept: float, n_tasks: int) -> None:
        if not 0 < accept < 1 or n_tasks < 2:
            raise ValueError(f"expected accept in (0, 1) and n_tasks of at least 2, got {accept} and {n_tasks}")
        shared = sorted({name for name in self.class_names if isinstance(name, str)} & set(pool.class_names))
        if shared:
            raise ValueError(f"the pool must hold other classes than the support set, but both have {shared[:3]}")
        if pool.n_classes <= len(self.shots):
            raise ValueError(
                f"tasks of {len(self.shots)} classes with unknown ones beside them need a pool of at least"
                f" {len(self.shots) + 1} classes, got {pool.n_classes}: hold out more classes, or set threshold by hand"
            )
        if tuple(pool.x.shape[1:]) != self.image_shape:
            shape = list(pool.x.shape[1:])
            raise ValueError(f"the pool must hold images {list(self.image_shape)}, as the support set, got {shape}")
