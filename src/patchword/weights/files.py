"""Weight files, read and written safely.

safetensors is the format. Pickled files (`.pt`, `.pth`, `.bin`) are read for their tensors and
plain containers and nothing else, in a process of their own (`pickles.py`).
"""

import json
import re
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from patchword.config import read_json
from patchword.errors import WeightsError, suggest
from patchword.files import replacing
from patchword.weights.arrays import read_arrays
from patchword.weights.pickles import unpickled

PICKLED = (".pt", ".pth", ".bin")
WRAPPERS = (  # what training scripts put around tensors; the one that their evaluation reads first
    *("model", "state_dict", "model_state_dict", "net", "module"),
    *("teacher", "student", "model_ema", "state_dict_ema"),
)
COUNTED = re.compile(r"-of-\d+\.(safetensors|bin)$")


class Opened(NamedTuple):
    """The tensors of a weight file, and the names of other networks in it."""

    tensors: dict[str, Tensor]
    beside: tuple[str, ...] = ()


def read(path: Path) -> dict[str, Tensor]:
    """Read the tensors of a weight file, on the CPU.

    Raises:
        WeightsError: the file is not there, is damaged, or holds anything but tensors.
    """
    return opened(path).tensors


def opened(path: Path, part: str | None = None) -> Opened:
    """Read a weight file that may hold several networks, on the CPU.

    Args:
        path: the file, or the index of one that was cut into several.
        part: the name of a network in it, as in "student"; the one that its authors evaluate if
            None.

    Raises:
        WeightsError: the file is not there, is damaged, or holds anything but tensors.
    """
    if not path.is_file():
        raise WeightsError(f"there is no weight file {path}")
    if path.suffix in PICKLED:
        return _read_pickled(path, part)
    if part is not None:
        raise WeightsError(f"{path.name} holds one network; leave part= out")
    if path.suffix == ".safetensors":
        return Opened(read_with_notes(path)[0])
    if path.suffix == ".npz":
        return Opened(read_arrays(path))
    if path.name.endswith(".index.json"):
        return Opened(_read_shards(path))
    raise WeightsError(
        f"{path.name}: weights are read from .safetensors, {', '.join(PICKLED)}, .npz"
    )


def _read_shards(index: Path) -> dict[str, Tensor]:
    """Read all files that an index lists, and hold them against it."""
    places = read_json(index).get("weight_map")
    if not isinstance(places, dict):
        raise WeightsError(f"{index} lists no files: it has no weight_map")
    tensors: dict[str, Tensor] = {}
    for name in dict.fromkeys(places.values()):
        if not isinstance(name, str) or not COUNTED.search(name) or Path(name).name != name:
            raise WeightsError(f"{index} names {name!r}, which is no shard beside it")
        tensors |= read(index.with_name(name))
    if odd := sorted(tensors.keys() ^ places.keys()):
        raise WeightsError(f"{index} and its shards differ in {len(odd)} tensors, as in {odd[0]}")
    return tensors


def read_with_notes(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read a safetensors file and the notes that `write` put into it.

    Raises:
        WeightsError: the file cannot be read, or its tensors are not those that were written.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            notes = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise WeightsError(f"{path} cannot be read: {error}") from None
    text = notes.get("notes", "{}")
    if "crc32" in notes and notes["crc32"] != checksum(tensors, text):
        raise WeightsError(f"{path} is damaged: its tensors or notes are not those written")
    try:
        return tensors, json.loads(text)
    except ValueError:
        raise WeightsError(f"{path} cannot be read: its notes are not JSON") from None


def write(
    path: Path, tensors: Mapping[str, Tensor], notes: Mapping[str, Any] | None = None
) -> None:
    """Write tensors, and notes about them as JSON, in one step and with a checksum.

    A file that others pickle, as `.pth`, has the tensors alone.
    """
    from safetensors.torch import save_file

    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    if path.suffix in PICKLED:
        with replacing(path) as part:
            torch.save(plain, part)
        return
    text = json.dumps(dict(notes or {}))
    kept = {"notes": text, "crc32": checksum(plain, text), "format": "pt"}
    with replacing(path) as part:
        save_file(plain, part, metadata=kept)
        sort_header(part)


def sort_header(path: Path) -> None:
    """Put a file's metadata in order of its keys, so that equal contents are equal bytes."""
    with path.open("r+b") as file:
        size = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(size))
        header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
        text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
        if len(text) <= size:  # as long as it was, but for padding
            file.seek(8)
            file.write(text.ljust(size))


def checksum(tensors: Mapping[str, Tensor], notes: str) -> str:
    """Return a CRC-32 over notes, and over names, types, shapes and bytes of tensors."""
    crc = zlib.crc32(notes.encode())
    for name in sorted(tensors):
        tensor = tensors[name].contiguous()
        crc = zlib.crc32(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode(), crc)
        crc = zlib.crc32(tensor.flatten().view(torch.uint8).numpy().data, crc)
    return f"{crc:08x}"


def _read_pickled(path: Path, part: str | None) -> Opened:
    found = unpickled(path)
    beside: tuple[str, ...] = ()
    while isinstance(found, dict) and not all(isinstance(v, Tensor) for v in found.values()):
        inside = [k for k in WRAPPERS if isinstance(found.get(k), dict)]
        if part is not None and part not in inside:
            raise WeightsError(f"{path.name} holds no part {part!r}; {suggest(part, inside)}")
        if not inside:
            raise WeightsError(f"{path} holds no mapping of names to tensors")
        taken, part = part or inside[0], None
        beside = (*beside, *(k for k in inside if k != taken))
        found = found[taken]
    if not isinstance(found, dict):
        raise WeightsError(f"{path} holds {type(found).__name__}, not a mapping of tensors")
    if part is not None:
        raise WeightsError(f"{path.name} holds one network; leave part= out")
    tensors = {str(name).removeprefix("module."): tensor for name, tensor in found.items()}
    return Opened(tensors, beside)
