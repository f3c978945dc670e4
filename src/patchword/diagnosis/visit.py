"""A visit to the doctor: the check-up, and the folder in which it is written down."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from patchword.diagnosis.checkup import Checkup, checkup, write
from patchword.diagnosis.page import write_page
from patchword.diagnosis.progress import progress
from patchword.errors import ConfigError


@dataclass(frozen=True)
class Diagnosis:
    """What the doctor found in a data set, and the folder that it wrote to."""

    path: Path
    found: Checkup

    @property
    def report(self) -> Path:
        """The page about the data."""
        return self.path / "doctor.html"

    @property
    def quarantine(self) -> Path:
        """The pictures that a training should leave out."""
        return self.path / "quarantine.csv"


def elsewhere(out: Path, data: str | Path) -> None:
    """Refuse to write into the data.

    Raises:
        ConfigError: `out` is the data's folder, or lies in it.
    """
    where, root = out.resolve(), Path(data).resolve()
    if Path(data).is_dir() and (where == root or root in where.parents):
        raise ConfigError(f"--out {out} lies in the data, which is only read; name another place")


def diagnose(
    data: str,
    out: Path,
    *,
    columns: Sequence[str],
    run: Path | None,
    workers: int | None,
    device: str,
) -> Diagnosis:
    """Check a data set up, and write the tables, the quarantine and the page into a folder.

    Raises:
        ConfigError: the folder lies in the data.
        DataError: there is no data that is understood, or nothing in it can be read.
    """
    elsewhere(out, data)
    with progress() as watch:
        found = checkup(data, columns=columns, run=run, workers=workers, device=device, watch=watch)
    write(found, out)
    write_page(found, out / "doctor.html")
    return Diagnosis(out, found)
