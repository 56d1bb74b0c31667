"""CIFAR-100's small set and grey images of one size: which classes go where, and refusal of wrong files."""

from __future__ import annotations

import hashlib
import importlib
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.error import URLError

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from metalearn.data import cifar100, digits, glyphs, grey, load

DATA = Path(os.environ.get("METALEARN_DATA") or Path(__file__).parents[2] / "shared" / "data")
module = importlib.import_module("metalearn.data.cifar100")
needs_file = pytest.mark.skipif(
    not (DATA / module.FILE).is_file(),
    reason=f"{module.FILE} is not in METALEARN_DATA or in shared/data beside the repository",
)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return an empty cache; there is no folder of given data."""
    monkeypatch.delenv("METALEARN_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "metalearn"


# The real file


@needs_file
@pytest.mark.parametrize(("split", "sizes"), [("nature", (33, 11, 11)), ("cifar_fs", (64, 16, 20))])
def test_the_splits_are_disjoint_and_each_class_has_its_own_images(
    split: str, sizes: tuple[int, int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("METALEARN_DATA", str(DATA))
    splits = load("cifar100", split=split)
    assert tuple(pool.n_classes for pool in splits) == sizes
    names = [name for pool in splits for name in pool.class_names]
    assert len(set(names)) == sum(sizes)
    with np.load(DATA / module.FILE) as file:
        classes, groups = file["classes"].tolist(), file["coarse_names"][file["coarse"]].tolist()
        stored = dict(zip([f"{g}/{c}" for g, c in zip(groups, classes, strict=True)], file["images"], strict=True))
        parts = dict(zip(classes, file["cifar_fs_split"].tolist(), strict=True))
    for part, pool in enumerate(splits):
        assert pool.x.dtype == torch.uint8 and pool.class_sizes.unique().tolist() == [100]
        for label, name in enumerate(pool.class_names):
            assert (pool.x[pool.y == label].permute(0, 2, 3, 1).numpy() == stored[name]).all(), name
            assert split == "nature" or parts[name.split("/")[1]] == part


def test_nature_holds_new_kinds_of_known_groups() -> None:
    train, validation, test = module._nature()
    assert len(module.GROUP_OF) == 100 and [len(part) for part in (train, validation, test)] == [33, 11, 11]
    for part in (validation, test):
        assert [module.GROUP_OF[kind] for kind in part] == list(module.NATURE)
    assert not {"people", "fruit_and_vegetables"} & {module.GROUP_OF[kind] for kind in train}
    assert test[:3] == ["whale", "trout", "tulip"] and "willow_tree" in test


# A small stand-in


@pytest.fixture
def small(home: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Let torchvision's CIFAR-100 be noise, 101 images of each class in mixed order; return what was downloaded."""
    generator, downloaded = np.random.default_rng(0), []
    labels = generator.permutation(np.repeat(np.arange(100), 101))
    pixels = np.empty((len(labels), 32, 32, 3), np.uint8)
    pixels[:] = labels.reshape(-1, 1, 1, 1)
    pixels[:, 0, 0, 0] = np.arange(len(labels)) % 251

    def fake(root: str, train: bool, download: bool) -> Any:
        downloaded.append(f"train={train}")
        return SimpleNamespace(data=pixels, targets=labels.tolist())

    monkeypatch.setattr(module, "import_torchvision", lambda: SimpleNamespace(datasets=SimpleNamespace(CIFAR100=fake)))
    first = np.stack([pixels[labels == label][:100] for label in range(100)])
    monkeypatch.setattr(module, "SHA256", hashlib.sha256(first.tobytes()).hexdigest())
    return downloaded


def test_it_is_downloaded_once_and_each_class_gets_its_own_images(small: list[str], home: Path) -> None:
    splits = [cifar100(split) for split in ("nature", "cifar_fs")]
    assert small == ["train=True"] and [path.name for path in (home / "cifar100").iterdir()] == ["cifar100_small.npz"]
    order = sorted(module.GROUP_OF)
    for pool in (pool for found in splits for pool in found):
        for label, name in enumerate(pool.class_names):
            assert (pool.x[pool.y == label][:, :, 1:] == order.index(name.split("/")[1])).all()


def test_a_cut_or_altered_file_is_refused(small: list[str], home: Path) -> None:
    cifar100()
    path = home / module.FILE
    whole = path.read_bytes()
    for damaged in (whole[:-50], whole[: len(whole) // 2], b"", whole[:300] + b"xxxx" + whole[304:]):
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match=r"cifar100_small\.npz, got: .* Delete it and call again"):
            cifar100()
    np.savez(path, images=np.zeros((100, 100, 32, 32, 3), np.uint8))
    with pytest.raises(ValueError, match=r"got: other images: uint8\[100, 100, 32, 32, 3\]\. Delete it"):
        cifar100()


def test_without_a_network_the_message_says_what_to_do(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> Any:
        raise URLError("no route")

    offline = SimpleNamespace(datasets=SimpleNamespace(CIFAR100=fail))
    monkeypatch.setattr(module, "import_torchvision", lambda: offline)
    with pytest.raises(ConnectionError, match=r"cifar\.html .*no route.*copy cifar100/cifar100_small\.npz.*METALEARN"):
        cifar100()
    assert not list((home / "cifar100").iterdir())


def test_an_unknown_split_is_refused() -> None:
    with pytest.raises(ValueError, match="split must be one of 'nature', 'cifar_fs', got 'animals'"):
        cifar100("animals")


# Grey images of one size


def test_grey_glyphs_are_glyphs() -> None:
    for found, own in zip(grey("glyphs"), glyphs(), strict=True):
        assert torch.equal(found.x, own.x) and found.class_names == own.class_names


def test_digits_are_resized_and_halved() -> None:
    found, own = grey("digits"), digits()
    assert [pool.class_names for pool in found] == [tuple("01234"), tuple("01234"), tuple("56789")]
    assert len(found.train) + len(found.validation) == len(own.train)
    assert len(found.test) == len(own.validation) + len(own.test)
    nine = own.test.x[own.test.y == 2]
    again = F.interpolate(nine.float(), (28, 28), mode="bilinear").round()
    assert (found.test.x[found.test.y == 4].float() - again).abs().max() <= 1
    seen = {image.numpy().tobytes() for image in found.train.x}
    assert not any(image.numpy().tobytes() in seen for image in found.validation.x)


def test_colours_become_grey_as_pillow_has_it(small: list[str]) -> None:
    from PIL import Image

    colour, found = cifar100("cifar_fs").test, grey("cifar100", image_size=32).test
    as_pillow = np.asarray(Image.fromarray(colour.x[7].permute(1, 2, 0).numpy()).convert("L"))
    assert np.abs(found.x[7, 0].numpy().astype(int) - as_pillow).max() <= 1
    assert grey("cifar100").test.x.shape[1:] == (1, 28, 28)


def test_an_unknown_source_is_refused() -> None:
    with pytest.raises(ValueError, match=r"images by name, one of 'glyphs', 'omniglot', .*got 'sinusoids'"):
        grey("sinusoids")
