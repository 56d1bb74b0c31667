"""What a computation costs, when a training has paid for itself, and which choices no other one beats."""

from metalearn.costs._count import Costs, adaptation, count, meta_step
from metalearn.costs._energy import Energy, EnergyMeter, grams_of_co2
from metalearn.costs._front import non_dominated
from metalearn.costs._pay import BreakEven, break_even
from metalearn.costs._scaling import Scale, all_reduce_seconds, scaling, scaling_table
from metalearn.costs._times import Ratio, Times, compare_times, relative_times

__all__ = [
    "BreakEven",
    "Costs",
    "Energy",
    "EnergyMeter",
    "Ratio",
    "Scale",
    "Times",
    "adaptation",
    "all_reduce_seconds",
    "break_even",
    "compare_times",
    "count",
    "grams_of_co2",
    "meta_step",
    "non_dominated",
    "relative_times",
    "scaling",
    "scaling_table",
]
