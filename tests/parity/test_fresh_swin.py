"""Fresh weights of Swin and Swin V2 start as timm's do, and their authors'."""

from dataclasses import replace

import pytest
import torch

from patchword import models
from patchword.heads.classify import classifier
from tests.parity.compare import format_of
from tests.parity.test_fresh import CLASSES, faults

pytestmark = pytest.mark.peers


@pytest.mark.parametrize("name", ["swin_tiny_patch4_window7_224", "swinv2_tiny_window8_256"])
def test_a_fresh_pyramid_is_timm_s(name):
    import timm

    torch.manual_seed(0)
    depth = (2, 1, 1, 1)
    ours = classifier(replace(models.config(name), depth=depth).build(), CLASSES).state_dict()
    theirs = timm.create_model(name, num_classes=CLASSES, depths=depth)
    assert faults(ours, format_of(name, "timm").load(theirs.state_dict())) == {}
