"""A learner and what it adapted to, safe to use from several threads."""

from __future__ import annotations

import copy
from threading import RLock
from typing import Any

import torch
from torch import Tensor

from metalearn._torch import tree_map
from metalearn.deploy.support import check_answers, check_loss, check_outputs, like, prepare
from metalearn.episodes import Inputs
from metalearn.learners import Learner


class Predictor:
    """A learner of its own, in ``eval`` mode, and its ``adapted``; one thread at a time uses them.

    To predict with adapted weights torch puts them into the network and takes them out again. A second thread would
    find the first one's weights, and might put them back for good. So whoever uses the learner holds :attr:`lock`, for
    the whole use. A copy has a learner and a lock of its own.

    Attributes:
        learner: The learner; nobody else has it.
        adapted: What ``learner.adapt`` made of the support set.
        lock: A lock that its holder may take again.
    """

    def __init__(self, learner: Learner, adapted: Any) -> None:
        self.learner, self.adapted, self.lock = learner, adapted, RLock()

    @classmethod
    def fit(cls, learner: Learner, x: Inputs, y: Tensor, n_way: int) -> Predictor:
        """Let a copy of a learner adapt to a support set ``x`` ``[n, ...]``, ``y`` ``[n]``.

        Raises:
            ValueError: If the learner does not fit the support set, or a classifier.
        """
        learner = prepare(copy.deepcopy(learner))
        x, y = like(learner, x), y.to(like(learner, torch.empty(0)).device)
        check_loss(learner, y, n_way)
        with torch.no_grad():
            check_outputs(learner, x, y, n_way)
            adapted = tree_map(torch.detach, learner.adapt(x, y, n_way=n_way))
            alone = learner.predict(adapted, tree_map(lambda leaf: leaf[:1], x))
            check_answers(adapted, learner.predict(adapted, x), alone)
        return cls(learner, adapted)

    def logits(self, x: Inputs) -> Tensor:
        """Return the logits ``[n, n_way]`` of a batch."""
        with self.lock, torch.no_grad():
            return self.learner.predict(self.adapted, like(self.learner, x))

    def to(self, device: torch.device | str) -> None:
        """Move learner and ``adapted``."""
        with self.lock:
            self.learner.to(device)
            self.adapted = tree_map(lambda tensor: tensor.to(device), self.adapted)

    def __getstate__(self) -> dict[str, Any]:
        """Return what a copy or a pickle gets: copies of all but the lock, taken while nobody uses the learner."""
        with self.lock:
            return copy.deepcopy({"learner": self.learner, "adapted": self.adapted})

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take the parts of another, and a new lock."""
        vars(self).update(state, lock=RLock())
