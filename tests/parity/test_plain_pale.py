"""Pale Transformer is its formulas: maps of even groups of rows, and of others."""

import pytest

from tests.families.pale import TINY
from tests.parity.plain_features import check
from tests.parity.plain_pale import backbone


@pytest.mark.parametrize("size", [None, (52, 36)], ids=str)
@pytest.mark.parametrize("kind", TINY)
def test_pale_is_its_plain_form(kind, size):
    check(backbone, TINY[kind], size)
