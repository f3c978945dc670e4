"""Fresh CaiT, ConViT and BEiT start as timm's, which start as their authors' do."""

from dataclasses import replace

import pytest
import torch

from patchword import models
from patchword.heads.classify import classifier
from tests.parity.compare import format_of
from tests.parity.test_fresh import CLASSES, faults

pytestmark = pytest.mark.peers


@pytest.mark.parametrize(
    ("name", "changes", "theirs"),
    [
        ("cait_xxs24_224", {"depth": 2}, {"depth": 2}),
        ("cait_s36_384", {"depth": 1}, {"depth": 1}),
        ("convit_small", {"depth": 3, "local_depth": 2}, {"depth": 3, "local_up_to_layer": 2}),
        ("beit_base_patch16_224", {"depth": 3}, {"depth": 3}),
        ("beitv2_base_patch16_224", {"depth": 1}, {"depth": 1}),
    ],
)
def test_a_fresh_network_is_timm_s(name, changes, theirs):
    import timm

    torch.manual_seed(0)
    config = replace(models.config(name), **changes)
    ours = classifier(config.build(), CLASSES).state_dict()
    model = timm.create_model(name, num_classes=CLASSES, **theirs)
    assert faults(ours, format_of(name, "timm").load(model.state_dict())) == {}


def test_a_fresh_deepvit_s_mix_is_a_convolution_s():
    """The authors start their linear layers anew, and leave the 1x1 convolution to torch."""
    torch.manual_seed(0)
    block = replace(models.config("deepvit_patch16_224_re_attn_16b"), depth=1).build().blocks[0]
    mix = block.attn.attend.reatten_matrix
    assert mix.weight.std().item() == pytest.approx(1 / 36**0.5, rel=0.2)  # uniform to 1 / 12^0.5
    assert mix.bias.any() and block.attn.qkv.weight.std().item() == pytest.approx(0.02, rel=0.02)
