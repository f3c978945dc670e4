"""The package keeps the laws of the house."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.structure.committed import mentions
from tests.structure.house import file_names, rooms
from tests.structure.laws import LAWS

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "src" / "patchword"


def keeps(faults: list[str], law: str | None = None) -> None:
    """Fail with the faults, one a line, below the law that they break."""
    assert not faults, "\n".join([law or "", *faults])


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.__name__)
def test_the_package_keeps(law: Callable[[Path], list[str]]) -> None:
    keeps(law(PACKAGE), law.__doc__)


@pytest.mark.parametrize("folder", ["tests", "benchmarks"])
def test_names_say_something_outside_the_package_too(folder: str) -> None:
    keeps(file_names(ROOT / folder))


def test_the_architecture_page_lists_the_rooms() -> None:
    keeps(rooms(PACKAGE, ROOT / "docs" / "architecture.md"))


def test_no_committed_file_names_a_package_index_or_a_place_on_a_machine() -> None:
    keeps(mentions(ROOT))
