"""A LeViT without batch norms answers as the one that it was made from."""

import torch
from torch import nn

from patchword.heads.classify import Classifier, classifier
from patchword.models.levit import fused
from tests.contract.tiny import images, made
from tests.families.levit import TINY


def test_folding_the_norms_changes_nothing_but_rounding():
    for config in TINY.values():
        model = classifier(made(config), 5).double()
        for head in model.head.values():
            nn.init.normal_(head.bias)
        batch = images(config).double()
        wanted = model.heads(batch)
        folded = Classifier(*fused(model.backbone, dict(model.head.items())))
        assert not any(isinstance(m, nn.modules.batchnorm._BatchNorm) for m in folded.modules())
        torch.testing.assert_close(folded.heads(batch), wanted, rtol=1e-10, atol=1e-12)
        torch.testing.assert_close(model.heads(batch), wanted, rtol=0, atol=0)
