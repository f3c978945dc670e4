"""Visual Transformers are the paper's equations, at any resolution."""

import pytest

from tests.families.vt import TINY
from tests.parity.against_plain import check
from tests.parity.plain_vt import classify


@pytest.mark.parametrize("size", [(32, 48), (43, 30)], ids=str)
@pytest.mark.parametrize("kind", TINY)
def test_vt_is_its_plain_form(kind, size):
    check(TINY[kind], classify, None, size)
