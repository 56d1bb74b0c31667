"""The command line of studies: ``python -m metalearn.experiments run | next | list | show``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator

import torch

from metalearn import experiments
from metalearn.experiments import Study, run, standing
from metalearn.experiments._run import is_done


def main(arguments: list[str] | None = None) -> int:
    """Run a command; return 0, 2 for a wrong argument, 130 after Ctrl-C."""
    parser = _parser()
    chosen = parser.parse_args(arguments)
    torch.set_num_threads(chosen.threads)
    try:
        COMMANDS[chosen.command](chosen)
    except ValueError as error:
        parser.error(str(error))
    except KeyboardInterrupt:
        print("stopped; the same command goes on from here", file=sys.stderr)
        return 130
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m metalearn.experiments", description="Recorded studies.")
    parser.add_argument("--threads", type=int, default=1, help="of the processor (default 1)")
    commands = parser.add_subparsers(dest="command", required=True)
    one = commands.add_parser("run", help="make the parts of a study that are not made yet")
    one.add_argument("name", help="of the study")
    one.add_argument("--method", action="append", help="label of a method; may be repeated (default: all)")
    one.add_argument("--seed", action="append", type=int, help="may be repeated (default: all of the study)")
    following = commands.add_parser("next", help="make the next part of the standing queue that is not made yet")
    for command in (one, following):
        command.add_argument("--seconds", type=float, help="cut each part short after so many processor seconds")
        command.add_argument("--device", help="cpu, cuda, … (default: a GPU where there is one)")
    commands.add_parser("list", help="list the studies and how many of their parts are made")
    commands.add_parser("show", help="print the table of a study").add_argument("name")
    return parser


def _run(chosen: argparse.Namespace) -> None:
    study = _study(chosen.name)
    labels = list(study.methods)
    if chosen.method:
        labels = [study.label(name) for name in chosen.method]
    for seed in chosen.seed or study.seeds:
        if seed not in study.seeds:
            raise ValueError(f"the study {study.name} has the seeds {list(study.seeds)}, got {seed}")
        for label in labels:
            print(run(study, label, seed, seconds=chosen.seconds, device=chosen.device), flush=True)


def queue() -> Iterator[tuple[Study, str, int]]:
    """Yield the parts of all standing studies in the order in which they are to be made: seed by seed."""
    rank = max(len(study.seeds) for study in standing().values())
    for k in range(rank):
        for study in standing().values():
            for label in study.methods:
                if k < len(study.seeds):
                    yield study, label, study.seeds[k]


def _next(chosen: argparse.Namespace) -> None:
    for study, label, seed in queue():
        if not is_done(study, label, seed):
            said = run(study, label, seed, seconds=chosen.seconds, device=chosen.device)
            print(said, flush=True)
            if "another runner" not in said:
                return
    print("nothing is left to do")


def _list(chosen: argparse.Namespace) -> None:
    for name, study in standing().items():
        planned = [(label, seed) for seed in study.seeds for label in study.methods]
        print(f"{name}: {sum(is_done(study, *part) for part in planned)} of {len(planned)} parts done")


def _show(chosen: argparse.Namespace) -> None:
    record = experiments.load(chosen.name)
    header, rows = record.cells()
    widths = [max(len(str(line[i])) for line in [header, *rows]) for i in range(len(header))]
    for line in [header, *rows]:
        print("  ".join(str(cell).ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def _study(name: str) -> Study:
    if name not in standing():
        raise ValueError(f"no study {name!r}; there are {list(standing())}")
    return standing()[name]


COMMANDS = {"run": _run, "next": _next, "list": _list, "show": _show}

if __name__ == "__main__":
    sys.exit(main())
