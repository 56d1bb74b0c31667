"""Write what the living picture of chapter 16 replays, lane_runs.js.

Run ``python -m tools.living_lane``. The file is a classic script that adds to the global ``living`` constants of the
physics and, for some cars of the recorded analysis, where they start, what they are before and after the road changes,
and the actions of two controllers: the model that all cars share, and the one that adapts.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from metalearn import experiments
from metalearn.control import Lane
from metalearn.control.lane import GRAVITY, LAG, MAX_STEERING, UNDERSTEER, WHEELBASE
from metalearn.experiments.control import WET

TARGET = Path(__file__).resolve().parents[1] / "book/_static/living/lane_runs.js"
METHODS = ("joint training", "MAML")
HEAD = """\
// Written by tools/living_lane.py from experiments.analysis("control"): do not edit. The steering of recorded drives.
(() => {
  const living = (window.living = window.living || {});
  living.runsInLane = {
"""


def content() -> dict[str, Any]:
    """Return the numbers of the script."""
    record, system = experiments.analysis("control"), Lane()
    rows = {row["method"]: row for row in record["rows"] if row["scene"] == WET}
    cars = [
        {
            **{"start": rows[METHODS[0]]["starts"][i], "before": before, "later": later},
            "actions": [rows[method]["actions"][i] for method in METHODS],
        }
        for i, (before, later) in enumerate(zip(record["cars"], record["cars later"], strict=True))
    ]
    constants = {"gravity": GRAVITY, "wheelbase": WHEELBASE, "understeer": UNDERSTEER, "lag": LAG, "most": MAX_STEERING}
    return {
        "names": METHODS,
        "dt": system.dt,
        "road": system.bends,
        **constants,
        "fails": record["fails_at"],
        "cars": cars,
    }


def write(path: Path) -> int:
    """Write the script and return its size in bytes."""
    lines = [f"{json.dumps(key)}: {json.dumps(value)}" for key, value in content().items()]
    path.write_text(HEAD + "    " + ",\n    ".join(lines) + "\n  };\n})();\n", encoding="utf-8")
    return path.stat().st_size


if __name__ == "__main__":
    print(f"{TARGET}: {write(TARGET):,} bytes")
