"""What a classifier answers: labels, probabilities, and how sure it is."""

from __future__ import annotations

from typing import Any, Self

import torch
from torch import Tensor

from metalearn._torch import tree_map
from metalearn.deploy.calibration import rank
from metalearn.deploy.inputs import Form, as_batch, read_inputs
from metalearn.deploy.predictor import Predictor
from metalearn.deploy.support import Label
from metalearn.episodes import Inputs
from metalearn.learners import Learner


class Answers:
    """Predictions by a user's own labels; :class:`metalearn.deploy.Classifier` says how they are come by."""

    class_names: tuple[Label, ...]
    shots: tuple[int, ...]
    _predictor: Predictor
    _form: Form  # of one example
    _threshold: float | None = None
    _known: Tensor | None = None  # top logits [n] of held-out examples whose class was in the support, rising

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
            An image whose logits are NaN, since the network overflows on it, gets ``None`` at any threshold.

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
