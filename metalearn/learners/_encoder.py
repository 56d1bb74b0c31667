"""What learners share that compare or classify in the space of an encoder's features."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from metalearn.episodes import Inputs
from metalearn.learners._base import Learner, TaskLoss
from metalearn.networks import support_statistics


class EncoderLearner(Learner):
    """A learner with an encoder.

    What it keeps of a support set is a flat dictionary, in which tensors of the encoder have names that begin with
    ``"encoder."``.
    """

    def __init__(self, encoder: nn.Module, loss_fn: TaskLoss = F.cross_entropy) -> None:
        super().__init__(loss_fn)
        self.encoder = encoder

    def _refuse_steps(self, n_steps: int | None) -> None:
        if n_steps is not None:
            raise ValueError(f"{type(self).__name__} takes no inner steps, got n_steps={n_steps}: leave it out")

    def _statistics(self, params: Mapping[str, Tensor], support_x: Inputs) -> dict[str, Tensor]:
        """Return what ``"support"`` layers measure at the encoder's weights, by the names of ``adapted``."""
        measured = support_statistics(self.encoder, params, support_x)
        return {f"encoder.{name}": tensor for name, tensor in measured.items()}

    def _read_support(self, support_x: Inputs) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the features of a support set ``[n_support, n_features]`` and the statistics to go with them."""
        statistics = self._statistics(dict(self.encoder.named_parameters()), support_x)
        return self._encode(statistics, support_x), statistics

    def _encode(self, adapted: Mapping[str, Tensor], x: Inputs) -> Tensor:
        """Return features ``[n, n_features]``, by the encoder's own tensors where ``adapted`` has none."""
        own = {name[8:]: tensor for name, tensor in adapted.items() if name.startswith("encoder.")}
        features: Tensor = functional_call(self.encoder, own, (x,))
        if features.ndim != 2:
            raise ValueError(f"the encoder must return vectors [n, n_features], got {list(features.shape)}: flatten it")
        return features


def feature_size(encoder: nn.Module, n_features: int | None) -> int:
    """Return the size of an encoder's vectors: as given, or as the encoder says of itself."""
    known = getattr(encoder, "n_features", None) if n_features is None else n_features
    if not isinstance(known, int) or known < 1:
        raise ValueError(f"n_features is needed, since {type(encoder).__name__} does not name its own: n_features=...")
    return known
