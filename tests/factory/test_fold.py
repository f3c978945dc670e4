"""Norms folded into the maps before them, and kernels made once, change only rounding."""

from unittest.mock import Mock

import pytest
import torch
from torch import nn

from patchword.heads.classify import classifier
from patchword.layers import fold
from patchword.models.bit import StdConv
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


@pytest.mark.parametrize("family", ["bit", "hybrid"])
def test_standardised_kernels_are_made_once(family, monkeypatch):
    for config in FAMILIES[family].TINY.values():
        model = classifier(made(config), 5).eval().double()
        batch = images(config).double()
        standard = Mock(wraps=StdConv.standardised)
        with torch.no_grad(), monkeypatch.context() as patched:
            wanted = model(batch)
            fold(model)
            patched.setattr(StdConv, "standardised", lambda conv, made=standard: made(conv))
            found = model(batch)
        uneven = [m for m in model.modules() if isinstance(m, StdConv)]
        assert all(m.stride[0] > 1 and m.kernel_size[0] > 1 for m in uneven)
        assert standard.call_count == len(uneven)
        assert family == "hybrid" or not uneven
        torch.testing.assert_close(found, wanted, rtol=1e-10, atol=1e-12)


def norms(model):
    return sum(isinstance(m, nn.BatchNorm1d | nn.BatchNorm2d) for m in model.modules())
