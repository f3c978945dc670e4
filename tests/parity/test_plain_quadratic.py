"""Quadratic attention beside a plain form of its formulas."""

from dataclasses import replace

import pytest

from patchword.models.quadratic import FORMATS
from tests.families.quadratic import TINY
from tests.parity.against_plain import check
from tests.parity.plain_quadratic import quadratic


@pytest.mark.parametrize("size", [(4, 6), (6, 2)])
@pytest.mark.parametrize("kind", TINY)
def test_it_is_its_formulas(kind, size):
    config = replace(TINY[kind], in_chans=3, depth=2)  # the authors' patches have 3 channels
    check(config, quadratic, FORMATS[0], size)
