"""Verification: are two inputs of one class? The errors of a threshold on their similarity."""

from __future__ import annotations

import torch
from torch import Tensor

from metalearn._modes import evaluating
from metalearn.learners import Siamese
from metalearn.pools import Pool
from metalearn.runtime import default_seed, stream


def similarities(learner: Siamese, pool: Pool, n_pairs: int = 4_000, seed: int | None = None) -> tuple[Tensor, Tensor]:
    """Draw balanced pairs from a pool and return how alike a learner finds them.

    Args:
        learner: It runs in ``eval`` mode and is left as it was.
        pool: Of inputs, or of embeddings beside a learner whose encoder is ``nn.Identity()``.
        n_pairs: How many, at least 2; every second one is equal.
        seed: Of the draw; ``None``: :func:`metalearn.runtime.default_seed`. The same seed draws the same pairs.

    Returns:
        Similarities ``[n_pairs]``, and 1 for each pair of one class, else 0.

    Taught in:
        Siamese networks.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> from metalearn import Pool, verification
        >>> from metalearn.learners import Siamese
        >>> pool = Pool(torch.tensor([[0.0], [0.0], [3.0], [3.0]]), torch.tensor([0, 0, 1, 1]))
        >>> similarity, same = verification.similarities(Siamese(nn.Identity()), pool, n_pairs=100)
        >>> bool((similarity[same == 0] == -9).all()), bool((similarity[same == 1] == 0).all())
        (True, True)
    """
    draw = stream(default_seed() if seed is None else seed, "pairs", pool.device)
    (left, right), same = pool.pairs(n_pairs)(draw)
    with evaluating(learner):
        return learner.similarity(left, right), same


def errors_at(threshold: float, similarity: Tensor, same: Tensor) -> tuple[float, float]:
    """Return the shares of false accepts and of false rejects, if pairs from a threshold upwards are accepted.

    Args:
        threshold: The least similarity that is accepted as "one class".
        similarity: ``[n_pairs]``.
        same: 1 for each pair of one class, else 0, ``[n_pairs]``; both kinds are there.

    Raises:
        ValueError: If all pairs are equal, or all unequal, lengths differ, or a similarity is NaN.

    Taught in:
        Siamese networks.

    Example:
        >>> import torch
        >>> from metalearn import verification
        >>> similarity, same = torch.tensor([0.9, 0.8, 0.7, 0.1]), torch.tensor([1, 0, 1, 0])
        >>> verification.errors_at(0.75, similarity, same)
        (0.5, 0.5)
    """
    _check(similarity, same)
    accepted = (similarity >= threshold).double()
    return accepted[same == 0].mean().item(), 1 - accepted[same == 1].mean().item()


def equal_error(similarity: Tensor, same: Tensor) -> tuple[float, float]:
    """Return the equal-error rate, and the threshold at which both errors are nearest to each other.

    Args:
        similarity: ``[n_pairs]``.
        same: 1 for each pair of one class, else 0, ``[n_pairs]``; both kinds are there.

    Returns:
        The mean of the two errors at that threshold, in [0, 1], and the threshold.

    Raises:
        ValueError: If all pairs are equal, or all unequal, lengths differ, or a similarity is NaN.

    Taught in:
        Siamese networks.

    Example:
        >>> import torch
        >>> from metalearn import verification
        >>> verification.equal_error(torch.tensor([4.0, 2.0, 3.0, 1.0]), torch.tensor([1, 1, 0, 0]))
        (0.5, 3.0)
    """
    _check(similarity, same)
    thresholds = similarity.sort().values  # from threshold to threshold, fewer are accepted
    equal, unequal = (similarity[same == kind].contiguous().sort().values for kind in (1, 0))
    rejected = torch.searchsorted(equal, thresholds) / len(equal)  # below the threshold
    accepted = 1 - torch.searchsorted(unequal, thresholds) / len(unequal)
    best = int((accepted - rejected).abs().argmin())
    return (accepted[best] + rejected[best]).item() / 2, thresholds[best].item()


def _check(similarity: Tensor, same: Tensor) -> None:
    if similarity.shape != same.shape or same.ndim != 1 or not len(same):
        raise ValueError(
            f"expected similarity and same [n_pairs], got shapes {list(similarity.shape)} and {list(same.shape)}"
        )
    if similarity.isnan().any():
        raise ValueError(f"{int(similarity.isnan().sum())} similarities are NaN: the learner has diverged")
    if bool((same == same[0]).all()):
        raise ValueError("the pairs are all equal or all unequal; both are needed")
