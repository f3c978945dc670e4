"""ViL is its formulas, at any resolution: chunks that tile the map, and those that do not."""

from dataclasses import replace

import pytest

from patchword.models.vil import FORMATS
from tests.families.vil import TINY
from tests.parity.against_plain import check
from tests.parity.plain_vil import classify

SHARED, SEPARATE = FORMATS


@pytest.mark.parametrize("size", [(12, 8), (16, 12)], ids=str)
@pytest.mark.parametrize("kind", TINY)
def test_vil_is_its_plain_form(kind, size):
    config = replace(TINY[kind], image_size=(12, 8), depth=(2, 1))
    format_ = SHARED if config.shared else SEPARATE
    check(config, classify, format_, size)
