"""Write the weights of the living picture of chapter 5, weights_sinusoids.js.

Run ``python tools/living_waves.py``. The file is a classic script that adds two trained starts of the network 1-40-40-1
to the global ``living``: for each layer its weight, row by row, then its bias, as float32.
"""

from __future__ import annotations

import base64
import json
from pathlib import Path

import torch

from metalearn import pretrained
from metalearn.learners import MAML

TARGET = Path(__file__).resolve().parents[1] / "book/_static/living/weights_sinusoids.js"
STARTS = {"maml": "maml", "joint": "joint_training"}
HEAD = """\
// Written by tools/living_waves.py from pretrained("maml", "sinusoids") and pretrained("joint_training", "sinusoids"):
// do not edit. Numbers are float32, little-endian in base64: for each layer its weight, row by row, then its bias.
(() => {
  const living = (window.living = window.living || {});
  living.startsOfWaves = {
"""


def learner(name: str) -> MAML:
    """Return a trained learner of sine waves."""
    found = pretrained(name, "sinusoids")
    assert isinstance(found, MAML)
    return found


def write(path: Path) -> int:
    """Write the script and return the number of bytes of the weights before base64."""
    learners = {key: learner(name) for key, name in STARTS.items()}
    flat = {
        key: torch.cat([param.detach().flatten() for param in one.model.parameters()]).numpy().astype("<f4")
        for key, one in learners.items()
    }
    rate = learners["maml"].inner_lr
    sizes = learners["maml"].model.config["sizes"]
    lines = [f'"innerRate": {json.dumps(rate)}', f'"sizes": {json.dumps(sizes)}']
    lines += [f'"{key}": "{base64.b64encode(values.tobytes()).decode()}"' for key, values in flat.items()]
    path.write_text(HEAD + "    " + ",\n    ".join(lines) + "\n  };\n})();\n", encoding="utf-8")
    return sum(values.nbytes for values in flat.values())


if __name__ == "__main__":
    print(f"{TARGET}: {write(TARGET):,} bytes of weights")
