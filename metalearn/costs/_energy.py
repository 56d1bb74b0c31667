"""Joules: read from the counters of the machine where it has them, else estimated by a formula with its error."""

from __future__ import annotations

import importlib
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

JOULES_PER_KWH = 3.6e6


@dataclass(frozen=True)
class Energy:
    """What a stretch of work took; see :class:`EnergyMeter`.

    Attributes:
        joules: Energy, or ``None`` where there is neither a counter nor an assumption about the processor.
        low: Lower bound of an estimate; of a counter ``joules`` itself.
        high: Upper bound of an estimate; of a counter ``joules`` itself.
        source: ``"RAPL"``, ``"NVML"``, ``"RAPL + NVML"``, ``"estimate"`` or ``"none"``.
        seconds: On the wall's clock.
        cpu_seconds: Of the processor, summed over this process's threads.

    Example:
        >>> from metalearn.costs import Energy
        >>> print(Energy(30.0, 20.0, 40.0, "estimate", seconds=5.0, cpu_seconds=10.0))
        30 J (estimate: 20 to 40 J)
    """

    joules: float | None
    low: float | None
    high: float | None
    source: str
    seconds: float
    cpu_seconds: float

    def __str__(self) -> str:
        """Print the energy, and whether it was measured."""
        if self.joules is None:
            return "unknown: no counter, and no watts per core were given"
        if self.source == "estimate":
            return f"{self.joules:.3g} J (estimate: {self.low:.3g} to {self.high:.3g} J)"
        return f"{self.joules:.3g} J ({self.source})"


class EnergyMeter:
    r"""Measure the energy of what runs in a ``with`` block.

    Where the processor has RAPL counters that may be read, or there is an NVIDIA graphics card and the package
    ``pynvml``, it is their difference. They count whatever runs on the machine, other programs too. Else it is the
    estimate :math:`E = t_\text{cpu} P`, processor seconds times watts per busy core. They are between ``low`` and
    ``high`` watts as the caller knows them: :math:`P` is the middle, and the estimate's error is half their distance.
    It leaves out memory, discs, fans and the power supply's losses.

    Args:
        watts_per_core: ``(low, high)``, such as the processor's rated power over its cores, and a share of it;
            ``None``: no estimate.
        powercap: Folder of the counters of RAPL.

    Attributes:
        energy: What it took, after the block.

    Raises:
        ValueError: If the watts are no interval above 0.

    Example:
        >>> from metalearn.costs import EnergyMeter
        >>> with EnergyMeter((2.0, 6.0), powercap="/nowhere") as meter:
        ...     total = sum(range(1000))
        >>> meter.energy.source, meter.energy.joules == 4.0 * meter.energy.cpu_seconds
        ('estimate', True)
    """

    energy: Energy

    def __init__(
        self, watts_per_core: tuple[float, float] | None = None, *, powercap: str | Path = "/sys/class/powercap"
    ) -> None:
        if watts_per_core is not None and not 0 < watts_per_core[0] <= watts_per_core[1]:
            raise ValueError(f"watts_per_core must be (low, high) with 0 < low <= high, got {watts_per_core}")
        self.watts_per_core = watts_per_core
        self.powercap = Path(powercap)

    def __enter__(self) -> Self:
        """Read the counters and the clocks."""
        self._rapl, self._nvml = _read_rapl(self.powercap), _read_nvml()
        self._begun = time.perf_counter(), time.process_time()
        return self

    def __exit__(self, *error: Any) -> None:
        """Read them again, and set ``energy``."""
        cpu_seconds, seconds = time.process_time() - self._begun[1], time.perf_counter() - self._begun[0]
        rapl = _rapl_joules(self._rapl, _read_rapl(self.powercap))
        nvml, begun = _read_nvml(), self._nvml
        found = {"RAPL": rapl, "NVML": None if nvml is None or begun is None else (nvml - begun) / 1e3}
        counted = {name: joules for name, joules in found.items() if joules is not None}
        if counted:
            total = sum(counted.values())
            self.energy = Energy(total, total, total, " + ".join(counted), seconds, cpu_seconds)
        elif self.watts_per_core is not None:
            low, high = (cpu_seconds * watts for watts in self.watts_per_core)
            middle = cpu_seconds * (self.watts_per_core[0] + self.watts_per_core[1]) / 2
            self.energy = Energy(middle, low, high, "estimate", seconds, cpu_seconds)
        else:
            self.energy = Energy(None, None, None, "none", seconds, cpu_seconds)


def grams_of_co2(joules: float, grams_per_kwh: float) -> float:
    """Return the grams of CO2 that stand behind so much electric energy.

    Args:
        joules: Energy; a kilowatt hour is 3.6 million joules.
        grams_per_kwh: Grams of CO2 for each kilowatt hour of the grid: it differs by country, hour and how it is
            reckoned, so that there is no default.

    Raises:
        ValueError: If one of them is negative.

    Example:
        >>> from metalearn.costs import grams_of_co2
        >>> grams_of_co2(7.2e6, grams_per_kwh=100.0)
        200.0
    """
    if joules < 0 or grams_per_kwh < 0:
        raise ValueError(f"joules and grams_per_kwh must be at least 0, got {joules} and {grams_per_kwh}")
    return joules / JOULES_PER_KWH * grams_per_kwh


Counters = dict[str, tuple[int, int]]  # of each counter: microjoules, and where it starts again


def _read_rapl(powercap: Path) -> Counters:
    """Return the counters of processor packages and of memory, which is not in theirs; none where none may be read."""
    found: Counters = {}
    for folder in sorted(powercap.glob("intel-rapl:*")):
        try:
            name = (folder / "name").read_text().strip()
            if name.startswith(("package", "dram")):
                now, end = (int((folder / file).read_text()) for file in ("energy_uj", "max_energy_range_uj"))
                found[folder.name] = now, end
        except (OSError, ValueError):  # since 2020 only the administrator may read them on most systems
            return {}
    return found


def _rapl_joules(before: Counters, after: Counters) -> float | None:
    """Return the joules between two readings; a counter that starts again within the time is seen once."""
    if not before or before.keys() != after.keys():
        return None
    steps = ((after[name][0] - start, end) for name, (start, end) in before.items())
    return sum(step if step >= 0 else step + end for step, end in steps) / 1e6


def _read_nvml() -> float | None:
    """Return the millijoules of all graphics cards since the driver was loaded, or ``None`` without their counter."""
    try:
        pynvml: Any = importlib.import_module("pynvml")
    except ImportError:
        return None
    try:
        pynvml.nvmlInit()
        handles = [pynvml.nvmlDeviceGetHandleByIndex(i) for i in range(pynvml.nvmlDeviceGetCount())]
        return float(sum(pynvml.nvmlDeviceGetTotalEnergyConsumption(handle) for handle in handles)) if handles else None
    except pynvml.NVMLError:  # no driver, or a card without the counter
        return None
