"""What a computation costs: operations, bytes, seconds, joules; and when a training has paid for itself."""

from metalearn.costs._count import Costs, adaptation, count, meta_step
from metalearn.costs._energy import Energy, EnergyMeter, grams_of_co2
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
    "relative_times",
    "scaling",
    "scaling_table",
]
