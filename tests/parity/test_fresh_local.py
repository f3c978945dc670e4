"""Fresh weights of CSWin, CeiT, LocalViT and Pale start as their authors' code makes them.

Linear layers normal with deviation 0.02, biases zero; tokens and positions likewise, but for
CeiT's positions of layers, which are zero; convolutions as torch's own, uniform in plus and minus
one over the root of the fan-in; norms at one and zero. Pale's authors published no code; ours
starts as CSWin does.
"""

import pytest
import torch
from torch import nn

from patchword import models
from patchword.heads.classify import classifier
from tests.parity.test_fresh import SIGMAS

NAMES = (
    "CSWin_64_12211_tiny_224",
    "ceit_tiny_patch16_224",
    "localvit_tiny_mlp4_act3_r4",
    "pale_tiny_224",
)


@pytest.fixture(scope="module", params=NAMES)
def fresh(request):
    torch.manual_seed(0)
    return classifier(models.config(request.param).build(), 20)


def spread(tensor, wanted):
    """Hold a tensor's mean at zero and its deviation at what is wanted, but for chance."""
    chance = SIGMAS * wanted / tensor.numel() ** 0.5
    assert tensor.mean().abs().item() < chance
    assert abs(tensor.std(correction=0).item() - wanted) < chance


def test_linear_layers_are_normal_and_their_biases_zero(fresh):
    layers = [m for m in fresh.modules() if isinstance(m, nn.Linear)]
    assert layers
    for layer in layers:
        spread(layer.weight.detach(), 0.02)
        assert layer.bias is None or not layer.bias.any()


def test_convolutions_are_torch_s(fresh):
    for layer in (m for m in fresh.modules() if isinstance(m, nn.Conv2d)):
        bound = layer.weight[0].numel() ** -0.5
        spread(layer.weight.detach(), bound / 3**0.5)
        tensors = [layer.weight] if layer.bias is None else [layer.weight, layer.bias]
        assert all(tensor.abs().max() <= bound and tensor.any() for tensor in tensors)


def test_norms_change_nothing_yet(fresh):
    kinds = (nn.LayerNorm, nn.BatchNorm2d)
    for norm in (m for m in fresh.modules() if isinstance(m, kinds)):
        assert (norm.weight == 1).all() and not norm.bias.any()


def test_tokens_and_positions(fresh):
    loose = {n: p for n, p in fresh.named_parameters() if "token" in n or "position" in n}
    for name, parameter in loose.items():
        if name.endswith("lca.position"):
            assert not parameter.any()
        else:
            spread(parameter.detach(), 0.02)
