"""SAN beside a plain form of its formulas."""

import pytest

from patchword.models.san import FORMATS
from tests.families.san import TINY
from tests.parity.against_plain import check
from tests.parity.plain_san import san


@pytest.mark.parametrize("size", [(16, 16), (16, 24)])
@pytest.mark.parametrize("kind", TINY)
def test_it_is_its_formulas(kind, size):
    check(TINY[kind], san, FORMATS[0], size)
