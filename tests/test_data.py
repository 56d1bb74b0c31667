"""Every source gives disjoint classes with the pixels that were promised, and refuses files that are not right."""

import hashlib
import importlib
import importlib.util
import io
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path
from types import SimpleNamespace
from urllib.error import URLError

import numpy as np
import pytest
import torch

from metalearn import Pool, Splits, sample_episodes
from metalearn.data import checksum, digits, folder, glyphs, load, omniglot, read_image, sinusoids

ROOT = Path(__file__).parents[1]
DATA = Path(os.environ.get("METALEARN_DATA") or ROOT.parent / "shared" / "data")
glyphs_module, omniglot_module = (importlib.import_module(f"metalearn.data.{name}") for name in ("glyphs", "omniglot"))
cache_module = importlib.import_module("metalearn.data._cache")
torchvision_module = importlib.import_module("metalearn.data._torchvision")


def needs(name):
    reason = f"{name} is not in METALEARN_DATA or in shared/data beside the repository"
    return pytest.mark.skipif(not (DATA / name).is_file(), reason=reason)


@pytest.fixture(scope="module")
def splits():
    return glyphs()


@pytest.fixture(scope="module")
def tool():
    spec = importlib.util.spec_from_file_location("render_glyphs", ROOT / "tools" / "render_glyphs.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def home(tmp_path, monkeypatch):
    """An empty cache, and no folder of given data."""
    monkeypatch.delenv("METALEARN_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "metalearn"


def scripts(pool):
    return {name.split("/")[0] for name in pool.class_names}


# The package


@pytest.mark.slow
def test_importing_the_data_imports_no_optional_library():
    code = (
        "import sys, metalearn.data; "
        "print([m for m in ('torchvision', 'matplotlib', 'sklearn', 'PIL', 'scipy') if m in sys.modules])"
    )
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert output.strip() == "[]"


def test_load_by_name():
    assert load("digits").test.class_names == ("7", "8", "9")
    with pytest.raises(ValueError, match=r"one of 'glyphs', 'digits', .*got 'mnist2'"):
        load("mnist2")


# Glyphs


def test_glyphs_are_many_classes_of_twenty_in_scripts_of_their_own(splits):
    assert sum(pool.n_classes for pool in splits) >= 1000
    for pool in splits:
        assert pool.class_sizes.unique().tolist() == [20] and pool.n_classes >= 100 and len(scripts(pool)) >= 2
        assert pool.x.dtype == torch.uint8 and pool.x.shape[1:] == (1, 28, 28) and (pool.x % 17 == 0).all()
        assert len(set(pool.class_names)) == pool.n_classes and all(name.isascii() for name in pool.class_names)
    assert not scripts(splits.train) & scripts(splits.validation)
    assert not (scripts(splits.train) | scripts(splits.validation)) & scripts(splits.test)
    assert glyphs_module.ARCHIVE.stat().st_size <= 3_000_000


def test_no_glyph_is_cut_or_has_vanished(splits):
    for pool in splits:
        border = torch.ones(28, 28, dtype=torch.bool)
        border[1:-1, 1:-1] = False
        assert pool.x[:, 0, border].max() == 0
        assert (pool.x > 127).sum((1, 2, 3)).min() >= 10


@pytest.mark.slow
def test_a_sample_of_glyphs_is_rendered_again_as_stored(splits, tool):
    fonts = tool.fonts_of_letters()
    letters = {tool.class_name(letter): letter for letter in fonts}
    for pool in splits:
        for i in range(3, pool.n_classes, pool.n_classes // 4):
            letter = letters[pool.class_names[i]]
            levels = tool.render(letter, tool.outlines(letter, fonts[letter]))
            difference = np.abs(levels.astype(int) - pool.x[20 * i : 20 * i + 20, 0].numpy() // 17)
            assert difference.max() <= 1 and (difference > 0).mean() < 0.005


def test_no_glyph_has_a_twin_in_another_split(splits, tool):
    fonts = tool.fonts_of_letters()
    letters = {tool.class_name(letter): letter for letter in fonts}

    def sample(pool):
        names = pool.class_names[:: pool.n_classes // 25]
        return np.concatenate([tool.features(tool.outlines(letters[name], fonts[letters[name]])) for name in names])

    train, validation, test = map(sample, splits)
    assert (train @ train[:1].T).max() > 0.999  # a letter is its own twin
    for one, other in [(train, validation), (train, test), (validation, test)]:
        assert (one @ other.T).max() < tool.STRANGERS


def test_choosing_drops_twins_and_letters_of_one_outline(tool):
    fonts = tool.fonts_of_letters()
    shapes = {letter: tool.outlines(letter, fonts[letter][:3]) for letter in "oOQABΑΒ"}
    shapes["C"] = tool.outlines("C", fonts["C"][:1])
    assert tool.choose(shapes) == ["o", "Q", "A", "B"]


def test_the_archive_is_the_same_on_every_run(tool):
    levels = np.arange(2 * 20 * 784, dtype=np.uint8).reshape(2, 20, 28, 28) % 16
    assert tool.pack(["A", "ლ"], levels) == tool.pack(["A", "ლ"], levels)
    with np.load(io.BytesIO(tool.pack(["A", "ლ"], levels))) as archive:
        assert archive["name"].tolist() == ["Latin/capital letter a", "Georgian/letter las"]
        assert archive["split"].tolist() == [0, 2]
        assert (np.stack([archive["images"] >> 4, archive["images"] & 15], -1).reshape(levels.shape) == levels).all()


def test_raw_pixels_do_not_solve_glyphs(splits):
    episodes = sample_episodes(splits.test, 800, 5, 1, 5, torch.Generator().manual_seed(0))
    distance = torch.cdist(episodes.query_x.flatten(2), episodes.support_x.flatten(2))
    predicted = episodes.support_y.gather(1, distance.argmin(2))
    accuracy = (predicted == episodes.query_y).float().mean().item()
    assert 0.35 < accuracy < 0.55


@pytest.mark.parametrize(
    "damage", [lambda b: b[:-100], lambda b: b[:500] + bytes([b[500] ^ 1]) + b[501:], lambda b: b""]
)
def test_a_cut_or_altered_glyph_archive_is_refused(damage, tmp_path, monkeypatch):
    path = tmp_path / "glyphs.npz"
    path.write_bytes(damage(glyphs_module.ARCHIVE.read_bytes()))
    monkeypatch.setattr(glyphs_module, "ARCHIVE", path)
    with pytest.raises(ValueError, match=r"got another file, of .* bytes.*pip install --force-reinstall"):
        glyphs()


# Digits


def test_digits_have_their_levels_and_classes():
    from sklearn.datasets import load_digits

    pools = digits()
    assert [pool.class_names for pool in pools] == [tuple("01234"), tuple("56"), tuple("789")]
    assert sum(map(len, pools)) == 1797
    bundle = load_digits()
    sevens = torch.from_numpy(bundle.images[bundle.target == 7])
    assert torch.allclose(pools.test.x[pools.test.y == 0, 0] * (16 / 255), sevens.float(), atol=16 / 255 / 2 + 1e-6)
    assert pools.train.x.max() == 255


def test_digits_without_scikit_learn(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(ImportError, match=r"metalearn-book\[chapters\]"):
        digits()


# Omniglot, the real files


@pytest.fixture
def real(monkeypatch):
    monkeypatch.setenv("METALEARN_DATA", str(DATA))


@needs("omniglot/omniglot28_gray8.npz")
@needs("omniglot/vinyals_split.json")
@pytest.mark.parametrize(
    ("split", "rotations", "sizes"),
    [
        ("official", None, (813, 151, 659)),
        ("vinyals", None, (4 * 1028, 4 * 172, 4 * 423)),
        ("random1200", False, (1100, 100, 423)),
    ],
)
def test_omniglot_splits(split, rotations, sizes, real):
    pools = omniglot(split, rotations)
    assert tuple(pool.n_classes for pool in pools) == sizes
    names = [{name.split("/rot")[0] for name in pool.class_names} for pool in pools]
    assert not names[0] & names[1] and not names[0] & names[2] and not names[1] & names[2]
    assert sum(map(len, names)) == 1623
    assert all(pool.class_sizes.unique().tolist() == [20] for pool in pools)
    if split == "official":
        assert [len(scripts(pool)) for pool in pools] == [25, 5, 20]
        assert len(scripts(pools.train) | scripts(pools.validation) | scripts(pools.test)) == 50


@needs("omniglot/omniglot28_gray8.npz")
def test_turned_characters_are_classes_of_their_own(real):
    plain, turned = omniglot("official").validation, omniglot("official", rotations=True).validation
    assert turned.class_names[4:8] == tuple(plain.class_names[1] + r for r in ("", "/rot090", "/rot180", "/rot270"))
    for k in range(4):
        assert (turned.x[(4 + k) * 20] == plain.x[20].rot90(k, (1, 2))).all()


@needs("omniglot/omniglot28_gray8.npz")
@needs("omniglot/omniglot105_png.zip")
def test_the_conversion_gives_the_stored_bytes():
    with np.load(DATA / "omniglot/omniglot28_gray8.npz") as file:
        stored = file["images"]
    with zipfile.ZipFile(DATA / "omniglot/omniglot105_png.zip") as archive:
        names = sorted(name for name in archive.namelist() if name.endswith(".png"))
        assert len(names) == len(stored) == 32460
        for i in range(0, len(names), 7):  # seven and twenty have no common factor: every drawer is met
            assert (omniglot_module.to_grey28(io.BytesIO(archive.read(names[i]))) == stored[i]).all(), names[i]


@needs("omniglot/vinyals_split.json")
def test_downloaded_vinyals_lists_agree_with_the_stored_ones(home, monkeypatch):
    names = [f"Alphabet{i // 30:02d}/character{i % 30:02d}" for i in range(1623)]
    stored = json.loads((DATA / "omniglot/vinyals_split.json").read_text())
    lists = {
        part: "\n".join(f"{names[i]}/rot{r}" for i in stored[part] for r in ("000", "090"))
        for part in stored
        if part in omniglot_module.VINYALS
    }
    monkeypatch.setattr(
        omniglot_module, "VINYALS", {k: hashlib.sha256(v.encode()).hexdigest() for k, v in lists.items()}
    )
    asked = []

    def download(url, target, hash_prefix, progress):
        asked.append(url)
        Path(target).write_text(lists[Path(target).stem])

    monkeypatch.setattr(torch.hub, "download_url_to_file", download)
    characters = omniglot_module.Characters(torch.zeros(0), names, 964)
    for _ in range(2):  # the second time nothing is asked for
        assert omniglot_module._vinyals(characters) == [stored[part] for part in ("train", "val", "test")]
    assert len(asked) == 3 and all("/c9bb4d258267c11cb6e23f0a19242d24ca98ad8a/" in url for url in asked)
    (home / "omniglot/vinyals/val.txt").write_text("cut")
    with pytest.raises(ValueError, match=r"val\.txt, got: 3 bytes with another checksum\. Delete it"):
        omniglot_module._vinyals(characters)


# Omniglot, a small stand-in: 3 characters in 3 alphabets


@pytest.fixture
def small(home, monkeypatch):
    """A torchvision whose Omniglot is tiny; the list of what was downloaded."""
    from PIL import Image

    folders = {
        "images_background": ["Greek/character01", "Tagalog/character01"],
        "images_evaluation": ["ULOG/character01"],
    }
    generator, downloaded = np.random.default_rng(0), []

    def fake(root, background, download):
        part = "images_background" if background else "images_evaluation"
        downloaded.append(part)
        for character in folders[part]:
            folder = Path(root, "omniglot-py", part, character)
            folder.mkdir(parents=True)
            for drawer in range(1, 21):
                Image.fromarray(generator.random((105, 105)) < 0.9).save(folder / f"0001_{drawer:02d}.png")
        return SimpleNamespace(target_folder=str(Path(root, "omniglot-py", part)))

    monkeypatch.setattr(
        omniglot_module, "import_torchvision", lambda: SimpleNamespace(datasets=SimpleNamespace(Omniglot=fake))
    )
    monkeypatch.setattr(omniglot_module, "checksum", lambda images, names: str((images.shape, names)))
    names = [name for part in folders.values() for name in part]
    monkeypatch.setattr(omniglot_module, "SHA256", str(((60, 28, 28), names)))
    return downloaded


def test_omniglot_is_downloaded_once_and_then_read(small, home, monkeypatch):
    first = omniglot()
    assert [pool.class_names for pool in first] == [
        ("Greek/character01",),
        ("Tagalog/character01",),
        ("ULOG/character01",),
    ]
    assert [path.name for path in (home / "omniglot").iterdir()] == ["omniglot28_gray8.npz"]  # the originals are gone
    second = omniglot()
    assert small == ["images_background", "images_evaluation"]
    assert all((a.x == b.x).all() for a, b in zip(first, second, strict=True))
    monkeypatch.setenv("METALEARN_DATA", str(home))
    monkeypatch.setenv("XDG_CACHE_HOME", str(home / "elsewhere"))
    assert (omniglot().test.x == first.test.x).all()


def test_a_failure_in_the_middle_leaves_no_file(small, home, monkeypatch):
    def half(file, **arrays):
        file.write(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(np, "savez_compressed", half)
    with pytest.raises(KeyboardInterrupt):
        omniglot()
    assert not list((home / "omniglot").iterdir())


def test_a_cut_or_altered_omniglot_file_is_refused(small, home, monkeypatch):
    omniglot()
    path = home / "omniglot/omniglot28_gray8.npz"
    whole = path.read_bytes()
    for damaged in (whole[:-50], whole[: len(whole) // 2], b"", whole[:300] + b"xxxx" + whole[304:]):
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match=r"omniglot28_gray8\.npz, got: .* Delete it and call again"):
            omniglot()
    path.write_bytes(whole)
    monkeypatch.undo()
    monkeypatch.setenv("METALEARN_DATA", str(home))
    with pytest.raises(ValueError, match=r"got: other images: uint8\[60, 28, 28\]\. Delete it"):
        omniglot()


def test_the_checksum_sees_pixels_and_names():
    images, names = np.zeros((2, 28, 28), np.uint8), ["a/character01"]
    changed = images.copy()
    changed[1, 3, 3] = 1
    sums = [
        omniglot_module.checksum(*pair) for pair in [(images, names), (changed, names), (images, ["b/character01"])]
    ]
    assert len(set(sums)) == 3


def test_without_a_network_the_message_says_what_to_do(small, home, monkeypatch):
    def fail(*_, **__):
        raise URLError("no route")

    omniglot()
    monkeypatch.setattr(torch.hub, "download_url_to_file", fail)
    with pytest.raises(ConnectionError, match=r"vinyals/train\.txt .*no route.*METALEARN_DATA"):
        omniglot("vinyals")
    (home / "omniglot/omniglot28_gray8.npz").unlink()
    offline = SimpleNamespace(datasets=SimpleNamespace(Omniglot=fail))
    monkeypatch.setattr(omniglot_module, "import_torchvision", lambda: offline)
    with pytest.raises(ConnectionError, match=rf"brendenlake/omniglot .*no route.*{home}.*METALEARN_DATA"):
        omniglot()


def test_a_wrong_vinyals_file_is_refused(small, home):
    (home / "omniglot").mkdir(parents=True)
    path = home / "omniglot/vinyals_split.json"
    for text, got in [("{", "JSONDecodeError"), ('{"train": [], "val": [], "test": [1]}', r"\[0, 0, 1\] characters")]:
        path.write_text(text)
        with pytest.raises(ValueError, match=f"vinyals_split.json, got: .*{got}.* Delete it"):
            omniglot("vinyals")


def test_an_unknown_split_is_refused():
    with pytest.raises(ValueError, match="one of 'official', 'vinyals', 'random1200', got 'lake'"):
        omniglot("lake")


def test_a_folder_that_cannot_be_written_is_passed_over(home, tmp_path, monkeypatch):
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    monkeypatch.setenv("METALEARN_DATA", str(blocked))
    assert cache_module.place_for("a/b.npz") == home / "a/b.npz"
    monkeypatch.setenv("XDG_CACHE_HOME", str(blocked))
    with pytest.raises(PermissionError, match="set METALEARN_DATA"):
        cache_module.place_for("a/b.npz")


# torchvision


@pytest.mark.slow
def test_torchvision_imports_whatever_its_operators_do():
    code = (
        "from metalearn.data._torchvision import import_torchvision; tv = import_torchvision(); "
        "import torchvision; assert tv is torchvision; print(torchvision.datasets.Omniglot.__name__)"
    )
    result = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True)
    assert result.stdout.strip() == "Omniglot", result.stderr


def test_a_working_torchvision_is_left_alone(monkeypatch):
    works = SimpleNamespace()
    monkeypatch.setitem(sys.modules, "torchvision", works)
    monkeypatch.setattr(torch.library, "Library", lambda *_: pytest.fail("nothing is to be declared"))
    assert torchvision_module.import_torchvision() is works


def test_a_missing_torchvision_names_the_installation(monkeypatch):
    monkeypatch.setitem(sys.modules, "torchvision", None)
    with pytest.raises(ImportError, match=r"metalearn-book\[chapters\]"):
        torchvision_module.import_torchvision()


# Checksums


def test_a_checksum_changes_with_any_part_of_the_data():
    x, y, names = torch.arange(60, dtype=torch.uint8).reshape(30, 2), torch.arange(30) // 10, ["a", "b", "c"]
    changed = x.clone()
    changed[29, 1] += 1
    pool = Pool(x, y, class_names=names)
    others = [
        Pool(changed, y, class_names=names),
        Pool(x, torch.arange(30) // 11, class_names=names),
        Pool(x, y, class_names=["a", "b", "d"]),
        Pool(x.int(), y, class_names=names),
        Pool(x.reshape(30, 1, 2), y, class_names=names),
        Pool((x, x), y, class_names=names),
        Splits(pool, pool, pool),
        sinusoids(),
    ]
    assert checksum(Pool(x.clone(), y, class_names=names)) == checksum(pool)
    assert len({checksum(data) for data in [pool, *others]}) == 9
    parts = pool.select([0]), pool.select([1]), pool.select([2])
    assert checksum(Splits(*parts)) != checksum(Splits(*parts[::-1]))


def test_checksums_of_data_sets_are_those_of_the_recorded_runs():
    assert checksum("glyphs") == "a153b5021a15e6c828926aadc6ac2fe89b4ebaf843d61d0e4131751368f801c2"
    assert checksum("digits") == "53858c8be74a4ea017d5fb649c3486e86574f2ce15bea1b1035ca2b44e23024f"
    assert checksum("sinusoids") == "f088c4a3942bff41a330b6727c9e0d32929d5188c9cbc8dba0cfa107e754943b"
    with pytest.raises(ValueError, match=r"expected a data set's name.*got 'sine'"):
        checksum("sine")


# A folder of images


@pytest.fixture
def photos(tmp_path):
    """Two classes of two images each, in four formats, and hidden files."""
    from PIL import Image

    for i, name in enumerate(["owl/1.png", "owl/2.JPG", "cat/1.bmp", "cat/2.tif"]):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.new("RGB", (12, 8), (60 * i, 0, 0)).save(tmp_path / name)
    (tmp_path / ".DS_Store").write_text("")
    (tmp_path / "owl" / ".DS_Store").write_text("")
    (tmp_path / ".git").mkdir()
    return tmp_path


def test_a_folder_becomes_a_pool(photos):
    pool = folder(photos, image_size=4)
    assert pool.class_names == ("cat", "owl") and pool.class_sizes.tolist() == [2, 2]
    assert pool.x.dtype == torch.uint8 and pool.x.shape == (4, 3, 4, 4)
    assert (pool.x[:, 0].float().mean((1, 2)) - torch.tensor([120.0, 180.0, 0.0, 60.0])).abs().max() < 3
    assert folder(str(photos), 4, "L").x.shape == (4, 1, 4, 4)
    assert torch.equal(folder(photos, 4, invert=True).x, 255 - pool.x)
    assert torch.equal(read_image(photos / "cat" / "1.bmp", 4), pool.x[0])


def test_pictures_are_cut_turned_scaled_and_laid_on_white(tmp_path):
    from PIL import Image

    wide = np.zeros((4, 8), np.uint8)
    wide[:, 2:6] = 200  # the middle square
    Image.fromarray(wide).save(tmp_path / "wide.png")
    assert (read_image(tmp_path / "wide.png", 4, "L") == 200).all()
    levels = np.linspace(0, 65535, 16).astype(np.uint16).reshape(4, 4)
    Image.fromarray(levels).save(tmp_path / "deep.png")
    assert read_image(tmp_path / "deep.png", 4, "L").flatten().tolist() == [17 * i for i in range(16)]
    clear = np.zeros((4, 4, 4), np.uint8)
    clear[0, 0] = [10, 20, 30, 255]
    Image.fromarray(clear, "RGBA").save(tmp_path / "clear.png")
    read = read_image(tmp_path / "clear.png", 4)
    assert read[:, 0, 0].tolist() == [10, 20, 30] and (read[:, 1:] == 255).all()
    sideways, exif = np.zeros((4, 4), np.uint8), Image.Exif()
    sideways[0] = 255
    exif[0x0112] = 6  # the camera was held so that the picture must be turned by 90 degrees clockwise
    Image.fromarray(sideways).save(tmp_path / "turned.png", exif=exif)
    assert (read_image(tmp_path / "turned.png", 4, "L")[0, :, 3] == 255).all()


def test_what_a_folder_leaves_out_is_named(photos):
    (photos / "readme.txt").write_text("")
    (photos / "owl" / "nosuffix").write_text("")
    (photos / "cat" / "more").mkdir()
    with pytest.warns(UserWarning, match=r"3 entries .* left out: readme.txt, cat/more, owl/nosuffix\. Images lie"):
        assert len(folder(photos, 4)) == 4


def test_a_folder_that_cannot_be_read(photos, tmp_path):
    from PIL import Image

    with pytest.raises(ValueError, match=r"one folder of images for each class, got .*nowhere: there is none"):
        folder(tmp_path / "nowhere", 4)
    (photos / ".hidden").mkdir()
    Image.new("L", (4, 4)).save(photos / ".hidden" / "1.png")
    with pytest.raises(ValueError, match="found no folders and 1 files"):
        folder(photos / ".hidden", 4)
    with pytest.raises(ValueError, match=r"mode must be 'L' .* or 'RGB' .*, got 'CMYK'"):
        folder(photos, 4, "CMYK")
    with pytest.raises(ValueError, match=r"image_size must be an int, got 4.0"):
        folder(photos, 4.0)
    (photos / "owl" / "text.jpg").write_text("no image")
    with pytest.raises(ValueError, match=r"cannot read the image .*owl.text\.jpg: cannot identify"):
        folder(photos, 4)
    (photos / "owl" / "text.jpg").unlink()
    (photos / "empty").mkdir()
    (photos / "empty" / "notes.md").write_text("")
    with pytest.raises(ValueError, match=r"found none among the 1 entries of .*empty: fill it or remove it"):
        folder(photos, 4)


@pytest.mark.parametrize("suffix", ["jpg", "png", "tif", "bmp"])
def test_a_cut_image_is_named(photos, suffix):
    from PIL import Image

    path = photos / "owl" / f"cut.{suffix}"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)).save(path)
    path.write_bytes(path.read_bytes()[:700])
    with pytest.raises(ValueError, match=rf"cannot read the image .*cut\.{suffix}: .*Replace it"):
        folder(photos, 4)


def test_float_pixels_are_refused(tmp_path):
    from PIL import Image

    Image.fromarray(np.ones((4, 4), np.float32)).save(tmp_path / "f.tif")
    with pytest.raises(ValueError, match=r"f\.tif: its pixels are floats"):
        read_image(tmp_path / "f.tif", 4)
