"""CeiT is its formulas, at its own resolution and at another."""

import pytest

from tests.families.ceit import TINY
from tests.parity.plain_ceit import backbone
from tests.parity.plain_features import check


@pytest.mark.parametrize("kind", TINY)
def test_ceit_is_its_plain_form(kind):
    check(backbone, TINY[kind])


@pytest.mark.parametrize("kind", TINY)
def test_ceit_is_its_plain_form_at_another_size(kind):
    check(backbone, TINY[kind], (64, 80))
