"""The command line: ``metalearn train | evaluate | predict | study | reproduce``, thin over studies and classifiers."""

from __future__ import annotations

import sys

import typer

from metalearn.cli.judge import evaluate, predict
from metalearn.cli.recorded import app as study
from metalearn.cli.recorded import reproduce
from metalearn.cli.train import train
from metalearn.runs._why import is_out_of_memory, out_of_memory

app = typer.Typer(
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Train learners that learn new tasks from a few examples, judge them, and use them.\n\n"
    "Five minutes: photographs in one folder per class, an answer for another photograph:\n\n"
    "    metalearn predict prototypical/glyphs --support letters/ --query unknown.png",
)
app.command()(train)
app.command()(evaluate)
app.command()(predict)
app.command()(reproduce)
app.add_typer(study, name="study")


def main() -> None:
    """Run a command; exit with 0, 1 for an error that is said in a line, 2 for a wrong call, 130 after Ctrl-C.

    Example:
        >>> from metalearn.cli import main
        >>> main()  # doctest: +SKIP
        Usage: metalearn [OPTIONS] COMMAND [ARGS]...
    """
    try:
        app(standalone_mode=True)
    except (ValueError, ImportError, OSError, FloatingPointError, MemoryError, RuntimeError) as error:
        if is_out_of_memory(error):
            sys.exit(f"metalearn: {out_of_memory(error)}")
        if isinstance(error, RuntimeError):
            raise
        sys.exit(f"metalearn: {error}")
