"""Build what a release uploads, and try it as a stranger would: `make release`.

Source archive and wheel are built into _build/dist and checked. The wheel is installed into an empty environment, where
the README's example, the command `metalearn` and a few chapters run, each in an empty folder. Nothing is uploaded.
"""

from __future__ import annotations

import argparse
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
import venv
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
DIST, ENVIRONMENT = ROOT / "_build" / "dist", ROOT / "_build" / "release"
MAX_WHEEL = 16_000_000
CHAPTERS = ("01", "04", "21")
NEEDED = (
    "metalearn/py.typed",
    "metalearn/data/glyphs.npz",
    "metalearn/experiments/weights/glyphs/maml-seed0.safetensors",
)
LETTERS = """
from pathlib import Path
from PIL import Image
from metalearn.data import glyphs
pool = glyphs().test
for c in range(3):
    for k, image in enumerate(pool.x[pool.y == c][:3]):
        place = Path("letters", f"letter{c}", f"{k}.png") if k else Path(f"unknown{c}.png")
        place.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image[0].numpy()).save(place)
"""


def wrong_content(names: list[str], version: str) -> list[str]:
    """Return what is wrong with the files of a wheel: one is missing, or one does not belong there."""
    about = f"metalearn_book-{version}.dist-info/"
    there = {name.removeprefix(about) for name in names}
    missing = [name for name in (*NEEDED, "entry_points.txt", "licenses/LICENSE") if name not in there]
    strange = [name for name in names if not name.startswith(("metalearn/", about)) or "__pycache__" in name]
    return [f"{name} is missing" for name in missing] + [f"{name} does not belong there" for name in strange]


def readme_example() -> str:
    """Return the README's only example in Python.

    Raises:
        ValueError: If there is none, or several.
    """
    found = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    if len(found) != 1:
        raise ValueError(f"expected one example in README.md, got {len(found)}")
    return str(found[0])


def run(*command: str | Path, cwd: Path | str = ROOT, wanted: str = "") -> None:
    """Run a command, show what it prints, and look for a text in it.

    Raises:
        RuntimeError: If it fails, or the text is not there.
    """
    done = subprocess.run([str(part) for part in command], cwd=cwd, capture_output=True, text=True, check=False)
    print(done.stdout.strip()[-2000:], flush=True)
    if done.returncode or wanted not in done.stdout:
        what = f"ended with {done.returncode}" if done.returncode else f"did not say {wanted!r}"
        raise RuntimeError(f"{' '.join(map(str, command))} {what}\n{done.stderr[-4000:]}")


def build() -> Path:
    """Build and check both archives, and return the wheel."""
    shutil.rmtree(DIST, ignore_errors=True)
    run(sys.executable, "-m", "build", "--outdir", DIST)
    run(sys.executable, "-m", "twine", "check", "--strict", *sorted(DIST.iterdir()))
    (wheel,) = DIST.glob("*.whl")
    version = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    if problems := wrong_content(names, version):
        raise RuntimeError(f"{wheel.name}: {'; '.join(problems)}")
    if (size := wheel.stat().st_size) > MAX_WHEEL:
        raise RuntimeError(f"{wheel.name} has {size / 1e6:.1f} MB, at most {MAX_WHEEL / 1e6:.0f} are allowed")
    print(f"{wheel.name}: {len(names)} files, {size / 1e6:.1f} MB")
    return wheel


def install(wheel: Path, torch: str) -> Path:
    """Install the wheel into an empty environment, and return the folder of its programs."""
    shutil.rmtree(ENVIRONMENT, ignore_errors=True)
    venv.create(ENVIRONMENT, with_pip=True)
    programs = ENVIRONMENT / ("Scripts" if sys.platform == "win32" else "bin")
    run(programs / "python", "-m", "pip", "install", "-q", *shlex.split(torch))
    run(programs / "python", "-m", "pip", "install", "-q", f"{wheel}[chapters,pinned]", "ipykernel", "nbclient")
    return programs


def use(programs: Path) -> None:
    """Do what the README and the page on the command line say, in an empty folder."""
    with tempfile.TemporaryDirectory() as folder:
        run(programs / "python", "-I", "-c", "import metalearn; print(metalearn.__file__)", cwd=folder, wanted="_build")
        run(programs / "python", "-I", "-c", readme_example(), cwd=folder, wanted="tasks)")
        run(programs / "metalearn", "--help", cwd=folder, wanted="predict")
        run(programs / "python", "-I", "-c", LETTERS, cwd=folder)
        asked = [part for c in range(3) for part in ("--query", f"unknown{c}.png")]
        names = ("prototypical/glyphs", "--support", "letters", *asked)
        run(programs / "metalearn", "predict", *names, cwd=folder, wanted="unknown0.png: letter0")
    run(programs / "python", ROOT / "tools" / "alone.py", *CHAPTERS, wanted=f"{CHAPTERS[-1]}_")


def main(arguments: list[str]) -> int:
    """Build, check, install and use; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--torch", default="torch", help="what pip is given to install PyTorch")
    began = time.perf_counter()
    try:
        use(install(build(), parser.parse_args(arguments).torch))
    except RuntimeError as error:
        print(error, file=sys.stderr)
        return 1
    print(f"The release is in {DIST.relative_to(ROOT)}; it took {(time.perf_counter() - began) / 60:.1f} minutes.")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
