"""The classifier that a user meets: labels, threshold, file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from metalearn.deploy.calibration import check_pool, top_logits
from metalearn.deploy.files import learner_settings, read_file, rebuild, write_file
from metalearn.deploy.inputs import Form, as_batch, describe, described_form, example_form, read_inputs
from metalearn.deploy.predictor import Predictor
from metalearn.deploy.support import Label, prepare, read_support
from metalearn.episodes import Inputs, Pool
from metalearn.evaluation import Score
from metalearn.learners import Learner
from metalearn.runtime import default_seed, stream


class Classifier:
    """A learner that has adapted to a user's images and predicts one image, or many, by the user's own labels.

    :meth:`fit` and :meth:`load` make it. It holds a copy of the learner, which later training does not change. Several
    threads may use one classifier; they take turns.

    Attributes:
        class_names: The user's labels, sorted: the order of the columns of :meth:`predict_proba`.
        shots: Number of support examples of each class.

    Example:
        >>> import torch
        >>> from metalearn.deploy import Classifier
        >>> from metalearn.learners import Prototypical
        >>> from metalearn.networks import Conv4
        >>> dark, bright = torch.zeros(1, 28, 28), torch.ones(1, 28, 28)
        >>> classifier = Classifier.fit(Prototypical(Conv4(norm="none")), [dark, bright], ["night", "day"])
        >>> classifier.predict(dark), classifier.predict([bright, dark])
        ('night', ['day', 'night'])
        >>> classifier
        Classifier(Prototypical, 2 classes of examples [1, 28, 28], threshold=None)
    """

    class_names: tuple[Label, ...]
    shots: tuple[int, ...]
    _predictor: Predictor
    _form: Form  # of one example
    _threshold: float | None = None
    _known: Tensor | None = None  # top logits [n] of held-out examples whose class was in the support, rising

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
            images: Support ``[n, channels, height, width]``, ``[n, height, width]`` (grey), ``[n, n_features]``, or
                integer tokens ``[n, length]``; a list of such, or of PIL images of mode ``"L"`` or ``"RGB"``; a tuple
                or dictionary of tensors for a network that takes one, such as ``(tokens, mask)``. uint8 is scaled to
                [0, 1], as pools do; floats are taken as they are and must have the scale of training.
            labels: A label for each image, all text or all integers, of at least two classes.
            threshold: See :attr:`threshold`.

        Raises:
            ValueError: If images, labels, learner or threshold do not fit; the message says what to do.
        """
        x, y, names = read_support(images, labels)
        predictor = Predictor.fit(learner, x, y, len(names))
        shots = tuple(torch.bincount(y).tolist())
        return cls._of(threshold, _predictor=predictor, _form=example_form(x), class_names=names, shots=shots)

    @classmethod
    def _of(cls, threshold: float | None, **parts: Any) -> Self:
        self = cls.__new__(cls)
        vars(self).update(parts)
        self.threshold = threshold
        return self

    @property
    def learner(self) -> Learner:
        """The learner, in ``eval`` mode; not for use while another thread predicts."""
        return self._predictor.learner

    @property
    def adapted(self) -> Any:
        """What ``learner.adapt`` made of the support set."""
        return self._predictor.adapted

    @property
    def input_shape(self) -> Any:
        """Shape of one example, such as ``(channels, height, width)``; for a tuple or dictionary, one of shapes."""
        return tree_map(lambda leaf: leaf.shape, self._form)

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
        """
        x, single = self._read(images)
        with self._predictor.lock:  # calibrate changes both what is measured and the threshold
            logits = self._predictor.logits(x)
            confidence, least = self._confidence(logits), self._threshold or 0.0
        best = zip(logits.argmax(1).tolist(), confidence.tolist(), strict=True)
        names = [self.class_names[i] if sure >= least else None for i, sure in best]
        return names[0] if single else names

    def predict_proba(self, images: Any) -> Tensor:
        """Return probabilities ``[n, n_classes]``, the softmax of the logits; they know of no "none of these"."""
        return self._predictor.logits(self._read(images)[0]).softmax(1).cpu()

    def confidence(self, images: Any) -> Tensor:
        """Return what :attr:`threshold` is compared with, a number in [0, 1] for each image ``[n]``.

        Before :meth:`calibrate` it is the top probability. After it, it is the share of the held-out images of known
        classes whose top logit was no higher. The top logit tells more: a softmax is relative, so an image that is far
        from all classes still has a top probability near 1 if it is a little less far from one of them.

        Reference:
            Hendrycks et al.: Scaling Out-of-Distribution Detection for Real-World Settings, 2019, arXiv 1911.11132;
            Vaze, Han, Vedaldi, Zisserman: Open-Set Recognition: a Good Closed-Set Classifier is All You Need?, 2021,
            arXiv 2110.06207.
        """
        x = self._read(images)[0]
        with self._predictor.lock:
            return self._confidence(self._predictor.logits(x))

    def calibrate(
        self, pool: Pool, accept: float = 0.95, *, n_tasks: int = 200, n_query: int = 5, seed: int | None = None
    ) -> Score:
        """Set the threshold that accepts a wanted share of the images that do belong, measured on held-out classes.

        Each drawn task is like the user's (as many classes, as many images in each), and half of its queries are of
        further classes where the pool has as many.

        Args:
            pool: Images of classes that neither the learner nor the user's support set has seen.
            accept: Share in (0, 1) of the queries of known classes that is to be accepted.
            n_tasks: Number of tasks, at least 2.
            n_query: Queries of each class.
            seed: Seed of the draws; ``None``: :func:`metalearn.runtime.default_seed`.

        Returns:
            The share of the queries of unknown classes that the threshold rejects, with its interval over tasks.

        Raises:
            ValueError: If the pool has too few classes or images, images of another shape, or classes of the user's.
        """
        if not 0 < accept < 1 or n_tasks < 2:
            raise ValueError(f"expected accept in (0, 1) and n_tasks of at least 2, got {accept} and {n_tasks}")
        check_pool(pool, self.class_names)
        generator = stream(default_seed() if seed is None else seed, "calibration")
        with self._predictor.lock:
            draw = (self.learner, pool, self._form, self.shots, n_query, generator)
            draws = [top_logits(*draw) for _ in range(n_tasks)]
            self._known = torch.cat([known for known, _ in draws]).sort().values
            self.threshold = 1 - accept
        rejected = [(rank(self._known, unknown) < 1 - accept).double().mean() for _, unknown in draws]
        return Score.of(torch.stack(rejected))

    def save(self, path: str | Path) -> None:
        """Write everything to one safetensors file, whole or not at all.

        Args:
            path: Where to write; its folder is made where it is missing.

        Raises:
            ValueError: If the learner's class or a setting of it cannot be told by name and numbers.
            OSError: If the file cannot be written; an earlier one stays as it was.
        """
        with self._predictor.lock:
            own = {name: getattr(self, name) for name in ("class_names", "shots", "threshold")}
            settings = {**own, "form": describe(self._form), **learner_settings(self.learner)}
            state = {f"learner.{name}": tensor for name, tensor in self.learner.state_dict().items()}
            state |= {f"adapted.{name}": tensor for name, tensor in self.adapted.items()}
            state |= {} if self._known is None else {"known": self._known}
            write_file(Path(path), settings, state)

    @classmethod
    def load(
        cls,
        path: str | Path,
        model: nn.Module | Mapping[str, nn.Module] | None = None,
        *,
        learner: Learner | type[Learner] | None = None,
    ) -> Self:
        """Read a saved classifier, onto the CPU. No code that a file might hold is run, no module imported.

        Args:
            path: A file that :meth:`save` wrote.
            model: The network, where it is a module of your own: a copy of it gets the weights of the file. For a
                learner with several networks, a mapping from the argument's name to the network. The package's
                networks are built from the file.
            learner: The class of a learner of your own, or a learner like the saved one, of which a copy gets the
                weights; not needed where the module that defines it was imported.

        Raises:
            ValueError: If the file is cut, edited, of another version or not of a classifier, or does not fit.
        """
        settings, state = read_file(Path(path))
        weights, adapted = (
            {name.removeprefix(part): tensor for name, tensor in state.items() if name.startswith(part)}
            for part in ("learner.", "adapted.")
        )
        predictor = Predictor(prepare(rebuild(settings, weights, model, learner)), adapted)
        parts = {name: tuple(settings[name]) for name in ("class_names", "shots")}
        parts |= {"_predictor": predictor, "_form": described_form(settings["form"]), "_known": state.get("known")}
        return cls._of(settings["threshold"], **parts)

    def to(self, device: torch.device | str) -> Self:
        """Move the classifier to a device and return it; images follow it there."""
        self._predictor.to(device)
        return self

    def __repr__(self) -> str:
        """Show what it is made of."""
        kind, n = type(self.learner).__name__, len(self.class_names)
        return f"Classifier({kind}, {n} classes of examples {self._form}, threshold={self.threshold})"

    def __getstate__(self) -> dict[str, Any]:
        """Return the parts for a copy, as they are while nobody calibrates."""
        with self._predictor.lock:
            return dict(vars(self))

    def _read(self, images: Any) -> tuple[Inputs, bool]:
        return as_batch(read_inputs(images), self._form)

    def _confidence(self, logits: Tensor) -> Tensor:
        return (logits.softmax(1) if self._known is None else rank(self._known, logits)).amax(1).cpu()
