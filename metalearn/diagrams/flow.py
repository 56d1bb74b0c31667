"""One task of images on its way through a learner."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from metalearn.diagrams._parts import arrow, box, canvas, thumbnail
from metalearn.plotting import COLOURS

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from metalearn.episodes import Episode
    from metalearn.learners import Learner


def draw_flow(axes: Axes, episode: Episode, learner: Learner) -> None:
    """Draw one task on its way through a learner that compares with class means of the images themselves.

    The support goes through ``adapt``, what it returns is shown as images, and one query goes through ``predict``.

    Args:
        axes: Where to draw.
        episode: One task of images ``[n, 1, height, width]`` in [0, 1]; the first query is asked.
        learner: :class:`metalearn.learners.Pixels`, or another that keeps ``"prototypes"`` of the images' size.

    Example:
        >>> from matplotlib import pyplot as plt
        >>> from metalearn.data import glyphs
        >>> from metalearn.diagrams import draw_flow
        >>> from metalearn.learners import Pixels
        >>> episode = glyphs().test.episodes(n_tasks=1, n_way=3, n_shot=2, n_query=1)()[0]
        >>> figure, axes = plt.subplots()
        >>> draw_flow(axes, episode, Pixels())
        >>> plt.close(figure)
    """
    x, y, n_way, asked = episode.support_x, episode.support_y, episode.n_way or 1, episode.query_x[:1]
    adapted = learner.adapt(x, y, n_way=n_way)
    means = adapted["prototypes"].reshape(-1, *x.shape[1:])
    logits = learner.predict(adapted, asked)[0]
    heights = [1.2 * (n_way - n) + 0.9 for n in range(n_way)]
    middle, winner = sum(heights) / n_way, COLOURS["prototypical"]
    adapt, predict = box(axes, (4.25, middle), "adapt"), box(axes, (8.2, middle), "predict")
    for n, height in enumerate(heights):
        for column, image in enumerate(x[y == n]):
            thumbnail(axes, (1.5 + 1.1 * column, height), image, size=1.0)
        thumbnail(axes, (6.25, height), means[n], size=1.0)
        axes.text(0.8, height, str(n), ha="right", va="center")
        best = n == int(logits.argmax())
        style: dict[str, Any] = {"weight": "bold", "color": winner} if best else {}
        axes.text(9.75, height, f"{n}: {logits[n]:.0f}".replace("-", "−"), va="center", **style)
    thumbnail(axes, (1.5, 0.6), asked[0], size=1.0, colour=winner)
    arrow(axes, (3.2, middle), adapt)
    arrow(axes, adapt, (5.65, middle))
    arrow(axes, (6.85, middle), predict)
    arrow(axes, (2.1, 0.6), predict, winner, connectionstyle="angle,angleA=0,angleB=90,rad=6")
    arrow(axes, predict, (9.65, middle))
    top = heights[0] + 0.75
    for place, text in ((2.05, r"support $\mathcal{S}$"), (6.25, "adapted: $c_n$"), (10.0, "logits")):
        axes.text(place, top, text, ha="center")
    axes.text(2.3, 0.7, "a query $x$", color=winner)
    canvas(axes, 11.3, top + 0.5)
