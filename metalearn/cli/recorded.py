"""``metalearn study`` and ``metalearn reproduce``."""

from __future__ import annotations

import math
import os
import tempfile
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path
from typing import Annotated, Any

import torch
import typer

from metalearn import Score, experiments
from metalearn.experiments import Study, _store, standing
from metalearn.experiments._record import Record, training_text
from metalearn.experiments._run import is_done
from metalearn.runs import Outcome, engines, run_many
from metalearn.runs._checks import nearest
from metalearn.runs.engines import Engine

app = typer.Typer(no_args_is_help=True, help="The recorded studies of the package.")
Name = Annotated[str, typer.Argument(help="Of the study; `metalearn study list` shows them.")]
QUICK_SECONDS = 60.0


@app.command("list")
def list_studies() -> None:
    """List the studies, and how many of their trainings are recorded."""
    for name, study in standing().items():
        planned = [(label, seed) for seed in study.seeds for label in study.methods]
        typer.echo(f"{name}: {sum(is_done(study, *part) for part in planned)} of {len(planned)} parts done")


@app.command()
def show(name: Name) -> None:
    """Print the table of a study."""
    header, rows = experiments.load(_study(name).name).cells()
    widths = [max(len(str(line[i])) for line in [header, *rows]) for i in range(len(header))]
    for line in [header, *rows]:
        typer.echo("  ".join(str(cell).ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


@app.command()
def run(
    name: Name,
    method: Annotated[list[str] | None, typer.Option(help="Label of a method; may be repeated. [default: all]")] = None,
    seed: Annotated[list[int] | None, typer.Option(help="May be repeated. [default: all of the study]")] = None,
    only: Annotated[str, typer.Option(help="i/n: each n-th part, from the i-th: one machine's share of n.")] = "1/1",
    seconds: Annotated[
        float | None, typer.Option(help="Cut each training short after so many processor seconds.")
    ] = None,
    device: Annotated[str | None, typer.Option(help="cpu, cuda, … (default: a GPU where there is one)")] = None,
    threads: Annotated[int, typer.Option(min=1, help="Of the processor, for each part.")] = 1,
    ray: Annotated[
        str | None, typer.Option(help="Parts as tasks of Ray: local, auto, or the address of a cluster.")
    ] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="With --ray local: parts at a time.")] = None,
    slurm: Annotated[
        str | None,
        typer.Option(help="Parts as jobs of Slurm, with options of submitit: timeout_min=600,slurm_partition=cpu."),
    ] = None,
    home: Annotated[Path | None, typer.Option(help="Folder for the records. [default: that of the package]")] = None,
) -> None:
    """Make the parts of a study that are not made yet. Ctrl-C saves; the same command goes on.

    metalearn study run glyphs --method MAML --seed 1

    metalearn study run glyphs --ray local --workers 2
    """
    torch.set_num_threads(threads)
    study = _study(name)
    how: dict[str, Any] = {"seconds": seconds, "device": device} | ({} if home is None else {"home": home})
    parts = list(_parts(study, method, seed, only))
    with _stopping():
        if ray is None and slurm is None:
            for label, number in parts:
                typer.echo(experiments.run(study, label, number, **how))
            return
        with _engine(ray, workers, slurm, threads) as engine:
            outcomes = run_many(study, parts, engine, **how, threads=threads, say=typer.echo)
    if failed := [outcome for outcome in outcomes if not outcome.made]:
        typer.echo("\n".join([f"{len(failed)} of {len(parts)} parts were not made:", *_indented(failed)]), err=True)
        raise typer.Exit(1)


@app.command("next")
def following(
    seconds: Annotated[
        float | None, typer.Option(help="Cut the training short after so many processor seconds.")
    ] = None,
    device: Annotated[str | None, typer.Option(help="cpu, cuda, … (default: a GPU where there is one)")] = None,
) -> None:
    """Make the next part, of all studies, that is not made yet: seed by seed."""
    rank = max(len(study.seeds) for study in standing().values())
    for k in range(rank):
        for study in standing().values():
            for label in study.methods if k < len(study.seeds) else ():
                if is_done(study, label, study.seeds[k]):
                    continue
                with _stopping():
                    said = experiments.run(study, label, study.seeds[k], seconds=seconds, device=device)
                typer.echo(said)
                if "another runner" not in said:
                    return
    typer.echo("nothing is left to do")


def reproduce(
    name: Annotated[str, typer.Argument(help="Of a study, or all.")],
    quick: Annotated[
        bool, typer.Option("--quick", help=f"One seed, and {QUICK_SECONDS:.0f} processor seconds a training at most.")
    ] = False,
    home: Annotated[Path | None, typer.Option(help="Keep the new records here. [default: thrown away]")] = None,
    workers: Annotated[int, typer.Option(min=1, help="Trainings at a time.")] = os.cpu_count() or 1,
) -> None:
    """Train a study anew, and compare each score with the recorded one and with the paper's.

    Two scores agree where their difference lies within the 95 % interval of a difference of such scores. The intervals
    cover the tasks, not the seeds.

    metalearn reproduce sinusoids --quick
    """
    names = list(standing()) if name == "all" else [_study(name).name]
    with tempfile.TemporaryDirectory() as scratch:
        place = home or Path(scratch)
        for each in names:
            study = standing()[each]
            parts = _parts(study, None, [study.seeds[0]] if quick else None, "1/1")
            _train_anew(study, list(parts), place, QUICK_SECONDS if quick else None, workers)
            for line in compare(study, place):
                typer.echo(line)


def _train_anew(study: Study, parts: list[tuple[str, int]], home: Path, seconds: float | None, workers: int) -> None:
    """Make parts in processes of their own, so many at a time."""
    pool = ProcessPoolExecutor(workers, get_context("spawn"), _begin, (home / "unfinished",))
    with pool:
        made = [pool.submit(_make, study.name, label, seed, home, seconds) for label, seed in parts]
        for each in as_completed(made):
            typer.echo(each.result(), err=True)


def _begin(runs: Path) -> None:
    torch.set_num_threads(1)
    os.environ["METALEARN_RUNS"] = str(runs)


def _make(name: str, label: str, seed: int, home: Path, seconds: float | None) -> str:
    return experiments.run(standing()[name], label, seed, seconds=seconds, home=home, progress=False)


def compare(study: Study, home: Path) -> Iterator[str]:
    """Yield a line for each score that was measured anew: whether it agrees with the record and the paper."""
    new, old = Record(study.name, home), experiments.load(study.name)
    for part in new.parts():
        label, seed = part["method"], part["seed"]
        for row in part["rows"]:
            if "at" in row:
                continue
            test, k = row["test"], row["n_steps"]
            score = new.score(label, test, k, seed)
            after = "" if k is None else f", {k} steps"
            said = f"{study.name}, {label}, seed {seed}, {test}{after}: {_shown(score)}"
            try:
                before = old.score(label, test, k, seed)
            except ValueError:
                yield f"{said}; not recorded"
                continue
            verdict = "agrees with" if agree(score, before) else "differs from"
            short = f" [{training_text(part)}]" if part["stopped"] == "cut short" else ""
            yield f"{said}; {verdict} the record, {_shown(before)}{_paper(old, label, test, k, score)}{short}"


def agree(new: Score, old: Score) -> bool:
    """Return whether two scores differ by no more than the 95 % interval of their difference.

    Tasks are the same, so that the difference is taken task by task where both have as many.
    """
    a, b = new.per_task.double(), old.per_task.double()
    if len(a) == len(b):
        both = a.isfinite() & b.isfinite()  # tasks that diverged have no number
        gap = Score.of((a - b)[both])
        return abs(gap.mean) <= max(gap.ci95, 1e-6 * abs(old.mean))
    return abs(new.mean - old.mean) <= math.hypot(new.ci95, old.ci95)


def _paper(record: Record, label: str, test: str, k: int | None, score: Score) -> str:
    """Return what the paper has for a row, where the record holds it for this test or number of steps."""
    found = record.published.get(label)
    value = found.get(test) if isinstance(found, dict) else None
    steps = record.methods[label].get("test", {}).get("n_steps")
    if isinstance(found, list) and steps and k in steps and len(found) == len(steps) and test == list(record.tests)[-1]:
        value = found[steps.index(k)]
    if value is None:
        return ""
    scale = 100 if score.higher_is_better and 0 <= score.mean <= 1 else 1
    gap, width = scale * score.mean - value, scale * score.ci95
    where = "within our interval" if abs(gap) <= width else f"outside our interval, by {abs(gap) - width:.2g}"
    return f"; the paper's {value:g} is {where}"


def _shown(score: Score) -> str:
    if score.higher_is_better and 0 <= score.mean <= 1:
        return f"{score:%}"
    return f"{score:.3g} (median {score.median:.3g})"


def _indented(failed: list[Outcome]) -> list[str]:
    return [f"  {outcome.said}" for outcome in failed]


@contextmanager
def _engine(ray: str | None, workers: int | None, slurm: str | None, threads: int) -> Iterator[Engine]:
    """Start or find what runs parts elsewhere."""
    if ray is not None and slurm is not None:
        raise ValueError("expected --ray or --slurm, got both")
    if ray is not None:
        with engines.ray_cluster(ray, workers, threads) as engine:
            yield engine
        return
    options: dict[str, Any] = {"cpus_per_task": threads}
    for text in (slurm or "").split(","):
        key, equals, value = text.strip().partition("=")
        if not (equals and key):
            raise ValueError(f"expected --slurm key=value,…, such as timeout_min=600, got {slurm!r}")
        options[key] = int(value) if value.isdecimal() else value
    yield engines.slurm(_store.runs_folder() / "slurm", options)


@contextmanager
def _stopping() -> Iterator[None]:
    """Turn Ctrl-C, after which the state is saved, into a line and the exit code 130."""
    try:
        yield
    except KeyboardInterrupt:
        typer.echo("stopped; the same command goes on from here", err=True)
        raise typer.Exit(130) from None


def _study(name: str) -> Study:
    if name not in standing():
        raise ValueError(f"no study {name!r}{nearest(name, standing())}")
    return standing()[name]


def _parts(study: Study, methods: list[str] | None, seeds: list[int] | None, only: str) -> Iterator[tuple[str, int]]:
    """Yield the parts that are asked for, of which ``only="2/3"`` leaves each third from the second."""
    labels = [study.label(name) for name in methods] if methods else list(study.methods)
    try:
        first, of = (int(part) for part in only.split("/"))
    except ValueError as error:
        raise ValueError(f"expected --only i/n, such as 2/3, got {only!r}") from error
    if not 1 <= first <= of:
        raise ValueError(f"expected --only i/n with i from 1 to n, got {only!r}")
    for seed in seeds or study.seeds:
        if seed not in study.seeds:
            raise ValueError(f"the study {study.name} has the seeds {list(study.seeds)}, got {seed}")
    wanted = [(label, seed) for seed in seeds or study.seeds for label in labels]
    yield from wanted[first - 1 :: of]
