"""What the papers print for Omniglot, in percent, and which learners the one table leaves out, with the reason."""

from __future__ import annotations

from typing import Any

TESTS = ("5-way 1-shot", "5-way 5-shot", "20-way 1-shot", "20-way 5-shot")


def _of(source: str, *values: float | tuple[float, float] | None, note: str = "") -> dict[str, Any]:
    """Return a paper's numbers by test: a mean, or a mean and the half-width of its 95 % interval."""
    pairs = {
        test: value if isinstance(value, tuple) else (value, None)
        for test, value in zip(TESTS, values, strict=True)
        if value is not None
    }
    return {"source": source, "values": pairs, "note": note}


TRANSDUCTIVE = "queries normalised together"
OMNIGLOT = {
    "Siamese logistic": _of(
        "Vinyals et al., 2016, arXiv 1606.04080", 97.3, 98.4, 88.1, 97.0, note="cosine of features, fine-tuned"
    ),
    "Matching": _of("Vinyals et al., 2016, arXiv 1606.04080", 98.1, 98.9, 93.8, 98.5),
    "Prototypical": _of("Snell et al., 2017, arXiv 1703.05175", 98.8, 99.7, 96.0, 98.9),
    "Relation": _of("Sung et al., 2018, arXiv 1711.06025", 99.6, 99.8, 97.6, 99.1),
    "MAML": _of(
        "Finn et al., 2017, arXiv 1703.03400", (98.7, 0.4), (99.9, 0.1), (95.8, 0.3), (98.9, 0.2), note=TRANSDUCTIVE
    ),
    "first-order MAML": _of(
        "Nichol et al., 2018, arXiv 1803.02999", (98.3, 0.5), (99.2, 0.2), (89.4, 0.5), (97.9, 0.1), note=TRANSDUCTIVE
    ),
    "Reptile": _of("Nichol et al., 2018, arXiv 1803.02999", 95.39, 98.90, 88.14, 96.65),
    "MetaSGD": _of("Li et al., 2017, arXiv 1707.09835", 99.53, 99.93, 95.9, 99.0),
    "ANIL": _of("Raghu et al., 2020, arXiv 1909.09157", None, None, (96.2, 0.5), (98.0, 0.3)),
    "MetaNetwork": _of("Munkhdalai and Yu, 2017, arXiv 1703.00837", 98.95, None, 97.00, None),
}
LEFT_OUT = {
    "ESMAML": "takes a few steps in the minute that all others have",
    "SoftKMeans": "without images that lack a label it is Prototypical",
    "Pixels": "stands in the table as raw pixels: Prototypical on the image itself",
    "ConditionalVAE": "generates images and does not tell classes apart",
    "TaskBank": "a prior of linear models of a few numbers, not of images",
    "Shrinkage": "weighs a pooled model against a task's own, for rows of numbers",
    "MatrixFactorization": "predicts ratings of users",
    "MAMLRL": "earns its support set by acting",
    "RL2": "earns its support set by acting",
}
