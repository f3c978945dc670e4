"""On what terms data and weights come: what is said beside them, never more than that.

    README.md            `license: cc-by-4.0` in its head, as the Hub has it; or a line of its text
    dataset_info.json    `license`; dataset-metadata.json and datapackage.json: `licenses`
    LICENSE, COPYING     told by the phrases that are in them

Licences are called as the Hub calls them.
"""

import json
import re
from pathlib import Path
from typing import Any, NamedTuple

from patchword.data.huggingface import PREFIX as HF
from patchword.data.huggingface import cached
from patchword.data.shards import is_pattern
from patchword.data.torchvision_sets import PREFIX as TORCHVISION
from patchword.data.torchvision_sets import named_set
from patchword.errors import DataError

READ = 200_000  # characters of a file
CARDS = ("README.md", "readme.md", "README", "README.txt", "readme.txt")
TABLES = ("dataset_info.json", "dataset-metadata.json", "datapackage.json")
TEXTS = ("LICENSE*", "LICENCE*", "license*", "licence*", "COPYING*")
NOTHING = ("", "unknown", "other", "none", "unlicensed", "no license specified")
PHRASES = {  # licence: what stands in its text, all of it
    "mit": ("permission is hereby granted, free of charge", "without restriction"),
    "apache-2.0": ("apache license", "version 2.0"),
    "bsd-3-clause": ("redistribution and use in source and binary forms", "endorse or promote"),
    "bsd-2-clause": ("redistribution and use in source and binary forms",),
    "odbl": ("open database license", "odbl"),
    "agpl-3.0": ("gnu affero general public license version 3, 19 november 2007",),
    "gpl-3.0": ("gnu general public license version 3, 29 june 2007",),
    "gpl-2.0": ("gnu general public license version 2, june 1991",),
}
NAMES = {  # licence: what it is called where it is only named
    "mit": re.compile(r"\bmit licen[cs]e"),
    "apache-2.0": re.compile(r"\bapache(?: licen[cs]e)?,? (?:version )?2\.0"),
    "cc0-1.0": re.compile(r"\bcc[- ]?0\b|publicdomain/zero"),
}
COMMONS = (
    re.compile(r"creativecommons\.org/licenses/by((?:-(?:nc|sa|nd))*)/(\d\.\d)"),
    re.compile(r"\bcc[- ]by((?:[- ](?:nc|sa|nd))*)[- ]v?(\d\.\d)"),
    re.compile(
        r"\battribution((?:[- ]*(?:non-?commercial|share-?alike|no-?deriv(?:ative)?s))*)"
        r"[- ](\d\.\d)"
    ),
)
WORDS = {"non": "nc", "nc": "nc", "share": "sa", "sa": "sa", "no-d": "nd", "nod": "nd", "nd": "nd"}
AMENDED = {"mit", "bsd-2-clause", "bsd-3-clause"}  # to whose few lines people add a line
RESTRICTED = re.compile(
    r"\bnc\b|non-?commercial\b|research (?:\w+ ){0,3}only|only for (?:\w+ ){0,3}research|\bamlr\b"
    r"|academic (?:\w+ ){0,2}only"
)
TORCHVISION_SETS = {  # those whose authors state a licence, and where
    "FashionMNIST": ("mit", "github.com/zalandoresearch/fashion-mnist"),
    "KMNIST": ("cc-by-sa-4.0", "github.com/rois-codh/kmnist"),
    "Omniglot": ("mit", "github.com/brendenlake/omniglot"),
    "ImageNet": ("its own terms of access: non-commercial research", "image-net.org"),
    "SVHN": ("its own terms: non-commercial", "ufldl.stanford.edu/housenumbers"),
    "CelebA": ("its own terms: non-commercial research", "mmlab.ie.cuhk.edu.hk/projects/CelebA"),
}


class Terms(NamedTuple):
    """A licence, and who says so; where it is not known (None), what to look at."""

    licence: str | None
    said: str


def restricted(licence: str | None) -> bool:
    """Tell whether a licence keeps to what is not commercial, or to research."""
    return licence is not None and RESTRICTED.search(licence.lower()) is not None


def of_data(where: str) -> Terms:
    """Return the terms of a data set, by what `open_data` takes."""
    if where == "digits":
        return Terms("cc-by-4.0", "archive.ics.uci.edu/dataset/80, a part of which it is")
    if where.startswith(TORCHVISION):
        name, root = named_set(where)
        found = TORCHVISION_SETS.get(name)
        return Terms(*found) if found else stated(root) or Terms(None, f"who published {name}")
    if where.startswith(HF):
        name = where.removeprefix(HF)
        try:
            folder = cached(name)
        except DataError:
            folder = None
        found = stated(folder) or stated(folder.parent) if folder else None
        return found or Terms(None, f"huggingface.co/datasets/{name}")
    path = Path(where)
    folder = path.parent if is_pattern(where) or path.is_file() else path
    return stated(folder) or Terms(None, f"where {where} is from: nothing beside it says")


def stated(folder: Path) -> Terms | None:
    """Return the terms that files in a folder state; None where none does."""
    for name in CARDS[:2]:
        if found := _head(_text(folder / name), name):
            return found
    for name in TABLES:
        if found := _table(_text(folder / name), name):
            return found
    for path in sorted({path for pattern in TEXTS for path in folder.glob(pattern)}):
        if path.is_file():
            return _whole(_text(path), path)
    for name in CARDS:
        if found := _line(_text(folder / name), name):
            return found
    return None


def recognised(text: str) -> list[str]:
    """Name the licences that a text is, or names."""
    text = " ".join(text.lower().replace("_", " ").split())
    found = dict.fromkeys(name for name, pattern in NAMES.items() if pattern.search(text))
    for pattern in COMMONS:
        for parts, version in pattern.findall(text):
            kept = {WORDS[part] for part in re.findall(r"non|nc|share|sa|no-d|nod|nd", parts)}
            order = [part for part in ("nc", "sa", "nd") if part in kept]
            found["-".join(["cc-by", *order, version])] = None
    for name, phrases in PHRASES.items():
        if all(phrase in text for phrase in phrases):
            found[name] = None
    if "bsd-3-clause" in found:
        found.pop("bsd-2-clause")
    return list(found)


def _text(path: Path) -> str:
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            return file.read(READ)
    except OSError:
        return ""


def _head(text: str, name: str) -> Terms | None:
    """Read the head of a card of the Hub's: plain `key: value` lines between two rules."""
    parts = re.split(r"^---\s*$", text, maxsplit=2, flags=re.MULTILINE)
    if len(parts) < 3 or parts[0].strip():
        return None
    key = re.compile(r"^(license\w*):[ \t]*(.*?)[ \t]*$((?:\n- .*)*)", re.MULTILINE)
    said = {
        name: _plain(value) or [word for line in rest.split("\n") for word in _plain(line[2:])]
        for name, value, rest in key.findall(parts[1].replace("\n  -", "\n-"))
    }
    words = [word for word in said.get("license", []) if word.lower() not in NOTHING]
    own = (said.get("license_name") or [""])[0]
    if words or own.lower() not in NOTHING:
        link = "".join(f", {link}" for link in said.get("license_link", []))
        return Terms(", ".join(words) or own, f"{name}{link}")
    return None


def _plain(value: str) -> list[str]:
    words = (word.strip(" \t'\"") for word in value.strip("[] \t").split(","))
    return [word for word in words if word]


def _table(text: str, name: str) -> Terms | None:
    try:
        found: Any = json.loads(text)
    except ValueError:
        return None
    if not isinstance(found, dict):
        return None
    entries = [found.get("license"), *(found.get("licenses") or ())]
    names = [entry.get("name") if isinstance(entry, dict) else entry for entry in entries]
    words = [name for name in names if isinstance(name, str) and name.lower() not in NOTHING]
    return Terms(", ".join(words), name) if words else None


def _whole(text: str, path: Path) -> Terms:
    """Tell what the text of a licence is; one that is not known is left to the reader."""
    found, limit = recognised(text), RESTRICTED.search(" ".join(text.lower().split()))
    if limit and not set(found) - AMENDED:
        return Terms("its own terms: non-commercial or research only", f"{path.name}: {limit[0]}")
    if len(found) == 1:
        return Terms(found[0], path.name)
    names = f", which names {', '.join(found)}" if found else ""
    return Terms(None, f"{path}{names}")


def _line(text: str, name: str) -> Terms | None:
    """Find the licence that a plain text speaks of, if it speaks of one."""
    lines = text.splitlines()
    near = [i for i, line in enumerate(lines) if re.search(r"licen[cs]e", line, re.IGNORECASE)]
    found = recognised("\n".join(line for i in near for line in lines[i : i + 4]))
    return Terms(found[0], name) if len(found) == 1 else None
