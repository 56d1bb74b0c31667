"""The protocol that all learners share: adapt to a support set, predict queries."""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from metalearn.episodes import Batch, Episode, Inputs
from metalearn.learners._checks import check_values, refuse_running_statistics, running_norms, unchanged
from metalearn.networks import BatchStatistics, measured_on_support, set_statistics
from metalearn.vectorize import How, over_tasks, pick_how

Adapted = dict[str, Tensor]
TaskLoss = Callable[[Tensor, Tensor], Tensor]


class Learner(nn.Module, ABC):
    """A learner turns a support set into a predictor; its own parameters are the meta-parameters.

    A subclass defines :meth:`adapt` and :meth:`predict` for one task. Both are pure: they set no attribute, write no
    buffer and change no argument. Tasks are batched outside, by :func:`metalearn.over_tasks`.

    What ``adapt`` returns is a flat dictionary of tensors. A key that is a name in ``state_dict()``, such as
    ``"encoder.0.weight"``, replaces that tensor for the task (:meth:`run` runs a network so); other keys are the
    method's own, such as ``"prototypes"``.

    A run swaps tensors in place for its duration, so that one learner must not be used by several threads at once;
    :class:`metalearn.deploy.Classifier` may be.

    Args:
        loss_fn: Task loss ``loss_fn(prediction, target) -> scalar``; cross-entropy by default, ``F.mse_loss`` for
            regression.

    Attributes:
        how: How tasks of a batch are run, as in :func:`metalearn.over_tasks`.
        chunk_size: Tasks whose graphs are in memory at once in :meth:`backward`; ``None``: one in a loop, all in vmap.
        n_inner_steps: Number of inner steps as trained; ``None``: the method has none.
        continues: Whether :meth:`adapt` takes ``start=``, an earlier result to go on from.
        plays: Whether tasks are played, so that :func:`metalearn.evaluate` scores by :meth:`returns`.
        registry: Every learner class that was imported, by its name.
        revision: Raised when a change of the class moves the numbers that it gives.

    Raises:
        ValueError: If a network has BatchNorm layers in ``train`` mode with running statistics, which a pure ``adapt``
            must not write. In ``eval`` mode they stay in it.

    Example:
        >>> import torch
        >>> from metalearn.learners import Learner
        >>> class MeanOfSupport(Learner):
        ...     def adapt(self, support_x, support_y, *, n_way=None, n_steps=None):
        ...         return {"mean": support_y.mean(0)}
        ...     def predict(self, adapted, x):
        ...         return adapted["mean"].expand(len(x), -1)
        >>> learner = MeanOfSupport(torch.nn.functional.mse_loss)
        >>> adapted = learner.adapt(torch.zeros(2, 1), torch.tensor([[1.0], [3.0]]))
        >>> learner.predict(adapted, torch.zeros(1, 1))
        tensor([[2.]])
    """

    registry: ClassVar[dict[str, type[Learner]]] = {}
    revision: ClassVar[int] = 1
    continues: ClassVar[bool] = False
    plays: ClassVar[bool] = False
    steps_on: ClassVar[str | None] = None  # the child whose weights inner steps move
    n_inner_steps: int | None = None

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if not inspect.isabstract(cls):
            Learner.registry[cls.__name__] = cls

    def __init__(self, loss_fn: TaskLoss = F.cross_entropy) -> None:
        super().__init__()
        self.loss_fn = loss_fn
        self.how: How = "auto"
        self.chunk_size: int | None = None

    def __setattr__(self, name: str, value: Any) -> None:
        """Set an attribute; a network with running statistics is refused."""
        if isinstance(value, nn.Module):
            refuse_running_statistics(name, value)
        super().__setattr__(name, value)

    @abstractmethod
    def adapt(
        self, support_x: Inputs, support_y: Tensor, *, n_way: int | None = None, n_steps: int | None = None
    ) -> Adapted:
        """Turn one support set into whatever :meth:`predict` needs.

        Args:
            support_x: Inputs ``[n_support, ...]``.
            support_y: Labels 0…n_way-1 ``[n_support]``, or targets ``[n_support, n_outputs]``.
            n_way: Number of classes; ``None`` counts them where that is possible.
            n_steps: Number of inner steps, for methods that have them; ``None``: as trained.

        Returns:
            Tensors by name: replacements of the learner's own, and the method's.
        """

    @abstractmethod
    def predict(self, adapted: Adapted, x: Inputs) -> Tensor:
        """Predict inputs ``[n, ...]``: logits ``[n, n_way]``, or values ``[n, n_outputs]``."""

    def run(self, child: str, adapted: Mapping[str, Tensor], *inputs: Any) -> Tensor:
        """Run one of the learner's networks, with what ``adapted`` holds under its name in place of its own tensors.

        Args:
            child: Name of the network, such as ``"encoder"``.
            adapted: Replacements by their names in ``state_dict()``; entries of other networks do not matter.
            *inputs: What the network takes.
        """
        start = f"{child}."
        own = {name[len(start) :]: tensor for name, tensor in adapted.items() if name.startswith(start)}
        output: Tensor = functional_call(self.get_submodule(child), own, inputs)
        return output

    def with_statistics(self, adapted: Adapted, support_x: Inputs) -> Adapted:
        """Return ``adapted`` with what ``"support"`` layers measure while the support itself is predicted by it.

        Queries are then normalised by the support's statistics, none by another query's.
        """
        return adapted | measured_on_support(self, lambda: self.predict(adapted, support_x))

    def loss(self, episode: Episode) -> Tensor:
        """Return the outer objective of one task: the task loss on its query after adapting to its support."""
        adapted = self.adapt(episode.support_x, episode.support_y, n_way=episode.n_way)
        return self.loss_fn(self.predict(adapted, episode.query_x), episode.query_y)

    def batch_loss(self, batch: Batch) -> Tensor:
        """Return the loss of a labelled batch, for learners that are trained on such."""
        raise ValueError(
            f"{type(self).__name__} learns from episodes, got a labelled batch: sample with pool.episodes(...)"
        )

    def backward(self, batch: Any) -> Tensor:
        """Add the gradient of the mean loss over a batch of tasks to ``.grad`` and return that loss, detached.

        Tasks that run in a loop are differentiated one by one, so that one graph is in memory at a time. A learner
        without a plain meta-gradient replaces this method; ``fit`` hands a generator to a parameter ``generator``.
        """
        if isinstance(batch, Batch):
            loss = self.batch_loss(batch)
            loss.backward()  # type: ignore[no-untyped-call]
            return loss.detach()
        n_tasks, how = len(batch), pick_how(self.how, batch, self)
        size = self.chunk_size or (n_tasks if how == "vmap" else 1)
        total: Tensor | float = 0.0
        for start in range(0, n_tasks, size):
            part = batch if size >= n_tasks else batch[start : start + size]
            loss = over_tasks(self.loss, part, self.how).sum() / n_tasks
            loss.backward()
            total = total + loss.detach()
        assert isinstance(total, Tensor)
        return total

    def returns(self, batch: Any, steps: Sequence[int | None], generator: torch.Generator | None = None) -> Tensor:
        """Play a batch of tasks; return each one's mean return after each number of steps ``[n_tasks, len(steps)]``."""
        raise ValueError(f"{type(self).__name__} does not play: it is scored by its predictions")

    def update_statistics(self, batches: Iterable[Any]) -> None:
        """Estimate the stored statistics of all ``"frozen"`` layers over batches; ``fit`` calls it.

        Args:
            batches: Several batches, as in training: a list or an iterator, not a single batch.

        Raises:
            ValueError: If a single batch is given.
        """
        if isinstance(batches, Episode | Batch):
            raise ValueError("update_statistics takes several batches, got one: put it into a list, [batch]")
        set_statistics(self, batches, self._observe)

    def _observe(self, batch: Any) -> None:
        """Run every network on a batch once, at the trained weights; statistics are measured here."""
        if isinstance(batch, Batch):
            self.batch_loss(batch)
            return
        n_steps = None if self.n_inner_steps is None else 0
        for task in (batch[i] for i in range(len(batch))):
            adapted = self.adapt(task.support_x, task.support_y, n_way=task.n_way, n_steps=n_steps)
            self.predict(adapted, task.query_x)

    def train(self, mode: bool = True) -> Self:
        """Set the mode; running BatchNorm, and ``"frozen"`` layers that inner steps move, keep their statistics."""
        super().train(mode)
        for layer in running_norms(self):
            layer.eval()
        if self.steps_on is not None:
            for layer in self.get_submodule(self.steps_on).modules():
                if isinstance(layer, BatchStatistics) and layer.policy == "frozen":
                    layer.eval()
        return self

    def take(self, batch: Any) -> Any:
        """Return a batch on the learner's device and in its precision; ``fit`` and ``evaluate`` hand all through it."""
        like = next((p for p in self.parameters() if p.is_floating_point()), None)
        if like is None:
            return batch
        batch = batch.to(like.device)
        if not hasattr(batch, "map"):
            return batch
        return batch.map(lambda leaf: leaf.to(like.dtype) if leaf.is_floating_point() else leaf)

    def check_values(self, batch: Any) -> None:
        """Refuse wrong labels and values that are not finite, in any batch that can check itself."""
        if isinstance(batch, Episode | Batch):
            check_values(batch)
        elif callable(check := getattr(batch, "check", None)):
            check()

    def check(self, batch: Any) -> None:
        """Try a batch before a run, and say what is wrong with it: values, shapes, a model that changes itself.

        Raises:
            ValueError: If labels, values or predictions are not what a task needs, or the model's forward pass writes
                to the model or to its input.
        """
        self.check_values(batch)
        if isinstance(batch, Batch):
            with torch.no_grad(), unchanged(self, batch.x):
                self.batch_loss(batch)
            return
        if not len(batch):  # as Poisson sampling and rounds of clients may draw
            return
        task = batch[0]
        check_objective(self, task)
        with torch.no_grad(), unchanged(self, (task.support_x, task.query_x)):
            adapted = self.adapt(task.support_x, task.support_y, n_way=task.n_way)
            prediction = self.predict(adapted, task.query_x)
        expected = [len(task.query_y), task.n_way] if task.n_way else list(task.query_y.shape)
        if list(prediction.shape) != expected:
            raise ValueError(
                f"the task needs predictions of shape {expected}, the model gives {list(prediction.shape)}: "
                "set its number of outputs to n_way (or to the size of the targets)"
            )

    def _steps(self, n_steps: int | None) -> int | None:
        """Return the number of inner steps to take, or refuse one where there are none."""
        if self.n_inner_steps is None and n_steps is not None:
            raise ValueError(f"{type(self).__name__} takes no inner steps, got n_steps={n_steps}: leave it out")
        return self.n_inner_steps if n_steps is None else n_steps


def check_objective(learner: Learner, task: Episode) -> None:
    """Refuse regression under cross-entropy, which is 0 for a single output whatever the target."""
    if task.n_way is None and learner.loss_fn is F.cross_entropy and task.query_y.is_floating_point():
        raise ValueError(
            "the batch is of regression tasks (n_way=None, float targets), but loss_fn is cross-entropy: build the"
            f" learner with {type(learner).__name__}(..., loss_fn=torch.nn.functional.mse_loss)"
        )
