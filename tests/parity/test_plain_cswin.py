"""CSWin is its formulas, at any resolution: stripes that tile the map, and those that do not."""

import pytest

from tests.families.cswin import TINY
from tests.parity.plain_cswin import backbone
from tests.parity.plain_features import check


@pytest.mark.parametrize("size", [(32, 64), (60, 36)], ids=str)
@pytest.mark.parametrize("kind", TINY)
def test_cswin_is_its_plain_form(kind, size):
    check(backbone, TINY[kind], size)
