"""`python -m tests.structure`: the lines of every file of the package, beside its budget."""

from pathlib import Path

from tests.structure import tables
from tests.structure.sources import family_lines, read

PACKAGE = Path(__file__).parents[2] / "src" / "patchword"


def main() -> None:
    """Print a line per file: all lines, those that the budget counts, the budget."""
    print(f"{'file':44} {'lines':>6} {'counted':>8} {'budget':>7}")
    total = 0
    for source in read(PACKAGE):
        whole = len(source.text.splitlines())
        counted = family_lines(source) if source.is_family else whole
        budget = tables.FAMILY_LINES if source.is_family else tables.FILE_LINES
        total += whole
        print(f"{source.place:44} {whole:6} {counted:8} {budget:7}")
    print(f"{'all':44} {total:6}")


if __name__ == "__main__":
    main()
