"""HVT is its plain form, in float64: outputs and all gradients."""

from dataclasses import replace

import pytest
import torch

from patchword.heads.classify import classifier
from patchword.models.hvt import FORMATS
from tests.contract.tiny import images, made
from tests.families.hvt import TINY
from tests.parity import plain_hvt
from tests.parity.compare import gradients


@pytest.mark.parametrize("size", [(24, 32), (32, 16)])
@pytest.mark.parametrize("kind", TINY)
def test_it_is_its_plain_form(kind, size):
    config = replace(TINY[kind], image_size=size, embed_dim=6, depth=3)
    model = classifier(made(config), 4).double()
    for head in model.head.values():
        torch.nn.init.normal_(head.weight)
    batch = images(config).double()
    weights = FORMATS[0].save(model.state_dict())
    for tensor in weights.values():
        tensor.requires_grad_()
    sizes = {
        name: getattr(config, name)
        for name in ("patch_size", "depth", "num_heads", "pool_every", "pool_size")
    }
    wanted = torch.stack([plain_hvt.logits(weights, image, **sizes) for image in batch])
    found = model(batch)
    torch.testing.assert_close(found, wanted, rtol=1e-9, atol=1e-12)
    generator = torch.Generator().manual_seed(1)
    mix = torch.randn(wanted.shape, generator=generator)  # as `gradients` draws it
    slopes = torch.autograd.grad((wanted * mix).sum(), list(weights.values()))
    ours = FORMATS[0].save(gradients(model, found))
    assert ours.keys() == weights.keys()
    for name, slope in zip(weights, slopes, strict=True):
        torch.testing.assert_close(ours[name], slope, rtol=1e-9, atol=1e-11)
