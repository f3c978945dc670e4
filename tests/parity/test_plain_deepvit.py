"""DeepViT, output and every gradient, is its plain form, in double precision."""

from dataclasses import replace

import pytest
import torch

from patchword.heads.classify import classifier
from patchword.models.deepvit import FORMATS
from tests.families.deepvit import TINY
from tests.parity.peer import images, perturbed
from tests.parity.plain_deepvit import deepvit

(FORMAT,) = FORMATS


def looks(config, *, learning):
    """Return output and gradients by their names, ours and the plain form's."""
    torch.manual_seed(0)
    model = perturbed(classifier(config.build(), 3), "deepvit").double().train(learning)
    batch = images(config).double()
    theirs = {name: t.clone() for name, t in FORMAT.save(model.state_dict()).items()}
    wanted_of = {name: t.requires_grad_() for name, t in theirs.items() if t.is_floating_point()}
    ours, plain = model.backbone(batch).pooled, deepvit(config, theirs, batch, learning=learning)
    slope = torch.randn(ours.shape, generator=torch.Generator().manual_seed(1)).double()
    (ours * slope).sum().backward()
    (plain * slope).sum().backward()
    grads = {f"backbone.{name}": p.grad for name, p in model.backbone.named_parameters()}
    found = FORMAT.save(grads)
    return ours, plain, {name: (grad, wanted_of[name].grad) for name, grad in found.items()}


@pytest.mark.parametrize("learning", [False, True], ids=["evaluated", "learning"])
@pytest.mark.parametrize("kind", TINY)
def test_it_is_its_plain_form(kind, learning):
    for size in ((16, 24), (24, 16)):
        config = replace(TINY[kind], image_size=size, patch_size=8, depth=2)
        ours, plain, slopes = looks(config, learning=learning)
        torch.testing.assert_close(ours, plain, rtol=1e-9, atol=1e-12)
        for found, wanted in slopes.values():
            torch.testing.assert_close(found, wanted, rtol=1e-9, atol=1e-11)
