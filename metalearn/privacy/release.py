"""Privacy of a support set at adaptation time: prototypes with noise."""

from __future__ import annotations

import torch
from torch import Tensor

from metalearn._torch import AnyBatchNorm
from metalearn.episodes import Inputs
from metalearn.learners import Prototypical
from metalearn.learners._base import Adapted
from metalearn.learners._checks import member_of
from metalearn.networks import BatchStatistics
from metalearn.privacy.training import clip_rows


def private_prototypes(
    learner: Prototypical,
    support_x: Inputs,
    support_y: Tensor,
    *,
    n_way: int,
    clip_norm: float,
    noise_multiplier: float,
    generator: torch.Generator | None = None,
) -> Adapted:
    r"""Adapt to a support set whose examples the result hides: clipped embeddings, noise on each class's sum.

    The prototype is :math:`\frac{1}{K_n}\big(\sum_i \min(1, C / \lVert f(x_i) \rVert) f(x_i) + \mathcal{N}(0, \sigma^2
    C^2 I)\big)`. An example more or less in a class moves one sum by at most :math:`C`, so that all prototypes together
    have the epsilon of one release, :func:`metalearn.privacy.gaussian_epsilon` of the noise multiplier. To exchange an
    example for another one moves a sum by up to :math:`2C`: that has the epsilon of half the noise multiplier. The
    numbers :math:`K_n` of examples are taken as public, and queries are embedded as they are.

    Args:
        learner: With a trained encoder.
        support_x: Inputs ``[n_support, ...]``.
        support_y: Labels 0…n_way-1 ``[n_support]``.
        n_way: Number of classes.
        clip_norm: The bound :math:`C` on an embedding's length, above 0; chosen without looking at the support.
        noise_multiplier: Standard deviation of the noise in units of the bound, at least 0.
        generator: Of the noise.

    Returns:
        What :meth:`metalearn.learners.Prototypical.predict` takes.

    Raises:
        ValueError: If a number is out of its range, or the encoder normalises by the statistics of its inputs.

    Reference:
        Clipped sums with noise: Dwork, Roth: The Algorithmic Foundations of Differential Privacy, 2014,
        doi 10.1561/0400000042.

    Taught in:
        Trust.

    Example:
        >>> import torch
        >>> from metalearn.learners import Prototypical
        >>> from metalearn.privacy import private_prototypes
        >>> x, y = torch.tensor([[3.0], [1.0], [0.5]]), torch.tensor([0, 0, 1])
        >>> learner = Prototypical(torch.nn.Identity())
        >>> private_prototypes(learner, x, y, n_way=2, clip_norm=1.0, noise_multiplier=0.0)["prototypes"]
        tensor([[1.0000],
                [0.5000]])
    """
    if noise_multiplier < 0:
        raise ValueError(f"noise_multiplier must be at least 0, got {noise_multiplier}")
    for part in learner.modules():
        measured = isinstance(part, BatchStatistics) and (part.policy != "frozen" or part.training)
        if measured or (isinstance(part, AnyBatchNorm) and (part.training or not part.track_running_stats)):
            raise ValueError(
                "the encoder normalises by statistics of the support, which would not be private: call eval() where"
                ' they are stored, or take the norm policy "group"'
            )
    features = clip_rows(learner.encode({}, support_x), clip_norm)
    member = member_of(support_y, n_way).to(features.dtype)
    counts, sums = member.sum(1), member @ features
    noise = torch.randn(sums.shape, generator=generator, dtype=sums.dtype).to(sums.device)
    return {"prototypes": (sums + noise_multiplier * clip_norm * noise) / counts.unsqueeze(1), "counts": counts}
