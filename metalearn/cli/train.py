"""``metalearn train``."""

from __future__ import annotations

import tomllib
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import torch
import typer

from metalearn.distributed import joined
from metalearn.experiments.study import slug
from metalearn.runs import plan, read_settings
from metalearn.runs import train as train_run
from metalearn.runs.run import read_study
from metalearn.runtime import pick_device

Way = Annotated[int | None, typer.Option("--way", min=2, help="Classes of a task.")]
Shot = Annotated[int | None, typer.Option("--shot", min=1, help="Support examples of each class, or points.")]
Query = Annotated[int | None, typer.Option("--query", min=1, help="Query examples of each class, or points.")]
Device = Annotated[str | None, typer.Option(help="cpu, cuda, mps; by default a GPU where there is one.")]


class LogKind(StrEnum):
    """How progress is written down."""

    csv = "csv"
    tensorboard = "tensorboard"


class PrecisionKind(StrEnum):
    """Digits of matrix products."""

    bf16 = "bf16"
    tf32 = "tf32"


def train(
    learner: Annotated[str | None, typer.Argument(help="MAML, Prototypical, …; a wrong name lists them.")] = None,
    data: Annotated[
        str | None,
        typer.Option(
            help="glyphs, omniglot:vinyals, sinusoids, …; of your own: folder:PATH (a subfolder for each class;"
            " folder:84c:PATH for 84 pixels in colour), npz:PATH (arrays x, y), csv:PATH (columns task, x…, y…),"
            " python:MODULE:FUNCTION. [default: glyphs]"
        ),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder of the run. [default: runs/LEARNER-DATA-SEED]")] = None,
    way: Way = None,
    shot: Shot = None,
    query: Query = None,
    tasks: Annotated[int | None, typer.Option(min=1, help="Tasks of a training step.")] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Training steps at most.")] = None,
    seconds: Annotated[float | None, typer.Option(min=0, help="Processor seconds of training at most.")] = None,
    outer_lr: Annotated[float | None, typer.Option(help="Rate of the outer optimiser.")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Of initial weights and tasks. [default: 0]")] = None,
    settings: Annotated[Path | None, typer.Option(help="A TOML file, or settings.json of a run.")] = None,
    change: Annotated[
        list[str] | None,
        typer.Option("--set", help="Any other setting: learner_args.inner_lr=0.1, fit.patience=5; may be repeated."),
    ] = None,
    precision: Annotated[
        PrecisionKind | None, typer.Option(help="Of matrix products in training; tf32 on GPUs only. [default: float32]")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in --out.")] = False,
    log: Annotated[LogKind, typer.Option(help="How losses and validations are written down.")] = LogKind.csv,
    device: Device = None,
    threads: Annotated[int, typer.Option(min=1, help="Of the processor.")] = 1,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress bar.")] = False,
) -> None:
    """Train a learner on tasks, and test it on 600 new ones.

    What is not said comes from the package's study of these data. Ctrl-C saves; --resume goes on.

    metalearn train MAML --data glyphs --way 5 --shot 1 --steps 2000 --out runs/mine

    metalearn train --resume --out runs/mine

    torchrun --nproc-per-node 2 -m metalearn train MAML --out runs/two
    """
    torch.set_num_threads(threads)
    if resume and out is not None and learner is None and settings is None:
        study = read_study(out)
    else:
        asked = {} if settings is None else read_settings(settings)
        said = {"n_way": way, "n_shot": shot, "n_query": query, "n_tasks": tasks, "learner": learner, "data": data}
        asked.update({key: value for key, value in {**said, "seed": seed}.items() if value is not None})
        fit: dict[str, Any] = {"n_steps": steps, "max_seconds": seconds, "outer_lr": outer_lr}
        fit["precision"] = precision and precision.value
        _lay_over(asked, "fit", {key: value for key, value in fit.items() if value is not None})
        for text in change or []:
            section, key, value = _setting(text)
            _lay_over(asked, section, {key: value})
        if "learner" not in asked:
            raise ValueError("no learner: name one, such as metalearn train MAML, or in the settings file")
        study = plan(asked.pop("learner"), asked.pop("data", "glyphs"), **asked)
    label = next(iter(study.methods))
    folder = out or Path("runs", slug(f"{label} {study.data}") + f"-seed{study.seeds[0]}")
    try:
        with joined(pick_device(device)) as workers:
            if workers.first:
                together = "" if workers.size == 1 else f", {workers.size} processes"
                typer.echo(f"{label} on {study.data}, in {folder}{together}", err=True)
            how: dict[str, Any] = {"log": log.value, "device": device, "progress": not quiet, "workers": workers}
            result = train_run(study, folder, resume=resume, **how)
            if not workers.first:
                return
    except KeyboardInterrupt:
        typer.echo(f"stopped and saved; to go on: metalearn train --resume --out {folder}", err=True)
        raise typer.Exit(130) from None
    typer.echo(summary(result))


def summary(result: dict[str, Any]) -> str:
    """Return what a run came to, in lines."""
    of = f"{result['n_steps']:,} of {result['of']:,} steps, {result['cpu_seconds']:.0f} processor seconds"
    lines = [f"trained for {of}" + (" and diverged" if result["stopped"] == "diverged" else "")]
    for row in result["rows"]:
        after = "" if row["n_steps"] is None else f" after {row['n_steps']} inner steps"
        if "n_answers" in row:
            lines.append(f"test{after}: {100 * row['mean']:.1f} ± {100 * row['ci95']:.1f} % ({row['n_tasks']} tasks)")
        else:
            lines.append(f"test{after}: {row['mean']:.3g} ± {row['ci95']:.2g}, median {row['median']:.3g}")
    return "\n".join(lines)


def _lay_over(asked: dict[str, Any], section: str, news: dict[str, Any]) -> None:
    if news:
        asked[section] = {**asked.get(section, {}), **news}


def _setting(text: str) -> tuple[str, str, Any]:
    """Return section, key and value of ``section.key=value``."""
    where, equals, value = text.partition("=")
    section, dot, key = where.partition(".")
    if not (equals and dot and key):
        raise ValueError(f"expected section.key=value, such as learner_args.inner_lr=0.1, got {text!r}")
    try:
        return section, key, tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        return section, key, value
