"""CIFAR-100: small colour photographs of a hundred kinds of things, in twenty groups of five."""

from __future__ import annotations

import hashlib
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch

from metalearn.data._cache import offline, read_arrays, refuse
from metalearn.data._torchvision import import_torchvision
from metalearn.pools import Pool, Splits

FILE = "cifar100/cifar100_small.npz"
SHA256 = "51913235509657e94fd9b43782710c7973ac9de9b23ba5d867318d73bd48fb9f"  # of the pixels
HOME = "https://www.cs.toronto.edu/~kriz/cifar.html"
PER_CLASS = 100
GROUPS = {  # each group's kinds in alphabetical order; the sorted names of all groups number the classes
    "aquatic_mammals": "beaver dolphin otter seal whale",
    "fish": "aquarium_fish flatfish ray shark trout",
    "flowers": "orchid poppy rose sunflower tulip",
    "food_containers": "bottle bowl can cup plate",
    "fruit_and_vegetables": "apple mushroom orange pear sweet_pepper",
    "household_electrical_devices": "clock keyboard lamp telephone television",
    "household_furniture": "bed chair couch table wardrobe",
    "insects": "bee beetle butterfly caterpillar cockroach",
    "large_carnivores": "bear leopard lion tiger wolf",
    "large_man-made_outdoor_things": "bridge castle house road skyscraper",
    "large_natural_outdoor_scenes": "cloud forest mountain plain sea",
    "large_omnivores_and_herbivores": "camel cattle chimpanzee elephant kangaroo",
    "medium_mammals": "fox porcupine possum raccoon skunk",
    "non-insect_invertebrates": "crab lobster snail spider worm",
    "people": "baby boy girl man woman",
    "reptiles": "crocodile dinosaur lizard snake turtle",
    "small_mammals": "hamster mouse rabbit shrew squirrel",
    "trees": "maple_tree oak_tree palm_tree pine_tree willow_tree",
    "vehicles_1": "bicycle bus motorcycle pickup_truck train",
    "vehicles_2": "lawn_mower rocket streetcar tank tractor",
}
GROUP_OF = {kind: group for group, kinds in GROUPS.items() for kind in kinds.split()}
NATURE = (  # animals, flowers and trees
    *("aquatic_mammals", "fish", "flowers", "insects", "large_carnivores", "large_omnivores_and_herbivores"),
    *("medium_mammals", "non-insect_invertebrates", "reptiles", "small_mammals", "trees"),
)
FS_VALIDATION = (
    "otter motorcycle television beetle shark crocodile butterfly beaver tractor flatfish maple_tree camel crab sea"
    " cattle lamp"
)
FS_TEST = (
    "baby bed bicycle chimpanzee fox leopard man pickup_truck plain poppy rocket rose snail sweet_pepper table"
    " telephone wardrobe whale woman worm"
)


def cifar100(split: str = "nature") -> Splits:
    """Return the first 100 training images of classes of CIFAR-100, read from a file, or downloaded the first time.

    Args:
        split: ``"nature"``: animals, flowers and trees, 55 kinds in 11 groups. In each group the first three names of
            the alphabet are for training, the fourth for validation, the fifth for testing (whale, trout, tulip,
            cockroach, wolf, kangaroo, skunk, worm, turtle, squirrel, willow tree): new kinds of known groups.
            ``"cifar_fs"``: all 100 classes in the split of CIFAR-FS, 64, 16 and 20. CIFAR-FS itself has 600 images of
            each class, so that numbers on these 100 are no numbers of that benchmark.

    Returns:
        Pools of uint8 images ``[n, 3, 32, 32]``, 100 of each class. Class names are ``"<group>/<kind>"``.

    Raises:
        ValueError: If the split is unknown, or the file is cut or altered.
        ConnectionError: If the file is missing and cannot be downloaded.
        ImportError: If a download is needed and torchvision is not installed.

    Reference:
        Krizhevsky: Learning Multiple Layers of Features from Tiny Images, 2009. The split of CIFAR-FS: Bertinetto,
        Henriques, Torr, Vedaldi: Meta-learning with differentiable closed-form solvers, 2019, arXiv 1805.08136.

    Example:
        >>> from metalearn.data import cifar100
        >>> cifar100().test  # doctest: +SKIP
        Pool(1100 examples [3, 32, 32], 11 classes of 100)
    """
    known = {"nature": _nature, "cifar_fs": _cifar_fs}
    if split not in known:
        raise ValueError(f"split must be one of {', '.join(map(repr, known))}, got {split!r}")
    path, arrays = read_arrays(FILE, ["images"], _download)
    images = arrays["images"]
    if hashlib.sha256(np.ascontiguousarray(images).tobytes()).hexdigest() != SHA256:
        refuse(path, f"other images: {images.dtype}{list(images.shape)}")
    return Splits(*(_pool(images, kinds) for kinds in known[split]()))


def _nature() -> list[list[str]]:
    kinds = [GROUPS[group].split() for group in NATURE]
    return [[kind for five in kinds for kind in five[part]] for part in (slice(3), slice(3, 4), slice(4, 5))]


def _cifar_fs() -> list[list[str]]:
    validation, test = FS_VALIDATION.split(), FS_TEST.split()
    return [[kind for kind in GROUP_OF if kind not in {*validation, *test}], validation, test]


def _pool(images: Any, kinds: list[str]) -> Pool:
    kinds = sorted(kinds, key=lambda kind: (GROUP_OF[kind], kind))
    rows = [sorted(GROUP_OF).index(kind) for kind in kinds]
    pixels = torch.from_numpy(images[rows]).permute(0, 1, 4, 2, 3)  # [n_kinds, 100, 3, 32, 32]
    labels = torch.arange(len(kinds)).repeat_interleave(PER_CLASS)
    return Pool(pixels.flatten(0, 1).contiguous(), labels, class_names=[f"{GROUP_OF[kind]}/{kind}" for kind in kinds])


def _download(folder: Path) -> dict[str, Any]:
    """Fetch the original archive through torchvision, which verifies it, and return the first images of each class."""
    dataset = import_torchvision().datasets.CIFAR100
    with tempfile.TemporaryDirectory(dir=folder) as root:
        try:
            loaded = dataset(root, train=True, download=True)
        except (OSError, RuntimeError) as err:
            raise ConnectionError(offline(HOME, FILE, err)) from err
        labels = np.asarray(loaded.targets)
        return {"images": np.stack([loaded.data[labels == label][:PER_CLASS] for label in range(len(GROUP_OF))])}
