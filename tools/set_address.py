"""Put the project's address wherever it is mentioned.

Run ``python tools/set_address.py https://github.com/<owner>/<name>``. The current address is the one in _config.yml, so
this can be run again with another.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
ADDRESS = re.compile(r"https://github\.com/([A-Za-z0-9][A-Za-z0-9-]*/[A-Za-z0-9._-]+)")
HOSTS = r"(github\.com|colab\.research\.google\.com/github|mybinder\.org/v2/gh|raw\.githubusercontent\.com)/"
GENERATED = {".git", ".venv", "_build", "__pycache__", ".pytest_cache", ".mypy_cache", ".ruff_cache", "runs", "dist"}


def project_files(root: Path) -> list[Path]:
    """Return the text files that git tracks or would track; without git, all but generated ones."""
    command = ["git", "-C", str(root), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, capture_output=True, text=True, check=False) if (root / ".git").exists() else None
    if listed is not None and listed.returncode == 0:
        paths = [root / name for name in listed.stdout.split("\0") if name]
    else:
        paths = list(walk(root))
    return sorted(path for path in set(paths) if path.is_file() and is_text(path))


def walk(root: Path) -> Iterator[Path]:
    """Yield the files below a folder, without those in folders that some tool writes."""
    for folder, names, files in os.walk(root):
        names[:] = [name for name in names if name not in GENERATED and not name.endswith(".egg-info")]
        yield from (Path(folder, file) for file in files)


def is_text(path: Path) -> bool:
    """Tell text from archives and images."""
    try:
        path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        return False
    return True


def slug(address: str) -> str:
    """Return "owner/name".

    Raises:
        ValueError: If the address has another form.
    """
    match = ADDRESS.fullmatch(address.removesuffix("/"))
    if match is None or match[1].endswith(".git"):
        raise ValueError(f"expected an address of the form https://github.com/<owner>/<name>, got {address!r}")
    return match[1]


def current_address(root: Path) -> str:
    """Return the address that _config.yml holds."""
    match = re.search(r"^ +url: (\S+)$", (root / "_config.yml").read_text(encoding="utf-8"), re.MULTILINE)
    if match is None:
        raise ValueError("_config.yml has no line `url: …` under `repository:`")
    return match[1]


def set_address(root: Path, address: str) -> list[Path]:
    """Replace the current address by another and return the files that changed."""
    new = slug(address)
    mention = re.compile(HOSTS + re.escape(slug(current_address(root))) + r"(?![\w-])")
    changed = []
    for path in project_files(root):
        old_text = path.read_text(encoding="utf-8")
        text = mention.sub(lambda match: f"{match[1]}/{new}", old_text)
        if text != old_text:
            path.write_text(text, encoding="utf-8")
            changed.append(path)
    return changed


if __name__ == "__main__":
    try:
        if len(sys.argv) != 2:
            raise ValueError("name one address: https://github.com/<owner>/<name>")
        for file in set_address(ROOT, sys.argv[1]):
            print(file.relative_to(ROOT))
    except ValueError as error:
        sys.exit(str(error))
