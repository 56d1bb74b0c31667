"""Proxies: numbers of an untrained network that are meant to rank architectures as their training would."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from metalearn.episodes import Episode
from metalearn.learners import Prototypical
from metalearn.networks import BatchStatistics

Proxy = Callable[[Prototypical, Episode], float]
NORMS = (BatchStatistics, nn.modules.batchnorm._NormBase, nn.GroupNorm, nn.LayerNorm)


def n_parameters(learner: Prototypical, episodes: Episode) -> float:
    """Return the number of parameters: the proxy that every other one must beat.

    Args:
        learner: Prototypical networks.
        episodes: Not used.

    Taught in:
        Trust.

    Example:
        >>> import torch
        >>> from metalearn import Episode
        >>> from metalearn.architectures import n_parameters
        >>> from metalearn.learners import Prototypical
        >>> x, y = torch.zeros(1, 2, 3), torch.zeros(1, 2, dtype=torch.int64)
        >>> n_parameters(Prototypical(torch.nn.Linear(3, 2)), Episode(x, y, x, y, 1))
        8.0
    """
    return float(sum(param.numel() for param in learner.parameters()))


def gradient_norm(learner: Prototypical, episodes: Episode) -> float:
    """Return the length of the gradient of the mean loss over a batch of tasks.

    Args:
        learner: Prototypical networks.
        episodes: A batch of tasks.

    Reference:
        Abdelfattah, Mehrotra, Dudziak, Lane: Zero-Cost Proxies for Lightweight NAS, 2021, arXiv 2101.08134,
        section 3.2.

    Taught in:
        Trust.

    Example:
        >>> import torch
        >>> from metalearn import Episode
        >>> from metalearn.architectures import gradient_norm
        >>> from metalearn.learners import Prototypical
        >>> x, y = torch.zeros(1, 2, 3), torch.arange(2).unsqueeze(0)
        >>> gradient_norm(Prototypical(torch.nn.Linear(3, 2)), Episode(x, y, x, y, 2))
        0.0
    """
    twin = copy.deepcopy(learner)
    twin.zero_grad()
    twin.backward(episodes)
    grads = [param.grad.double().square().sum() for param in twin.parameters() if param.grad is not None]
    return math.sqrt(float(sum(grads)))


def synflow(learner: Prototypical, episodes: Episode) -> float:
    r"""Return the sum of :math:`\theta \odot \partial R / \partial \theta` over the weights, where R is a flow.

    All weights are made positive, biases 0, normalisations are left out, the input is an image of ones, and R is the
    sum of the features. No data and no labels are used.

    Args:
        learner: Prototypical networks; ReLU and poolings, no other activations.
        episodes: Only the size of an input is used.

    Returns:
        The logarithm of the sum, since the sum grows by powers with the depth.

    Reference:
        Tanaka, Kunin, Yamins, Ganguli: Pruning neural networks without any data by iteratively conserving synaptic
        flow, 2020, arXiv 2006.05467, equation 2; as a proxy: Abdelfattah and others, 2021, arXiv 2101.08134.

    Differs from the paper:
        Biases are left out, and the logarithm is taken.

    Taught in:
        Trust.

    Example:
        >>> import math
        >>> import torch
        >>> from metalearn import Episode
        >>> from metalearn.architectures import synflow
        >>> from metalearn.learners import Prototypical
        >>> x, y = torch.zeros(1, 1, 3), torch.zeros(1, 1, dtype=torch.int64)
        >>> encoder = torch.nn.Linear(3, 2)
        >>> torch.nn.init.constant_(encoder.weight, -2.0)  # doctest: +ELLIPSIS
        Parameter...
        >>> math.exp(synflow(Prototypical(encoder), Episode(x, y, x, y, 1)))
        12.0
    """
    return math.log(sum(scores.sum().item() for scores in flows(learner.encoder, episodes).values()))


def flows(encoder: nn.Module, episodes: Episode) -> dict[str, Tensor]:
    """Return the score of each weight, by the names of the weights."""
    net = copy.deepcopy(encoder).double()
    for module in [*net.modules()]:
        for name, child in module.named_children():
            if isinstance(child, NORMS):
                setattr(module, name, nn.Identity())
    weights = {name: param for name, param in net.named_parameters() if param.ndim > 1}
    with torch.no_grad():
        for param in net.parameters():
            param.copy_(param.abs() if param.ndim > 1 else torch.zeros_like(param))
    ones = torch.ones_like(episodes.query_x[0, :1], dtype=torch.float64)
    grads = torch.autograd.grad(net(ones).sum(), list(weights.values()))
    return {name: (weight * grad).detach() for (name, weight), grad in zip(weights.items(), grads, strict=True)}


def naswot(learner: Prototypical, episodes: Episode) -> float:
    """Return the log determinant of how many ReLU units two inputs switch alike: high where inputs are told apart.

    Args:
        learner: Prototypical networks whose encoder has ``nn.ReLU`` modules.
        episodes: A batch of tasks; the queries of the first one are the inputs.

    Raises:
        ValueError: If there is no ReLU.

    Reference:
        Mellor, Turner, Storkey, Crowley: Neural Architecture Search without Training, 2021, arXiv 2006.04647,
        section 3.

    Taught in:
        Trust.

    Example:
        >>> import math
        >>> import torch
        >>> from metalearn import Episode
        >>> from metalearn.architectures import naswot
        >>> from metalearn.learners import Prototypical
        >>> x, y = torch.tensor([[[1.0, 1.0], [1.0, -1.0]]]), torch.zeros(1, 2, dtype=torch.int64)
        >>> round(math.exp(naswot(Prototypical(torch.nn.ReLU()), Episode(x, y, x, y, 1))), 6)  # 2 · 2 - 1 · 1
        3.0
    """
    codes: list[Tensor] = []
    layers = [layer for layer in learner.encoder.modules() if isinstance(layer, nn.ReLU)]
    if not layers:
        raise ValueError("expected an encoder with nn.ReLU modules, got none")
    hooks = [layer.register_forward_hook(lambda *args: codes.append((args[2] > 0).flatten(1))) for layer in layers]
    try:
        with torch.no_grad():
            learner.encode({}, episodes.query_x[0])
    finally:
        for hook in hooks:
            hook.remove()
    code = torch.cat(codes, 1).double()  # [n, n_units]
    kernel = code @ code.T + (1 - code) @ (1 - code).T
    return float(torch.linalg.slogdet(kernel).logabsdet)


def jacob_cov(learner: Prototypical, episodes: Episode, *, k: float = 1e-5) -> float:
    r"""Return how little the gradients of different inputs are correlated.

    It is :math:`-\sum \log(\lambda+k) + 1/(\lambda+k)`, where the :math:`\lambda` are the eigenvalues of the
    correlation matrix of the gradients of the summed features with respect to each input.

    Args:
        learner: Prototypical networks.
        episodes: A batch of tasks; the queries of the first one are the inputs.
        k: Keeps the logarithm finite.

    Reference:
        Mellor, Turner, Storkey, Crowley: Neural Architecture Search without Training, first version of 2020,
        arXiv 2006.04647v1, section 3; as ``jacob_cov``: Abdelfattah and others, 2021, arXiv 2101.08134.

    Taught in:
        Trust.

    Example:
        >>> import torch
        >>> from metalearn import Episode
        >>> from metalearn.architectures import jacob_cov
        >>> from metalearn.learners import Prototypical
        >>> x, y = torch.rand(1, 4, 3), torch.zeros(1, 4, dtype=torch.int64)
        >>> jacob_cov(Prototypical(torch.nn.Linear(3, 2)), Episode(x, y, x, y, 1)) < -1e4  # all gradients are the same
        True
    """
    x = episodes.query_x[0].detach().clone().requires_grad_()
    (jacobian,) = torch.autograd.grad(learner.encode({}, x).sum(), x)
    correlation = torch.corrcoef(jacobian.flatten(1).double()).nan_to_num()
    values = torch.linalg.eigvalsh(correlation).clamp_min(0) + k
    return -float((values.log() + 1 / values).sum())


PROXIES: dict[str, Proxy] = {
    "parameters": n_parameters,
    "gradient norm": gradient_norm,
    "synflow": synflow,
    "naswot": naswot,
    "jacob_cov": jacob_cov,
}
