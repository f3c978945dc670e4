"""Fresh PiT, LeViT, TNT and XCiT start as timm's do: every tensor of the backbone."""

import pytest
import torch

from patchword import models
from patchword.heads.classify import classifier
from tests.families import FAMILIES
from tests.parity.compare import format_of
from tests.parity.test_fresh import faults

pytestmark = pytest.mark.peers


@pytest.mark.parametrize(
    "name",
    ["pit_ti_distilled_224", "levit_128s", "tnt_ti_patch16_224", "xcit_nano_12_p16_224"],
)
def test_a_fresh_backbone_is_timm_s(name):
    torch.manual_seed(0)
    config = models.config(name)
    ours = classifier(config.build(), 20).state_dict()
    peer = FAMILIES[models.index()[name]].peers(name, config, 20)[0]()
    theirs = format_of(name, peer.format).load(peer.model.state_dict(), config)
    own = {n for n in theirs if n.startswith("head.") and n.endswith(".bias")}  # ours start at 0
    floats = [{n: t.float() for n, t in d.items() if n not in own} for d in (ours, theirs)]
    assert faults(*floats) == {}
