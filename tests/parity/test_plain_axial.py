"""Axial-ResNet beside a plain form of its formulas."""

from dataclasses import replace

import pytest

from patchword.models.axial import FORMATS
from tests.families.axial import TINY
from tests.parity.against_plain import check
from tests.parity.plain_axial import axial


@pytest.mark.parametrize("size", [(16, 24), (24, 16)])
@pytest.mark.parametrize("kind", ("plain", "grey"))  # those that are in the authors' repository
def test_it_is_its_formulas(kind, size):
    check(replace(TINY[kind], image_size=size), axial, FORMATS[0])
