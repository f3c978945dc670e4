"""What heads say becomes the segments that their papers' rules make of it."""

import pytest
import torch

from patchword.errors import ConfigError
from patchword.heads.axial_deeplab import (
    CENTRE,
    OFFSET,
    AxialDeepLabConfig,
    Decoder,
    Decoding,
    nearest,
    peaks,
)
from patchword.heads.dense import MAIN, resized
from patchword.heads.max_deeplab import CLASSES, MASKS, DualPath, MaXDeepLabConfig, Path
from patchword.heads.panoptic import large
from patchword.layers import AxialAttention
from tests.contract.tiny import images
from tests.contract.tiny import made as made_backbone
from tests.families import axial, vit
from tests.heads import HEADS
from tests.heads.made import made


def bottom_up(**changes):
    """Return a head of 4 classes, of which 0 and 1 are things."""
    config = AxialDeepLabConfig(
        **HEADS["axial_deeplab"].SMALL | {"levels": ("final",), "least_stuff": 0.05} | changes
    )
    return config.head(made_backbone(vit.VIT), 4)


def scored(classes, count):
    """Return scores that a map of classes follows from."""
    return 5 * torch.eye(count)[classes].permute(0, 3, 1, 2)


def scene():
    """Return two things of class 0, one of 1, on stuff of 2 and 3; classes, ids, centres."""
    classes = torch.full((1, 12, 16), 2)
    classes[:, 6:] = 3
    classes[0, 0, 15] = 3
    ids = torch.zeros(12, 16, dtype=torch.long)
    for k, (rows, columns, label) in enumerate(
        [((1, 4), (1, 4), 0), ((1, 4), (4, 9), 0), ((8, 11), (10, 15), 1)]
    ):
        classes[0, slice(*rows), slice(*columns)] = label
        ids[slice(*rows), slice(*columns)] = k + 1
    return classes, ids, [(2, 2), (2, 6), (9, 12)]


def said(classes, ids, centres):
    """Return answers that a perfect head would give, but for noise."""
    heat, offset = torch.zeros(1, 1, *ids.shape), torch.zeros(1, 2, *ids.shape)
    rows, columns = torch.meshgrid(*map(torch.arange, ids.shape), indexing="ij")
    for k, (y, x) in enumerate(centres):
        heat[0, 0, y, x] = 0.9 - 0.2 * k
        offset[0, :, ids == k + 1] = torch.stack([y - rows, x - columns])[:, ids == k + 1].float()
    noise = torch.rand(offset.shape, generator=torch.Generator().manual_seed(0)) - 0.5
    return {MAIN: scored(classes, 4), CENTRE: heat, OFFSET: offset + noise}


def test_pixels_go_to_the_centres_that_they_point_to():
    classes, ids, centres = scene()
    classes[0, 1, 1] = 1  # a pixel of the first thing that is taken for the other class
    (parts,) = bottom_up().parts(said(classes, ids, centres))
    assert sorted(parts.labels.tolist()) == [0, 0, 1, 2, 3]
    for k in (1, 2, 3):
        mine = parts.ids[ids == k].unique()
        assert len(mine) == 1 and (parts.ids == mine).sum() == (ids == k).sum()
    assert parts.labels[parts.ids[1, 1] - 1] == 0  # outvoted
    stuff = ids == 0
    assert (parts.labels[parts.ids[stuff] - 1] == classes[0][stuff]).all()


def test_without_a_centre_things_are_void_and_small_stuff_is_too():
    classes, ids, centres = scene()
    answers = said(classes, ids, centres)
    answers[CENTRE] *= 0.1
    (parts,) = bottom_up(least_stuff=0.4).parts(answers)
    assert parts.labels.tolist() == [3] and (parts.ids[ids > 0] == 0).all()
    areas = [(classes == label).sum().item() / classes.numel() for label in (2, 3)]
    assert areas[0] < 0.4 <= areas[1]


def test_a_centre_is_the_hottest_of_its_window():
    heat = torch.zeros(9, 9)
    heat[2, 2], heat[3, 4], heat[7, 7], heat[0, 8] = 0.5, 0.6, 0.9, 0.05
    assert peaks(heat, 0.1, 5, 9).tolist() == [[7, 7], [3, 4]]
    assert peaks(heat, 0.1, 3, 9).tolist() == [[7, 7], [3, 4], [2, 2]]
    assert peaks(heat, 0.1, 3, 1).tolist() == [[7, 7]]
    with pytest.raises(ConfigError, match="odd"):
        AxialDeepLabConfig(window=4)


def test_one_of_equally_hot_places_is_a_centre():
    """As a map that is read between its cells has them: two along each axis, or a plateau."""
    coarse = torch.zeros(1, 1, 6, 6)
    coarse[0, 0, 2, 3], coarse[0, 0, 2, 2], coarse[0, 0, 2, 4] = 1.0, 0.5, 0.5
    heat = resized(coarse, (24, 24))[0, 0]
    assert (heat == heat.max()).sum() == 4
    assert peaks(heat, 0.1, 5, 9).tolist() == [[9, 13]]
    assert peaks(torch.ones(30, 30), 0.1, 5, 9).tolist() == [[0, 0]]


def test_the_nearest_centre_is_found_as_by_all_distances():
    generator = torch.Generator().manual_seed(1)
    offset = 6 * torch.randn(2, 7, 11, generator=generator)
    places = torch.tensor([[0, 3], [6, 9], [4, 4], [1, 10]])
    cells = torch.stack(torch.meshgrid(torch.arange(7), torch.arange(11), indexing="ij"))
    apart = torch.cdist(places.float(), (cells + offset).flatten(1).T)
    assert torch.equal(nearest(places, offset), apart.argmin(0).view(7, 11))


def test_offsets_are_enlarged_with_their_map():
    head = bottom_up()
    answers = {
        MAIN: torch.zeros(1, 4, 3, 4),
        CENTRE: torch.zeros(1, 1, 3, 4),
        OFFSET: torch.ones(1, 2, 3, 4),
    }
    found = head.enlarged(answers, (12, 32))
    assert found[OFFSET].shape == (1, 2, 12, 32)
    assert (found[OFFSET][0, 0] == 4).all() and (found[OFFSET][0, 1] == 8).all()


def slotted(**changes):
    config = MaXDeepLabConfig(**HEADS["max_deeplab"].SMALL | changes)
    return config.head(made_backbone(vit.VIT), 4)


def test_slots_become_segments_and_stuff_of_a_kind_is_one():
    """Slots 0, 1: things; 2 and 3 one stuff; 4 nothing; 5 a thing that is too small."""
    owner = torch.full((10, 10), 2)
    owner[:, 5:] = 3
    owner[1:4, 1:4], owner[6:9, 6:9], owner[0, 9], owner[9, :3] = 0, 1, 5, 4
    masks = 6 * torch.eye(6)[owner].permute(2, 0, 1)[None]
    masks[0, :, 5, 5] = 0  # nobody's for certain
    kinds = torch.tensor([0, 0, 2, 2, 4, 1])  # 4: void
    answers = {MASKS: masks, CLASSES: 9 * torch.eye(5)[kinds][None]}
    head = slotted(least_thing=0.02, least_stuff=0.02)
    (parts,) = head.parts(answers)
    assert sorted(parts.labels.tolist()) == [0, 0, 2]
    wanted = torch.tensor([0, 0, 2, 2, -1, -1])[owner]
    wanted[5, 5] = -1
    labels = torch.cat([torch.tensor([-1]), parts.labels])
    assert torch.equal(labels[parts.ids], wanted)
    assert len(parts.ids[owner == 0].unique()) == len(parts.ids[owner == 1].unique()) == 1
    assert parts.ids[2, 2] != parts.ids[7, 7]
    assert parts.ids[5, 0] == parts.ids[5, 9]


def test_unsure_slots_are_not_there():
    masks = 6 * torch.eye(6)[torch.randint(0, 6, (8, 8))].permute(2, 0, 1)[None]
    answers = {MASKS: masks, CLASSES: torch.zeros(1, 6, 5)}
    (parts,) = slotted().parts(answers)
    assert not parts.ids.any() and not len(parts.labels)


def test_segments_are_in_order_and_of_the_images_size():
    for head in ("axial_deeplab", "max_deeplab"):
        for pair in (HEADS[head].AXIAL, *HEADS[head].TINY.values()):
            model, batch = made(pair), images(pair[0])
            assert torch.equal(model.heads(batch)[MAIN], model(batch))
            for parts in model.parts(batch):
                assert parts.ids.shape == batch.shape[2:]
                assert parts.ids.max() <= len(parts.labels)
                assert {*parts.labels.tolist()} <= {*range(5)}


@pytest.mark.parametrize("head", ["axial_deeplab", "max_deeplab"])
def test_every_parameter_on_an_axial_resnet_learns(head):
    model = made(HEADS[head].AXIAL)
    sum(t.square().sum() for t in model.answers(images(HEADS[head].AXIAL[0])).values()).backward()
    still = [n for n, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    assert still == []


def test_there_may_be_no_things():
    assert AxialDeepLabConfig(things=()).among(4) == ()
    assert AxialDeepLabConfig(things=(1, 7)).among(4) == (1,)
    assert AxialDeepLabConfig().among(133) == tuple(range(80))


def test_large_areas():
    numbers = torch.tensor([[3, 3, 3, -1], [0, 1, 1, -1]])
    assert large(numbers, 0.25).tolist() == [1, 3] and large(numbers, 0.0).tolist() == [0, 1, 3]
    assert large(torch.full((2, 2), -1), 0.1).tolist() == []


def test_codes_are_resampled_for_other_lines():
    """A line of the span is read as in the backbone; a longer one by codes between them."""
    torch.manual_seed(0)
    layer = AxialAttention(8, 8, 2, 4, across=True).eval()
    other = AxialAttention(8, 8, 2, 7, across=True).eval()
    held = {n: t for n, t in layer.state_dict().items() if not n.endswith("codes.table")}
    other.load_state_dict(held, strict=False)
    other.attend.codes.refit(layer.attend.codes)
    x = torch.randn(2, 8, 3, 7)
    torch.testing.assert_close(layer(x), other(x))


def test_a_stride_of_axial_resnet_is_where_its_config_says():
    backbone = made_backbone(axial.TINY["deep"])
    assert [level.stride[0] for level in backbone.levels] == [4, 8, 8, 8]
    taps = backbone(images(axial.TINY["deep"]), taps=("stages.0", "stages.2")).taps
    assert [tuple(tap.map.shape[1:]) for tap in taps] == [(16, 8, 16), (48, 4, 8)]


@pytest.mark.parametrize("rates", [(), (1, 3)])
def test_a_decoder_ends_on_the_finest_grid(rates):
    decoder = Decoder((4, 6, 8), Decoding(channels=5, context=7, low=(2, 3), rates=rates)).eval()
    maps = [torch.randn(2, d, s, s + 1) for d, s in ((4, 9), (6, 5), (8, 3))]
    assert decoder(maps).shape == (2, 5, 9, 10)
    with pytest.raises(ConfigError, match="one for each level but the coarsest"):
        Decoder((4, 6, 8, 8), Decoding())


def test_the_dual_path_has_the_gradients_of_its_differences():
    torch.manual_seed(0)
    layer = DualPath(3, 4, Path(filters=4, num_heads=2, hidden=3)).double().eval()
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter += 0.3 * torch.randn_like(parameter)
    pixels = torch.randn(2, 5, 3, dtype=torch.float64, requires_grad=True)
    memory = torch.randn(2, 2, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(layer, (pixels, memory))
