"""MNIST: 70,000 handwritten digits of 28x28 pixels; ten classes only, but very many examples of each."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from metalearn.data._cache import offline, read_arrays, refuse
from metalearn.data._torchvision import import_torchvision
from metalearn.pools import Pool, Splits

FILE = "mnist/mnist.npz"
SHA256 = "95670ecebe3def05734329ec25422a0550ab9154dd05268abd86c4823b163c1d"  # of pixels and labels, see checksum()
HOME = "https://ossci-datasets.s3.amazonaws.com/mnist"
PARTS = ("train", "test")


def mnist() -> Splits:
    """Return MNIST for few-shot tasks: 0 to 4 for training, 5 and 6 for validation, 7 to 9 for testing.

    The official training and test part are taken together, since no digit is in two of these pools. For ordinary
    classification of all ten digits take :func:`mnist_parts`. The file is read from ``$METALEARN_DATA/mnist/mnist.npz``
    where there is one, else downloaded the first time.

    Returns:
        Pools of uint8 images ``[n, 1, 28, 28]``, ink 255, 6,313 to 7,877 of each digit. Class names are ``"0"`` to
        ``"9"``.

    Raises:
        ValueError: If a file is cut or altered.
        ConnectionError: If the file is missing and cannot be downloaded.
        ImportError: If a download is needed and torchvision is not installed.

    Reference:
        LeCun, Bottou, Bengio, Haffner: Gradient-based learning applied to document recognition, 1998,
        doi 10.1109/5.726791.

    Example:
        >>> from metalearn.data import mnist
        >>> mnist().test.class_names  # doctest: +SKIP
        ('7', '8', '9')
    """
    arrays = _arrays()
    images, labels = (np.concatenate([arrays[f"{part}_{kind}"] for part in PARTS]) for kind in ("images", "labels"))
    pool = _pool(images, labels)
    return Splits(pool.select(range(5)), pool.select([5, 6]), pool.select([7, 8, 9]))


def mnist_parts() -> tuple[Pool, Pool]:
    """Return the official parts of MNIST: 60,000 images for training and 10,000 for testing, all digits in both.

    Within a class the order of the images depends on their pixels alone, so that it is the same whatever file they
    came from; it is not the order of the official files.

    Raises:
        ValueError: If a file is cut or altered.
        ConnectionError: If the file is missing and cannot be downloaded.
        ImportError: If a download is needed and torchvision is not installed.

    Example:
        >>> from metalearn.data import mnist_parts
        >>> mnist_parts()[1]  # doctest: +SKIP
        Pool(10000 examples [1, 28, 28], 10 classes of 892 to 1135)
    """
    arrays = _arrays()
    train, test = (_pool(arrays[f"{part}_images"], arrays[f"{part}_labels"]) for part in PARTS)
    return train, test


def _pool(images: Any, labels: Any) -> Pool:
    return Pool(torch.from_numpy(images).unsqueeze(1), torch.from_numpy(labels.astype(np.int64)))


def _arrays() -> dict[str, Any]:
    """Return images and labels of both parts, in an order of their own (see :func:`ordered`)."""
    keys = [f"{part}_{kind}" for part in PARTS for kind in ("images", "labels")]
    path, arrays = read_arrays(FILE, keys, _download)
    shapes = [list(arrays[f"{part}_images"].shape) for part in PARTS]
    counts = [[len(arrays[f"{part}_labels"]), 28, 28] for part in PARTS]
    if shapes != counts or any(array.dtype != np.uint8 for array in arrays.values()):
        refuse(path, f"images of shape {shapes[0]} and {shapes[1]} for {counts[0][0]} and {counts[1][0]} labels")
    arrays = ordered(arrays)
    if checksum(arrays) != SHA256:
        refuse(path, f"other images: {shapes[0][0]:,} for training and {shapes[1][0]:,} for testing")
    return arrays


def ordered(arrays: Mapping[str, Any]) -> dict[str, Any]:
    """Return each part sorted by label and, within a label, by a hash of the image: the same for any order of files."""
    result: dict[str, Any] = {}
    for part in PARTS:
        images, labels = arrays[f"{part}_images"], arrays[f"{part}_labels"]
        digests = [hashlib.blake2b(image.tobytes(), digest_size=16).digest() for image in images]
        keys = list(zip(labels.tolist(), digests, strict=True))
        order = sorted(range(len(keys)), key=keys.__getitem__)
        result |= {f"{part}_images": images[order], f"{part}_labels": labels[order]}
    return result


def checksum(arrays: Mapping[str, Any]) -> str:
    """Return the SHA-256 of the pixels and labels of both parts."""
    parts = (arrays[f"{part}_{kind}"] for part in PARTS for kind in ("images", "labels"))
    return hashlib.sha256(b"".join(np.ascontiguousarray(array).tobytes() for array in parts)).hexdigest()


def _download(folder: Path) -> dict[str, Any]:
    """Fetch the original files through torchvision, which verifies them, and return their arrays."""
    dataset = import_torchvision().datasets.MNIST
    arrays = {}
    with tempfile.TemporaryDirectory(dir=folder) as root:
        try:
            loaded = {part: dataset(root, train=part == "train", download=True) for part in PARTS}
        except (OSError, RuntimeError) as err:
            raise ConnectionError(offline(HOME, FILE, err)) from err
        for part, data in loaded.items():
            arrays[f"{part}_images"] = data.data.numpy()
            arrays[f"{part}_labels"] = data.targets.numpy().astype(np.uint8)
    return arrays
