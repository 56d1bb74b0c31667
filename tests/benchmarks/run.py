"""Run all benchmarks, or the named ones, and store the numbers: ``make bench``."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path

import torch
from _timing import Result, store

FILE = Path(__file__).with_name("results.json")
NAMES = ["sinusoid", "conv4", "sampling", "memory", "prototypical"]


def run(names: list[str], quick: bool = False) -> dict[str, list[Result]]:
    """Run benchmarks by name; ``quick``: in a setting too small to mean anything."""
    return {name: importlib.import_module(f"bench_{name}").run(quick) for name in names}


if __name__ == "__main__":
    torch.set_num_threads(1)
    stored = json.loads(FILE.read_text(encoding="utf-8"))["results"] if FILE.exists() else {}
    stored |= run(sys.argv[1:] or NAMES)
    store(FILE, {name: stored[name] for name in NAMES if name in stored})
