"""Other libraries' networks keep the contract, and answer as they do by themselves."""

import builtins
import copy
import math
import pickle
from dataclasses import replace

import pytest
import torch
from torch import nn

from patchword.adaptation import adapt
from patchword.checkpoints import load
from patchword.config import dump, parse
from patchword.conversion import save
from patchword.errors import ConfigError, MissingExtra, ShapeError
from patchword.factory import create_model, family
from patchword.layers import StochasticDepth
from patchword.weights import fill, recognise

pytestmark = pytest.mark.peers

SMALL = {  # name -> a size that is quick
    "timm:resnet18": (64, 96),
    "timm:efficientnet_b0": (64, 64),
    "timm:convnext_atto": (64, 64),
    "timm:regnety_002": (64, 64),
    "timm:mobilenetv3_small_050": (64, 64),
    "timm:resnetv2_18": (64, 64),
    "timm:vit_tiny_patch16_224": (64, 64),
    "timm:deit_tiny_distilled_patch16_224": (48, 64),
    "timm:swin_tiny_patch4_window7_224": (224, 224),
    "torchvision:resnet18": (64, 96),
    "torchvision:regnet_y_400mf": (64, 64),
    "torchvision:efficientnet_b0": (64, 64),
    "torchvision:squeezenet1_1": (64, 64),
    "torchvision:alexnet": (64, 64),
    "torchvision:shufflenet_v2_x0_5": (64, 64),
    "torchvision:swin_t": (64, 96),
    "torchvision:vit_b_32": (64, 64),
}


@pytest.fixture(params=SMALL)
def name(request):
    return request.param


def images(size, channels=3, count=2):
    generator = torch.Generator().manual_seed(0)
    return torch.randn(count, channels, *size, generator=generator)


def made(name, **more):
    torch.manual_seed(0)
    return create_model(name, num_classes=5, image_size=SMALL[name], **more).eval()


def theirs(name):
    """Return the library's own network, with a head of five classes."""
    library, _, own = name.partition(":")
    if library == "timm":
        import timm

        about = timm.get_pretrained_cfg(own)
        sized = {"img_size": SMALL[name]} if about.fixed_input_size else {}
        return timm.create_model(own, num_classes=5, **sized).eval()
    from torchvision.models import get_model

    sized = {"image_size": SMALL[name][0]} if own.startswith("vit_") else {}
    return get_model(own, num_classes=5, **sized).eval()


def test_the_contract_is_kept(name):
    model = made(name)
    backbone, batch = model.backbone, images(SMALL[name])
    names = [level.name for level in backbone.levels]
    assert len({*names}) == len(names) and names[-1] == "final"
    assert 1 <= len(backbone.pyramid()) <= 4
    with torch.no_grad():
        plain = backbone(batch)
        features = backbone(batch, taps=names)
    assert plain.taps == () and features.pooled.shape == (2, backbone.width)
    torch.testing.assert_close(features.pooled, plain.pooled)
    for level, tap in zip(backbone.levels, features.taps, strict=True):
        assert tap.map.shape[:2] == (2, level.channels), level
        assert tap.prefix.shape[::2] == (2, level.channels)
        for cells, side, step in zip(tap.map.shape[2:], SMALL[name], level.stride, strict=True):
            assert side // step - 1 <= cells <= math.ceil(side / step), level
    with pytest.raises(ConfigError, match="no level 'fina'; did you mean 'final'"):
        backbone(batch, taps=("fina",))
    with pytest.raises(ShapeError, match="this model reads 3"):
        backbone(images(SMALL[name], 4))


def test_parts_in_order_hold_every_parameter_once(name):
    backbone = made(name).backbone
    parts = backbone.spine()
    found = [id(parameter) for part in parts for parameter in part.parameters()]
    assert len({*found}) == len(found) and {*found} == {*map(id, backbone.parameters())}
    assert len(parts) >= 4


def test_it_answers_as_in_its_library(name):
    """Its own weights, through its own names, both ways."""
    wanted, batch = theirs(name), images(SMALL[name])
    weights = wanted.state_dict()
    if name in ("timm:deit_tiny_distilled_patch16_224", "torchvision:squeezenet1_1"):
        assert family(name).FORMATS == ()  # their classifier is not one linear layer
        return
    model = made(name)
    format_ = recognise(family(name).FORMATS, weights)
    fill(model, format_.load(weights))
    with torch.no_grad():
        torch.testing.assert_close(model(batch), wanted(batch), rtol=1e-4, atol=1e-6)
    back = format_.save(model.state_dict())
    assert back.keys() == weights.keys()
    assert all(torch.equal(back[key], weights[key]) for key in weights)


def test_it_is_a_value(name):
    backbone, batch = made(name).backbone, images(SMALL[name])
    with torch.no_grad():
        wanted = backbone(batch).pooled
        assert torch.equal(copy.deepcopy(backbone)(batch).pooled, wanted)
        assert torch.equal(pickle.loads(pickle.dumps(backbone))(batch).pooled, wanted)
    assert parse(type(backbone.config), dump(backbone.config)) == backbone.config


@pytest.mark.parametrize("name", ["timm:resnet18", "torchvision:resnet18"])
def test_gradients_channels_sizes_and_folders(name, tmp_path):
    model = made(name, in_chans=2)
    assert len(model.card.preprocessing.mean) == 2
    model(images(SMALL[name], 2)).square().sum().backward()
    head = [p for n, p in model.named_parameters() if n.startswith("backbone")]
    assert all(parameter.grad is not None for parameter in head)
    save(model, tmp_path)
    again = load(tmp_path)
    batch = images((96, 64), 2)
    with torch.no_grad():
        assert torch.equal(again(batch), model.eval()(batch))
    other, done = adapt(model, image_size=32, num_classes=3)
    assert other.card.model == name and other(images((32, 32), 2)).shape == (2, 3) and done.new


def test_the_levels_are_the_library_s():
    names = [level.name for level in made("torchvision:regnet_y_400mf").backbone.levels]
    assert names[-1] == "final" and made("timm:resnet18").backbone.level("layer4").channels == 512
    preprocessing = family("torchvision:regnet_y_16gf").PREPROCESSING
    assert preprocessing.mean == (0.485, 0.456, 0.406) and preprocessing.crop < 1


def test_stochastic_depth_is_ours_to_draw():
    model = made("timm:vit_tiny_patch16_224", drop_path_rate=0.2)
    rates = [part.rate for part in model.modules() if isinstance(part, StochasticDepth)]
    assert max(rates) == pytest.approx(0.2)
    with pytest.raises(ConfigError, match="has no drop_path_rate"):
        made("torchvision:resnet18", drop_path_rate=0.2)


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        ("timm:resnet81", "timm:resnet18"),
        ("timm:resnet18.a1_in2k", "a1_in1k"),
        ("torchvision:regnet_y_16fg", "torchvision:regnet_y_16gf"),
        ("tim:resnet18", "timm:resnet18"),
    ],
)
def test_a_wrong_name_is_refused_with_a_suggestion(wrong, right):
    with pytest.raises(ConfigError, match=f"did you mean .*{right}"):
        create_model(wrong)


def test_a_missing_library_names_its_extra(monkeypatch):
    real = builtins.__import__

    def without(name, *rest, **more):
        if name == "timm":
            raise ImportError(name)
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(MissingExtra, match=r"patchword\[timm\]"):
        create_model("timm:resnet18")


def test_images_of_another_size_are_refused_where_it_is_fixed():
    model = made("timm:vit_tiny_patch16_224")
    with pytest.raises(ShapeError, match="reads 64x64"):
        model(images((80, 80)))
    config = replace(model.backbone.config, image_size=(80, 80))
    assert config.build()(images((80, 80))).pooled.shape == (2, 192)
    assert isinstance(model.backbone.norm, nn.LayerNorm)
