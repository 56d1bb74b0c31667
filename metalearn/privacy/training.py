"""Meta-training that no single task can move far: gradients clipped task by task, noise on their sum."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from metalearn.episodes import Episode, EpisodeList
from metalearn.federated.local import Updates, add_gradient
from metalearn.federated.rounds import Round
from metalearn.learners import Learner
from metalearn.networks import BatchStatistics
from metalearn.vectorize import over_tasks


class PoissonTasks:
    """Draw batches of fixed tasks for :func:`metalearn.fit`: each task takes part with one probability, by itself.

    Batches vary in size and may be empty, as the accountant assumes.

    Args:
        tasks: All tasks there are, a batch of episodes ``[n_tasks, ...]``, or a list of tasks of unequal sizes.
        sample_rate: Probability of each task, in (0, 1].

    Attributes:
        expected: Mean number of tasks of a batch.

    Raises:
        ValueError: If the rate is out of its range, or a list holds no tasks.

    Taught in:
        Trust.

    Example:
        >>> import torch
        >>> from metalearn.data import sinusoids
        >>> from metalearn.privacy import PoissonTasks
        >>> draw = PoissonTasks(sinusoids().sample(1000, 5, 5), 0.1)
        >>> draw.expected, 60 < len(draw(torch.Generator().manual_seed(0))) < 140
        (100.0, True)
    """

    def __init__(self, tasks: Episode | EpisodeList | Sequence[Episode], sample_rate: float) -> None:
        if not 0 < sample_rate <= 1:
            raise ValueError(f"sample_rate must be in (0, 1], got {sample_rate}")
        self.tasks = tasks if isinstance(tasks, Episode) else EpisodeList(list(tasks))
        self.sample_rate = sample_rate
        self.expected = sample_rate * len(self.tasks)

    def __call__(self, generator: torch.Generator | None = None) -> Episode | EpisodeList:
        """Draw a batch."""
        rows = (torch.rand(len(self.tasks), generator=generator) < self.sample_rate).nonzero().squeeze(1)
        if isinstance(self.tasks, Episode):
            return self.tasks.map(lambda leaf: leaf[rows.to(leaf.device)])
        if len(rows):
            return EpisodeList([self.tasks[i] for i in rows.tolist()])
        return self.tasks[0].map(lambda leaf: leaf.new_empty(0, *leaf.shape))  # a list of no tasks cannot be


class _Loss(nn.Module):
    """A learner's loss as a module's forward pass, so that ``functional_call`` can replace its parameters."""

    def __init__(self, learner: Learner) -> None:
        super().__init__()
        self.learner = learner

    def forward(self, task: Episode) -> Tensor:
        return self.learner.loss(task)


def task_gradients(learner: Learner, batch: Any, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
    """Return the meta-gradient of each task by itself, and its loss.

    A learner whose ``backward`` is its own, such as Reptile, is asked task by task; all others are differentiated under
    ``torch.func.vmap`` where :func:`metalearn.over_tasks` picks that.

    Args:
        learner: Any learner; ``.grad`` stays as it is.
        batch: A batch of tasks, or a list; it may be empty.
        generator: Not used: it makes the function one of the kind that :func:`private_backward` takes.

    Returns:
        Gradients of the trained parameters ``[n_tasks, n_parameters]``, zero where a parameter plays no part, and
        losses ``[n_tasks]``.

    Example:
        >>> import torch
        >>> from metalearn.data import sinusoids
        >>> from metalearn.learners import MAML
        >>> from metalearn.networks import MLP
        >>> from metalearn.privacy import task_gradients
        >>> learner = MAML(MLP([1, 40, 1]), inner_lr=0.01, loss_fn=torch.nn.functional.mse_loss)
        >>> task_gradients(learner, sinusoids().sample(4, 5, 5))[0].shape
        torch.Size([4, 121])
    """
    own = {name: param for name, param in learner.named_parameters() if param.requires_grad}
    if not len(batch):
        like = next(iter(own.values()))
        return like.new_zeros(0, sum(p.numel() for p in own.values())), like.new_zeros(0)
    if type(learner).backward is not Learner.backward:
        return _one_by_one(learner, batch)
    loss_of = _Loss(learner)

    def of_task(task: Episode) -> tuple[dict[str, Tensor], Tensor]:
        def loss(params: dict[str, Tensor]) -> Tensor:
            named = {f"learner.{name}": param for name, param in params.items()}
            found: Tensor = functional_call(loss_of, named, (task,))
            return found

        found: tuple[dict[str, Tensor], Tensor] = torch.func.grad_and_value(loss)(dict(own))
        return found

    grads, losses = over_tasks(of_task, batch, learner.how, chunk_size=learner.chunk_size, module=learner)
    return torch.cat([grads[name].detach().flatten(1) for name in own], 1), losses.detach()


def _one_by_one(learner: Learner, batch: Any) -> tuple[Tensor, Tensor]:
    own = [param for param in learner.parameters() if param.requires_grad]
    before, rows, losses = [param.grad for param in own], [], []
    for i in range(len(batch)):
        learner.zero_grad(set_to_none=True)
        losses.append(learner.backward(batch[i : i + 1]))
        rows.append(torch.cat([(torch.zeros_like(p) if p.grad is None else p.grad).flatten() for p in own]))
    for param, grad in zip(own, before, strict=True):
        param.grad = grad
    return torch.stack(rows), torch.stack(losses)


def clip_rows(rows: Tensor, norm: float) -> Tensor:
    """Return rows ``[n, d]``, each shortened to a Euclidean length of at most ``norm``; one that is not finite is 0.

    Raises:
        ValueError: If ``norm`` is not above 0.

    Example:
        >>> import torch
        >>> from metalearn.privacy import clip_rows
        >>> clip_rows(torch.tensor([[3.0, 4.0], [0.3, 0.4]]), 1.0)
        tensor([[0.6000, 0.8000],
                [0.3000, 0.4000]])
    """
    if not norm > 0:
        raise ValueError(f"the clip norm must be above 0, got {norm}")
    rows = torch.where(rows.isfinite().all(1, keepdim=True), rows, 0.0)  # else one row would make the sum NaN
    length = torch.linalg.vector_norm(rows, dim=1, keepdim=True)
    clipped: Tensor = rows * (norm / length.clamp(min=norm))
    return clipped


def private_backward(
    learner: Learner,
    clip_norm: float,
    noise_multiplier: float,
    expected: float,
    *,
    updates: Updates | None = None,
) -> Callable[[Any, torch.Generator | None], Tensor]:
    r"""Return a ``backward(batch, generator)`` whose gradient is private at the level of tasks; for ``fit``.

    It adds :math:`\frac1m \big(\sum_i \min(1, C / \lVert g_i \rVert)\, g_i + \mathcal{N}(0, \sigma^2 C^2 I)\big)` to
    ``.grad``, with :math:`g_i` the meta-gradient of task :math:`i` as a whole, its support and queries, and :math:`m`
    the expected number of tasks, a constant. A task more or less moves the sum by at most :math:`C`. Sampled by
    :class:`PoissonTasks`, so many steps have the :func:`metalearn.privacy.epsilon` of that noise and rate.

    The guarantee is one of the trained weights, over the tasks of meta-training. It says nothing of a support set to
    which the learner adapts later, and the losses that ``fit`` records are not private.

    Args:
        learner: Any learner.
        clip_norm: The bound :math:`C` on a task's gradient, above 0.
        noise_multiplier: Standard deviation :math:`\sigma` of the noise in units of the bound, at least 0.
        expected: The divisor :math:`m`, above 0: ``PoissonTasks.expected``.
        updates: ``updates(batch, generator) -> (rows [n, n_parameters], losses [n])`` in place of
            :func:`task_gradients`, such as :func:`metalearn.federated.client_updates`, which
            :class:`metalearn.federated.Rounds` need. ``Rounds(clients, dropout=1 - q)`` asks all, and each reports with
            probability q by itself, as the accountant assumes; with ``n_participants`` it does not hold.

    Raises:
        ValueError: If a number is out of its range, or the learner stores statistics of its layers (the norm policy
            ``"frozen"``), which ``fit`` measures on tasks without noise; on the first batch, if that is a round of
            clients and ``updates`` is missing: a client's queries are there to test.

    Reference:
        Abadi, Chu, Goodfellow, McMahan, Mironov, Talwar, Zhang: Deep Learning with Differential Privacy, 2016,
        arXiv 1607.00133, algorithm 1, with tasks in place of examples. Of tasks: Li, Khodak, Caldas, Talwalkar:
        Differentially Private Meta-Learning, 2019, arXiv 1909.05830.

    Taught in:
        Trust.

    Example:
        >>> import torch
        >>> from metalearn import fit
        >>> from metalearn.data import sinusoids
        >>> from metalearn.learners import MAML
        >>> from metalearn.networks import MLP
        >>> from metalearn.privacy import PoissonTasks, private_backward
        >>> learner = MAML(MLP([1, 8, 1]), inner_lr=0.01, loss_fn=torch.nn.functional.mse_loss)
        >>> draw = PoissonTasks(sinusoids().sample(100, 5, 5), 0.2)
        >>> fit(learner, draw, 3, backward=private_backward(learner, 1.0, 1.0, draw.expected), progress=False).n_steps
        3
    """
    if not clip_norm > 0 or noise_multiplier < 0 or not expected > 0:
        raise ValueError(
            "expected clip_norm and expected above 0 and noise_multiplier of at least 0, got"
            f" {clip_norm}, {expected} and {noise_multiplier}"
        )
    if any(isinstance(part, BatchStatistics) and part.policy == "frozen" for part in learner.modules()):
        raise ValueError('layers with the norm policy "frozen" store statistics of tasks without noise: take "group"')

    def backward(batch: Any, generator: torch.Generator | None = None) -> Tensor:
        if updates is None and isinstance(batch, Round):
            raise ValueError("a round of clients needs updates=client_updates(...), else it would train on their tests")
        rows, losses = updates(batch, generator) if updates else task_gradients(learner, batch)
        total = clip_rows(rows, clip_norm).sum(0)
        device = total.device if generator is None else generator.device
        noise = torch.randn(len(total), generator=generator, device=device, dtype=total.dtype).to(total.device)
        add_gradient(learner, (total + noise_multiplier * clip_norm * noise) / expected)
        return losses.mean() if len(losses) else losses.new_zeros(())

    return backward
