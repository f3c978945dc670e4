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
CLOSE = {"scores": 2e-5, "boxes": 2e-5, "losses": 2e-5, "answers": 2e-5, "gradients": 1e-6}


@pytest.mark.parametrize("name", LIVE)
def test_all_of_it_is_the_reference_s(name):
    torch.manual_seed(0)
    found = sets_apart(LIVE[name]())
    assert all(found[what] <= limit for what, limit in CLOSE.items()), found
