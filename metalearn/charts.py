"""Figures of diagnosis: labelled lines, calibration, decisions, differences with intervals."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import cycle
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from metalearn.clinical import net_benefit
from metalearn.costs import non_dominated
from metalearn.evaluation import Score
from metalearn.plotting import COLOURS
from metalearn.verification import equal_error

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from torch import Tensor

    from metalearn.episodes import Episode
    from metalearn.experiments import Record
    from metalearn.learners._steps import DescentLearner
    from metalearn.pools import Pool

MARKED = 12  # lines of so many points have a mark at each


def lines(axes: Axes, x: Any, curves: Mapping[str, Any], **settings: Any) -> None:
    """Draw curves with a legend; a curve whose name is in ``COLOURS`` has that colour.

    Args:
        axes: Where to draw.
        x: Positions that all curves share; ``None``: each curve is a pair of its own positions and heights.
        curves: Heights by name; scores are shown with the 95 % interval of each, in percent where higher is better.
        **settings: What ``axes.set`` takes: ``xlabel="patients"``.

    Example:
        >>> from matplotlib import pyplot as plt
        >>> from metalearn.charts import lines
        >>> figure, axes = plt.subplots()
        >>> lines(axes, [1, 2, 3], {"MAML": [1, 4, 9]}, xlabel="steps")
        >>> plt.close(figure)
    """
    for name, values in curves.items():
        at, heights = values if x is None else (x, values)
        style: dict[str, Any] = {
            "color": COLOURS.get(name),
            "label": name,
            "marker": "o" if len(at) <= MARKED else None,
        }
        if isinstance(heights[0], Score):
            scale = 100 if heights[0].higher_is_better else 1
            ends = [scale * score.ci95 for score in heights]
            axes.errorbar(at, [scale * score.mean for score in heights], ends, markersize=4, **style)
        else:
            axes.plot(at, heights, markersize=4, **style)
    axes.set(**settings)
    axes.legend(fontsize=8)


def adaptation(
    axes: Axes, learner: DescentLearner, task: Episode, n_steps: Sequence[int] = (0, 1, 10), **style: Any
) -> None:
    """Draw what a learner predicts on a regression task with one input, at its start and after inner steps.

    The legend stands beside the axes.

    Args:
        axes: Where to draw.
        learner: One whose ``adapt`` takes ``n_steps``.
        task: One task, all four tensors ``[n, 1]``; the curves reach as far as its points.
        n_steps: Numbers of steps; the styles of their lines repeat after four.
        **style: Of the lines: ``color="tab:blue"``.

    Example:
        >>> import torch
        >>> from matplotlib import pyplot as plt
        >>> from metalearn.charts import adaptation
        >>> from metalearn.data import sinusoids
        >>> from metalearn.learners import MAML
        >>> from metalearn.networks import MLP
        >>> learner = MAML(MLP([1, 40, 1]), inner_lr=0.01, loss_fn=torch.nn.functional.mse_loss)
        >>> figure, axes = plt.subplots()
        >>> adaptation(axes, learner, sinusoids().sample(1, n_shot=5, n_query=100)[0])
        >>> plt.close(figure)
    """
    ends = torch.cat([task.support_x, task.query_x])
    x = torch.linspace(ends.min().item(), ends.max().item(), 200).unsqueeze(1)
    for k, look in zip(n_steps, cycle((":", "--", "-", "-.")), strict=False):
        with torch.no_grad():
            y = learner.predict(learner.adapt(task.support_x, task.support_y, n_steps=k), x)
        axes.plot(x, y, look, label="1 step" if k == 1 else f"{k} steps", **style)
    axes.legend(fontsize=8, loc="center left", bbox_to_anchor=(1.0, 0.5))


def histogram(axes: Axes, groups: Mapping[str, Any], bins: Any, xlabel: str) -> None:
    """Draw how many tasks have which value, the groups over one another.

    Args:
        axes: Where to draw.
        groups: Values by name, each ``[n_tasks]``; a name in ``COLOURS`` has its colour, others grey and red in turn.
        bins: Edges of the bins ``[n_bins + 1]``.
        xlabel: What the values are, with their unit.

    Example:
        >>> import torch
        >>> from matplotlib import pyplot as plt
        >>> from metalearn.charts import histogram
        >>> figure, axes = plt.subplots()
        >>> histogram(axes, {"before": torch.rand(50), "after": torch.rand(50)}, torch.linspace(0, 1, 11), "error")
        >>> plt.close(figure)
    """
    shades = cycle((COLOURS["from scratch"], COLOURS["MAML"]))
    for name, values in groups.items():
        shade = COLOURS.get(name) or next(shades)
        axes.hist(np.asarray(values), np.asarray(bins).tolist(), color=shade, alpha=0.75, label=name)
    axes.set(xlabel=xlabel, ylabel="number of tasks")
    axes.legend(fontsize=8)


def calibration(axes: Axes, pairs: Mapping[str, tuple[Any, Any]], n_bins: int = 8) -> None:
    """Draw the share of the ill against the predicted probability, in bins of equally many patients.

    Args:
        axes: Where to draw.
        pairs: Labels and probabilities of each model by its name, each ``[n]``.
        n_bins: Number of bins.

    Example:
        >>> import numpy as np
        >>> from matplotlib import pyplot as plt
        >>> from metalearn.charts import calibration
        >>> figure, axes = plt.subplots()
        >>> calibration(axes, {"pooled": (np.arange(80) % 2, np.linspace(0, 1, 80))})
        >>> plt.close(figure)
    """
    from sklearn.calibration import calibration_curve

    curves = {name: calibration_curve(y, p, n_bins=n_bins, strategy="quantile")[::-1] for name, (y, p) in pairs.items()}
    axes.plot([0, 1], [0, 1], ":", color="0.6")
    lines(axes, None, curves, xlabel="predicted probability", ylabel="share that is ill")


def decisions(axes: Axes, pairs: Mapping[str, tuple[Any, Any]], thresholds: Any) -> None:
    """Draw decision curves: the net benefit of each model against the threshold, and that of acting on all.

    Args:
        axes: Where to draw.
        pairs: Labels and probabilities of each model by its name, each ``[n]``; the labels are the same.
        thresholds: Each above 0 and below 1.

    Example:
        >>> import numpy as np
        >>> from matplotlib import pyplot as plt
        >>> from metalearn.charts import decisions
        >>> figure, axes = plt.subplots()
        >>> decisions(axes, {"pooled": (np.arange(80) % 2, np.linspace(0, 1, 80))}, [0.1, 0.5])
        >>> plt.close(figure)
    """
    curves = {name: net_benefit(y, p, thresholds) for name, (y, p) in pairs.items()}
    y = np.asarray(next(iter(pairs.values()))[0])
    curves["act on all"] = net_benefit(y, np.ones(len(y)), thresholds)
    lines(axes, thresholds, curves, xlabel="threshold t", ylabel="net benefit", ylim=(-0.05, 1.1 * y.mean()))


def differences(axes: Axes, groups: Mapping[str, Mapping[str, Sequence[float]]], xlabel: str) -> None:
    """Draw differences with their intervals, one below the other, and a line at no difference.

    Args:
        axes: Where to draw.
        groups: For each group (a hospital) and each method in it: value, lower and upper end; a group ``""`` has no
            name.
        xlabel: What the difference is of.

    Example:
        >>> from matplotlib import pyplot as plt
        >>> from metalearn.charts import differences
        >>> figure, axes = plt.subplots()
        >>> differences(axes, {"here": {"MAML": (0.1, 0.0, 0.2), "pooled": (0.0, -0.1, 0.1)}}, "AUROC")
        >>> plt.close(figure)
    """
    ticks, height = [], 0.0
    for group, found in groups.items():
        for name, (value, low, high) in found.items():
            axes.plot([low, high], [height] * 2, color=COLOURS.get(name, "0.3"))
            axes.plot(value, height, "o", color=COLOURS.get(name, "0.3"), markersize=4)
            ticks.append((height, f"{group}: {name}" if group else name))
            height -= 1
        height -= 1
    axes.axvline(0, color="0.4")
    axes.set_yticks(*zip(*ticks, strict=True), fontsize=7)
    axes.set_xlabel(xlabel)


def forest(axes: Axes, rows: Sequence[tuple[str, Score, str]], xlabel: str) -> None:
    """Draw gains with their 95 % intervals, a row each from top to bottom, and a line at none.

    Args:
        axes: Where to draw.
        rows: Of each row its label, the gain, and what it is over, which gives the colour and an entry in the legend.
        xlabel: What the gain is of.

    Example:
        >>> import torch
        >>> from matplotlib import pyplot as plt
        >>> from metalearn import Score
        >>> from metalearn.charts import forest
        >>> figure, axes = plt.subplots()
        >>> forest(axes, [("letters", Score.of(torch.rand(60)), "transfer")], "points")
        >>> plt.close(figure)
    """
    groups = list(dict.fromkeys(group for *_, group in rows))
    for y, (_, score, group) in enumerate(rows):
        colour = f"C{groups.index(group)}"
        axes.errorbar(score.mean, y, xerr=score.ci95, fmt="o", markersize=4, color=colour)
    for number, group in enumerate(groups):
        axes.plot([], [], "o", color=f"C{number}", label=group)
    axes.axvline(0, color="0.4", linewidth=1)
    axes.set_yticks(range(len(rows)), [label for label, *_ in rows], fontsize=8)
    axes.invert_yaxis()
    axes.set_xlabel(xlabel)
    axes.legend(fontsize=8, title="rival")


def accuracies(axes: Axes, groups: Mapping[str, Mapping[str, Score]], chance: float) -> None:
    """Draw scores in percent with their 95 % intervals, one below the other, and a dotted line at chance.

    Args:
        axes: Where to draw; 0 is on the scale.
        groups: For each kind of task and each method on it: its score.
        chance: What guessing reaches, in percent.

    Example:
        >>> import torch
        >>> from matplotlib import pyplot as plt
        >>> from metalearn import Score
        >>> from metalearn.charts import accuracies
        >>> figure, axes = plt.subplots()
        >>> accuracies(axes, {"5-way": {"MAML": Score.of(torch.rand(60))}}, chance=20)
        >>> plt.close(figure)
    """
    ends = {
        group: {name: tuple(100 * (score.mean + k * score.ci95) for k in (0, -1, 1)) for name, score in found.items()}
        for group, found in groups.items()
    }
    differences(axes, ends, "accuracy in %")
    axes.axvline(chance, color="0.5", ls=":")


def pair_distances(axes: Axes, similarity: Tensor, same: Tensor, margin: float | None = None) -> None:
    """Draw the distances of equal and of unequal pairs, and the margin.

    Args:
        axes: Where to draw.
        similarity: Minus the squared distance of each pair ``[n_pairs]``.
        same: 1 for each pair of one class, else 0, ``[n_pairs]``.
        margin: Where the push on unequal pairs ends.

    Example:
        >>> import torch
        >>> from matplotlib import pyplot as plt
        >>> from metalearn.charts import pair_distances
        >>> figure, axes = plt.subplots()
        >>> pair_distances(axes, -torch.rand(100), torch.arange(100) % 2, margin=1.0)
        >>> plt.close(figure)
    """
    distance = (-similarity).clamp(min=0).sqrt()
    bins = np.linspace(0, 1.05 * distance.max().item(), 50).tolist()
    for kind, name in ((1, "equal pairs"), (0, "unequal pairs")):
        axes.hist(distance[same == kind].numpy(), bins, alpha=0.55, color=COLOURS[name], label=name)
    if margin is not None:
        axes.axvline(margin, color="0.2", linestyle=":", label=f"margin {margin:g}")
    axes.set(xlabel="distance", ylabel="pairs")
    axes.legend(fontsize=8, loc="lower left", bbox_to_anchor=(0, 1), ncols=3, borderaxespad=0.2)


def pairs_in_plane(axes: Axes, encoder: Callable[[Any], Tensor], pool: Pool, n_pairs: int = 8) -> None:
    """Draw the embeddings of a pool, a colour for each class, and lines that join the two sides of some pairs.

    Args:
        axes: Where to draw.
        encoder: From inputs to embeddings ``[n, 2]``.
        pool: Of at most 10 classes.
        n_pairs: Lines; always the same pairs of a pool.

    Example:
        >>> import torch
        >>> from matplotlib import pyplot as plt
        >>> from metalearn import Pool
        >>> from metalearn.charts import pairs_in_plane
        >>> figure, axes = plt.subplots()
        >>> pairs_in_plane(axes, torch.nn.Identity(), Pool(torch.randn(40, 2), torch.arange(40) // 10))
        >>> plt.close(figure)
    """
    (left, right), same = pool.pairs(n_pairs)(torch.Generator().manual_seed(2))
    with torch.no_grad():
        points, ends = encoder(pool.x), torch.stack([encoder(left), encoder(right)], 1)  # [n, 2], [n_pairs, 2, 2]
    axes.scatter(points[:, 0], points[:, 1], c=pool.y, cmap="tab10", s=6)
    for (kind, name), style in zip(((1, "equal pairs"), (0, "unequal pairs")), ("-", "--"), strict=True):
        for i, pair in enumerate(ends[same == kind]):
            axes.plot(*pair.T, style, color="0.1", lw=1.2, label=name if i == 0 else None)
    axes.set(xlabel="first coordinate", ylabel="second coordinate")
    axes.legend(fontsize=8, loc="lower left", bbox_to_anchor=(0, 1), ncols=2, borderaxespad=0.2)


def roc(axes: Axes, pairs: Mapping[str, tuple[Tensor, Tensor]]) -> None:
    """Draw ROC curves with a dot at each equal-error point, chance, and the line on which both errors are equal.

    Args:
        axes: Where to draw.
        pairs: For each name, similarities ``[n_pairs]`` and 1 for each pair of one class, else 0.

    Example:
        >>> import torch
        >>> from matplotlib import pyplot as plt
        >>> from metalearn.charts import roc
        >>> figure, axes = plt.subplots()
        >>> roc(axes, {"siamese": (torch.rand(100), torch.arange(100) % 2)})
        >>> plt.close(figure)
    """
    from sklearn.metrics import roc_curve

    for name, (similarity, same) in pairs.items():
        error, _ = equal_error(similarity, same)
        false_accepts, true_accepts, _ = roc_curve(same, similarity)
        (line,) = axes.plot(false_accepts, true_accepts, color=COLOURS.get(name), label=f"{name}: {100 * error:.0f} %")
        axes.plot(error, 1 - error, "o", color=line.get_color())
    axes.plot([0, 1], [0, 1], ":", color="0.5", label="chance: 50 %")
    axes.plot([0, 1], [1, 0], "--", color="0.7", lw=1, label="both errors are equal")
    axes.set(xlabel="unequal pairs accepted", ylabel="equal pairs accepted", aspect="equal")
    axes.legend(fontsize=8, title="equal-error rate", loc="center left", bbox_to_anchor=(1.0, 0.5))


def neighbours(axes: Axes, features: Tensor, images: Tensor, labels: Tensor, size: float = 0.04) -> None:
    """Place pictures in the plane by t-SNE of their features, each in the colour of its class.

    Args:
        axes: Where to draw.
        features: ``[n, n_features]``.
        images: ``[n, 1, height, width]`` in [0, 1], bright ink.
        labels: Class of each, ``[n]``, at most 8 classes.
        size: Width of a picture as a share of the axes' width.

    Example:
        >>> import torch
        >>> from matplotlib import pyplot as plt
        >>> from metalearn.charts import neighbours
        >>> figure, axes = plt.subplots()
        >>> neighbours(axes, torch.randn(20, 8), torch.rand(20, 1, 28, 28), torch.arange(20) // 4)
        >>> plt.close(figure)
    """
    from matplotlib import colormaps
    from sklearn.manifold import TSNE

    places = TSNE(perplexity=min(10, len(features) / 4), random_state=0).fit_transform(features.numpy())
    places = (places - places.min(0)) / np.ptp(places, 0)  # now in [0, 1]
    width, height = axes.get_window_extent().size
    half = np.array([size, size * width / height]) / 2
    for place, image, label in zip(places, images, labels, strict=True):
        picture = np.empty((*image.shape[1:], 4))
        picture[..., :3] = colormaps["Dark2"](int(label) % 8)[:3]
        picture[..., 3] = image[0].numpy()
        (left, bottom), (right, top) = place - half, place + half
        axes.imshow(picture, extent=(left, right, bottom, top), aspect="auto")
    axes.set(xlim=(-half[0], 1 + half[0]), ylim=(-half[1], 1 + half[1]), xticks=[], yticks=[])
    axes.grid(False)


def race(
    axes: Axes, record: Record, methods: Mapping[str, str], test: str | None = None, n_steps: int | None = None
) -> None:
    """Draw how learners of a study got better with processor time, and where they ended on the test.

    The line is validation, the dot at its end the test with its 95 % interval, both of seed 0. A dotted line is the
    test of what was not trained, or not validated on the way. Accuracies are in percent; of errors the median over
    tasks is drawn, on a logarithmic axis.

    Args:
        axes: Where to draw.
        record: The study.
        methods: Label in the study by the name shown, at least one; a name in ``COLOURS`` gets its colour.
        test: Name of the test; ``None``: the first.
        n_steps: Inner steps of the test of those that take some; ``None``: as many as were tested. Validation has the
            number of steps of the training.

    Example:
        >>> from matplotlib import pyplot as plt
        >>> from metalearn import experiments
        >>> from metalearn.charts import race
        >>> figure, axes = plt.subplots()
        >>> race(axes, experiments.load("glyphs"), {"prototypical": "Prototypical", "raw pixels": "raw pixels"})
        >>> plt.close(figure)
    """
    for name, label in methods.items():
        tested = {row["n_steps"] for row in record.part(label)["rows"]}
        score = record.score(label, test, n_steps if n_steps in tested else None)
        percent, colour = score.higher_is_better, COLOURS.get(name, "0.3")
        end = 100 * score.mean if percent else score.median
        text = f"{name}: {end:.1f} %" if percent else f"{name}: {end:.2g}"
        seconds, values, _ = record.curve(label)
        if not seconds:
            axes.axhline(end, color=colour, ls=":", label=text)
            continue
        axes.plot(seconds, [100 * value for value in values] if percent else values, color=colour, lw=1.2, alpha=0.8)
        ends = 100 * score.ci95 if percent else None
        axes.errorbar(record.part(label)["cpu_seconds"], end, ends, fmt="o", color=colour, label=text, markersize=6)
    kind, scale = ("accuracy in %", "linear") if percent else ("median error", "log")
    axes.set(xlabel="processor seconds of training", ylabel=kind, xscale="log", yscale=scale)
    axes.legend(fontsize=8, loc="center left", bbox_to_anchor=(1.0, 0.5))


def trade_off(axes: Axes, choices: Mapping[str, tuple[float, Score]], xlabel: str) -> None:
    """Draw accuracies in percent against what they cost, on a logarithmic axis, and the line of what none dominates.

    Choices on the line are named beside the axes, the cheapest first, with cost and accuracy.

    Args:
        axes: Where to draw.
        choices: Cost, above 0, and score by name.
        xlabel: What the cost is, with its unit.

    Example:
        >>> import torch
        >>> from matplotlib import pyplot as plt
        >>> from metalearn import Score
        >>> from metalearn.charts import trade_off
        >>> figure, axes = plt.subplots()
        >>> trade_off(axes, {name: (10.0, Score.of(torch.rand(60))) for name in ("MAML", "Relation")}, "ms")
        >>> plt.close(figure)
    """
    front = non_dominated({name: (cost, score.mean) for name, (cost, score) in choices.items()})
    for name, (cost, score) in choices.items():
        colour = COLOURS["MAML"] if name in front else "0.6"
        axes.errorbar(cost, 100 * score.mean, 100 * score.ci95, fmt="o", color=colour, ms=5 if name in front else 4)
    steps = [(choices[name][0], 100 * choices[name][1].mean) for name in front]
    axes.step(*zip(*steps, strict=True), where="post", color=COLOURS["MAML"], lw=1)
    axes.set(xscale="log", xlabel=xlabel, ylabel="accuracy in %")
    names = "\n".join(f"{name}\n  {x:.3g}: {y:.1f} %" for name, (x, y) in zip(front, steps, strict=True))
    axes.text(1.02, 1, names, transform=axes.transAxes, va="top", fontsize=8)


def places(axes: Axes, rankings: Mapping[str, Mapping[str, float]], far: int = 4) -> None:
    """Draw the places of methods in several rankings, joined by lines; the best has the first place.

    Args:
        axes: Where to draw.
        rankings: By name, in their order, values of the same methods, of which the highest is the best.
        far: Lines that move by so many places are red.

    Example:
        >>> from matplotlib import pyplot as plt
        >>> from metalearn.charts import places
        >>> figure, axes = plt.subplots()
        >>> places(axes, {"early": {"a": 0.1, "b": 0.3}, "late": {"a": 0.5, "b": 0.4}})
        >>> plt.close(figure)
    """
    orders = [sorted(values, key=lambda method: -values[method]) for values in rankings.values()]
    last = len(orders) - 1
    for method in orders[-1]:
        heights = [order.index(method) + 1 for order in orders]
        colour = COLOURS["MAML"] if max(heights) - min(heights) >= far else "0.6"
        axes.plot(range(last + 1), heights, "o-", color=colour, lw=1.2, ms=4)
        axes.annotate(method, (last + 0.04, heights[-1]), va="center", fontsize=8)
    axes.set_xticks(range(last + 1), list(rankings))
    axes.set_yticks(range(1, len(orders[-1]) + 1, 3))
    axes.set(ylabel="place", xlim=(-0.1, 1.9 * last), ylim=(len(orders[-1]) + 0.5, 0.5))


def grid(axes: Axes, values: Sequence[Sequence[float]], rows: Sequence[str], columns: Sequence[str]) -> None:
    """Draw a table of numbers as fields, the larger the darker, with the number in each.

    Args:
        axes: Where to draw.
        values: ``[n_rows][n_columns]``; NaN leaves a field empty.
        rows: Names of the rows.
        columns: Names of the columns.

    Example:
        >>> from matplotlib import pyplot as plt
        >>> from metalearn.charts import grid
        >>> figure, axes = plt.subplots()
        >>> grid(axes, [[1.0, 2.0], [3.0, 4.0]], ["a", "b"], ["c", "d"])
        >>> plt.close(figure)
    """
    table = np.asarray(values, dtype=float)
    axes.imshow(table, cmap="Blues", aspect="auto")
    dark = (np.nanmin(table) + np.nanmax(table)) / 2
    digits = 2 if np.nanmax(np.abs(table)) <= 1 else 0
    for (row, column), value in np.ndenumerate(table):
        if not np.isnan(value):
            shade = "white" if value > dark else "black"
            axes.text(column, row, f"{value:.{digits}f}", ha="center", va="center", color=shade, fontsize=9)
    axes.set_xticks(range(len(columns)), columns, fontsize=8)
    axes.set_yticks(range(len(rows)), rows, fontsize=8)
    axes.grid(False)
