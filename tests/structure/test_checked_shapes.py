"""What signatures say of shapes is checked while tests run."""

import os

import pytest
import torch
from jaxtyping import TypeCheckError

from patchword.layers import to_map


@pytest.mark.skipif("PATCHWORD_UNCHECKED" in os.environ, reason="PATCHWORD_UNCHECKED is set")
def test_a_wrong_shape_is_refused() -> None:
    assert to_map(torch.zeros(2, 6, 3), (2, 3)).shape == (2, 3, 2, 3)
    with pytest.raises(TypeCheckError):
        to_map(torch.zeros(2, 6), (2, 3))
