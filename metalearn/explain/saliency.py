"""Which pixels an answer hangs on: saliency by gradients and by covering, and two maps that ignore the network."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from metalearn.learners import Learner
from metalearn.learners._base import Adapted

Answer = Callable[[Tensor], Tensor]
Explain = Callable[[Answer, Tensor], Tensor]


def log_odds(learner: Learner, adapted: Adapted, labels: Tensor) -> Answer:
    r"""Return the function that is explained: :math:`\log p / (1 - p)` of each row's label.

    Unlike a probability it does not saturate, and unlike a logit it knows the other classes. Rows must not depend on
    each other: with the norm policy ``"batch"`` they do.

    Args:
        learner: Any learner of classes.
        adapted: What it adapted to.
        labels: A class for each row ``[n]``.

    Returns:
        A function from inputs ``[n, ...]`` to numbers ``[n]``.

    Taught in:
        Trust.

    Example:
        >>> import torch
        >>> from metalearn.explain import log_odds
        >>> from metalearn.learners import Prototypical
        >>> learner = Prototypical(torch.nn.Identity())
        >>> adapted = learner.adapt(torch.tensor([[0.0], [2.0]]), torch.arange(2))
        >>> log_odds(learner, adapted, torch.tensor([0]))(torch.tensor([[0.5]]))
        tensor([2.])
    """

    def answer(x: Tensor) -> Tensor:
        logits = learner.predict(adapted, x)
        own = F.one_hot(labels, logits.shape[1]).bool()
        return logits[own] - logits.masked_fill(own, -torch.inf).logsumexp(1)

    return answer


def gradient(fn: Answer, x: Tensor) -> Tensor:
    """Return the gradient of each row's answer with respect to its pixels, of the shape of ``x``.

    Args:
        fn: From inputs ``[n, ...]`` to numbers ``[n]``, row by row.
        x: Inputs ``[n, ...]``.

    Reference:
        Simonyan, Vedaldi, Zisserman: Deep Inside Convolutional Networks, 2013, arXiv 1312.6034, section 3.

    Differs from the paper:
        The sign is kept.

    Taught in:
        Trust.

    Example:
        >>> import torch
        >>> from metalearn.explain import gradient
        >>> gradient(lambda x: x.square().sum(1), torch.tensor([[1.0, 2.0]]))
        tensor([[2., 4.]])
    """
    with torch.enable_grad():
        leaf = x.detach().requires_grad_()
        (found,) = torch.autograd.grad(fn(leaf).sum(), leaf)
    return found


def gradient_times_input(fn: Answer, x: Tensor, *, baseline: float | Tensor = 0.0) -> Tensor:
    """Return the gradient times what each pixel differs from a baseline by: the linear part of covering it.

    Args:
        fn: As in :func:`gradient`.
        x: Inputs ``[n, ...]``.
        baseline: What a pixel is covered with: a number, or a tensor that broadcasts to ``x``.

    Reference:
        Shrikumar, Greenside, Shcherbina, Kundaje: Not Just a Black Box, 2016, arXiv 1605.01713.

    Taught in:
        Trust.

    Example:
        >>> import torch
        >>> from metalearn.explain import gradient_times_input
        >>> gradient_times_input(lambda x: 3 * x[:, 0], torch.tensor([[2.0, 5.0]]))
        tensor([[6., 0.]])
    """
    return gradient(fn, x) * (x - baseline)


def integrated_gradients(fn: Answer, x: Tensor, *, baseline: float | Tensor = 0.0, n_points: int = 32) -> Tensor:
    r"""Average the gradient on the straight way from a baseline, and multiply by the way.

    The sum over an image's pixels is the difference of the two answers, :math:`f(x) - f(b)` (completeness), but for the
    error of the sum that stands for the integral.

    Args:
        fn: As in :func:`gradient`.
        x: Inputs ``[n, ...]``.
        baseline: Where the way starts: a number, or a tensor that broadcasts to ``x``.
        n_points: Points on the way, at the middles of as many equal parts; at least 1.

    Raises:
        ValueError: If there is no point.

    Reference:
        Sundararajan, Taly, Yan: Axiomatic Attribution for Deep Networks, 2017, arXiv 1703.01365, sections 3 and 5.

    Taught in:
        Trust.

    Example:
        >>> import torch
        >>> from metalearn.explain import integrated_gradients
        >>> integrated_gradients(lambda x: x[:, 0] * x[:, 1], torch.tensor([[2.0, 4.0]]))
        tensor([[4., 4.]])
    """
    if n_points < 1:
        raise ValueError(f"expected at least one point on the way, got n_points={n_points}")
    start = torch.zeros_like(x) + baseline
    total = torch.zeros_like(x)
    for k in range(n_points):
        total = total + gradient(fn, start + (k + 0.5) / n_points * (x - start))
    return total / n_points * (x - start)


def occlusion(fn: Answer, x: Tensor, *, size: int = 5, stride: int = 2, baseline: float = 0.0) -> Tensor:
    """Cover a square, note by how much the answer falls, and give each pixel the mean over the squares that hold it.

    Args:
        fn: As in :func:`gradient`; no gradient is needed.
        x: Images ``[n, channels, height, width]``.
        size: Pixels of a side of the square.
        stride: Pixels from one square to the next; at most ``size``, so that each pixel is covered.
        baseline: What pixels are covered with.

    Raises:
        ValueError: If a size is out of its range.

    Reference:
        Zeiler, Fergus: Visualizing and Understanding Convolutional Networks, 2013, arXiv 1311.2901, section 4.2.

    Taught in:
        Trust.

    Example:
        >>> import torch
        >>> from metalearn.explain import occlusion
        >>> occlusion(lambda x: x[:, 0, 0, 1], torch.ones(1, 1, 1, 3), size=1, stride=1)
        tensor([[[[0., 1., 0.]]]])
    """
    height, width = x.shape[-2:]
    if not 1 <= stride <= size or size > max(height, width):
        raise ValueError(f"expected 1 <= stride <= size <= {max(height, width)}, got stride={stride}, size={size}")
    with torch.no_grad():
        whole, total, count = fn(x), torch.zeros_like(x), torch.zeros_like(x)
        for top in _places(height, size, stride):
            for left in _places(width, size, stride):
                square = (..., slice(top, top + size), slice(left, left + size))
                covered = x.clone()
                covered[square] = baseline
                total[square] += (whole - fn(covered)).reshape(-1, 1, 1, 1)
                count[square] += 1
    return total / count


def magnitude(fn: Answer, x: Tensor) -> Tensor:
    """Return the pixels' own size: a map that explains nothing, since it ignores the network.

    Example:
        >>> import torch
        >>> from metalearn.explain import magnitude
        >>> magnitude(lambda x: x.sum(1), torch.tensor([[-2.0, 1.0]]))
        tensor([[2., 1.]])
    """
    return x.abs()


def edges(fn: Answer, x: Tensor) -> Tensor:
    """Return the strength of edges, by Sobel's filter: a map that looks like an explanation and ignores the network.

    Args:
        fn: Not used.
        x: Images ``[n, channels, height, width]``.

    Example:
        >>> import torch
        >>> from metalearn.explain import edges
        >>> step = torch.tensor([0.0, 0.0, 1.0, 1.0]).expand(1, 1, 4, 4)
        >>> edges(lambda x: x.sum((1, 2, 3)), step)[0, 0, 1]
        tensor([0., 4., 4., 0.])
    """
    across = torch.tensor([[-1.0, 0.0, 1.0], [-2.0, 0.0, 2.0], [-1.0, 0.0, 1.0]], dtype=x.dtype, device=x.device)
    kernels = torch.stack([across, across.T]).unsqueeze(1)  # [2, 1, 3, 3]
    images = x.reshape(-1, 1, *x.shape[-2:])
    padded = F.pad(images, (1, 1, 1, 1), mode="replicate")  # no edge at the border
    strength: Tensor = F.conv2d(padded, kernels).norm(dim=1).reshape(x.shape)
    return strength


def _places(length: int, size: int, stride: int) -> list[int]:
    """Return where squares start, the last one at the border."""
    last = max(length - size, 0)
    return sorted({*range(0, last + 1, stride), last})
