"""Fresh pyramids: PVT v2 and MiT start as timm's PVT v2 does; PVT and CvT as their authors say."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from patchword import models
from patchword.heads.classify import classifier
from tests.parity.compare import format_of
from tests.parity.test_fresh import CLASSES, faults


def fresh(name, depth):
    torch.manual_seed(0)
    return classifier(replace(models.config(name), depth=depth).build(), CLASSES)


@pytest.mark.peers
@pytest.mark.parametrize("name", ["pvt_v2_b1", "pvt_v2_b2_li", "mit_b5"])
def test_a_fresh_pvt_v2_is_timm_s(name):
    import timm

    model = fresh(name, (1, 1, 1, 1))
    ours, config = model.state_dict(), model.backbone.config
    other = name.replace("mit", "pvt_v2")
    theirs = timm.create_model(other, num_classes=CLASSES, depths=(1, 1, 1, 1)).state_dict()
    assert faults(ours, format_of(other, "timm").load(theirs, config)) == {}


@pytest.mark.parametrize(
    ("name", "depth"), [("pvt_tiny", (1, 1, 1, 1)), ("cvt_13", (1, 1, 1))], ids=["pvt", "cvt"]
)
def test_linear_layers_and_tables_have_deviation_0_02_and_convolutions_are_torch_s(name, depth):
    model = fresh(name, depth)
    for part in model.modules():
        if isinstance(part, nn.Linear):
            assert part.weight.std().item() == pytest.approx(0.02, rel=0.05)
            assert not part.bias.any()
        elif isinstance(part, nn.Conv2d):  # uniform, of variance 1 / (3 fan-in)
            wanted = (3 * part.weight[0].numel()) ** -0.5
            assert part.weight.std().item() == pytest.approx(wanted, rel=0.1)
    tables = [t for n, t in model.named_parameters() if n.endswith(("class_token", ".table"))]
    assert len(tables) == (5 if name == "pvt_tiny" else 1)
    for table in tables:
        assert table.std().item() == pytest.approx(0.02, rel=0.1)
