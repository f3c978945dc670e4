"""SASA beside a plain form of its formulas."""

import pytest

from tests.families.sasa import TINY
from tests.parity.against_plain import check
from tests.parity.plain_sasa import sasa


@pytest.mark.parametrize("size", [(16, 24), (24, 16)])
@pytest.mark.parametrize("kind", TINY)
def test_it_is_its_formulas(kind, size):
    check(TINY[kind], sasa, None, size)
