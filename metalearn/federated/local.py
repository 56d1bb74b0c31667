"""What a client computes in a round, and how the server turns the reports into a gradient."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from metalearn._given import at_least_one
from metalearn.federated.clients import Client
from metalearn.federated.rounds import Round
from metalearn.federated.traffic import Traffic, message_bytes
from metalearn.learners import Learner

Backward = Callable[..., Tensor]
Updates = Callable[[Any, torch.Generator | None], tuple[Tensor, Tensor]]


def local_update(
    learner: Learner,
    client: Client,
    local_lr: float,
    n_epochs: int = 1,
    *,
    generator: torch.Generator | None = None,
    prox: float = 0.0,
    backward: Backward | None = None,
) -> tuple[Tensor, Tensor]:
    r"""Train on one client from the learner's present weights; return by how much the weights moved.

    A local step is :math:`\theta_k \leftarrow \theta_k - \beta\,(g + \mu (\theta_k - \theta))`, with :math:`g` what
    ``backward`` finds for a local batch.

    Args:
        learner: It has the same weights and gradients afterwards.
        client: Whose data.
        local_lr: Step size :math:`\beta`, above 0.
        n_epochs: Times that the client goes through its data.
        generator: For the order of the data.
        prox: Strength :math:`\mu` of the pull back to the server's weights (FedProx); 0: none.
        backward: In place of ``learner.backward``, such as :func:`hessian_free_backward`.

    Returns:
        The update :math:`\theta - \theta_k` ``[n_parameters]`` of the trained parameters, and the mean loss of the
        local batches.

    Raises:
        ValueError: If a number is out of its range.

    Reference:
        FedProx: Li, Sahu, Zaheer, Sanjabi, Talwalkar, Smith: Federated Optimization in Heterogeneous Networks, 2018,
        arXiv 1812.06127, equation 2.

    Taught in:
        Trust.

    Example:
        >>> from metalearn.federated import clients_of, local_update, styled_digits
        >>> from metalearn.learners import MAML
        >>> from metalearn.networks import MLP
        >>> learner = MAML(MLP([64, 10]), 0.1, 0)
        >>> update, loss = local_update(learner, clients_of(styled_digits(1))[0], 0.1)
        >>> update.shape
        torch.Size([650])
    """
    at_least_one(n_epochs=n_epochs)
    if not local_lr > 0 or prox < 0:
        raise ValueError(f"expected local_lr above 0 and prox of at least 0, got {local_lr} and {prox}")
    backward = backward or learner.backward
    drawn = {"generator": generator} if "generator" in inspect.signature(backward).parameters else {}
    own = [param for param in learner.parameters() if param.requires_grad]
    start, grads, losses = [p.detach().clone() for p in own], [p.grad for p in own], []
    try:
        for _ in range(n_epochs):
            for batch in client.epoch(generator):
                learner.zero_grad(set_to_none=True)
                losses.append(backward(learner.take(batch), **drawn))
                with torch.no_grad():
                    for p, before in zip(own, start, strict=True):
                        if p.grad is not None:
                            p.sub_(local_lr * (p.grad + prox * (p - before)))
        update = torch.cat([(before - p.detach()).flatten() for p, before in zip(own, start, strict=True)])
    finally:
        with torch.no_grad():
            for p, before, grad in zip(own, start, grads, strict=True):
                p.copy_(before)
                p.grad = grad
    return update, torch.stack(losses).mean()


def client_updates(
    learner: Learner, local_lr: float, n_epochs: int = 1, *, prox: float = 0.0, backward: Backward | None = None
) -> Updates:
    """Return ``updates(round, generator) -> (updates [n_reported, n_parameters], losses [n_reported])``.

    Arguments are those of :func:`local_update`. :func:`metalearn.privacy.private_backward` takes it, too.

    Example:
        >>> from metalearn.federated import Rounds, client_updates, clients_of, styled_digits
        >>> from metalearn.learners import MAML
        >>> from metalearn.networks import MLP
        >>> updates = client_updates(MAML(MLP([64, 10]), 0.1, 0), 0.1)
        >>> updates(Rounds(clients_of(styled_digits(3)))(), None)[0].shape
        torch.Size([3, 650])
    """

    def updates(batch: Round, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
        own = [param for param in learner.parameters() if param.requires_grad]
        if not len(batch):
            return own[0].new_zeros(0, sum(p.numel() for p in own)), own[0].new_zeros(0)
        how = {"generator": generator, "prox": prox, "backward": backward}
        parts = [local_update(learner, client, local_lr, n_epochs, **how) for client in batch.clients]  # type: ignore[arg-type]
        return torch.stack([update for update, _ in parts]), torch.stack([loss for _, loss in parts])

    return updates


class federated_backward:  # a function that counts what it sends
    r"""A ``backward(round, generator)`` that asks clients in place of the learner; for ``fit(..., backward=...)``.

    It adds :math:`\sum_k p_k (\theta - \theta_k)` to ``.grad``, with :math:`\theta_k` where a client's local steps led
    and :math:`p_k` the round's weights. One step of plain gradient descent with rate 1,
    ``optimizer=torch.optim.SGD(learner.parameters(), lr=1.0)``, is then federated averaging; Adam makes it FedAdam.

    - FedAvg: ``MAML(model, inner_lr, n_inner_steps=0)``, whose meta-gradient is the plain one.
    - Per-FedAvg: ``MAML`` with inner steps, exact or ``first_order=True``, or :func:`hessian_free_backward`; clients
      with ``split=True``.
    - With label sets that differ: a learner without a classifier of its own, such as ``Prototypical``.

    Args:
        learner: Any learner.
        local_lr: Step size of the clients, above 0.
        n_epochs: Times that a client goes through its data in a round.
        prox: Strength of the pull back to the server's weights (FedProx).
        backward: In place of ``learner.backward`` on the clients.

    Attributes:
        traffic: What was sent, counted since it was made (:class:`Traffic`).

    Raises:
        ValueError: If a number is out of its range, on the first round.

    Reference:
        FedAvg: McMahan, Moore, Ramage, Hampson, Agüera y Arcas: Communication-Efficient Learning of Deep Networks from
        Decentralized Data, 2017, arXiv 1602.05629, algorithm 1. Per-FedAvg: Fallah, Mokhtari, Ozdaglar: Personalized
        Federated Learning: A Meta-Learning Approach, 2020, arXiv 2002.07948, algorithm 1. Adam on the server: Reddi,
        Charles, Zaheer, Garrett, Rush, Konečný, Kumar, McMahan: Adaptive Federated Optimization, 2020,
        arXiv 2003.00295.

    Differs from the paper:
        Per-FedAvg draws three independent batches for a local step; here the halves of one batch are support and query,
        and the Hessian is that of the support. Its clients count equally: ``Rounds(..., weighted=False)``.

    Taught in:
        Trust.

    Example:
        >>> import torch
        >>> from metalearn import fit
        >>> from metalearn.federated import Rounds, clients_of, federated_backward, styled_digits
        >>> from metalearn.learners import MAML
        >>> from metalearn.networks import MLP
        >>> learner = MAML(MLP([64, 10]), 0.1, 0)
        >>> backward, average = federated_backward(learner, 0.1), torch.optim.SGD(learner.parameters(), lr=1.0)
        >>> rounds = Rounds(clients_of(styled_digits(5)), 2)
        >>> fit(learner, rounds, 3, optimizer=average, backward=backward, progress=False).n_steps
        3
        >>> backward.traffic
        Traffic(3 rounds: 15,600 bytes down, 15,600 bytes up)
    """

    def __init__(
        self,
        learner: Learner,
        local_lr: float,
        n_epochs: int = 1,
        *,
        prox: float = 0.0,
        backward: Backward | None = None,
    ) -> None:
        self.learner = learner
        self.updates = client_updates(learner, local_lr, n_epochs, prox=prox, backward=backward)
        self.traffic = Traffic(message_bytes(learner))

    def __call__(self, batch: Round, generator: torch.Generator | None = None) -> Tensor:
        """Run a round; return the mean local loss by the round's weights. Where nobody reports, nothing changes."""
        updates, losses = self.updates(batch, generator)
        self.traffic.count(batch.n_asked, len(batch))
        weights = batch.weights.to(updates)
        add_gradient(self.learner, weights @ updates)
        loss: Tensor = weights @ losses / weights.sum() if len(batch) else updates.new_zeros(())
        return loss


def add_gradient(learner: Learner, vector: Tensor) -> None:
    """Add a vector ``[n_parameters]`` to ``.grad`` of the trained parameters.

    Example:
        >>> import torch
        >>> from metalearn.federated.local import add_gradient
        >>> from metalearn.learners import Prototypical
        >>> learner = Prototypical(torch.nn.Linear(2, 1, bias=False))
        >>> add_gradient(learner, torch.tensor([1.0, 2.0]))
        >>> learner.encoder.weight.grad
        tensor([[1., 2.]])
    """
    own = [param for param in learner.parameters() if param.requires_grad]
    for p, part in zip(own, torch.split(vector, [p.numel() for p in own]), strict=True):
        grad = part.view_as(p).to(p.dtype)
        p.grad = grad.clone() if p.grad is None else p.grad + grad
