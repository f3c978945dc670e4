"""Weight files, read and written safely.

safetensors is the format. Pickled files (`.pt`, `.pth`, `.bin`) are read with torch's
weights-only reader, which builds tensors and plain containers and nothing else.
"""

import json
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from patchword.errors import WeightsError
from patchword.files import replacing
from patchword.weights.arrays import read_arrays

PICKLED = (".pt", ".pth", ".bin")
WRAPPERS = ("model", "state_dict", "model_state_dict")  # what training scripts put around tensors


def read(path: Path) -> dict[str, Tensor]:
    """Read the tensors of a weight file, on the CPU.

    Raises:
        WeightsError: the file is not there, is damaged, or holds anything but tensors.
    """
    if not path.is_file():
        raise WeightsError(f"there is no weight file {path}")
    if path.suffix == ".safetensors":
        return read_with_notes(path)[0]
    if path.suffix in PICKLED:
        return _read_pickled(path)
    if path.suffix == ".npz":
        return read_arrays(path)
    raise WeightsError(
        f"{path.name}: weights are read from .safetensors, {', '.join(PICKLED)}, .npz"
    )


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
    """Write tensors, and notes about them as JSON, in one step and with a checksum."""
    from safetensors.torch import save_file

    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
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


def _read_pickled(path: Path) -> dict[str, Tensor]:
    import argparse

    try:
        with torch.serialization.safe_globals([argparse.Namespace]):  # DeiT's scripts keep theirs
            found = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # the reader raises whatever the damage happens to hit
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise WeightsError(f"{path} cannot be read as plain tensors: {reason}") from None
    while isinstance(found, dict) and not all(isinstance(v, Tensor) for v in found.values()):
        inside = next((found[k] for k in WRAPPERS if isinstance(found.get(k), dict)), None)
        if inside is None:
            raise WeightsError(f"{path} holds no mapping of names to tensors")
        found = inside
    if not isinstance(found, dict):
        raise WeightsError(f"{path} holds {type(found).__name__}, not a mapping of tensors")
    return {str(name).removeprefix("module."): tensor for name, tensor in found.items()}
