"""Sets of sentences that are read from one file each, or downloaded the first time from their homes."""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import json
import urllib.request
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from metalearn._files import write_whole
from metalearn.data._cache import find, offline, place_for, refuse

TIMEOUT = 60  # seconds


@dataclass(frozen=True)
class Home:
    """Where a set comes from: files of one commit with their checksums, and how they become the set's content."""

    url: str
    files: Mapping[str, str]  # name -> SHA-256 of the file
    convert: Callable[[Mapping[str, str]], dict[str, Any]]  # texts of the files by name -> content
    sha256: str  # of the content, see checksum()


@cache
def read(name: str) -> dict[str, Any]:
    """Return the content of a set: from ``text/<name>.json.gz`` in a folder of data, else from its home.

    Raises:
        ValueError: If the file is cut or altered, or the home gives another one.
        ConnectionError: If the file is missing and cannot be downloaded.
    """
    home, file = HOMES[name], f"text/{name}.json.gz"
    path = find(file)
    if path is None:
        path = place_for(file)
        content = home.convert({part: _fetched(home, part, file) for part in home.files})
        packed = gzip.compress(json.dumps(content).encode(), mtime=0)
        write_whole(path, lambda out: out.write(packed))
    try:
        content = json.loads(gzip.decompress(path.read_bytes()))
    except (OSError, EOFError, ValueError, zlib.error) as err:
        refuse(path, repr(err), err)
    content = {key: value for key, value in content.items() if key not in ("source", "commit", "licence", "format")}
    if checksum(content) != home.sha256:
        refuse(path, f"other sentences under {sorted(content)[:6]}")
    return content


def checksum(content: Mapping[str, Any]) -> str:
    """Return the SHA-256 of a set's content as JSON with sorted keys."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _fetched(home: Home, part: str, file: str) -> str:
    """Return the text of one file of a home, if it is the one that is meant."""
    url = f"{home.url}/{part}"
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT) as answer:
            found: bytes = answer.read()
    except OSError as err:  # URLError is one
        raise ConnectionError(offline(url, file, err)) from err
    if hashlib.sha256(found).hexdigest() != home.files[part]:
        raise ValueError(f"expected the file that {url} had when this package was made, got {len(found):,} other bytes")
    return found.decode()


def _clinc150(files: Mapping[str, str]) -> dict[str, Any]:
    return {**json.loads(files["data_full.json"]), "domains": json.loads(files["domains.json"])}


def _banking77(files: Mapping[str, str]) -> dict[str, Any]:
    parts = {part: list(csv.reader(io.StringIO(files[f"{part}.csv"], newline="")))[1:] for part in ("train", "test")}
    return {**parts, "categories": json.loads(files["categories.json"])}


def _fewrel(files: Mapping[str, str]) -> dict[str, Any]:
    """Return sentences with the places of the first mention of each entity, by relation and domain."""
    content: dict[str, Any] = {}
    for domain in ("wiki", "nyt", "semeval", "pubmed"):
        relations = json.loads(files[f"val_{domain}.json"])
        content[domain] = {
            relation: [[" ".join(item["tokens"]), item["h"][2][0], item["t"][2][0]] for item in items]
            for relation, items in relations.items()
        }
    named = {relation for domain in ("wiki", "nyt") for relation in content[domain]}
    names = json.loads(files["pid2name.json"])
    content["pid2name"] = {relation: names[relation] for relation in sorted(named)}
    return content


RAW = "https://raw.githubusercontent.com"
HOMES = {
    "clinc150": Home(
        f"{RAW}/clinc/oos-eval/828f8093932c8fe6ca7936c3d2e52903b1c523de/data",
        {
            "data_full.json": "36923c3705a59e08fe9c3883d8bc2dd966ef93e22cb78ac41171782a698d56e0",
            "domains.json": "b947b579d3b8e74b06f93b01083d8efaff2888b43a3e362533bd88a6e1211b3a",
        },
        _clinc150,
        "a93f71edb55535271877e0c5ee7af9db77ab0c45734a402e5243b943022190dc",
    ),
    "banking77": Home(
        f"{RAW}/PolyAI-LDN/task-specific-datasets/57ec275d8078af65b7731c2a98be812d844a6d6b/banking_data",
        {
            "train.csv": "b06e26ac675513959a63135f11b94ea7786ed02da65db93a5650d8838cbc664b",
            "test.csv": "d12d6e3bc4c3103966ae786dc435913c0c563dfa328f5a3646d0e62cfeeb474d",
            "categories.json": "53261da888122daf2d120d925458631d9619e15d82e56052e7a42e535ce32b63",
        },
        _banking77,
        "cad5c414e292782e4c7e8e24d0d869697f20757777f91e6a7708ab1c1531dc02",
    ),
    "fewrel_val": Home(
        f"{RAW}/thunlp/FewRel/278a2315d2138810a379cd8d5718914dc56e2582/data",
        {
            "val_wiki.json": "76bb44c2485b6faed358a3ce040eadafcc8a8835245cd7e6afc1bef672d4a0bf",
            "val_nyt.json": "b519adc61a2bab0f05178e33a3cd8f284338b635629493e9e09616ba81bb428e",
            "val_semeval.json": "fd79cf35481f6596c23b92cd3ded3265481f3027a4b78d99921104f8fe632eb5",
            "val_pubmed.json": "fc0f13b534f6664fe0d8aec231d7590313bc6510d00dbc1b6746147f6a2b46e6",
            "pid2name.json": "eeedd25512a8e4c2bc06b78009836d27de81807bcba6ed929debd5cd713c07ea",
        },
        _fewrel,
        "903c6fb270a5a6555fdba663254971c2a892c5cafed8763f9336eec0404c4a75",
    ),
}
