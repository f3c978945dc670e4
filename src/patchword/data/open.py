"""Open a data set, whatever it is: the embedded digits, idx files, parquet, folders of pictures."""

from pathlib import Path

from patchword.data.decode import Pixels
from patchword.data.digits import open_digits
from patchword.data.folder import open_folder
from patchword.data.idx import find_idx, open_idx
from patchword.data.parquet import find_parquet, open_parquet
from patchword.data.source import Data
from patchword.errors import DataError, suggest

EMBEDDED = ("digits",)


def open_data(where: str | Path, *, pixels: Pixels, seed: int, strays: bool = False) -> Data:
    """Recognise a data set and open it.

    Args:
        where: a folder, or `digits` for the embedded set (a folder of that name: `./digits`).
        pixels: the contract that every picture is read under.
        seed: of the split, where a folder has none.
        strays: class folders that only held-out splits have are classes too, after the others,
            rather than an error.

    Raises:
        DataError: nothing is there, or nothing that is understood.
    """
    if str(where) in EMBEDDED and not isinstance(where, Path):
        return open_digits(pixels)
    folder = Path(where)
    if not folder.exists():
        hint = suggest(str(where), EMBEDDED)
        raise DataError(f"there is no {folder}; name a folder, or an embedded set: {hint}")
    if not folder.is_dir():
        raise DataError(f"{folder} is a file; name the folder that it is in")
    folder = folder.resolve()
    try:
        pairs, files = find_idx(folder), find_parquet(folder)
        if pairs:
            return open_idx(folder, pairs, pixels)
        if files:
            return open_parquet(folder, files, pixels)
        return open_folder(folder, pixels, seed=seed, strays=strays)
    except PermissionError as error:
        raise DataError(f"{error.filename} may not be read; change its permissions") from None
