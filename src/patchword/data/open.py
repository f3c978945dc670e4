"""Open a data set, whatever it is; each kind is recognised by the file that reads it."""

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from patchword.data.cifar import find_cifar, open_cifar
from patchword.data.columns import Columns, columns_from
from patchword.data.digits import open_digits
from patchword.data.folder import open_folder
from patchword.data.huggingface import PREFIX as HF
from patchword.data.huggingface import cached, find_saved, open_saved
from patchword.data.idx import find_idx, open_idx
from patchword.data.listed import TABLES, find_lists, open_lists
from patchword.data.parquet import find_parquet, open_parquet
from patchword.data.pixels import Pixels
from patchword.data.scenes import KINDS, open_scenes
from patchword.data.shards import find_shards, is_pattern, open_shards
from patchword.data.source import Data, Kind
from patchword.data.tiny_imagenet import is_tiny_imagenet, open_tiny_imagenet
from patchword.data.torchvision_sets import PREFIX as TORCHVISION
from patchword.data.torchvision_sets import named_set, open_torchvision
from patchword.errors import DataError, suggest

EMBEDDED = ("digits",)


def named(where: str) -> str:
    """Return what a data set is called, if nobody says."""
    if where in EMBEDDED:
        return where
    if where.startswith(TORCHVISION):
        return named_set(where).name
    if _kind(where):
        return named(where.partition(":")[2])
    if where.startswith(HF):
        return where.removeprefix(HF).rpartition("/")[2]
    path = Path(where).resolve()
    if is_pattern(where):
        return re.split(r"[{*?\[]", path.stem)[0].rstrip("-_.") or path.parent.name
    return path.stem if path.is_file() else path.name


def open_data(
    where: str | Path,
    *,
    pixels: Pixels,
    seed: int,
    columns: Sequence[str] = (),
    lenient: bool = False,
) -> Data:
    """Recognise a data set and open it.

    Args:
        where: a folder; a list of pictures (CSV, JSON lines); tar shards, by braces or a glob;
            `hf:NAME`; `torchvision:NAME:ROOT`; `mask:FOLDER`, `objects:FOLDER`,
            `panoptic:FOLDER` or `depth:FOLDER`, where several things are known of its pictures;
            or `digits` for the embedded set (a folder of that name: `./digits`).
        pixels: the contract that every picture is read under.
        seed: of the split, where there is none.
        columns: as ROLE=NAME, where the data's own names do not tell: path, label, value, split;
            and separator, between the labels of a cell.
        lenient: for a look, not for a training: classes that only held-out splits have come after
            the others, and pictures without classes are of the class `""`, rather than refused.

    Raises:
        DataError: nothing is there, or nothing that is understood.
    """
    word, given = "" if isinstance(where, Path) else where, columns_from(columns)
    try:
        if word in EMBEDDED:
            return open_digits(pixels)
        if word.startswith(TORCHVISION):
            return open_torchvision(named_set(word), pixels, seed=seed)
        if word.startswith(HF):
            folder = cached(word.removeprefix(HF))
            return replace(_open_folder(folder, given, pixels, seed), name=named(word))
        if kind := _kind(word):
            return _open_kind(Path(word.partition(":")[2]), kind, pixels, seed)
        if is_pattern(str(where)) or Path(where).suffix == ".tar":
            shards, name = find_shards(Path(where).absolute()), named(str(where))
            return open_shards(name, shards, given, pixels, seed=seed, lenient=lenient)
        path = Path(where)
        if path.is_dir():
            return _open_folder(path.resolve(), given, pixels, seed, lenient=lenient)
        if path.is_file() and path.suffix.lower() in (*TABLES, ".txt"):
            return open_lists({"train": path.resolve()}, given, pixels, seed=seed)
    except PermissionError as error:
        raise DataError(f"{error.filename} may not be read; change its permissions") from None
    if path.exists():
        raise DataError(f"{path} is a file; name the folder that it is in")
    hint = suggest(str(where), EMBEDDED)
    raise DataError(f"there is no {path}; name a folder, a list, or an embedded set: {hint}")


def _kind(where: str) -> Kind | None:
    return next((kind for kind in KINDS if where.startswith(f"{kind}:")), None)


def _open_kind(folder: Path, kind: Kind, pixels: Pixels, seed: int) -> Data:
    if not folder.is_dir():
        raise DataError(f"there is no folder {folder}; name one after {kind}:")
    found = open_scenes(folder.resolve(), pixels, seed=seed, kind=kind)
    assert found is not None
    return found


def _open_folder(
    folder: Path, columns: Columns, pixels: Pixels, seed: int, *, lenient: bool = False
) -> Data:
    """Recognise what is in a folder; the layouts that are marked by a file's name come first."""
    if lists := find_lists(folder):
        return open_lists(lists, columns, pixels, seed=seed)
    if saved := find_saved(folder):
        return open_saved(folder, saved, columns, pixels, seed=seed)
    if (shards := find_shards(folder)) and "train" in shards:
        return open_shards(folder.name, shards, columns, pixels, seed=seed, lenient=lenient)
    if tables := find_parquet(folder):
        return open_parquet(folder, tables, columns, pixels)
    if columns != Columns():
        raise DataError(f"{folder} has no columns to name; leave --columns out")
    if scenes := open_scenes(folder, pixels, seed=seed):
        return scenes
    if cifar := find_cifar(folder):
        return open_cifar(*cifar, pixels)
    if pairs := find_idx(folder):
        return open_idx(folder, pairs, pixels)
    if is_tiny_imagenet(folder):
        return open_tiny_imagenet(folder, pixels)
    return open_folder(folder, pixels, seed=seed, lenient=lenient)
