"""What learners share that compare or classify in the space of an encoder's features."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping

from torch import Tensor, nn
from torch.nn import functional as F

from metalearn.episodes import Inputs
from metalearn.learners._base import Adapted, Learner, TaskLoss


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
        return features


def feature_size(encoder: nn.Module, n_features: int | None) -> int:
    """Return the size of an encoder's vectors: as given, or as the encoder says of itself."""
    known = getattr(encoder, "n_features", None) if n_features is None else n_features
    if not isinstance(known, int) or known < 1:
        raise ValueError(f"n_features is needed, since {type(encoder).__name__} does not name its own: n_features=...")
    return known
