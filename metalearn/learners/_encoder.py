"""What learners share that compare or classify in the space of an encoder's features."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Literal, get_args

from torch import Tensor, nn
from torch.nn import functional as F

from metalearn.episodes import Inputs
from metalearn.learners._base import Adapted, Learner, TaskLoss
from metalearn.learners._checks import floating

Distance = Literal["squared euclidean", "cosine"]


class EncoderLearner(Learner):
    """A learner with an encoder, from inputs ``[n, ...]`` to vectors ``[n, n_features]``."""

    def __init__(self, encoder: nn.Module, loss_fn: TaskLoss = F.cross_entropy) -> None:
        super().__init__(loss_fn)
        self.encoder = encoder

    @abstractmethod
    def predict(self, adapted: Adapted, x: Inputs) -> Tensor:
        """Predict inputs ``[n, ...]``: logits ``[n, n_way]``, or values ``[n, n_outputs]``."""

    def encode(self, adapted: Mapping[str, Tensor], x: Inputs) -> Tensor:
        """Return features ``[n, n_features]``, by the encoder's own tensors where ``adapted`` has none.

        Raises:
            ValueError: If the encoder returns no vectors.
        """
        features = self.run("encoder", adapted, x)
        if features.ndim != 2:
            raise ValueError(f"the encoder must return vectors [n, n_features], got {list(features.shape)}: flatten it")
        return floating(features)


def feature_size(encoder: nn.Module, n_features: int | None) -> int:
    """Return the size of an encoder's vectors: as given, or as the encoder says of itself."""
    known = getattr(encoder, "n_features", None) if n_features is None else n_features
    if not isinstance(known, int) or known < 1:
        raise ValueError(f"n_features is needed, since {type(encoder).__name__} does not name its own: n_features=...")
    return known


def known_distance(distance: Distance) -> Distance:
    """Return a distance by name, or say which there are."""
    if distance not in get_args(Distance):
        raise ValueError(f"distance must be one of {list(get_args(Distance))}, got {distance!r}")
    return distance


def nearness(features: Tensor, prototypes: Tensor, distance: Distance, temperature: float) -> Tensor:
    """Return logits ``[n, n_way]``: minus the squared distances to prototypes, or the cosines, over the temperature.

    Example:
        >>> import torch
        >>> from metalearn.learners._encoder import nearness
        >>> nearness(torch.tensor([[4.0]]), torch.tensor([[1.0], [5.0]]), "squared euclidean", 1.0)
        tensor([[-9., -1.]])
    """
    if distance == "cosine":
        return F.normalize(features, dim=1) @ F.normalize(prototypes, dim=1).T / temperature
    return -(features.unsqueeze(1) - prototypes).square().sum(-1) / temperature
