"""LR-Net beside a plain form of its formulas."""

import pytest

from tests.families.lrnet import TINY
from tests.parity.against_plain import check
from tests.parity.plain_lrnet import lrnet


@pytest.mark.parametrize("size", [(12, 17), (16, 9)])
@pytest.mark.parametrize("kind", TINY)
def test_it_is_its_formulas(kind, size):
    check(TINY[kind], lrnet, None, size)
