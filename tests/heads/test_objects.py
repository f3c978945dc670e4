"""The contract of detectors: any head on any backbone, at any size, made and kept by name."""

import copy
import pickle
from dataclasses import replace
from fnmatch import fnmatchcase

import pytest
import torch

from patchword import checkpoints, conversion, heads
from patchword.errors import ConfigError, ShapeError
from patchword.factory import as_classifier, build, create_model, list_models
from patchword.heads.dense import MAIN
from patchword.heads.detector import Extent, FrozenNorm, centred, corners
from patchword.heads.detr import DETRConfig
from patchword.heads.detr_panoptic import DETRPanopticConfig
from tests.contract.tiny import CONFIGS, FIXED, images, uneven
from tests.contract.tiny import made as made_backbone
from tests.heads import HEADS
from tests.heads.made import made

PAIRS = {
    f"{head}-{kind}": pair
    for head, it in HEADS.items()
    for kind, pair in it.TINY.items()
    if pair[1].kind == "objects"
}
NAMES = [name for name in heads.index() if heads.config(name).head.kind == "objects"]
WHOLE = [name for name in NAMES if heads.config(name).backbone]
BARE = [name for name in NAMES if not heads.config(name).backbone]
QUICK = ("detr", "detr_resnet50")


def slow(names):
    return [n if n in QUICK else pytest.param(n, marks=pytest.mark.slow) for n in names]


@pytest.fixture(params=PAIRS)
def pair(request):
    return PAIRS[request.param]


def some(config, count=2):
    rows, columns = config.image_size
    return images(config, count, size=(rows + 3, columns + 1))


def partly(batch):
    """Return sizes of images of which the last is smaller than the batch."""
    sizes = torch.tensor([batch.shape[2:]] * len(batch))
    sizes[-1] = sizes[-1] * 2 // 3
    return sizes


def test_answers_are_of_one_shape_and_in_the_image(pair):
    model, batch = made(pair), some(pair[0])
    found = model.heads(batch)
    assert [*found][-1] == MAIN or MAIN in found
    said = model(batch)
    assert torch.equal(found[MAIN].scores, said.scores)
    assert torch.equal(found[MAIN].boxes, said.boxes)
    assert said.boxes.shape == (2, model.head.num_queries, 4)
    assert len({one.scores.shape[-1] for one in found.values()}) == 1


def test_images_that_fill_the_batch_need_no_sizes(pair):
    model, batch = made(pair), some(pair[0])
    whole = model(batch, torch.tensor([batch.shape[2:]] * len(batch)))
    torch.testing.assert_close(whole.boxes, model(batch).boxes, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(whole.scores, model(batch).scores, rtol=1e-4, atol=1e-4)


def test_what_the_padding_makes_is_not_read(pair):
    """The levels' cells that lie outside an image do not matter."""
    model, batch = made(pair), some(pair[0])
    taps, extent = model._seen(batch, partly(batch))
    others = []
    for tap in taps:
        inside = extent.inside(tuple(tap.map.shape[2:]), tap.map)
        noise = torch.randn_like(tap.map)
        others.append(tap._replace(map=torch.where(inside[:, None], tap.map, noise)))
    kinds = {type(part).__name__ for part in model.head.modules()}
    if kinds & {"GroupNorm", "Pyramid"}:
        return  # it looks across the whole map, as in the papers
    found, wanted = model.head(others, extent), model.head(taps, extent)
    torch.testing.assert_close(found.boxes, wanted.boxes)
    torch.testing.assert_close(found.scores, wanted.scores)


def test_every_parameter_of_a_head_learns(pair):
    model, batch = made(pair), some(pair[0])
    found = model.heads(batch, partly(batch)).values()
    parts = [part for one in found for part in one if part is not None]
    sum((part * torch.randn_like(part)).sum() for part in parts).backward()
    still = [n for n, p in model.head.named_parameters() if p.grad is None or not p.grad.any()]
    still = [n for n in still if not n.startswith("pyramid.")]  # boxes may be too small for a level
    assert still == [
        n
        for n, _ in model.head.named_parameters()
        if any(fnmatchcase(n, p) for p in model.head.silent)
    ]


def test_an_image_does_not_see_another(pair):
    model, batch = made(pair), images(pair[0], 3).requires_grad_()
    said = model(batch)
    (said.boxes[1].square().sum() + said.scores[1].square().sum()).backward()
    assert batch.grad[1].any() and not batch.grad[[0, 2]].any()


def test_copies_answer_alike(pair):
    model, batch = made(pair), images(pair[0], 1)
    for copied in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert torch.equal(copied(batch).scores, model(batch).scores)


def test_norms_of_the_backbone_are_frozen_where_they_are_to_be(pair):
    model = made(pair)
    norms = [p for p in model.backbone.modules() if isinstance(p, torch.nn.BatchNorm2d)]
    frozen = [p for p in model.backbone.modules() if isinstance(p, FrozenNorm)]
    assert not (norms if pair[1].frozen_norms else frozen)


def test_answers_are_in_the_pictures_own_pixels(pair):
    model, batch = made(pair), some(pair[0])
    sizes = partly(batch)
    plain = model.detect(batch, sizes)
    large = model.detect(batch, sizes, [(2 * int(h), 3 * int(w)) for h, w in sizes])
    for one, other, (rows, columns) in zip(plain, large, sizes.tolist(), strict=True):
        assert torch.equal(one.labels, other.labels) and torch.equal(one.scores, other.scores)
        torch.testing.assert_close(one.boxes * torch.tensor([3.0, 2, 3, 2]), other.boxes)
        assert (one.scores >= 0).all() and (one.scores <= 1).all()
        if one.masks is not None:
            assert one.masks.shape == (len(one.scores), rows, columns)


def test_masks_are_read_where_they_lie_whatever_the_padding(pair):
    """As of images that were padded to what the backbone reads before."""
    model, batch = made(pair), some(pair[0])
    sizes = torch.tensor([batch.shape[2:]] * len(batch))
    for one, other in zip(
        model.detect(batch), model.detect(model.padded(batch), sizes), strict=True
    ):
        assert torch.equal(one.boxes, other.boxes)
        assert (one.masks is None) == (not isinstance(pair[1], DETRPanopticConfig))
        assert one.masks is None or torch.equal(one.masks, other.masks)


def test_images_of_the_backbones_own_size_are_not_padded_further():
    pair = HEADS["sparse_rcnn"].TINY["pyramid"]
    own, model = replace(pair[0], image_size=(33, 24)), made(pair)
    assert model.padded(torch.zeros(1, 3, 33, 24)).shape[2:] == (40, 24)
    assert made((own, pair[1])).padded(torch.zeros(1, 3, 33, 24)).shape[2:] == (33, 24)


@pytest.mark.parametrize("head", slow(BARE))
@pytest.mark.parametrize("name", CONFIGS)
def test_a_head_goes_on_every_backbone_with_a_grid(name, head):
    backbone, design = made_backbone(CONFIGS[name]), heads.config(head).head
    if isinstance(design, DETRConfig):
        design = replace(design, depth=(1, 1), mlp_dim=64)  # what it reads is the same
    try:
        model = design.assemble(backbone, 3).eval()
    except ConfigError as error:
        assert None in {level.stride for level in backbone.levels} and "grid" in str(error)
        return
    batch = images(CONFIGS[name], 1, None if name in FIXED else uneven(backbone))
    with torch.no_grad():
        assert model(batch).boxes.shape == (1, model.head.num_queries, 4)


@pytest.mark.parametrize("name", slow(WHOLE))
def test_a_name_is_made_as_its_card_says(name):
    with torch.device("meta"):
        model = create_model(name, num_classes=7)
        again = build(model.card)
    assert model.card.model == name and model.card.backbone == heads.config(name).backbone
    shapes = [{n: t.shape for n, t in m.state_dict().items()} for m in (model, again)]
    assert shapes[0] == shapes[1] and name in list_models()


def test_a_folder_keeps_a_detector(tmp_path):
    model = create_model("detr", backbone="vit_micro_patch2_8", num_classes=4).eval()
    conversion.save(model, tmp_path)
    again = checkpoints.load(tmp_path)
    batch = torch.randn(2, 3, 8, 8)
    assert again.card == model.card and torch.equal(again(batch).boxes, model(batch).boxes)
    with pytest.raises(ConfigError, match="answers with boxes"):
        as_classifier(again)


def test_cells_are_inside_by_their_nearest_pixel():
    extent = Extent((10, 7), torch.tensor([[10, 7], [5, 3]]))
    cells = extent.inside((4, 3), torch.zeros(2))
    assert cells[0].all()
    assert cells[1].tolist() == [[True, True, False]] * 2 + [[False] * 3] * 2
    assert Extent((10, 7)).inside((4, 3), torch.zeros(2)) is None
    shares = extent.shares((4, 3), torch.zeros(2, 1))
    assert shares[0].tolist() == [1, 1] and shares[1].tolist() == pytest.approx([2 / 3, 1 / 2])


def test_boxes_turn_both_ways():
    box = torch.tensor([0.5, 0.25, 0.2, 0.1])
    assert corners(box).tolist() == pytest.approx([0.4, 0.2, 0.6, 0.3])
    torch.testing.assert_close(centred(corners(box)), box)


def test_sizes_of_another_number_of_images_are_refused():
    model = create_model("detr", backbone="vit_micro_patch2_8", num_classes=4).eval()
    with pytest.raises(ShapeError, match="2 images, and sizes of 1"):
        model(torch.zeros(2, 3, 8, 8), torch.tensor([[8, 8]]))
