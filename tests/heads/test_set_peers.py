"""Detectors beside transformers': answers, losses, matching of every layer, boxes, gradients."""

import pytest
import torch

from tests.heads import HEADS
from tests.heads.sets import sets_apart

pytestmark = pytest.mark.peers
LIVE = {
    f"{head}-{name}": make
    for head, it in HEADS.items()
    for name, make in it.PEERS.items()
    if any(pair[1].kind == "objects" for pair in it.TINY.values())
}
CLOSE = {"gradients": 1e-6}  # in double precision
ANSWERED = 2e-5  # all else


def within(found):
    """Tell whether ours is as close to a reference as rounding leaves it."""
    errors = {name: error for name, error in found.items() if name != "matched"}
    return all(error <= CLOSE.get(name, ANSWERED) for name, error in errors.items())


@pytest.mark.parametrize("name", LIVE)
def test_all_of_it_is_the_reference_s(name):
    torch.manual_seed(0)
    found = sets_apart(LIVE[name]())
    assert within(found) and found["matched"] > 1, found
    assert {"loss label", "loss box", "loss overlap"} <= found.keys()
