"""Hugging Face's data sets, from the local disk: a saved folder, or a copy in a cache.

    dataset_dict.json, train/state.json, train/data-00000-of-00001.arrow     `save_to_disk`
    hf:owner/name     ~/.cache/huggingface: hub/datasets--owner--name, datasets/owner___name

Nothing is fetched. The Arrow files are read as they are, the pictures as they are encoded.
"""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from patchword.data.arrow import opened, roles
from patchword.data.columns import Columns
from patchword.data.folder import SPLITS
from patchword.data.pixels import Pixels
from patchword.data.source import Data, divided
from patchword.errors import DataError

PREFIX = "hf:"
INFO, STATE, DICT = "dataset_info.json", "state.json", "dataset_dict.json"


def find_saved(folder: Path) -> dict[str, list[Path]]:
    """Return the Arrow files in a folder by split, as `save_to_disk` or the cache left them.

    Raises:
        DataError: a file that says which they are is broken.
    """
    if (folder / DICT).is_file():
        splits = _json(folder / DICT).get("splits", [])
        return {_split(str(name)): _state(folder / str(name)) for name in splits}
    if (folder / STATE).is_file():
        return {"train": _state(folder)}
    found: dict[str, list[Path]] = {}
    if (folder / INFO).is_file():
        for name in _json(folder / INFO).get("splits") or {}:
            found[_split(name)] = sorted(folder.glob(f"*-{name}*.arrow"))
    return {split: files for split, files in found.items() if files}


def cached(name: str) -> Path:
    """Return the folder that holds a data set of the hub.

    Raises:
        DataError: there is no local copy, or there are several.
    """
    home = Path(os.environ.get("HF_HOME", Path.home() / ".cache" / "huggingface"))
    hub = (
        Path(os.environ.get("HF_HUB_CACHE", home / "hub")) / f"datasets--{name.replace('/', '--')}"
    )
    made = Path(os.environ.get("HF_DATASETS_CACHE", home / "datasets")) / name.replace("/", "___")
    main = hub / "refs" / "main"
    revision = main.read_text(encoding="utf-8").strip() if main.is_file() else "*"
    found = sorted(hub.glob(f"snapshots/{revision}")) or [p.parent for p in made.rglob(INFO)]
    if not found:
        raise DataError(
            f"there is no local copy of {name} in {hub.parent} or {made.parent}; fetch it first: "
            f"hf download --repo-type dataset {name}"
        )
    if len(found) > 1:
        raise DataError(
            f"{found[0].parent} has {len(found)} copies of {name}; name one as a folder"
        )
    inside = [path for path in found[0].iterdir() if path.is_dir() and any(path.glob("*.parquet"))]
    bare = any(found[0].glob("*.parquet")) or (found[0] / "data").is_dir()
    return inside[0] if len(inside) == 1 and not bare else found[0]


def open_saved(
    folder: Path, files: Mapping[str, list[Path]], columns: Columns, pixels: Pixels, *, seed: int
) -> Data:
    """Read Arrow files of pictures, but no picture.

    Args:
        folder: names the data set.
        files: from `find_saved`.
        columns: those that were named; the features tell the others.
        pixels: the contract.
        seed: of the split, where there is none.

    Raises:
        DataError: a file is broken, a column is missing, or too many rows have no label.
    """
    if "train" not in files:
        raise DataError(f"{folder} has {', '.join(files)} but no training split")
    tables = {split: _table(paths) for split, paths in files.items()}
    features = _json(files["train"][0].parent / INFO).get("features") or {}
    found = roles(folder, tables["train"].schema, features, columns)
    sources, notes = opened(folder, tables, found, pixels)
    if len(sources) == 1:
        return divided(folder.name, sources["train"], seed=seed, notes=notes)
    return Data(
        name=folder.name,
        train=sources["train"],
        validation=sources.get("validation"),
        test=sources.get("test"),
        notes=tuple(notes),
    )


def _table(paths: Sequence[Path]) -> Any:
    """Return the rows of Arrow stream files, mapped into memory."""
    import pyarrow as pa

    try:
        parts = [pa.ipc.open_stream(pa.memory_map(str(path))).read_all() for path in paths]
        return pa.concat_tables(parts)
    except (pa.ArrowException, OSError) as error:
        reason = str(error).partition("\n")[0]
        raise DataError(f"{paths[0]} cannot be read: {reason}; save the data set again") from None


def _state(folder: Path) -> list[Path]:
    """Return the files that a saved split consists of."""
    state = _json(folder / STATE)
    names = [Path(str(entry.get("filename"))).name for entry in state.get("_data_files", [])]
    if not names or state.get("_indices_files"):
        raise DataError(f"{folder} is saved in a way that is not read; save it with save_to_disk")
    return [folder / name for name in names]


def _json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read: {error}") from None
    if not isinstance(found, dict):
        raise DataError(f"{path} holds no JSON object")
    return found


def _split(name: str) -> str:
    """Return what we call a split."""
    return next((split for split, names in SPLITS.items() if name.lower() in names), name)
