"""Trial and error over settings: search spaces, searches that lose no trial, and races over common tasks."""

from metalearn.search.racing import Race, n_tasks_needed, numbered_tasks, race
from metalearn.search.spaces import Choice, LogUniform, Uniform, draw, vary
from metalearn.search.trials import Search, Trial, random_search, successive_halving, trial_and_error

__all__ = [
    "Choice",
    "LogUniform",
    "Race",
    "Search",
    "Trial",
    "Uniform",
    "draw",
    "n_tasks_needed",
    "numbered_tasks",
    "race",
    "random_search",
    "successive_halving",
    "trial_and_error",
    "vary",
]
