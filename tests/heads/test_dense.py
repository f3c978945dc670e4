"""The contract of dense models: any head on any backbone, at any size, made and kept by name."""

import copy
import pickle
from fnmatch import fnmatchcase

import pytest
import torch

from patchword import checkpoints, conversion, heads, pretrained
from patchword.errors import ConfigError
from patchword.factory import build, create_model, describe, list_models
from patchword.heads.dense import MAIN
from patchword.heads.panoptic import Panoptic
from tests.contract.tiny import CONFIGS, FIXED, images, uneven
from tests.contract.tiny import made as made_backbone
from tests.heads import HEADS
from tests.heads.made import made

PAIRS = {
    f"{head}-{kind}": pair
    for head, it in HEADS.items()
    for kind, pair in it.TINY.items()
    if pair[1].kind != "objects"
}
DENSE = [name for name in heads.index() if heads.config(name).head.kind != "objects"]
WHOLE = [name for name in DENSE if heads.config(name).backbone]
BARE = [name for name in DENSE if not heads.config(name).backbone]
PLAIN = ("setr_mla",)  # heads that refuse a pyramid
QUICK = "segformer_b0"


def slow(name):
    return pytest.param(name, marks=pytest.mark.slow)


@pytest.fixture(params=PAIRS)
def pair(request):
    return PAIRS[request.param]


def odd(config, count=2):
    """Return images whose sides no stride divides."""
    rows, columns = config.image_size
    return images(config, count, size=(rows + 3, columns + 1))


def test_every_head_is_here():
    assert HEADS.keys() == {*heads.index().values()} and all(it.TINY for it in HEADS.values())


def test_an_answer_is_of_the_images_size(pair):
    model = made(pair)
    for batch in (images(pair[0]), odd(pair[0])):
        found = model.heads(batch)
        assert all(t.shape == (2, t.shape[1], *batch.shape[2:]) for t in found.values())
        assert torch.equal(found[MAIN], model(batch))
        assert len({tuple(t.shape) for t in found.values()}) == 1


def test_padding_is_with_zeros_that_are_cut_off_again(pair):
    """What the sides were padded to can be padded by hand."""
    model, batch = made(pair), odd(pair[0], 1)
    step = model.backbone.multiple
    below, right = (-side % step for side in batch.shape[2:])
    whole = torch.nn.functional.pad(batch, (0, right, 0, below))
    found = model(whole)[:, :, : batch.shape[2], : batch.shape[3]]
    assert torch.equal(found, model(batch))


def test_every_parameter_of_a_head_learns(pair):
    model, batch = made(pair), images(pair[0])
    parts = isinstance(model, Panoptic)
    answers = (model.answers(batch) if parts else model.heads(batch)).values()
    sum(t.square().sum() for t in answers).backward()
    slopes = {
        n: 0.0 if p.grad is None else p.grad.abs().max() for n, p in model.head.named_parameters()
    }
    silent = {n for n in slopes if any(fnmatchcase(n, p) for p in model.head.silent)}
    assert {n for n, slope in slopes.items() if not slope} <= silent
    least = 1e-5 * max(slopes.values())  # what cancels leaves rounding
    assert all(slopes[n] <= least for n in silent)


def test_an_image_does_not_see_another(pair):
    model, batch = made(pair), images(pair[0], 3).requires_grad_()
    model(batch)[1].square().sum().backward()
    assert batch.grad[1].any() and not batch.grad[[0, 2]].any()


def test_copies_answer_alike(pair):
    model, batch = made(pair), images(pair[0], 1)
    for copied in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert torch.equal(copied(batch), model(batch))


@pytest.mark.parametrize("head", ["segformer", *(slow(n) for n in BARE if n != "segformer")])
@pytest.mark.parametrize("name", CONFIGS)
def test_a_head_goes_on_every_backbone_with_a_grid(name, head):
    backbone = made_backbone(CONFIGS[name])
    design = heads.config(head).head
    try:
        classes = 1 if design.kind == "depth" else 3
        model = design.assemble(backbone, classes).eval()
    except ConfigError as error:
        strides = {level.stride for level in backbone.levels}
        assert (None in strides and "grid" in str(error)) or (len(strides) > 1 and head in PLAIN)
        return
    batch = images(CONFIGS[name], 1, None if name in FIXED else uneven(backbone))
    with torch.no_grad():
        assert model(batch).shape == (1, classes, *batch.shape[2:])


@pytest.mark.parametrize("name", [QUICK, *(slow(name) for name in WHOLE if name != QUICK)])
def test_a_name_is_made_as_its_card_says(name):
    with torch.device("meta"):
        depth = heads.config(name).head.kind == "depth"
        model = create_model(name, num_classes=1 if depth else 7)
        again = build(model.card)
    assert model.card.model == name and model.card.backbone == heads.config(name).backbone
    shapes = [{n: t.shape for n, t in m.state_dict().items()} for m in (model, again)]
    assert shapes[0] == shapes[1] and name in list_models()
    assert describe(name).num_classes == heads.config(name).num_classes


def test_what_does_not_fit_is_refused_in_one_line():
    wrong = {
        ("setr_mla", "mit_b0"): "one width on one grid, as plain transformers have",
        ("segformer", "hvt_ti_1"): "has no grid left",
        ("segmenter", None): "backbone='vit_small_patch16_224'",
        ("vit_tiny_patch16_224", "mit_b0"): "is a backbone itself: name a head",
        ("dpt", "vit_micro_patch2_8"): "a pixel has one depth, and num_classes is 3",
        ("segmentr", None): "did you mean 'segmenter'",
        ("segmenter", "vit_tny_patch16_224"): "did you mean 'vit_tiny_patch16_224'",
    }
    for (name, backbone), said in wrong.items():
        with pytest.raises(ConfigError, match=said) as found, torch.device("meta"):
            create_model(name, backbone=backbone, num_classes=3)
        assert "\n" not in str(found.value)


def test_any_backbone_by_its_name():
    model = create_model("segmenter", backbone="deit_micro_patch2_8", num_classes=11).eval()
    assert model(torch.zeros(1, 3, 9, 8)).shape == (1, 11, 9, 8)
    assert (model.card.backbone, model.card.num_classes) == ("deit_micro_patch2_8", 11)


def test_a_folder_keeps_a_dense_model(tmp_path):
    model = create_model("setr_pup", backbone="vit_micro_patch2_8", num_classes=4).eval()
    conversion.save(model, tmp_path)
    again = checkpoints.load(tmp_path)
    batch = torch.randn(2, 3, 8, 8)
    assert again.card == model.card and torch.equal(again(batch), model(batch))
    other = checkpoints.load(tmp_path, num_classes=9)
    assert other(batch).shape == (2, 9, 8, 8)
    kept = other.head.main.convs[0][0].linear.weight
    assert torch.equal(kept, model.head.main.convs[0][0].linear.weight)


def test_a_file_of_its_authors_is_read_and_written(tmp_path):
    """By name, with as many classes as its tensors say."""
    torch.manual_seed(0)
    model = create_model("segformer_b0", num_classes=6).eval()
    for file in ("ours.safetensors", "theirs.safetensors", "theirs.pth"):
        format_ = "authors" if file.startswith("theirs") else "patchword"
        conversion.save(model, tmp_path / file, format=format_)
        again = checkpoints.load(tmp_path / file, model="segformer_b0")
        batch = torch.randn(1, 3, 40, 50)
        assert again.card.num_classes == 6 and torch.equal(again(batch), model(batch))
    with pytest.raises(ConfigError, match="did you mean 'authors'"):
        conversion.save(model, tmp_path / "other.pth", format="author")


def test_a_fresh_head_goes_on_a_trained_backbone(tmp_path, monkeypatch):
    """Its last norm and its classifier are left, its positions read at the new size."""
    torch.manual_seed(0)
    below = create_model("vit_micro_patch2_8")
    conversion.save(below, tmp_path)
    monkeypatch.setattr(pretrained, "choose", lambda name, tag: str(tmp_path))
    model = pretrained.create_model(
        "setr_mla", backbone="vit_micro_patch2_8", pretrained=True, image_size=16, num_classes=3
    )
    assert isinstance(model.backbone.norm, torch.nn.Identity)
    found, wanted = model.backbone.state_dict(), below.backbone.state_dict()
    same = [name for name in found if torch.equal(found[name], wanted.get(name, torch.empty(0)))]
    assert {*found} - {*same} == {"stem.position.table"}
    assert model(torch.zeros(1, 3, 16, 16)).shape == (1, 3, 16, 16)
