"""Clients, a server, and what crosses the wire between them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from metalearn.diagrams._parts import arrow, box, canvas, thumbnail
from metalearn.plotting import COLOURS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from torch import Tensor

WIRE = 4.5  # what lies left of it stays with the clients


def draw_federated(axes: Axes, clients: Sequence[Tensor], newcomer: Tensor, n_lost: int = 1) -> None:
    """Draw one round of federated training, the model that comes of it, and the three places where somebody may look.

    Images stay left of the wire. The server sends weights to each client and gets weights back, but for clients that
    drop out; what it makes of them is published, and somebody who never took part adapts it.

    Args:
        axes: Where to draw.
        clients: A few images of each client ``[n, 1, height, width]`` in [0, 1]; up to three are shown.
        newcomer: Support set of one who adapts the published model ``[n, 1, height, width]``; up to three are shown.
        n_lost: How many of the last clients drop out: they get weights and send none.

    Raises:
        ValueError: If there is no client that answers.

    Example:
        >>> import torch
        >>> from matplotlib import pyplot as plt
        >>> from metalearn.diagrams import draw_federated
        >>> figure, axes = plt.subplots()
        >>> draw_federated(axes, [torch.rand(3, 1, 28, 28)] * 3, torch.rand(2, 1, 28, 28))
        >>> plt.close(figure)
    """
    if not 0 <= n_lost < len(clients):
        raise ValueError(f"expected n_lost from 0 to {len(clients) - 1}, as {len(clients)} clients exist, got {n_lost}")
    down, up = COLOURS["joint training"], COLOURS["MAML"]
    top = 1.9 * len(clients)
    server = box(axes, (6.7, top / 2 + 0.4), "server\naverages", size=9)
    for i, images in enumerate(clients):
        y, lost = top - 1.9 * i - 0.5, i >= len(clients) - n_lost
        _row(axes, images, 0.6, y)
        client = box(axes, (3.6, y), rf"client {i + 1}", colour="0.7" if lost else "0.4", size=8)
        arrow(axes, server, client, down, bend=0.12)
        if lost:
            axes.text(3.6, y - 0.62, "drops out", ha="center", fontsize=8, color="0.4")
        else:
            arrow(axes, client, server, up, bend=0.12)
    axes.plot([WIRE, WIRE], [-1.7, top + 0.6], ls=":", color="0.5", lw=1.2, zorder=0)
    axes.text(WIRE - 0.1, top + 0.75, "images stay here", ha="right", fontsize=8, color="0.3")
    axes.text(5.4, top + 0.1, r"$\theta$ down", color=down, fontsize=8, ha="left")
    axes.text(5.4, top - 0.35, r"$\theta_i$ up", color=up, fontsize=8, ha="left")
    published = box(axes, (9.6, top / 2 + 0.4), "published\n" + r"$\theta$", size=9)
    arrow(axes, server, published)
    _row(axes, newcomer, 0.6, -1.0)
    adapted, answers = box(axes, (6.7, -1.0), "adapted\n" + r"$\theta'$", size=9), box(axes, (9.6, -1.0), "answers")
    axes.text(0.1, -0.25, "support set of somebody else", fontsize=8, color="0.3")
    arrow(axes, (3.2, -1.0), adapted, up)
    arrow(axes, published, adapted)
    arrow(axes, adapted, answers)
    for number, at in ((1, (5.75, top - 1.1)), (2, (8.15, top / 2 + 0.8)), (3, (8.15, -0.6))):
        ring = {"boxstyle": "circle,pad=0.2", "fc": "0.2", "ec": "0.2"}
        axes.text(*at, str(number), color="white", fontsize=8, ha="center", va="center", bbox=ring, zorder=6)
    canvas(axes, 10.8, top + 1.2)
    axes.set_ylim(-1.8, top + 1.1)


def _row(axes: Axes, images: Tensor, left: float, y: float) -> None:
    for column, image in enumerate(images[:3]):
        thumbnail(axes, (left + 0.95 * column, y), image, size=0.85)
