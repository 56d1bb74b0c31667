"""What diagrams are made of: boxes, arrows, small pictures, in data coordinates of equal scale."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.text import Annotation, Text
    from torch import Tensor

Point = tuple[float, float]


def box(axes: Axes, at: Point, text: str, colour: str = "0.4", fill: str = "white", size: float = 9) -> Text:
    """Write a text in a rounded box, centred on a point."""
    patch = {"boxstyle": "round,pad=0.4", "fc": fill, "ec": colour}
    return axes.text(*at, text, ha="center", va="center", fontsize=size, bbox=patch)


def arrow(axes: Axes, start: Any, end: Any, colour: str = "0.25", bend: float = 0.0, **style: Any) -> Annotation:
    """Draw an arrow from a point or a box to another; it ends at the rim of a box.

    Args:
        axes: Where to draw.
        start: A point, or what :func:`box` returned.
        end: The same.
        colour: Of the arrow.
        bend: How far it bows to the side, as a share of its length.
        **style: More of matplotlib's ``arrowprops``: ``lw``, ``ls``, ``alpha``.
    """
    look = {"arrowstyle": "-|>", "color": colour, "lw": 1.4, "shrinkA": 0, "shrinkB": 0, "mutation_scale": 11}
    look["connectionstyle"] = f"arc3,rad={bend}"
    for patch, label in (("patchA", start), ("patchB", end)):
        if not isinstance(label, tuple):
            look[patch] = label.get_bbox_patch()
    points = [each if isinstance(each, tuple) else each.get_position() for each in (start, end)]
    return axes.annotate(
        "", xy=points[1], xytext=points[0], arrowprops=look | style, zorder=4
    )  # after the boxes: it ends at their rims as drawn


def thumbnail(axes: Axes, at: Point, image: Tensor, size: float = 0.8, colour: str = "0.4") -> None:
    """Show a grey image ``[1, height, width]``, 1 is ink, in a frame centred on a point, ``size`` wide."""
    half = size / 2
    extent = (at[0] - half, at[0] + half, at[1] - half, at[1] + half)
    axes.imshow(1 - image[0].numpy(), cmap="gray", vmin=0, vmax=1, extent=extent, zorder=2)
    axes.plot([extent[i] for i in (0, 1, 1, 0, 0)], [extent[i] for i in (2, 2, 3, 3, 2)], color=colour, lw=1, zorder=3)


def canvas(axes: Axes, width: float, height: float) -> None:
    """Make the axes a plain sheet from (0, 0) to (width, height), both axes of one scale; call it last."""
    axes.set(xlim=(0, width), ylim=(0, height), aspect="equal")
    axes.set_axis_off()
