"""Write the weights of the page that learns the reader's letters, weights_prototypical_glyphs.js.

Run ``python tools/living_weights.py``. The file is a classic script, since a page that was opened as a file may load
scripts and nothing else: it adds the encoder of ``pretrained("prototypical", "glyphs")`` to the global ``living``, its
convolutions as float16, and how far drawings lie from the prototype of their letter, measured on validation letters.
"""

from __future__ import annotations

import base64
import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from metalearn import Pool, pretrained
from metalearn.data import glyphs
from metalearn.deploy.calibration import top_logits
from metalearn.deploy.inputs import example_form
from metalearn.learners import Prototypical
from metalearn.networks import BatchStatistics
from metalearn.runtime import stream

TARGET = Path(__file__).resolve().parents[1] / "book/_static/living/weights_prototypical_glyphs.js"
MOST = 5  # letters, and drawings of each
TURNED_AWAY = (0.01, 0.02, 0.05, 0.1, 0.2)  # shares of the right drawings that a limit calls none of these
N_TASKS, N_QUERY = 200, 5
HEAD = """\
// Written by tools/living_weights.py from pretrained("prototypical", "glyphs"): do not edit.
// Convolutions are float16, scale and shift of the normalisation float32, all little-endian in base64.
// limits[k - 1]: squared distances from a mean of k drawings beyond which a drawing is none of these, one for each
// share in turnedAway of the right drawings. rejected[n - 1][k - 1]: shares of other letters beyond, with n letters.
(() => {
  const living = (window.living = window.living || {});
  living.weightsOfGlyphs = {
"""


def learner() -> Prototypical:
    """Return the trained learner."""
    found = pretrained("prototypical", "glyphs")
    assert isinstance(found, Prototypical)
    return found


def layers(encoder: nn.Module) -> list[dict[str, Any]]:
    """Return each convolution with the scale and the shift that its bias and its stored statistics amount to."""
    modules = list(encoder.modules())
    pairs = [(a, b) for a, b in pairwise(modules) if isinstance(b, BatchStatistics)]
    return [_layer(convolution, norm) for convolution, norm in pairs if isinstance(convolution, nn.Conv2d)]


def _layer(convolution: nn.Conv2d, norm: BatchStatistics) -> dict[str, Any]:
    assert convolution.bias is not None
    bias, mean, var, weight, shift = (
        tensor.detach().double().numpy() for tensor in (convolution.bias, norm.mean, norm.var, norm.weight, norm.bias)
    )
    scale = weight / np.sqrt(var + norm.eps)
    return {
        "shape": list(convolution.weight.shape),
        "stride": convolution.stride[0],
        "weight": convolution.weight.detach().numpy().astype("<f2"),
        "scale": scale.astype("<f4"),
        "shift": ((bias - mean) * scale + shift).astype("<f4"),
    }


@torch.no_grad()
def features(of: Prototypical, pool: Pool) -> Pool:
    """Return a pool of the embedded images of another, so that each is embedded once."""
    assert isinstance(pool.x, Tensor)
    return Pool(of.encode({}, pool.x.float() / 255), pool.y)


def calibrate(pool: Pool) -> tuple[list[list[float]], list[list[list[float]]]]:
    """Return limits of the squared distance, found as ``Classifier.calibrate`` finds its threshold.

    The limits of tasks of five letters serve for fewer, too: fewer letters change them by a few per cent.

    Args:
        pool: Embedded images of letters that were not trained on.

    Returns:
        The limits ``[n_drawings][len(TURNED_AWAY)]``, and the shares of drawings of other letters beyond them
        ``[n_letters][n_drawings][len(TURNED_AWAY)]``.
    """
    sizes = range(1, MOST + 1)
    shares = torch.tensor(TURNED_AWAY, dtype=torch.float64)
    limits = [distances(pool, MOST, n_shot)[0].quantile(1 - shares) for n_shot in sizes]
    rejected = [
        [(distances(pool, n_way, n_shot)[1] > limits[n_shot - 1].unsqueeze(1)).double().mean(1) for n_shot in sizes]
        for n_way in sizes
    ]
    shown = [[float(f"{limit:.3g}") for limit in row.tolist()] for row in limits]
    return shown, [[[round(share, 2) for share in cell.tolist()] for cell in row] for row in rejected]


def distances(pool: Pool, n_way: int, n_shot: int) -> tuple[Tensor, Tensor]:
    """Return squared distances to the nearest mean, of drawings of a task's letters and of other letters."""
    plain, generator = Prototypical(nn.Identity()), stream(0, f"living {n_way} {n_shot}")
    draw = (plain, pool, example_form(pool.x), [n_shot] * n_way, N_QUERY, generator)
    pairs = [top_logits(*draw) for _ in range(N_TASKS)]
    known, unknown = (-torch.cat(part).double() for part in zip(*pairs, strict=True))
    return known, unknown


def write(path: Path) -> int:
    """Write the script and return the number of bytes of the weights before base64."""
    trained = learner()
    found = layers(trained.encoder)
    limits, rejected = calibrate(features(trained, glyphs().validation))
    parts = {"limits": _rows(limits), "rejected": _rows(rejected), "layers": _rows([_texts(layer) for layer in found])}
    lines = [f'"turnedAway": {json.dumps(TURNED_AWAY)}', *(f'"{name}": {rows}' for name, rows in parts.items())]
    path.write_text(HEAD + "    " + ",\n    ".join(lines) + "\n  };\n})();\n", encoding="utf-8")
    return sum(layer[name].nbytes for layer in found for name in ("weight", "scale", "shift"))


def _rows(items: list[Any]) -> str:
    return "[\n      " + ",\n      ".join(json.dumps(item) for item in items) + "\n    ]"


def _texts(layer: dict[str, Any]) -> dict[str, Any]:
    return {
        key: base64.b64encode(part.tobytes()).decode() if isinstance(part, np.ndarray) else part
        for key, part in layer.items()
    }


if __name__ == "__main__":
    print(f"{TARGET}: {write(TARGET):,} bytes of weights")
