"""Figures of diagnosis: labelled lines, calibration, decisions, differences with intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from metalearn.clinical import net_benefit
from metalearn.evaluation import Score
from metalearn.plotting import COLOURS

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from metalearn.episodes import Episode
    from metalearn.experiments import Record
    from metalearn.learners._steps import DescentLearner

MARKED = 12  # lines of so many points have a mark at each


def lines(axes: Axes, x: Any, curves: Mapping[str, Any], **settings: Any) -> None:
    """Draw curves with a legend; a curve whose name is in ``COLOURS`` has that colour.

    Args:
        axes: Where to draw.
        x: Positions that all curves share; ``None``: each curve is a pair of its own positions and heights.
        curves: Heights by name; scores are shown in percent, with the 95 % interval of each.
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
            ends = [100 * score.ci95 for score in heights]
            axes.errorbar(at, [100 * score.mean for score in heights], ends, markersize=4, **style)
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
        n_steps: Numbers of steps, at most four.
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
    looks = dict(zip(n_steps, (":", "--", "-", "-."), strict=False))
    for k, look in looks.items():
        with torch.no_grad():
            y = learner.predict(learner.adapt(task.support_x, task.support_y, n_steps=k), x)
        axes.plot(x, y, look, label="1 step" if k == 1 else f"{k} steps", **style)
    axes.legend(fontsize=8, loc="center left", bbox_to_anchor=(1.0, 0.5))


def histogram(axes: Axes, groups: Mapping[str, Any], bins: Any, xlabel: str) -> None:
    """Draw how many tasks have which value, the groups over one another in grey and in colour.

    Args:
        axes: Where to draw.
        groups: Values by name, each ``[n_tasks]``, at most three.
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
    shades = (COLOURS["from scratch"], COLOURS["MAML"], COLOURS["joint training"])
    for (name, values), shade in zip(groups.items(), shades, strict=False):
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
        groups: For each group (a hospital) and each method in it: value, lower and upper end.
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
            ticks.append((height, f"{group}: {name}"))
            height -= 1
        height -= 1
    axes.axvline(0, color="0.4")
    axes.set_yticks(*zip(*ticks, strict=True), fontsize=7)
    axes.set_xlabel(xlabel)


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
        methods: Label in the study by the name shown; a name in ``COLOURS`` gets its colour.
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
    test = test or next(iter(record.tests))
    for name, label in methods.items():
        tested = {row["n_steps"] for row in record.part(label)["rows"]}
        score = record.score(label, test, n_steps if n_steps in tested else None)
        colour = COLOURS.get(name, "0.3")
        percent = score.higher_is_better
        end = 100 * score.mean if percent else score.median
        text = f"{name}: {end:.1f} %" if percent else f"{name}: {end:.2g}"
        seconds, values, _ = record.curve(label)
        if not seconds:
            axes.axhline(end, color=colour, ls=":", label=text)
            continue
        axes.plot(seconds, [100 * value for value in values] if percent else values, color=colour, lw=1.2, alpha=0.8)
        ends = 100 * score.ci95 if percent else None
        axes.errorbar(record.part(label)["cpu_seconds"], end, ends, fmt="o", color=colour, label=text, markersize=6)
    if not record.score(next(iter(methods.values())), test).higher_is_better:
        axes.set_yscale("log")
    kind = "accuracy in %" if any("n_answers" in row for row in record.parts()[0]["rows"]) else "median error"
    axes.set(xlabel="processor seconds of training", ylabel=kind, xscale="log")
    axes.legend(fontsize=8, loc="center left", bbox_to_anchor=(1.0, 0.5))
