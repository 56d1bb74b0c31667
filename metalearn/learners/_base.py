"""The protocol that all learners share: adapt to a support set, predict queries."""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils._pytree import tree_map

from metalearn.episodes import Batch, Episode, Inputs
from metalearn.networks import set_statistics
from metalearn.vectorize import How, over_tasks, pick_how

Adapted = Any  # a tensor or a pytree of tensors: prototypes, fast weights, a recurrent state
TaskLoss = Callable[[Tensor, Tensor], Tensor]

CHANGES = (
    "the model's forward pass changes the model itself ({}), which adapt and predict must not do. "
    "For BatchNorm with running statistics: metalearn.networks.convert_norms(model, policy)"
)


class Learner(nn.Module, ABC):
    """A learner turns a support set into a predictor; its own parameters are the meta-parameters.

    A subclass defines :meth:`adapt` and :meth:`predict` for one task. Both are pure: they set no attribute, write no
    buffer and change no argument. Tasks are batched outside, by :func:`metalearn.over_tasks`.

    Args:
        loss_fn: Task loss ``loss_fn(prediction, target) -> scalar``; cross-entropy by default, ``F.mse_loss`` for
            regression.

    Attributes:
        how: How tasks of a batch are run, as in :func:`metalearn.over_tasks`.
        chunk_size: Tasks whose graphs are in memory at once in :meth:`backward`; ``None``: one in a loop, all in vmap.

    Example:
        >>> import torch
        >>> from metalearn.learners import Learner
        >>> class MeanOfSupport(Learner):
        ...     def adapt(self, support_x, support_y, *, n_way=None, n_steps=None):
        ...         return support_y.mean(0)
        ...     def predict(self, adapted, x):
        ...         return adapted.expand(len(x), -1)
        >>> learner = MeanOfSupport(torch.nn.functional.mse_loss)
        >>> adapted = learner.adapt(torch.zeros(2, 1), torch.tensor([[1.0], [3.0]]))
        >>> learner.predict(adapted, torch.zeros(1, 1))
        tensor([[2.]])
    """

    registry: ClassVar[dict[str, type[Learner]]] = {}  # every concrete learner that was imported, by its class's name
    revision: ClassVar[int] = 1  # raised when a change of the class moves the numbers that it gives
    n_inner_steps: int | None = None  # None: the method has no inner steps

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if not inspect.isabstract(cls) and not cls.__name__.startswith("_"):
            Learner.registry[cls.__name__] = cls

    def __init__(self, loss_fn: TaskLoss = F.cross_entropy) -> None:
        super().__init__()
        self.loss_fn = loss_fn
        self.how: How = "auto"
        self.chunk_size: int | None = None

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
            A tensor or a pytree of tensors.
        """

    @abstractmethod
    def predict(self, adapted: Adapted, x: Inputs) -> Tensor:
        """Predict inputs ``[n, ...]``: logits ``[n, n_way]``, or values ``[n, n_outputs]``."""

    def loss(self, episode: Episode) -> Tensor:
        """Return the outer objective of one task: the task loss on its query after adapting to its support."""
        adapted = self.adapt(episode.support_x, episode.support_y, n_way=episode.n_way)
        return self.loss_fn(self.predict(adapted, episode.query_x), episode.query_y)

    def backward(self, batch: Episode | Batch) -> Tensor:
        """Add the gradient of the mean loss over a batch of tasks to ``.grad`` and return that loss, detached.

        Tasks that run in a loop are differentiated one by one, so that one graph is in memory at a time. A learner
        that does not learn from episodes replaces this method, and takes what its own sampler draws.
        """
        batch = episodes_only(self, batch)
        n_tasks, how = len(batch), pick_how(self.how, batch, self)
        size = self.chunk_size or (n_tasks if how == "vmap" else 1)
        total = batch.query_y.new_zeros((), dtype=torch.get_default_dtype())
        for start in range(0, n_tasks, size):
            part = batch if size >= n_tasks else batch[start : start + size]
            loss = over_tasks(self.loss, part, self.how).sum() / n_tasks
            loss.backward()
            total = total + loss.detach()
        return total

    def update_statistics(self, batches: Iterable[Episode | Batch]) -> None:
        """Estimate the stored statistics of all ``"frozen"`` layers over batches; ``fit`` calls it.

        Args:
            batches: Several batches, as in training: a list or an iterator, not a single batch.

        Raises:
            ValueError: If a single batch is given.
        """
        if isinstance(batches, Episode | Batch):
            raise ValueError("update_statistics takes several batches, got one: put it into a list, [batch]")
        set_statistics(self, batches, self._observe)

    def _observe(self, batch: Episode | Batch) -> None:
        """Run every network on a batch once, at the trained weights; statistics are measured here."""
        batch = episodes_only(self, batch)
        n_steps = None if self.n_inner_steps is None else 0
        for task in (batch[i] for i in range(len(batch))):
            adapted = self.adapt(task.support_x, task.support_y, n_way=task.n_way, n_steps=n_steps)
            self.predict(adapted, task.query_x)

    def take(self, batch: Any) -> Any:
        """Return a batch on the learner's device; ``fit`` and ``evaluate`` hand all batches through it."""
        return batch.to(next((parameter.device for parameter in self.parameters()), torch.device("cpu")))

    def check_values(self, batch: Any) -> None:
        """Refuse wrong labels and values that are not finite, in any batch that can check itself."""
        if isinstance(batch, Episode | Batch):
            check_values(batch)
        elif callable(check := getattr(batch, "check", None)):
            check()

    def check(self, batch: Episode | Batch) -> None:
        """Try a batch before a run, and say what is wrong with it: values, shapes, a model that changes itself.

        Raises:
            ValueError: If labels, values or predictions are not what a task needs, or the model's forward pass writes
                to the model.
        """
        self.check_values(batch)
        task = episodes_only(self, batch)[0]
        if task.n_way is None and self.loss_fn is F.cross_entropy and task.query_y.is_floating_point():
            raise ValueError(
                "the batch is of regression tasks (n_way=None, float targets), but loss_fn is cross-entropy: build the"
                f" learner with {type(self).__name__}(..., loss_fn=torch.nn.functional.mse_loss)"
            )
        with torch.no_grad(), unchanged(self):
            adapted = self.adapt(task.support_x, task.support_y, n_way=task.n_way)
            prediction = self.predict(adapted, task.query_x)
        expected = [len(task.query_y), task.n_way] if task.n_way else list(task.query_y.shape)
        if list(prediction.shape) != expected:
            raise ValueError(
                f"the task needs predictions of shape {expected}, the model gives {list(prediction.shape)}: "
                "set its number of outputs to n_way (or to the size of the targets)"
            )


def count_classes(support_y: Tensor, n_way: int | None) -> int:
    """Return ``n_way``, or the number of classes that labels 0…n_way-1 imply (not under vmap)."""
    return int(support_y.max()) + 1 if n_way is None else n_way


def positive(name: str, value: float) -> float:
    """Return a value that must be above 0, or say so."""
    if not value > 0:
        raise ValueError(f"{name} must be above 0, got {value}")
    return value


def member_of(support_y: Tensor, n_way: int | None) -> Tensor:
    """Return which support example belongs to which class, bool ``[n_way, n_support]``."""
    classes = torch.arange(count_classes(support_y, n_way), device=support_y.device)
    return support_y == classes.unsqueeze(1)


def inputs_of(batch: Episode | Batch) -> list[Inputs]:
    """Return the inputs of a batch, each ``[n, ...]``, without the task axis."""
    if isinstance(batch, Batch):
        return list(batch.sides)
    return [tree_map(lambda leaf: leaf.flatten(0, 1), x) for x in (batch.support_x, batch.query_x)]


def episodes_only(learner: nn.Module, batch: Episode | Batch) -> Episode:
    """Return a batch of episodes, or say that a labelled batch is none."""
    if isinstance(batch, Batch):
        raise ValueError(
            f"{type(learner).__name__} learns from episodes, got a labelled batch: sample with"
            " metalearn.sample_episodes"
        )
    return batch


def batches_only(learner: nn.Module, batch: Episode | Batch, sampler: str) -> Batch:
    """Return a labelled batch, or say that episodes are none."""
    if not isinstance(batch, Batch):
        raise ValueError(f"{type(learner).__name__} learns from labelled batches, got {batch}: sample with {sampler}")
    return batch


def check_values(batch: Episode | Batch) -> None:
    """Refuse labels that are not 0…n_way-1, classes without support and values that are not finite.

    Args:
        batch: A batch of episodes, or a labelled batch.

    Raises:
        ValueError: With what was expected and what was found.
    """
    batch.check()


@contextmanager
def unchanged(module: nn.Module) -> Iterator[None]:
    """Refuse a forward pass, run inside the context, that changes the module; put back what it changed."""
    before = _snapshot(module)
    try:
        yield
    except RuntimeError as error:
        if "in-place" not in str(error):  # what a transform of torch says of a write to running statistics
            raise
        raise ValueError(CHANGES.format("running statistics, it seems")) from error
    _check_pure(module, before)


def _snapshot(module: nn.Module) -> dict[str, Any]:
    state: dict[str, Any] = {f"tensor {name}": tensor.clone() for name, tensor in module.state_dict().items()}
    for name, part in module.named_modules():
        state |= {f"attribute {name}.{key}".replace(" .", " "): value for key, value in vars(part).items()}
    return state


def _check_pure(module: nn.Module, before: dict[str, Any]) -> None:
    after = _snapshot(module)
    changed = [
        name
        for name in after
        if name not in before
        or not (torch.equal(before[name], after[name]) if name.startswith("tensor") else before[name] is after[name])
    ]
    if changed:
        module.load_state_dict({name[7:]: value for name, value in before.items() if name.startswith("tensor ")})
        raise ValueError(CHANGES.format(changed[0]))
