"""Who sees whom in a transformer that reads tasks."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from torch import Tensor


def draw_attention(axes: Axes, sees: Tensor, n_support: int) -> None:
    """Draw who sees whom when a transformer reads a support set and answers queries.

    Args:
        axes: Where to draw.
        sees: Whether the token of a row sees that of a column, bool ``[n_tokens, n_tokens]``, the support first.
        n_support: How many of the tokens are examples of the support; the others are queries, at most 26.

    Example:
        >>> import torch
        >>> from matplotlib import pyplot as plt
        >>> from metalearn.diagrams import draw_attention
        >>> figure, axes = plt.subplots()
        >>> draw_attention(axes, torch.eye(5, dtype=torch.bool), n_support=3)
        >>> plt.close(figure)
    """
    names = [f"$(x_{{{i + 1}}}, y_{{{i + 1}}})$" for i in range(n_support)]
    names += [f"$x_{chr(97 + i)}$" for i in range(len(sees) - n_support)]
    axes.imshow(sees.float().numpy(), cmap="Blues", vmin=0, vmax=1.6)
    axes.set_xticks(range(len(sees)), names, rotation=60)
    axes.set_yticks(range(len(sees)), names)
    axes.set(xlabel="is seen", ylabel="token that looks")
    axes.grid(False)
