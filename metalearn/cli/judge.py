"""``metalearn evaluate`` and ``metalearn predict``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import torch
import typer

from metalearn import Score
from metalearn.cli.train import Device, Query, Shot, Way
from metalearn.data import folder, read_image
from metalearn.deploy import Classifier
from metalearn.deploy.support import check_outputs
from metalearn.evaluation import evaluate as score_of
from metalearn.experiments._sources import sampler, source
from metalearn.pools import Pool
from metalearn.runs import Opened, open_run
from metalearn.runs.plan import known_study
from metalearn.runtime import pick_device

Where = Annotated[str, typer.Argument(metavar="RUN|PRETRAINED", help="Folder of a run, or METHOD/STUDY: maml/glyphs.")]
TASKS_PER_DRAW = 20
N_QUERY = 5  # of each class, to set a threshold on


def evaluate(
    where: Where,
    data: Annotated[str | None, typer.Option(help="Other data than it was trained on; see train.")] = None,
    tasks: Annotated[int, typer.Option(min=2, help="Test tasks.")] = 600,
    steps: Annotated[
        str | None, typer.Option(help="Numbers of inner steps: 1,3,10. [default: as in its study]")
    ] = None,
    way: Way = None,
    shot: Shot = None,
    query: Query = None,
    by_group: Annotated[bool, typer.Option("--by-group", help="Also for tasks within each alphabet or group.")] = False,
    seed: Annotated[int, typer.Option(min=0, help="Of the test tasks.")] = 0,
    device: Device = None,
) -> None:
    """Score a trained learner on new tasks: mean and 95 % interval over tasks.

    metalearn evaluate maml/glyphs --tasks 600 --steps 1,3,10

    metalearn evaluate runs/mine --data omniglot:vinyals
    """
    opened = _opened(where)
    name = data or opened.data
    if data is not None:
        known_study(data)  # refuses an unknown name, with the nearest
    pool = getattr(source(name), "test", source(name))
    said = {"n_way": way, "n_shot": shot, "n_query": query}
    sizes = {key: value for key, value in opened.test.items() if key in ("n_way", "n_shot", "n_query", "kind")}
    sizes.update({key: value for key, value in said.items() if value is not None})
    _check_kind(where, opened, name, pool, way)
    counts = _counts(steps) or list(opened.n_steps)
    learner = opened.learner.to(pick_device(device))
    groups = {"": pool} if not by_group else {"": pool, **_groups(pool, sizes)}
    for group, part in groups.items():
        draw = _draws(part, group or name, sizes)
        if "n_way" in sizes and (said["n_way"] or data):
            task = draw(torch.Generator().manual_seed(0))[0]
            check_outputs(learner.cpu(), task.support_x, task.support_y, sizes["n_way"])
            learner.to(pick_device(device))
        found = score_of(learner, draw, tasks, counts or None, stream="test", seed=seed)
        for k, score in (found if isinstance(found, dict) else {None: found}).items():
            after = "" if k is None else f" after {k} inner steps"
            typer.echo(f"{group or name}{after}: {_text(score, sizes)} ({score.n_tasks} tasks)")


def predict(
    where: Where,
    query: Annotated[list[Path], typer.Option("--query", help="An image to name; may be repeated.")],
    support: Annotated[Path, typer.Option(help="Folder with a subfolder of images for each class.")],
    accept: Annotated[
        float, typer.Option(min=0.5, max=0.999, help="Share of images of your classes that is not to be turned away.")
    ] = 0.95,
    invert: Annotated[
        bool, typer.Option("--invert", help="Dark ink on bright paper, where training had bright on dark.")
    ] = False,
    save: Annotated[Path | None, typer.Option(help="Keep the classifier in this file.")] = None,
) -> None:
    """Name images by a few labelled ones: label, probability, or "none of these".

    metalearn predict prototypical/glyphs --support letters/ --query a.png --query b.png
    """
    opened = _opened(where)
    splits = source(opened.data)
    held_out = getattr(splits, "validation", None)
    if not isinstance(held_out, Pool) or held_out.x.ndim != 4:
        raise ValueError(f"expected a learner of images, {where} was trained on {opened.data}")
    size = held_out.x.shape[-1]
    mode: Literal["L", "RGB"] = "L" if held_out.x.shape[1] == 1 else "RGB"
    known = folder(support, size, mode, invert=invert)
    if known.n_classes < 2:
        raise ValueError(
            f"expected at least two classes, a subfolder each, in {support}, got {list(known.class_names)}"
        )
    images = [read_image(file, size, mode, invert=invert) for file in query]
    labels = [known.class_names[i] for i in known.y.tolist()]
    classifier = Classifier.fit(opened.learner, known.x, labels)
    most = int(held_out.class_sizes.min()) - N_QUERY
    if max(classifier.shots) > most or known.n_classes >= held_out.n_classes:
        typer.echo(
            f'no answer will be "none of these": its threshold is set on tasks like yours, out of {held_out.n_classes}'
            f" classes of {opened.data} with {most} images each, and yours has {known.n_classes} classes of up to"
            f" {max(classifier.shots)} images",
            err=True,
        )
    else:
        classifier.calibrate(held_out, accept, n_query=N_QUERY)
    if save is not None:
        classifier.save(save)
        typer.echo(f"the classifier is kept in {save}", err=True)
    x = torch.stack(images)
    for file, image, row in zip(query, x, classifier.predict_proba(x), strict=True):
        label = classifier.predict(image)
        said = "none of these" if label is None else label
        typer.echo(f"{file}: {said} ({100 * float(row.max()):.0f} % {classifier.class_names[int(row.argmax())]})")


def _opened(where: str) -> Opened:
    opened = open_run(where)
    if opened.note:
        typer.echo(f"{where}: {opened.note}", err=True)
    return opened


def _check_kind(where: str, opened: Opened, name: str, pool: Any, way: int | None) -> None:
    """Refuse data of another kind than those of training: classes in place of numbers, or the other way round."""
    trained, there = "n_way" in opened.test, isinstance(pool, Pool)
    if way is not None and not trained:
        raise ValueError(f"{where} was trained on tasks without classes of their own: leave --way out, got {way}")
    if name != opened.data and trained != there:
        kinds = {True: "classes", False: "regression, or tasks of its own"}
        raise ValueError(f"{where} was trained on {kinds[trained]}, {name} holds {kinds[there]}: name other data")


def _draws(part: Any, name: str, sizes: dict[str, Any]) -> Any:
    try:
        return sampler(part, n_tasks=TASKS_PER_DRAW, **sizes)
    except ValueError as error:
        raise ValueError(f"test classes of {name}: {error}; see --way, --shot and --query") from error


def _counts(text: str | None) -> list[int]:
    """Return numbers from ``"1,3,10"``."""
    try:
        return [int(part) for part in text.split(",")] if text else []
    except ValueError as error:
        raise ValueError(f"expected numbers of inner steps such as 1,3,10, got {text!r}") from error


def _groups(pool: Any, sizes: dict[str, Any]) -> dict[str, Pool]:
    """Return the pool's groups (what a class's name has before its first slash) that have enough classes."""
    if not isinstance(pool, Pool):
        raise ValueError("expected data with classes in groups (alphabets) for --by-group, these have no classes")
    found: dict[str, list[int]] = {}
    for i, name in enumerate(pool.class_names):
        found.setdefault(name.split("/")[0], []).append(i)
    return {group: pool.select(ids) for group, ids in sorted(found.items()) if len(ids) >= sizes["n_way"]}


def _text(score: Score, sizes: dict[str, Any]) -> str:
    return f"{score:%} %" if "n_way" in sizes else f"{score:.3g}, median {score.median:.3g}"
