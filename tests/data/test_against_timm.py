"""The same parameters, the same picture: our operations beside timm's, and beside Pillow's."""

import random

import numpy as np
import pytest
import torch
from PIL import Image

from patchword.data.augment import Augment, crop, crop_box, draw_crops
from patchword.data.draw import Address, Stream
from patchword.data.erase import erase_box
from patchword.data.frame import Frame, frame
from patchword.data.mix import MixPlan, apply_mix
from patchword.data.randaugment import OPERATIONS, RandAugment, operate, rand_augment, strength
from tests.data.pictures import smooth

pytestmark = pytest.mark.peers

NAMES = {
    "auto_contrast": ("AutoContrast", "AutoContrast"),
    "equalize": ("Equalize", "Equalize"),
    "invert": ("Invert", "Invert"),
    "rotate": ("Rotate", "Rotate"),
    "posterize": ("PosterizeIncreasing", "Posterize"),
    "solarize": ("SolarizeIncreasing", "Solarize"),
    "solarize_add": ("SolarizeAdd", "SolarizeAdd"),
    "color": ("ColorIncreasing", "Color"),
    "contrast": ("ContrastIncreasing", "Contrast"),
    "brightness": ("BrightnessIncreasing", "Brightness"),
    "sharpness": ("SharpnessIncreasing", "Sharpness"),
    "shear_x": ("ShearX", "ShearX"),
    "shear_y": ("ShearY", "ShearY"),
    "translate_x": ("TranslateXRel", "TranslateXRel"),
    "translate_y": ("TranslateYRel", "TranslateYRel"),
}
FILL = (124, 116, 104)


def tensor(picture):
    return torch.from_numpy(np.array(picture)).permute(2, 0, 1)


def difference(ours, picture):
    return (ours.int() - tensor(picture).int()).abs().float().mean().item()


@pytest.fixture
def picture():
    return Image.fromarray(smooth(60, 80))


def test_the_operations_are_timm_s():
    from timm.data import auto_augment as theirs

    assert [NAMES[name][0] for name in OPERATIONS] == theirs._RAND_INCREASING_TRANSFORMS
    assert [NAMES[name][1] for name in OPERATIONS] == theirs._RAND_TRANSFORMS


@pytest.mark.parametrize("negative", [False, True])
@pytest.mark.parametrize("increasing", [True, False])
@pytest.mark.parametrize("name", OPERATIONS)
def test_an_operation_is_timm_s(monkeypatch, picture, name, increasing, negative):
    from timm.data import auto_augment as theirs

    monkeypatch.setattr(random, "random", lambda: 0.9 if negative else 0.1)
    foreign = NAMES[name][0 if increasing else 1]
    for interpolation in ("bilinear", "bicubic"):
        for level in (0.0, 1.7, 5.0, 9.0, 9.6, 10.0):
            arguments = theirs.LEVEL_TO_ARG[foreign]
            amounts = arguments(level, {}) if arguments else ()
            amount = strength(name, level / 10, negative=negative, increasing=increasing)
            if amounts:
                assert amount == pytest.approx(amounts[0], abs=1e-9)
            if name == "posterize" and amount == 0:
                continue  # no bit is kept: black, which newer Pillows refuse to make for timm
            expected = theirs.NAME_TO_OP[foreign](
                picture,
                *amounts,
                fillcolor=FILL,
                resample=Image.Resampling[interpolation.upper()],
            )
            fill = torch.tensor(FILL, dtype=torch.uint8)
            ours = operate(name, tensor(picture), amount, fill=fill, interpolation=interpolation)
            assert difference(ours, expected) < 1.0, (level, interpolation)


def test_randaugment_does_on_average_what_timm_s_does(monkeypatch):
    from timm.data.auto_augment import NAME_TO_OP, posterize, rand_augment_transform

    def to_black(image, bits, **rest):  # see above
        return posterize(image, bits, **rest) if bits else image.point(lambda _: 0)

    monkeypatch.setitem(NAME_TO_OP, "PosterizeIncreasing", to_black)
    random.seed(0)
    np.random.seed(0)
    picture = Image.fromarray(smooth(16, 16))
    theirs = rand_augment_transform("rand-m9-mstd0.5-inc1", {"img_mean": FILL})
    count = 3000
    expected = torch.stack([tensor(theirs(picture)) for _ in range(count)]).float()
    mean = tuple(value / 255 for value in FILL)
    into = Frame(image_size=(16, 16), mean=mean)
    address = Address(0, 0, np.arange(count), np.zeros(count, np.int64))
    images = tensor(picture).repeat(count, 1, 1, 1)
    ours = rand_augment(images, RandAugment(), into, address, "bilinear").float()
    same = (ours == tensor(picture)).flatten(1).all(1).float().mean()
    still = (expected == tensor(picture)).flatten(1).all(1).float().mean()
    assert abs(same - still) < 0.03
    assert (ours.mean(0) - expected.mean(0)).abs().mean() < 2.5
    assert (ours.std(0) - expected.std(0)).abs().mean() < 2.5


@pytest.mark.parametrize("size", [(300, 200), (60, 900), (900, 60), (33, 33)])
def test_crops_have_timm_s_distribution(size):
    from timm.data.transforms import RandomResizedCropAndInterpolation as Theirs

    rows, columns = size
    settings = Augment(crop_scale=(0.08, 1.0))
    address = Address(0, 0, np.arange(3000), np.zeros(3000, np.int64))
    ours = np.array([crop_box(rows, columns, settings, row) for row in draw_crops(address)])
    picture = Image.new("L", (columns, rows))
    random.seed(0)
    theirs = np.array(
        [Theirs.get_params(picture, (0.08, 1.0), (3 / 4, 4 / 3)) for _ in range(3000)]
    )
    scale = np.array([rows, columns, rows, columns])
    assert np.abs((ours - theirs).mean(axis=0) / scale).max() < 0.02
    assert np.abs((ours.std(axis=0) - theirs.std(axis=0)) / scale).max() < 0.02


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_a_crop_is_resized_as_pillow_does(picture, interpolation):
    settings = Augment(interpolation=interpolation)
    into = Frame(image_size=(32, 24))
    for drawn in draw_crops(Address(0, 0, np.arange(10), np.zeros(10, np.int64))):
        top, left, height, width = crop_box(60, 80, settings, drawn)
        part = picture.crop((left, top, left + width, top + height))
        expected = part.resize((24, 32), Image.Resampling[interpolation.upper()])
        assert difference(crop(tensor(picture), settings, into, drawn), expected) < 0.5


@pytest.mark.parametrize("size", [(60, 80), (81, 47), (50, 50), (20, 200)])
@pytest.mark.parametrize("image_size", [(32, 32), (32, 48), (48, 32)])
@pytest.mark.parametrize("share", [0.875, 0.9, 1.0])
def test_the_frame_is_timm_s(size, image_size, share):
    from timm.data.transforms_factory import transforms_imagenet_eval

    picture = Image.fromarray(smooth(*size))
    square = image_size[0] == image_size[1]
    theirs = transforms_imagenet_eval(
        image_size[0] if square else image_size,
        crop_pct=share,
        interpolation="bicubic",
        normalize=False,
    )
    ours = frame(tensor(picture), Frame(image_size=image_size, crop=share))
    expected = theirs(picture)
    assert (ours.int() - expected.int()).abs().float().mean() < 0.5


def test_erased_boxes_have_timm_s_distribution():
    from timm.data.random_erasing import RandomErasing

    random.seed(0)
    theirs = RandomErasing(1.0, mode="const", device="cpu")
    masks = [theirs(torch.ones(1, 40, 60)) == 0 for _ in range(2000)]
    address = Address(0, 0, np.arange(2000), np.zeros(2000, np.int64))
    ours = torch.zeros(2000, 40, 60)
    for mask, drawn in zip(ours, address.uniforms(Stream.ERASE, 23)[:, 1:], strict=True):
        top, left, height, width = erase_box(40, 60, drawn)
        mask[top : top + height, left : left + width] = 1
    expected = torch.cat(masks).float()
    assert (ours.mean(0) - expected.mean(0)).abs().max() < 0.05
    areas, wanted = ours.mean((1, 2)), expected.mean((1, 2))
    assert abs(areas.mean() - wanted.mean()) < 0.01
    assert abs(areas.std() - wanted.std()) < 0.01


@pytest.mark.parametrize("plan", [MixPlan(0.3, None), MixPlan(0.6, (0.4, 0.95))])
def test_mixing_is_timm_s(monkeypatch, plan):
    from timm.data.mixup import Mixup

    rows, columns = 20, 30
    torch.manual_seed(0)
    images, labels = torch.rand(8, 3, rows, columns), torch.arange(8) % 5
    theirs = Mixup(mixup_alpha=1.0, label_smoothing=0.0, num_classes=5)
    cut = plan.centre is not None
    monkeypatch.setattr(theirs, "_params_per_batch", lambda: (plan.lam, cut))
    if cut:
        places = iter([int(rows * plan.centre[0]), int(columns * plan.centre[1])])
        monkeypatch.setattr(np.random, "randint", lambda *args, **kwargs: next(places))
    # timm mixes i with 7 - i; put our pairs (0, 1), (2, 3), ... there.
    order = torch.tensor([0, 2, 4, 6, 7, 5, 3, 1])
    expected, soft = theirs(images[order].clone(), labels[order])
    ours = apply_mix(images, torch.eye(5)[labels], plan)
    assert torch.equal(ours[0][order], expected)
    assert torch.allclose(ours[1][order], soft, atol=1e-7)
