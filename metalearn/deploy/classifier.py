"""The classifier that a user meets: how it is made, calibrated and kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import torch
from torch import nn

from metalearn.deploy.answers import Answers
from metalearn.deploy.calibration import check_pool, rank, top_logits
from metalearn.deploy.files import learner_settings, read_file, rebuild, write_file
from metalearn.deploy.inputs import describe, described_form, example_form
from metalearn.deploy.predictor import Predictor
from metalearn.deploy.support import Label, prepare, read_support
from metalearn.evaluation import Score
from metalearn.learners import Learner
from metalearn.pools import Pool
from metalearn.runtime import default_seed, stream


class Classifier(Answers):
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
        form, own = described_form(settings["form"]), {key: tuple(settings[key]) for key in ("class_names", "shots")}
        return cls._of(settings["threshold"], _predictor=predictor, _form=form, _known=state.get("known"), **own)
