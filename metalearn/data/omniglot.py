"""Omniglot: 1,623 handwritten characters of 50 alphabets, each drawn by 20 people; the field's standard images."""

from __future__ import annotations

import hashlib
import json
import random
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from metalearn.data._cache import find, offline, place_for, read_arrays, refuse
from metalearn.data._torchvision import import_torchvision
from metalearn.pools import Pool, Splits

FILE = "omniglot/omniglot28_gray8.npz"
SHA256 = "da836ced7f361cf02efdd014117461a104d67c48361898e88aa7e4b57e2a0589"  # of the pixels and names, see checksum()
HOME = "https://github.com/brendenlake/omniglot"
VALIDATION = (  # the last five background alphabets: 151 characters
    "Ojibwe_(Canadian_Aboriginal_Syllabics)",
    "Sanskrit",
    "Syriac_(Estrangelo)",
    "Tagalog",
    "Tifinagh",
)
VINYALS_FILE = "omniglot/vinyals_split.json"
VINYALS_URL = (
    "https://raw.githubusercontent.com/jakesnell/prototypical-networks/c9bb4d258267c11cb6e23f0a19242d24ca98ad8a"
    "/data/omniglot/splits/vinyals/"
)
VINYALS = {  # the SHA-256 of each list's text file
    "train": "984522c194c30fb678ce53304a160a42faf5403ad4f9a67010f32dd3a35738e0",
    "val": "11f99e54faee3e26f53d3231c1cceac5bf7b8730e9be31cb6dab256551dc0c1a",
    "test": "845264cc5c156180828ccf17915668b17ee21424d0170df6e7d81676aa5d1204",
}


class Characters(NamedTuple):
    """All characters: images ``[n_characters, 20, 28, 28]`` uint8, and names ``"<alphabet>/character01"``."""

    images: Tensor
    names: list[str]
    n_background: int


def omniglot(split: str = "official", rotations: bool | None = None) -> Splits:
    """Return Omniglot as 28x28 grey images, read from a file, or downloaded the first time.

    Args:
        split: ``"official"``: 25 background alphabets for training, the last five (Ojibwe, Sanskrit, Syriac Estrangelo,
            Tagalog, Tifinagh) for validation, and the 20 evaluation alphabets for testing: 813, 151 and 659 characters.
            ``"vinyals"``: the lists of matching and prototypical networks, 1,028, 172 and 423 characters.
            ``"random1200"``: MAML's protocol, 1,200 random characters, 100 of them for validation, and 423 for testing;
            the draw is ours and fixed.
        rotations: Whether each character turned by 90, 180 and 270 degrees makes three more classes. ``None``: as the
            protocol has it, which is no for ``"official"`` and yes for the others.

    Returns:
        Pools of uint8 images ``[n, 1, 28, 28]``, ink 255, 20 of each class. Class names are
        ``"<alphabet>/character01"``, with ``"/rot090"`` and so on (counterclockwise) appended for a turned character.

    Raises:
        ValueError: If the split is unknown, or a file is cut or altered.
        ConnectionError: If a file is missing and cannot be downloaded.
        ImportError: If a download is needed and torchvision is not installed.

    Reference:
        Lake, Salakhutdinov, Tenenbaum: Human-level concept learning through probabilistic program induction, 2015,
        doi 10.1126/science.aab3050. Splits: Vinyals et al.: Matching Networks for One Shot Learning, 2016, arXiv
        1606.04080; Snell, Swersky, Zemel: Prototypical Networks, 2017, arXiv 1703.05175; Finn, Abbeel, Levine: MAML,
        2017, arXiv 1703.03400.

    Example:
        >>> from metalearn.data import omniglot
        >>> splits = omniglot("vinyals")  # doctest: +SKIP
        >>> splits.test.n_classes  # doctest: +SKIP
        1692
    """
    known = {"official": _official, "vinyals": _vinyals, "random1200": _random1200}
    if split not in known:
        raise ValueError(f"split must be one of {', '.join(map(repr, known))}, got {split!r}")
    characters = _characters()
    train, validation, test = known[split](characters)
    turned = split != "official" if rotations is None else rotations
    return Splits(*(_pool(characters, rows, turned) for rows in (train, validation, test)))


def _official(characters: Characters) -> list[list[int]]:
    background = range(characters.n_background)
    held_out = [i for i in background if characters.names[i].split("/")[0] in VALIDATION]
    evaluation = list(range(characters.n_background, len(characters.names)))
    return [sorted(set(background) - set(held_out)), held_out, evaluation]


def _random1200(characters: Characters) -> list[list[int]]:
    order = list(range(len(characters.names)))
    random.Random(1200).shuffle(order)
    return [sorted(order[:1100]), sorted(order[1100:1200]), sorted(order[1200:])]


def _vinyals(characters: Characters) -> list[list[int]]:
    path = find(VINYALS_FILE)
    if path is None:
        row = {name: i for i, name in enumerate(characters.names)}
        return [[row[name] for name in _vinyals_names(part)] for part in VINYALS]
    try:
        content = json.loads(path.read_bytes())
        lists = [[int(i) for i in content[part]] for part in VINYALS]
    except (ValueError, KeyError, TypeError) as err:
        refuse(path, repr(err), err)
    if [len(part) for part in lists] != [1028, 172, 423] or len({i for part in lists for i in part}) != 1623:
        refuse(path, f"lists of {[len(part) for part in lists]} characters, not 1028, 172 and 423 different ones")
    return lists


def _vinyals_names(part: str) -> list[str]:
    """Return the characters of one list of the Vinyals split; its lines are ``<alphabet>/<character>/rot000``."""
    name, sha256 = f"omniglot/vinyals/{part}.txt", VINYALS[part]
    path = find(name)
    if path is None:
        path = place_for(name)
        try:
            torch.hub.download_url_to_file(f"{VINYALS_URL}{part}.txt", str(path), hash_prefix=sha256, progress=False)
        except (OSError, RuntimeError) as err:
            raise ConnectionError(offline(f"{VINYALS_URL}{part}.txt", name, err)) from err
    content = path.read_bytes()
    if hashlib.sha256(content).hexdigest() != sha256:
        refuse(path, f"{len(content):,} bytes with another checksum")
    return sorted({line.rsplit("/", 1)[0] for line in content.decode().split()})


def _characters() -> Characters:
    keys = ("images", "alphabet", "char_alphabet", "char_name", "char_split")
    path, arrays = read_arrays(FILE, keys, _download)
    try:
        owners = arrays["alphabet"][arrays["char_alphabet"]]  # each character's alphabet
        names = [f"{owner}/{name}" for owner, name in zip(owners, arrays["char_name"], strict=True)]
    except (LookupError, ValueError) as err:
        refuse(path, repr(err), err)
    if checksum(arrays["images"], names) != SHA256:
        refuse(path, f"other images: {arrays['images'].dtype}{list(arrays['images'].shape)}")
    images = torch.from_numpy(arrays["images"]).reshape(len(names), -1, 28, 28)  # rows are sorted by character
    return Characters(images, names, int((arrays["char_split"] == 0).sum()))


def checksum(images: Any, names: Sequence[str]) -> str:
    """Return the SHA-256 of the decoded pixels followed by the characters' names."""
    return hashlib.sha256(np.ascontiguousarray(images).tobytes() + "\n".join(names).encode()).hexdigest()


def _download(folder: Path) -> dict[str, Any]:
    """Fetch the original images through torchvision, which verifies them, and return them converted, with labels."""
    dataset = import_torchvision().datasets.Omniglot
    with tempfile.TemporaryDirectory(dir=folder) as root:
        try:
            parts = [Path(dataset(root, background=flag, download=True).target_folder) for flag in (True, False)]
        except (OSError, RuntimeError) as err:
            raise ConnectionError(offline(HOME, FILE, err)) from err
        characters = [sorted(part.glob("*/character*")) for part in parts]
        drawings = [file for part in characters for character in part for file in sorted(character.glob("*.png"))]
        images = np.stack([to_grey28(file) for file in drawings])
    flat = [character for part in characters for character in part]
    alphabets = list(dict.fromkeys(character.parent.name for character in flat))
    return {
        "images": images,
        "alphabet": np.array(alphabets),
        "char_alphabet": np.array([alphabets.index(character.parent.name) for character in flat]),
        "char_name": np.array([character.name for character in flat]),
        "char_split": np.repeat([0, 1], [len(part) for part in characters]),
    }


def to_grey28(file: Any) -> Any:
    """Return an original image (105x105, black ink on white, 1 bit) as uint8 ``[28, 28]``, ink 255.

    Args:
        file: Path of the PNG, or an open file.
    """
    from PIL import Image

    with Image.open(file) as image:
        return 255 - np.asarray(image.convert("L").resize((28, 28), Image.Resampling.LANCZOS))


def _pool(characters: Characters, rows: list[int], turned: bool) -> Pool:
    turns = range(4 if turned else 1)
    chosen = characters.images[torch.tensor(rows)]  # [n_characters, 20, 28, 28]
    images = torch.stack([chosen.rot90(k, (2, 3)) for k in turns], dim=1)  # [n_characters, n_turns, 20, 28, 28]
    names = [characters.names[i] + (f"/rot{90 * k:03d}" if k else "") for i in rows for k in turns]
    labels = torch.arange(len(names)).repeat_interleave(images.shape[2])
    return Pool(images.reshape(-1, 1, 28, 28), labels, class_names=names)
