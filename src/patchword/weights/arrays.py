"""Archives of NumPy arrays, as JAX code keeps weights in: read without pickles, within limits.

An entry's length has to be what its header says, and the whole no more than a weight file can be,
so an archive cannot make the reader allocate what is not in it.
"""

import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from patchword.errors import WeightsError
from patchword.files import replacing

LARGEST = 64 << 30  # bytes of all arrays together
RATIO = 16  # by which arrays may be longer than the archive: weights hardly shrink
SMALL = 16 << 20  # bytes that are read whatever the ratio
WRAPPERS = ("opt/target/", "params/")  # what training scripts put before names


def read_arrays(path: Path) -> dict[str, Tensor]:
    """Read the arrays of an `.npz` file; of a training's state, the parameters alone.

    Raises:
        WeightsError: the file is damaged, too large, or holds anything but numbers.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            held = archive.infolist()
            total = sum(entry.file_size for entry in held)
            if total > min(LARGEST, max(RATIO * path.stat().st_size, SMALL)):
                raise WeightsError(f"{path} is no weight file: it unpacks to {total} bytes")
            found = {e.filename.removesuffix(".npy"): _array(archive, e) for e in held}
    except (zipfile.BadZipFile, OSError, ValueError, EOFError, NotImplementedError) as error:
        raise WeightsError(f"{path} cannot be read as arrays: {error}") from None
    wrapper = next((w for w in WRAPPERS if any(name.startswith(w) for name in found)), "")
    return {
        name.removeprefix(wrapper): _tensor(path, name, array)
        for name, array in found.items()
        if name.startswith(wrapper)
    }


def write_arrays(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write tensors as an uncompressed `.npz`, whole or not at all."""
    with replacing(path) as part, zipfile.ZipFile(part, "w") as archive:
        for name, tensor in tensors.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
                array = tensor.detach().cpu().contiguous().numpy()
                np.lib.format.write_array(file, array, allow_pickle=False)


def _array(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> np.ndarray:
    with archive.open(entry) as file:
        version = np.lib.format.read_magic(file)
        header = (
            np.lib.format.read_array_header_1_0
            if version == (1, 0)
            else np.lib.format.read_array_header_2_0
        )
        shape, by_columns, dtype = header(file)
        data = file.read()
    if dtype.hasobject or len(data) != dtype.itemsize * int(np.prod(shape, dtype=object)):
        raise ValueError(f"{entry.filename} is not what its header says")
    return np.frombuffer(bytearray(data), dtype).reshape(shape, order="F" if by_columns else "C")


def _tensor(path: Path, name: str, array: np.ndarray) -> Tensor:
    if array.dtype == np.dtype("V2"):  # bfloat16, which NumPy lacks
        return torch.from_numpy(np.ascontiguousarray(array).view(np.int16)).view(torch.bfloat16)
    if array.dtype.kind not in "fiu" or array.dtype.byteorder == ">":
        raise WeightsError(f"{path} holds {array.dtype} under {name}, not numbers of a network")
    return torch.from_numpy(array)
