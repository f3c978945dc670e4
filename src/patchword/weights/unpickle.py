"""Read what a pickled weight file says, in a process of its own that can do no harm.

    python -I -S unpickle.py FILE SECONDS BYTES

It is run as a program by `pickles.py`, imports neither torch nor this package, and confines itself
before it looks. It prints the tree of the file as JSON: where each tensor lies in it, and of what
else there is no more than a name. It reads torch's zip files, the older ones that are a row of
pickles, and TorchScript's archives. A name that the pickle asks for is never imported: what is not
known here becomes an inert stand-in.
"""

import argparse
import json
import pickle
import struct
import sys
import zipfile
from collections import OrderedDict
from typing import IO, Any, NamedTuple

MAGIC = 0x1950A86A20F9469CFC6C  # of torch's older files
SIZES = {  # bytes per number, by the names of torch's types
    **{"float32": 4, "float64": 8, "float16": 2, "bfloat16": 2, "bool": 1, "uint8": 1, "int8": 1},
    **{"int16": 2, "int32": 4, "int64": 8, "complex64": 8, "complex128": 16},
    **{"float8_e4m3fn": 1, "float8_e5m2": 1, "uint16": 2, "uint32": 4, "uint64": 8},
}
STORAGES = {
    **{"Float": "float32", "Double": "float64", "Half": "float16", "BFloat16": "bfloat16"},
    **{"Bool": "bool", "Byte": "uint8", "Char": "int8", "Short": "int16", "Int": "int32"},
    **{"Long": "int64", "ComplexFloat": "complex64", "ComplexDouble": "complex128"},
    "Untyped": "uint8",
}
DEPTH, ENTRIES = 20, 200_000  # of the tree that is printed


class Refused(Exception):
    """The file is not what it should be; says why."""


class Storage(NamedTuple):
    """A run of numbers in the file."""

    dtype: str
    key: str


class Stored(NamedTuple):
    """A tensor: how it lies in a storage."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]
    dtype: str


class _Inert:
    """Whatever the file asks for that is not needed here; it takes anything and does nothing.

    It keeps its attributes, for a module of TorchScript is read by them.
    """

    state: dict[Any, Any] | None = None

    def __init__(self, *given: Any, **named: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        if isinstance(state, dict):
            self.state = state

    def append(self, item: Any) -> None:
        """Take an item of a list that stands in."""

    def extend(self, items: Any) -> None:
        """Take items of a list that stands in."""

    def __setitem__(self, key: Any, value: Any) -> None:
        pass

    def __call__(self, *given: Any, **named: Any) -> "_Inert":
        return _Inert()


def _tensor(storage: Any, offset: Any, shape: Any, stride: Any, *rest: Any) -> Any:
    """Note a tensor; the last of `rest` may be a type that overrides its storage's."""
    if not isinstance(storage, Storage):
        raise Refused("a tensor has no storage")
    whole = (offset, *shape, *stride)
    if not all(type(number) is int and number >= 0 for number in whole) or len(shape) != len(
        stride
    ):
        raise Refused("a tensor has no sensible shape")
    types = [one for one in rest if isinstance(one, str) and one in SIZES]
    dtype = types[-1] if types else storage.dtype
    return Stored(storage, offset, tuple(shape), tuple(stride), dtype)


def _parameter(data: Any, *rest: Any) -> Any:
    """Return the tensor that a parameter is made of."""
    return data


KNOWN = {
    ("collections", "OrderedDict"): OrderedDict,
    ("builtins", "dict"): dict,
    ("builtins", "set"): set,
    ("torch", "Size"): tuple,
    ("torch._utils", "_rebuild_tensor_v2"): _tensor,
    ("torch._utils", "_rebuild_tensor_v3"): _tensor,
    ("torch._utils", "_rebuild_parameter"): _parameter,
    ("torch._utils", "_rebuild_parameter_with_state"): _parameter,
}


HARMLESS = {  # of Python's own library; no weight file has another
    *("argparse.Namespace", "types.SimpleNamespace", "functools.partial", "copyreg._reconstructor"),
    *("collections.defaultdict", "collections.Counter", "collections.deque", "_codecs.encode"),
    *("builtins.object", "builtins.list", "builtins.tuple", "builtins.frozenset", "builtins.int"),
    *("builtins.float", "builtins.str", "builtins.complex", "builtins.slice", "builtins.bytearray"),
    *("datetime.datetime", "datetime.timedelta", "datetime.date", "uuid.UUID"),
    *("pathlib.Path", "pathlib.PosixPath", "pathlib.WindowsPath", "pathlib.PurePosixPath"),
    *("pathlib._local.PosixPath", "pathlib._local.WindowsPath"),
}


class Reader(pickle.Unpickler):
    """An unpickler that imports nothing."""

    def __init__(self, file: IO[bytes], *, encoding: str = "ASCII") -> None:
        super().__init__(file, encoding=encoding)
        self.storages: dict[str, Storage] = {}

    def find_class(self, module: str, name: str) -> Any:
        """Return what a name stands for here."""
        kind = name.removesuffix("Storage")
        if module in ("torch", "torch.storage") and name != kind and kind in STORAGES:
            return STORAGES[kind]
        if module == "torch" and name in SIZES:
            return name
        if (module, name) in KNOWN:
            return KNOWN[module, name]
        python = module.partition(".")[0].replace("__builtin__", "builtins")
        if python in sys.stdlib_module_names and f"{module}.{name}" not in HARMLESS:
            raise Refused(f"it asks for {module}.{name}, as no weights do and an attack would")
        return type(name.rpartition(".")[2], (_Inert,), {})

    def persistent_load(self, pid: Any) -> Any:
        """Return a storage by what the file says of it."""
        if not (isinstance(pid, tuple) and len(pid) >= 5 and pid[0] == "storage"):
            raise Refused("it refers to something other than numbers")
        _, dtype, key, *_ = pid
        if dtype not in SIZES or not isinstance(key, str):
            raise Refused("its numbers are of a type that is not known")
        return self.storages.setdefault(key, Storage(dtype, key))


def read_zip(file: IO[bytes]) -> tuple[Any, dict[str, tuple[int, int]]]:
    """Return what a zip file holds, and where each storage's bytes are: start and length."""
    archive = zipfile.ZipFile(file)
    entries = archive.infolist()
    if len(entries) > ENTRIES:
        raise Refused(f"it has {len(entries)} records")
    pickles = [entry for entry in entries if entry.filename.endswith("/data.pkl")]
    if len(pickles) != 1:
        raise Refused("it is a zip file, and no weights")
    root = pickles[0].filename.removesuffix("data.pkl")
    names = (f"{root}data.pkl", f"{root}byteorder")
    read = [e for e in entries if e.filename in names or e.filename.startswith(f"{root}data/")]
    if any(entry.compress_type != zipfile.ZIP_STORED for entry in read):
        raise Refused("its records are compressed, which torch's never are")
    if sum(entry.file_size for entry in read) > size_of(file):
        raise Refused("its records are larger than the file")
    order = [entry for entry in entries if entry.filename == f"{root}byteorder"]
    if order and archive.read(order[0]) != b"little":
        raise Refused("its numbers are big-endian; save it again on another machine")
    with archive.open(pickles[0]) as record:
        tree = Reader(record).load()
    places = {}
    for entry in entries:
        if entry.filename.startswith(f"{root}data/"):
            file.seek(entry.header_offset)
            header = file.read(30)
            if header[:4] != b"PK\3\4":
                raise Refused("its list of records is wrong")
            start = entry.header_offset + 30 + sum(struct.unpack("<HH", header[26:30]))
            places[entry.filename.removeprefix(f"{root}data/")] = (start, entry.file_size)
    return tree, places


def read_row(file: IO[bytes]) -> tuple[Any, dict[str, tuple[int, int]]]:
    """Return the same of an older file: magic number, version, system, tree, keys, numbers."""
    if Reader(file).load() != MAGIC:
        raise Refused("it is no weight file of torch")
    for _ in ("version", "system"):
        Reader(file).load()
    reader = Reader(file, encoding="latin1")
    tree, places = reader.load(), {}
    for key in Reader(file).load():
        if key not in reader.storages:
            raise Refused("its list of numbers is wrong")
        (count,) = struct.unpack("<q", file.read(8))
        length = count * SIZES[reader.storages[key].dtype]
        places[key] = (file.tell(), length)
        file.seek(length, 1)
    return tree, places


def size_of(file: IO[bytes]) -> int:
    """Return a file's length in bytes."""
    at = file.tell()
    end = file.seek(0, 2)
    file.seek(at)
    return end


def described(value: Any, depth: int = 0) -> Any:
    """Return a value as JSON: mappings as lists of pairs, tensors as numbers, the rest by name."""
    if isinstance(value, Stored):
        return {"tensor": [value.dtype, value.storage.key, value.offset, value.shape, value.stride]}
    if isinstance(value, _Inert) and depth < DEPTH:
        inside = value.state and {"module": described(value.state, depth)["map"]}
        return inside or {"kind": type(value).__name__}
    if isinstance(value, dict) and depth < DEPTH:
        if len(value) > ENTRIES:
            raise Refused(f"it has {len(value)} entries")
        pairs = [[k, described(v, depth + 1)] for k, v in value.items() if isinstance(k, str)]
        return {"map": pairs, "others": len(value) - len(pairs)}
    return {"kind": type(value).__name__}


def confine(seconds: int, size: int) -> None:
    """Limit this process's time, memory and files, where the system can."""
    try:
        import resource
    except ImportError:  # Windows: whoever started this process still ends it in time
        return
    for what, most in (
        (resource.RLIMIT_CPU, seconds),
        (resource.RLIMIT_AS, size),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
    ):
        _, hard = resource.getrlimit(what)
        limit = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(what, (limit, limit))


def main() -> int:
    """Print the tree of a file, or one line that says why not."""
    parser = argparse.ArgumentParser()
    parser.add_argument("file")
    parser.add_argument("seconds", type=int)
    parser.add_argument("bytes", type=int)
    given = parser.parse_args()
    confine(given.seconds, given.bytes)
    try:
        with open(given.file, "rb") as file:
            zipped = zipfile.is_zipfile(file)
            file.seek(0)
            tree, places = read_zip(file) if zipped else read_row(file)
        print(json.dumps({"tree": described(tree), "places": places}))
    except MemoryError:
        print("it needs more memory than a weight file should", file=sys.stderr)
        return 1
    except Exception as error:  # a damaged or hostile pickle may raise anything
        print(" ".join(str(error).split())[:200] or type(error).__name__, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
