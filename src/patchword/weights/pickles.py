"""Pickled weight files, read without running what they say.

The pickle is read by `unpickle.py` in a process of its own, with little memory and time, in which
no name is ever imported. What it prints says where the numbers lie; they are copied from there, and
nothing that reaches beyond the file is followed.
"""

import json
import subprocess
import sys
from collections.abc import Iterator
from math import prod
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from patchword.errors import WeightsError

SECONDS = 60  # of processor time for the pickle; its numbers are not read there
MEMORY = 2 << 30  # bytes


def unpickled(path: Path, *, seconds: int = SECONDS, memory: int = MEMORY) -> Any:
    """Return a file's mappings of names to tensors; what else it holds is left out as its name.

    Args:
        path: of torch's: a zip file, an older one, or a TorchScript archive.
        seconds: that reading the pickle may take.
        memory: bytes that it may take. Windows has no such limit.

    Raises:
        WeightsError: it cannot be read within the limits, or lies about its tensors.
    """
    program = Path(__file__).with_name("unpickle.py")
    command = [sys.executable, "-I", "-S", str(program), str(path), str(seconds), str(memory)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=2 * seconds)
    except subprocess.TimeoutExpired:
        raise WeightsError(f"{path} is not read in {2 * seconds} s: no weight file is so") from None
    if done.returncode != 0:
        lines = done.stderr.strip().splitlines()
        reason = lines[-1] if lines else f"the reader was ended ({done.returncode})"
        raise WeightsError(f"{path} cannot be read as plain tensors: {reason}")
    found = json.loads(done.stdout)
    return Numbers(path, found["places"]).value(found["tree"])


class Numbers:
    """The storages of a file, each read once."""

    def __init__(self, path: Path, places: dict[str, list[int]]) -> None:
        self.path, self.places = path, places
        self.read: dict[str, Tensor] = {}

    def value(self, node: dict[str, Any]) -> Any:
        """Return a node of the tree: a mapping, a tensor, or the name of another kind."""
        if "tensor" in node:
            return self.tensor(*node["tensor"])
        if "map" in node:
            found = {name: self.value(inner) for name, inner in node["map"]}
            return found | {f"({node['others']} more)": "no name"} if node["others"] else found
        if "module" in node:
            return dict(self.flat(node["module"])) or "an object"
        return node["kind"]

    def flat(self, pairs: list[Any], place: str = "") -> Iterator[tuple[str, Tensor]]:
        """Yield the tensors of a module of TorchScript, named by their places in it."""
        for name, node in pairs:
            if "tensor" in node:
                yield f"{place}{name}", self.tensor(*node["tensor"])
            elif "module" in node:
                yield from self.flat(node["module"], f"{place}{name}.")

    def tensor(
        self, dtype: str, key: str, offset: int, shape: list[int], stride: list[int]
    ) -> Tensor:
        """Return a tensor, whose every number must lie in its storage.

        Raises:
            WeightsError: it does not, or there are more numbers than are stored.
        """
        kind = getattr(torch, dtype)
        numbers = self.storage(key).view(torch.uint8)
        width = kind.itemsize
        last = offset + sum((n - 1) * step for n, step in zip(shape, stride, strict=True))
        inside = 0 in shape or (
            last < len(numbers) // width and prod(shape) <= len(numbers) // width
        )
        if not inside:
            raise WeightsError(f"{self.path} says that a tensor is larger than what is stored")
        if 0 in shape:
            return torch.empty(shape, dtype=kind)
        whole = numbers[: len(numbers) // width * width].view(kind)
        return whole.as_strided(shape, stride, offset).contiguous()

    def storage(self, key: str) -> Tensor:
        """Return the bytes of a storage.

        Raises:
            WeightsError: they are not all in the file.
        """
        if key not in self.read:
            start, length = self.places.get(key, (0, -1))
            if length < 0 or start < 0 or start + length > self.path.stat().st_size:
                raise WeightsError(f"{self.path} is damaged: not all of its numbers are there")
            buffer = bytearray(length)
            with self.path.open("rb") as file:
                file.seek(start)
                file.readinto(buffer)
            empty = torch.empty(0, dtype=torch.uint8)
            self.read[key] = torch.frombuffer(buffer, dtype=torch.uint8) if length else empty
        return self.read[key]
