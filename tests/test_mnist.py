"""MNIST: disjoint digits, the official parts, one order whatever the file, and refusal of files that are not right."""

import importlib
import os
from pathlib import Path
from types import SimpleNamespace
from urllib.error import URLError

import numpy as np
import pytest
import torch

from metalearn.data import load, mnist, mnist_parts

DATA = Path(os.environ.get("METALEARN_DATA") or Path(__file__).parents[2] / "shared" / "data")
FILE = "mnist/mnist.npz"
module = importlib.import_module("metalearn.data.mnist")
needs_file = pytest.mark.skipif(
    not (DATA / FILE).is_file(), reason=f"{FILE} is not in METALEARN_DATA or in shared/data beside the repository"
)


# The real file


@pytest.fixture
def real(monkeypatch):
    monkeypatch.setenv("METALEARN_DATA", str(DATA))


@needs_file
def test_the_official_parts(real):
    train, test = mnist_parts()
    assert train.class_sizes.tolist() == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    assert test.class_sizes.tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    assert train.x.dtype == torch.uint8 and train.x.shape == (60_000, 1, 28, 28)
    # mean and deviation of the training pixels, as every user of MNIST divides them by 255
    pixels = train.x.numpy()
    assert pixels.mean() / 255 == pytest.approx(0.1306604762738429, abs=1e-12)
    assert pixels.std() / 255 == pytest.approx(0.3081078038564622, abs=1e-12)


@needs_file
def test_the_splits_hold_all_images_of_disjoint_digits(real):
    splits = load("mnist")
    assert [pool.class_names for pool in splits] == [tuple("01234"), tuple("56"), tuple("789")]
    assert sum(map(len, splits)) == 70_000
    assert splits.test.class_sizes.tolist() == [7293, 6825, 6958]


# A small stand-in: 20 images for training, 10 for testing


@pytest.fixture
def home(tmp_path, monkeypatch):
    """An empty cache, and no folder of given data."""
    monkeypatch.delenv("METALEARN_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "metalearn"


@pytest.fixture
def arrays():
    random = np.random.default_rng(0)
    sizes = {"train": 20, "test": 10}
    images = {f"{k}_images": random.integers(0, 256, (n, 28, 28), dtype=np.uint8) for k, n in sizes.items()}
    return images | {f"{k}_labels": random.permutation(np.arange(n, dtype=np.uint8) % 10) for k, n in sizes.items()}


@pytest.fixture
def small(home, arrays, monkeypatch):
    """A torchvision whose MNIST is tiny; the list of what was downloaded."""
    downloaded = []

    def fake(root, train, download):
        part = "train" if train else "test"
        downloaded.append(part)
        Path(root, "raw").mkdir(exist_ok=True)
        images, labels = (torch.from_numpy(arrays[f"{part}_{kind}"]) for kind in ("images", "labels"))
        return SimpleNamespace(data=images, targets=labels.long())

    monkeypatch.setattr(module, "import_torchvision", lambda: SimpleNamespace(datasets=SimpleNamespace(MNIST=fake)))
    monkeypatch.setattr(module, "SHA256", module.checksum(module.ordered(arrays)))
    return downloaded


def test_mnist_is_downloaded_once_and_then_read(small, home, arrays, monkeypatch):
    first = mnist()
    assert [path.name for path in (home / "mnist").iterdir()] == ["mnist.npz"]  # the originals are gone
    assert [pool.class_names for pool in first] == [tuple("01234"), tuple("56"), tuple("789")]
    second = mnist()
    assert small == ["train", "test"]
    assert all((a.x == b.x).all() for a, b in zip(first, second, strict=True))
    monkeypatch.setenv("METALEARN_DATA", str(home))
    monkeypatch.setenv("XDG_CACHE_HOME", str(home / "elsewhere"))
    train, test = mnist_parts()
    assert (len(train), len(test)) == (20, 10) and train.class_sizes.tolist() == [2] * 10
    three = arrays["test_images"][arrays["test_labels"] == 3]
    assert (test.x[3, 0].numpy() == three[0]).all()


def test_every_image_keeps_its_label_and_the_order_of_the_file_does_not_matter(arrays):
    shuffle = np.random.default_rng(1).permutation(20)
    other = arrays | {key: arrays[key][shuffle] for key in ("train_images", "train_labels")}
    one, two = module.ordered(arrays), module.ordered(other)
    assert all((one[key] == two[key]).all() for key in arrays)
    assert one["train_labels"].tolist() == sorted(arrays["train_labels"].tolist())
    owner = {image.tobytes(): y for image, y in zip(arrays["train_images"], arrays["train_labels"], strict=True)}
    assert all(owner[x.tobytes()] == y for x, y in zip(one["train_images"], one["train_labels"], strict=True))


def test_the_checksum_sees_pixels_labels_and_parts(arrays):
    pixels, labels = dict(arrays), dict(arrays)
    pixels["test_images"] = arrays["test_images"] ^ 1
    labels["train_labels"] = arrays["train_labels"][::-1]
    sums = {module.checksum(each) for each in (arrays, pixels, labels)}
    assert len(sums) == 3


def test_a_cut_or_altered_file_is_refused(small, home, arrays):
    mnist()
    path = home / FILE
    whole = path.read_bytes()
    for damaged in (whole[:-50], whole[: len(whole) // 2], b"", whole[:300] + b"xxxx" + whole[304:]):
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match=r"mnist\.npz, got: .* Delete it and call again"):
            mnist()
    for changed, got in [
        ({"test_images": arrays["test_images"] ^ 1}, "other images: 20 for training and 10 for testing"),
        (
            {"test_labels": arrays["test_labels"][:9]},
            r"images of shape \[20, .* \[10, 28, 28\] for 20 and 9 labels",
        ),
        ({"train_images": arrays["train_images"].astype(float)}, r"images of shape \[20, 28, 28\]"),
    ]:
        np.savez_compressed(path, **(arrays | changed))
        with pytest.raises(ValueError, match=rf"got: {got}.* Delete it and call again"):
            mnist_parts()


def test_a_failure_in_the_middle_leaves_no_file(small, home, monkeypatch):
    def half(file, **arrays):
        file.write(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(np, "savez_compressed", half)
    with pytest.raises(KeyboardInterrupt):
        mnist()
    assert not list((home / "mnist").iterdir())


def test_without_a_network_the_message_says_what_to_do(small, home, monkeypatch):
    def fail(*_, **__):
        raise URLError("no route")

    offline = SimpleNamespace(datasets=SimpleNamespace(MNIST=fail))
    monkeypatch.setattr(module, "import_torchvision", lambda: offline)
    with pytest.raises(ConnectionError, match=rf"mnist \(.*no route.*{home}.*copy mnist/mnist\.npz.*METALEARN_DATA"):
        mnist()
    assert not list((home / "mnist").iterdir())
