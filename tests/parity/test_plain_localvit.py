"""LocalViT is its formulas, at its own resolution and at another."""

import pytest

from tests.families.localvit import TINY
from tests.parity.plain_features import check
from tests.parity.plain_localvit import backbone


@pytest.mark.parametrize("size", [None, (32, 40)], ids=str)
@pytest.mark.parametrize("kind", TINY)
def test_localvit_is_its_plain_form(kind, size):
    check(backbone, TINY[kind], size)
