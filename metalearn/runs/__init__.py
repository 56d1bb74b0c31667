"""Runs of your own: a learner of the package trained on any data, kept in a folder, found again by its path."""

from metalearn.runs.log import Log
from metalearn.runs.many import Outcome, run_many
from metalearn.runs.opened import Opened, open_run
from metalearn.runs.plan import plan, read_settings
from metalearn.runs.run import train

__all__ = ["Log", "Opened", "Outcome", "open_run", "plan", "read_settings", "run_many", "train"]
