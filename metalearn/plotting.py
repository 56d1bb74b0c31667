"""The book's figures: one style, one colour per method, and the few figures that recur."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from metalearn.episodes import Episode
from metalearn.evaluation import Score

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLOURS = {  # one colour per method throughout the book, told apart by colour-blind readers too (Okabe and Ito, 2008)
    "MAML": "#D55E00",
    "MAML, recompute": "#F0A878",
    "first-order MAML": "#CC79A7",
    "joint training": "#0072B2",
    "from scratch": "#777777",
    "prototypical": "#009E73",
    "transfer": "#56B4E9",
    "siamese": "#E69F00",
    "contrastive": "#E69F00",
    "UMTRA": "#AA4499",
    "CACTUs": "#44AA99",
    "soft k-means": "#0072B2",
    "logistic": "#7A4FA3",
    "triplet": "#A6360A",
    "matching": "#882255",
    "relation": "#332288",
    "equal pairs": "#0072B2",
    "unequal pairs": "#D55E00",
    "raw pixels": "#9A7D0A",
    "Reptile": "#117733",
    "ANIL": "#AA4499",
    "implicit MAML": "#661100",
    "Meta-SGD": "#D4A017",
    "pooled": "#0072B2",
    "site alone": "#777777",
    "hospital alone": "#777777",
    "fine-tuned": "#CC79A7",
    "bias alone": "#56B4E9",
    "act on all": "#999999",
    "shrunk to pooled": "#E69F00",
    "learned shrinkage": "#009E73",
    "meta-LSTM": "#44AA99",
    "learned optimiser": "#6699CC",
    "hypernetwork": "#AA4466",
    "meta network": "#4477AA",
    "neural process": "#999933",
    "in context": "#1B4F9C",
    "ES-MAML": "#6A3D9A",
    "MAML by evolution": "#B3A100",
    "evolved rule": "#117733",
    "evolved rule, shortened": "#44AA99",
    "hypernetwork by evolution": "#6699CC",
    "task bank": "#009E73",
    "ridge": "#222222",
    "least squares": "#EE8866",
    "Adam": "#333333",
    "SGD": "#BBBBBB",
    "momentum": "#994F00",
    "random": "#BBBBBB",
    "greedy": "#56B4E9",
    "UCB1": "#E69F00",
    "Thompson": "#009E73",
    "Gittins": "#332288",
    "best possible": "#000000",
    "told the rules": "#000000",
    "Bayes": "#0072B2",
    "prior alone": "#56B4E9",
    "RL²": "#D55E00",
    "naive surrogate": "#777777",
    "both parts": "#D55E00",
    "DiCE": "#0072B2",
    "LVC": "#882255",
    "pruned": "#882255",
    "int8": "#009E73",
    "low rank": "#E69F00",
    "distilled": "#6699CC",
    "LoRA": "#1B4F9C",
    "adapters": "#44AA99",
    "head": "#AA4499",
    "alone": "#777777",
    "truth": "#000000",
    "told": "#000000",
    "usual": "#999999",
    "textbook law": "#AA4466",
    "least squares, last 30": "#A6360A",
    "fold-in": "#009E73",
    "item averages": "#777777",
    "best guess": "#000000",
}

_STYLE = {
    "figure.figsize": (6.4, 3.2),
    "figure.dpi": 110,
    "figure.constrained_layout.use": True,
    "figure.facecolor": "white",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.25,
    "font.family": "DejaVu Sans",
    "font.size": 10,
    "legend.frameon": False,
    "lines.linewidth": 1.8,
}


def use_style() -> None:
    """Set matplotlib to the book's style.

    Example:
        >>> from metalearn import plotting
        >>> plotting.use_style()
    """
    import matplotlib

    matplotlib.rcParams.update(_STYLE)


def table(content: Sequence[str] | Mapping[str, Any], rows: Sequence[Sequence[Any]] | None = None) -> Any:
    """Return a table that a notebook shows, the first column to the left, the others centred.

    Args:
        content: Column names, with the rows beside them; or scores by method: accuracies are shown in percent, errors
            as they are, a mapping of scores by test (or by number of steps) as a column for each.
        rows: One sequence of cells per row; a cell is shown as ``str`` gives it.

    Example:
        >>> import torch
        >>> from metalearn import Score
        >>> from metalearn.plotting import table
        >>> print(table(["method", "error"], [["MAML", 0.5]]).data)
        | method | error |
        |:--|:-:|
        | MAML | 0.5 |
        >>> print(table({"Prototypical": Score.of(torch.tensor([0.9, 0.8, 0.9, 1.0]))}).data)
        | method | score |
        |:--|:-:|
        | Prototypical | 90.0 ± 8.0 % |
    """
    from IPython.display import Markdown

    header, lines = (list(content), rows or []) if not isinstance(content, Mapping) else _of_scores(content)
    cells = [header, [":--", *[":-:"] * (len(header) - 1)], *lines]
    text = "\n".join("| " + " | ".join(map(str, line)) + " |" for line in cells)
    text = text.replace("| :--", "|:--").replace(" | :-:", "|:-:").replace(":-: |", ":-:|")
    return Markdown(text)  # type: ignore[no-untyped-call]


def _of_scores(scores: Mapping[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Return header and rows of a table of scores, or of mappings of scores, by method."""
    by_test = {method: score if isinstance(score, Mapping) else {"score": score} for method, score in scores.items()}
    tests = list(dict.fromkeys(test for found in by_test.values() for test in found))
    rows = [
        [method, *(_shown(found[test]) if test in found else "" for test in tests)] for method, found in by_test.items()
    ]
    return ["method", *map(str, tests)], rows


def _shown(score: Any) -> str:
    if not isinstance(score, Score):
        return str(score)
    return f"{score:%} %" if score.higher_is_better else f"{score:.2f}"


def show_images(axes: Axes, images: Tensor, n_columns: int, labels: Sequence[Any] | None = None) -> None:
    """Draw images as one sheet, row by row, with a label under each column's foot where labels are given.

    Args:
        axes: Where to draw.
        images: ``[n, 1, height, width]`` in [0, 1], bright ink; shown dark on white.
        n_columns: Images in a row.
        labels: One for each column.

    Raises:
        ValueError: If the images do not fill whole rows.

    Example:
        >>> import torch
        >>> from matplotlib import pyplot as plt
        >>> from metalearn.plotting import show_images
        >>> figure, axes = plt.subplots()
        >>> show_images(axes, torch.rand(6, 1, 28, 28), n_columns=3, labels=["a", "b", "c"])
        >>> plt.close(figure)
    """
    n, _, height, width = images.shape
    if n % n_columns:
        raise ValueError(f"{n} images do not fill rows of {n_columns}")
    sheet = images[:, 0].reshape(-1, n_columns, height, width).permute(0, 2, 1, 3)  # [rows, height, columns, width]
    axes.imshow(sheet.reshape(-1, n_columns * width).cpu().numpy(), cmap="gray_r", vmin=0, vmax=1)
    axes.grid(False)
    axes.set_yticks([])
    axes.set_xticks([] if labels is None else [width * (i + 0.5) for i in range(n_columns)])
    if labels is not None:
        axes.set_xticklabels([str(label) for label in labels])
    axes.tick_params(length=0)
    for side in axes.spines.values():
        side.set_visible(False)


def show_episode(axes: Axes, episode: Episode) -> None:
    """Draw one task of images: the support in the first rows, the query below, one column for each class.

    Args:
        axes: Where to draw.
        episode: One task, ``[n, 1, height, width]`` images in [0, 1], equally many of each class.

    Example:
        >>> from matplotlib import pyplot as plt
        >>> from metalearn import sample_episodes
        >>> from metalearn.data import glyphs
        >>> from metalearn.plotting import show_episode
        >>> batch = sample_episodes(glyphs().test, n_tasks=1, n_way=5, n_shot=1, n_query=2)
        >>> figure, axes = plt.subplots()
        >>> show_episode(axes, batch[0])
        >>> plt.close(figure)
    """
    n_way = episode.n_way or 1
    rows = []
    for x, y in ((episode.support_x, episode.support_y), (episode.query_x, episode.query_y)):
        by_class = x[y.argsort()].unflatten(0, (n_way, -1))  # [n_way, n_shot or n_query, 1, height, width]
        rows.append(by_class.transpose(0, 1).flatten(0, 1))
    show_images(axes, torch.cat(rows), n_way, labels=[f"class {n}" for n in range(n_way)])
    axes.axhline(len(rows[0]) // n_way * rows[0].shape[-2] - 0.5, color=COLOURS["from scratch"])


def plot_regression(axes: Axes, episode: Episode, truth: Callable[[Tensor], Tensor] | None = None) -> None:
    """Draw one regression task with one input: the truth as a line, the support as points.

    Args:
        axes: Where to draw.
        episode: One task, all four tensors ``[n, 1]``.
        truth: The function that is to be learned, drawn at 200 inputs; ``None``: the query points are joined by lines.

    Example:
        >>> from matplotlib import pyplot as plt
        >>> from metalearn.data import sinusoids
        >>> from metalearn.plotting import plot_regression
        >>> figure, axes = plt.subplots()
        >>> plot_regression(axes, sinusoids().sample(n_tasks=1, n_shot=5, n_query=100)[0])
        >>> plt.close(figure)
    """
    x, y = episode.query_x, episode.query_y
    if truth is not None:
        both = torch.cat([episode.support_x, x])
        x = torch.linspace(both.min().item(), both.max().item(), 200).unsqueeze(1)
        y = truth(x)
    order = x[:, 0].argsort()
    axes.plot(x[order, 0], y[order, 0], color=COLOURS["truth"], alpha=0.45, label="truth")
    axes.plot(episode.support_x[:, 0], episode.support_y[:, 0], "o", color=COLOURS["truth"], label="support")
    axes.set(xlabel="x", ylabel="y")


def plot_by_steps(axes: Axes, scores: Mapping[int, Score], label: str, *, median: bool = False) -> None:
    """Draw a metric against the number of inner steps; the band is the 95 % interval of the mean over tasks.

    Args:
        axes: Where to draw.
        scores: Score by number of steps, as ``evaluate`` returns it.
        label: Method; a name in ``COLOURS`` gets its colour.
        median: Draw the median over tasks instead, without a band.

    Example:
        >>> import torch
        >>> from matplotlib import pyplot as plt
        >>> from metalearn import Score
        >>> from metalearn.plotting import plot_by_steps
        >>> scores = {k: Score.of(torch.rand(600) / (1 + k)) for k in (0, 1, 5, 10)}
        >>> figure, axes = plt.subplots()
        >>> plot_by_steps(axes, scores, "MAML")
        >>> plt.close(figure)
    """
    steps = list(scores)
    colour = COLOURS.get(label)
    values = np.array([score.median if median else score.mean for score in scores.values()])
    (line,) = axes.plot(steps, values, marker="o", color=colour, label=label)
    if not median:
        ci95 = np.array([score.ci95 for score in scores.values()])
        axes.fill_between(steps, values - ci95, values + ci95, alpha=0.2, color=line.get_color(), linewidth=0)
    axes.set_xlabel("inner steps at test time")


def plot_accuracies(axes: Axes, curves: Mapping[str, Mapping[Any, Score]], xlabel: str) -> None:
    """Draw accuracies in percent, with their 95 % intervals, against what was changed: a line for each method.

    Args:
        axes: Where to draw.
        curves: By method, scores by value; a method in ``COLOURS`` gets its colour.
        xlabel: What the values are, with their unit.

    Example:
        >>> import torch
        >>> from matplotlib import pyplot as plt
        >>> from metalearn import Score
        >>> from metalearn.plotting import plot_accuracies
        >>> figure, axes = plt.subplots()
        >>> plot_accuracies(axes, {"MAML": {k: Score.of(torch.rand(60)) for k in (1, 5)}}, "shots")
        >>> plt.close(figure)
    """
    for method, scores in curves.items():
        means, widths = ([100 * getattr(score, key) for score in scores.values()] for key in ("mean", "ci95"))
        axes.errorbar(list(scores), means, widths, marker="o", color=COLOURS.get(method), label=method)
    axes.set(xlabel=xlabel, ylabel="accuracy in %", ylim=(0, 102))


def plot_losses(axes: Axes, losses: Sequence[float], label: str, *, window: int = 50) -> None:
    """Draw training losses, averaged over ``window`` steps so that the noise of single batches does not hide them.

    Args:
        axes: Where to draw.
        losses: One for each outer step, as :class:`metalearn.History` holds them; at least ``window``.
        label: Method; a name in ``COLOURS`` gets its colour.
        window: Steps to average over.

    Example:
        >>> import torch
        >>> from matplotlib import pyplot as plt
        >>> from metalearn.plotting import plot_losses
        >>> figure, axes = plt.subplots()
        >>> plot_losses(axes, torch.rand(200).tolist(), "MAML")
        >>> plt.close(figure)
    """
    smooth = np.convolve(losses, np.full(window, 1 / window), mode="valid")
    axes.plot(range(window, len(losses) + 1), smooth, color=COLOURS.get(label), label=label)
    axes.set_xlabel("outer step")
