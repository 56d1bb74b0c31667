"""Raw inputs and the nearest class mean: the baseline that learns nothing."""

from __future__ import annotations

from torch import Tensor

from metalearn.episodes import Inputs
from metalearn.learners._base import Adapted, Learner
from metalearn.learners._checks import class_means


class Pixels(Learner):
    """Classify raw inputs by the nearest class mean; with one example of each class, by the nearest neighbour.

    It has no parameters: ``evaluate`` takes it as it is, and ``fit`` has nothing to train.

    Taught in:
        Learning to learn.

    Example:
        >>> import torch
        >>> from metalearn.learners import Pixels
        >>> learner = Pixels()
        >>> adapted = learner.adapt(torch.tensor([[0.0], [2.0], [5.0]]), torch.tensor([0, 0, 1]))
        >>> learner.predict(adapted, torch.tensor([[4.0]]))
        tensor([[-9., -1.]])
    """

    def adapt(
        self, support_x: Inputs, support_y: Tensor, *, n_way: int | None = None, n_steps: int | None = None
    ) -> Adapted:
        """Return the class means of one support set, ``"prototypes"`` ``[n_way, n_pixels]``."""
        self._steps(n_steps)
        return {"prototypes": class_means(support_x.flatten(1), support_y, n_way)}

    def predict(self, adapted: Adapted, x: Inputs) -> Tensor:
        """Return minus the squared distances to the class means ``[n, n_way]``."""
        distances: Tensor = (x.flatten(1).unsqueeze(1) - adapted["prototypes"]).square().sum(-1)
        return -distances
