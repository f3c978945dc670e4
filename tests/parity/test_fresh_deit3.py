"""DeiT III's own names, and where its stochastic depth and its LayerScale start."""

from dataclasses import replace

import pytest
import torch

from patchword import models
from patchword.heads.classify import classifier
from patchword.layers import dropping
from patchword.models.deit3 import FORMATS
from patchword.weights import recognise
from patchword.weights.plain import TIMM
from tests.parity.test_fresh import CLASSES, faults

NAME = "deit3_small_patch16_224"


def made(**changes):
    torch.manual_seed(0)
    return replace(models.config(NAME), depth=2, **changes).build()


def test_each_file_is_recognised_by_its_names():
    ours = classifier(made(), 5).state_dict()
    for format_ in FORMATS:
        theirs = format_.save(ours)
        assert recognise(FORMATS, theirs).name == format_.name
        assert all(torch.equal(ours[name], t) for name, t in format_.load(theirs).items())
    assert "blocks.1.gamma_2" in FORMATS[0].save(ours)


def test_branches_are_dropped_at_one_rate():
    assert [part.rate for part in dropping(made(drop_path_rate=0.3))] == [0.3] * 4
    assert dropping(made()) == []


@pytest.mark.peers
def test_a_fresh_deit3_is_timm_s_but_for_layer_scale():
    """The authors' start it at 1e-4, timm's names say 1e-6."""
    import timm

    ours = classifier(made(), CLASSES).state_dict()
    theirs = TIMM.load(timm.create_model(NAME, num_classes=CLASSES, depth=2).state_dict())
    gammas = {name for name in ours if name.endswith("gamma")}
    token = "backbone.stem.prefix.class_token"  # timm's starts at noise of 1e-6
    assert all((ours[name] == 1e-4).all() for name in gammas)
    kept = {name: tensor for name, tensor in ours.items() if name in {*gammas, token}}
    assert faults(ours, {**theirs, **kept}) == {}
