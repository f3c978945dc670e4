"""What signatures say of shapes is checked while tests run."""

import os
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
import torch
from beartype.roar import BeartypeCallHintViolation
from jaxtyping import Float, TypeCheckError
from torch import Tensor

from patchword.layers import to_map
from tests.shapes import checked

WRONG = (BeartypeCallHintViolation, TypeCheckError)


@pytest.mark.skipif("PATCHWORD_UNCHECKED" in os.environ, reason="PATCHWORD_UNCHECKED is set")
def test_a_wrong_shape_is_refused() -> None:
    assert to_map(torch.zeros(2, 6, 3), (2, 3)).shape == (2, 3, 2, 3)
    with pytest.raises(WRONG):
        to_map(torch.zeros(2, 6), (2, 3))


@checked
def joined(
    a: Float[Tensor, "n d"], b: Float[Tensor, "m d"], count: int = 2
) -> Float[Tensor, "n+m d"]:
    return torch.cat([a, b][:count])


@checked
def rows(a: Float[Tensor, "n d"], b: Float[Tensor, " d"]) -> Iterator[Tensor]:
    yield from a + b


@checked
@dataclass
class Pair:
    a: Float[Tensor, "n d"]
    b: Float[Tensor, " d"]


def test_sizes_of_one_name_are_one_size_within_a_call() -> None:
    assert joined(torch.ones(2, 3), torch.ones(1, 3)).shape == (3, 3)
    assert joined(torch.ones(1, 2), torch.ones(4, 2)).shape == (5, 2)
    with pytest.raises(WRONG):
        joined(torch.ones(2, 3), torch.ones(1, 4))
    assert len([*rows(torch.ones(2, 3), torch.ones(3))]) == 2
    with pytest.raises(WRONG):
        rows(torch.ones(2, 3), torch.ones(2))
    assert Pair(torch.ones(2, 3), torch.ones(3)).b.sum() == 3
    with pytest.raises(WRONG):
        Pair(torch.ones(2, 3), torch.ones(2))


def test_an_answer_of_another_shape_is_refused() -> None:
    with pytest.raises(WRONG):
        joined(torch.ones(2, 3), torch.ones(1, 3), count=1)


def test_a_name_that_only_type_checkers_import_is_not_looked_at() -> None:
    @checked
    def said(one: "Nobody", other: int) -> "Nobody":  # noqa: F821
        return one

    assert said("anything", 1) == "anything"
    with pytest.raises(WRONG):
        said("anything", "else")
