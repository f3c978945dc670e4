"""Gradients of heads that no library has are those of differences."""

import pytest

from patchword.heads.segmenter import MaskTransformer
from tests.heads import HEADS
from tests.heads.differences import ALONE, NEAR, differences_apart, pairs

LONG = ("max_deeplab",)  # half a minute


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=pytest.mark.slow) if n in LONG else n for n in ALONE]
)
def test_gradients_are_those_of_differences(name):
    for kind, pair in pairs(name).items():
        assert differences_apart(name, pair) <= NEAR, kind


def test_a_gradient_that_is_held_back_is_found(monkeypatch):
    decode = MaskTransformer.decode
    monkeypatch.setattr(
        MaskTransformer, "decode", lambda self, maps: decode(self, [m.detach() for m in maps])
    )
    assert differences_apart("segmenter", HEADS["segmenter"].TINY["mask"]) > 100 * NEAR
