"""Write the weights of the living picture of chapter 11, weights_navigation.js.

Run ``python -m tools.living_walk``. The file is a classic script that adds a trained policy to the global ``living``:
for each layer of its mean the weight, row by row, then the bias, and at the end the logarithms of its deviations.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from pathlib import Path

import torch

from metalearn import pretrained
from metalearn.rl import MAMLRL, GaussianPolicy

TARGET = Path(__file__).resolve().parents[1] / "book/_static/living/weights_navigation.js"
HEAD = """\
// Written by tools/living_walk.py from pretrained("maml", "navigation"): do not edit. Numbers are float32,
// little-endian in base64: for each layer its weight, row by row, then its bias; at the end the logarithms of the
// deviations.
(() => {
  const living = (window.living = window.living || {});
  living.policyOfWalks = {
"""


def learner() -> MAMLRL:
    """Return the trained learner."""
    found = pretrained("maml", "navigation")
    assert isinstance(found, MAMLRL) and isinstance(found.policy, GaussianPolicy)
    return found


def write(path: Path) -> int:
    """Write the script and return the number of bytes of the weights before base64."""
    one = learner()
    rates = list(one.inner_lr) if isinstance(one.inner_lr, Sequence) else [one.inner_lr]
    parts = [*one.policy.mean.parameters(), one.policy.log_std]
    flat = torch.cat([param.detach().flatten() for param in parts]).numpy().astype("<f4")
    lines = [f'"innerRates": {json.dumps(rates)}', f'"discount": {one.discount}']
    lines += [f'"sizes": {json.dumps(one.policy.config["sizes"])}']
    lines += [f'"numbers": "{base64.b64encode(flat.tobytes()).decode()}"']
    path.write_text(HEAD + "    " + ",\n    ".join(lines) + "\n  };\n})();\n", encoding="utf-8")
    return flat.nbytes


if __name__ == "__main__":
    print(f"{TARGET}: {write(TARGET):,} bytes of weights")
