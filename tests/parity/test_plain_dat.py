"""DAT is its formulas, at any resolution: windows that tile the map, and those that do not."""

from dataclasses import replace

import pytest

from patchword.models.dat import FORMATS
from tests.families.dat import TINY
from tests.parity.against_plain import check
from tests.parity.plain_dat import classify


@pytest.mark.parametrize("size", [(16, 24), (20, 16)], ids=str)
@pytest.mark.parametrize("kind", TINY)
def test_dat_is_its_plain_form(kind, size):
    (format_,) = FORMATS
    config = replace(TINY[kind], image_size=(16, 24))
    check(config, classify, format_, size)
