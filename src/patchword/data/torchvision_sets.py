"""torchvision's data sets by name, where they are on disk: `torchvision:CIFAR10:ROOT`.

torchvision finds the files and reads them; nothing is downloaded. CIFAR's pickles, which it would
run, and MNIST's files are read by our own readers.
"""

import inspect
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import UInt8
from torch import Tensor

from patchword.data.cifar import find_cifar, open_cifar
from patchword.data.decode import Header, decode, decode_with_header, header
from patchword.data.idx import find_idx, open_idx
from patchword.data.pixels import Pixels
from patchword.data.source import Data, Source, Targets, digest, divided
from patchword.errors import DataError, ImageError, suggest

PREFIX = "torchvision:"
PARTS = {
    "train": ("train", "trainval", "train-standard"),
    "validation": ("val", "valid", "validation"),
    "test": ("test",),
}
LABELS = ("targets", "labels", "_labels", "y")  # where its classes keep what they know
NAMES = ("classes", "categories")
OURS = {  # name -> the folder below the root that another of our readers reads
    "CIFAR10": "cifar-10-batches-py",
    "CIFAR100": "cifar-100-python",
    "MNIST": "MNIST/raw",
    "FashionMNIST": "FashionMNIST/raw",
    "KMNIST": "KMNIST/raw",
}


class Named(NamedTuple):
    """What `torchvision:NAME:ROOT` says."""

    name: str
    root: Path


class TorchvisionSource(Source):
    """One split of a data set of torchvision's."""

    def __init__(self, found: Any, targets: Targets, label: str, pixels: Pixels) -> None:
        self.found, self.label, self.known = found, label, targets
        self.pixels, self.channels = pixels, pixels.channels
        self.classes, self.labels, self.kind, self.targets = targets

    def read(self, index: int) -> UInt8[Tensor, "c h w"]:
        return decode(self._picture(index), self.pixels, name=self.name(index))

    def header(self, index: int) -> Header:
        return header(self._picture(index), self.pixels, name=self.name(index))

    def with_header(self, index: int) -> tuple[Header, UInt8[Tensor, "c h w"]]:
        return decode_with_header(self._picture(index), self.pixels, name=self.name(index))

    def name(self, index: int) -> str:
        return f"{self.label}[{index}]"

    def fingerprint(self) -> str:
        return digest([type(self.found).__name__, self.label, *self.classes], self.known.arrays())

    def _picture(self, index: int) -> Any:
        try:
            return self.found[index][0]
        except Exception as error:  # whatever its readers raise
            reason = str(error).partition("\n")[0] or type(error).__name__
            raise ImageError(f"{self.name(index)}: cannot be read: {reason}") from None


def named_set(where: str) -> Named:
    """Read `torchvision:NAME:ROOT`.

    Raises:
        DataError: it is written otherwise.
    """
    name, colon, root = where.removeprefix(PREFIX).partition(":")
    if not colon or not name or not root:
        raise DataError(f"{where}: write torchvision:NAME:ROOT, as in torchvision:CIFAR10:data")
    return Named(name, Path(root))


def open_torchvision(named: Named, pixels: Pixels, *, seed: int) -> Data:
    """Open a data set of torchvision's that is on disk.

    Args:
        named: its name there, and the root that torchvision would be given.
        pixels: the contract; pictures come as torchvision decodes them, and orientation,
            transparency and depth are settled by it as far as torchvision leaves them.
        seed: of the split, where there is none.

    Raises:
        DataError: there is no such data set, it is not there, or has no class per picture.
    """
    from torchvision import datasets

    if named.name not in datasets.__all__:
        hint = suggest(named.name, datasets.__all__)
        raise DataError(f"torchvision has no data set {named.name!r}; {hint}")
    if not named.root.is_dir():
        raise DataError(f"there is no folder {named.root}; name the root of {named.name}")
    if named.name in OURS:
        return _read_by_us(named, pixels)
    made = {split: _part(named, split) for split in PARTS}
    sources = {
        split: TorchvisionSource(found, _targets(named, found), split, pixels)
        for split, found in made.items()
        if found is not None
    }
    if "train" not in sources:
        raise DataError(f"torchvision's {named.name} is not in {named.root}; nothing is downloaded")
    if len({source.classes for source in sources.values()}) > 1:
        raise DataError(f"the splits of {named.name} in {named.root} have different classes")
    if len(sources) == 1:
        return divided(named.name, sources["train"], seed=seed)
    return Data(
        name=named.name,
        train=sources["train"],
        validation=sources.get("validation"),
        test=sources.get("test"),
    )


def _read_by_us(named: Named, pixels: Pixels) -> Data:
    folder = named.root / OURS[named.name]
    cifar = find_cifar(folder) if folder.is_dir() else None
    pairs = find_idx(folder) if folder.is_dir() else {}
    if cifar:
        return open_cifar(*cifar, pixels)
    if pairs:
        return open_idx(folder, pairs, pixels)
    raise DataError(f"torchvision's {named.name} is not in {folder}; nothing is downloaded")


def _part(named: Named, split: str) -> Any:
    """Return one split; None where it is not there."""
    from torchvision import datasets

    make = getattr(datasets, named.name)
    parameters = inspect.signature(make).parameters
    fixed = {"download": False} if "download" in parameters else {}
    if "train" in parameters:
        choices: list[dict[str, Any]] = (
            [{"train": split == "train"}] if split != "validation" else []
        )
    elif "split" in parameters:
        choices = [{"split": word} for word in PARTS[split]]
    else:
        choices = [{}] if split == "train" else []
    for choice in choices:
        try:
            return make(str(named.root), **fixed, **choice)
        except (RuntimeError, ValueError, OSError, TypeError):  # as each of its classes says no
            continue
    return None


def _targets(named: Named, found: Any) -> Targets:
    labels = next((v for name in LABELS if (v := getattr(found, name, None)) is not None), None)
    if labels is None and isinstance(pairs := getattr(found, "_samples", None), list):
        labels = [pair[-1] for pair in pairs]
    numbers = np.asarray(labels if labels is not None else [[]])
    if numbers.ndim != 1 or not np.issubdtype(numbers.dtype, np.integer) or len(numbers) == 0:
        raise DataError(f"torchvision's {named.name} has no single class per picture; export it")
    names = next((v for name in NAMES if (v := getattr(found, name, None)) is not None), None)
    words = [" ".join(name) if isinstance(name, tuple) else str(name) for name in names or ()]
    words = words or [str(number) for number in range(int(numbers.max()) + 1)]
    if numbers.min() < 0 or numbers.max() >= len(words):
        raise DataError(f"torchvision's {named.name} has labels that none of its classes names")
    return Targets(tuple(words), numbers.astype(np.int64))
