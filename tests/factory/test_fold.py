"""Batch norms folded into the maps before them change nothing but rounding."""

import pytest
import torch
from torch import nn

from patchword.heads.classify import classifier
from patchword.layers import fold
from tests.contract.tiny import images, made
from tests.families import FAMILIES

NORMED = ("levit", "localvit", "resnet", "senet", "vitc", "xcit")


@pytest.mark.parametrize("family", NORMED)
def test_a_folded_network_answers_as_before(family):
    for config in FAMILIES[family].TINY.values():
        model = classifier(made(config), 5).eval().double()
        batch = images(config).double()
        with torch.no_grad():
            wanted = model(batch)
            before = norms(model)
            found = fold(model)(batch)
        assert norms(model) < before or not before
        torch.testing.assert_close(found, wanted, rtol=1e-10, atol=1e-12)


def norms(model):
    return sum(isinstance(m, nn.BatchNorm1d | nn.BatchNorm2d) for m in model.modules())
