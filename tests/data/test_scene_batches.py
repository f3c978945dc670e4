"""Batches of scenes: functions of their number, of pictures of any sizes, whoever makes them."""

import numpy as np
import pytest
import torch
from PIL import Image

from patchword.data.frame import Frame, seen_size
from patchword.data.joint import Distort, Joint, Sizes
from patchword.data.loader import loader
from patchword.data.open import open_data
from patchword.data.pixels import Pixels
from patchword.data.scene import VOID, Scene
from patchword.data.scene_batches import SceneBatches
from patchword.data.source import Source
from patchword.errors import ConfigError

FRAME = Frame(image_size=(24, 36), mean=(0.5, 0.25, 0.0), std=(0.2,))


def scenes(root, count=6):
    """Write pictures of several sizes whose red level tells the class of each pixel."""
    (root / "images").mkdir(parents=True)
    (root / "masks").mkdir()
    for number in range(count):
        draw = np.random.default_rng(number)
        rows, columns = 20 + 3 * number, 40 - 2 * number
        mask = draw.integers(0, 3, (rows // 5 + 1, columns // 5 + 1)).astype(np.uint8)
        mask = mask.repeat(5, axis=0).repeat(5, axis=1)[:rows, :columns]
        pixels = np.stack([100 * mask, mask * 0 + 7, mask * 0], axis=-1)
        Image.fromarray(pixels).save(root / f"images/{number}.png")
        Image.fromarray(mask).save(root / f"masks/{number}.png")
    (root / "classes.txt").write_text("a\nb\nc\n")
    return open_data(root, pixels=Pixels(), seed=0).train.source  # of all


PLAIN = Joint(distort=None)


def made(source, joint=PLAIN, frame=FRAME, batch_size=2, **settings):
    return SceneBatches(source, joint=joint, frame=frame, batch_size=batch_size, seed=3, **settings)


def alike(a, b):
    tensors = [torch.equal(getattr(a, n), getattr(b, n)) for n in ("images", "sizes", "weights")]
    masks = [torch.equal(x.mask, y.mask) for x, y in zip(a.scenes, b.scenes, strict=True)]
    return all(tensors) and all(masks) and a.indices.tolist() == b.indices.tolist()


def test_pictures_and_masks_change_alike(tmp_path):
    batches = made(scenes(tmp_path), Joint(scale=None, distort=None))
    filled = 0
    for number in range(8):
        batch = batches[number]
        assert batch.images.shape == (2, 3, 24, 36) and batch.weights.tolist() == [1, 1]
        for image, scene in zip(batch.images, batch.scenes, strict=True):
            known = scene.mask != VOID
            assert torch.equal(image[0][known], 100 * scene.mask[known])
            assert (torch.tensor([128, 64, 0]) == image[:, ~known].T).all()
            filled += int((~known).sum())
    assert filled  # some pictures are smaller than the window


def test_an_epoch_shows_each_picture_once_and_no_view_comes_twice(tmp_path):
    source = scenes(tmp_path)
    batches = made(source)
    seen = [batches[number] for number in range(2 * batches.steps_per_epoch)]
    first = torch.cat([batch.indices for batch in seen[: len(seen) // 2]])
    assert sorted(first.tolist()) == list(range(batches.steps_per_epoch * 2))
    assert seen[-1].epoch == 1 and not alike(seen[0], made(source)[batches.steps_per_epoch])


@pytest.mark.parametrize("workers", [0, 1])
def test_items_do_not_depend_on_who_makes_them_nor_on_the_start(tmp_path, workers):
    batches = made(scenes(tmp_path), Joint())
    found = list(loader(batches, start=3, stop=6, workers=workers))
    assert all(alike(batch, batches[3 + place]) for place, batch in enumerate(found))


def test_slices_are_the_batch(tmp_path):
    source = scenes(tmp_path)
    whole, halves = made(source, batch_size=4), made(source, batch_size=4, slices=2)
    parts = [halves[2 + part] for part in (0, 1)]
    assert torch.equal(torch.cat([part.images for part in parts]), whole[1].images)


def test_what_cannot_be_read_weighs_nothing(tmp_path):
    source = scenes(tmp_path)
    Image.fromarray(np.full((9, 9), 1, np.uint8)).save(tmp_path / source.masks[0])
    batches = made(source, batch_size=len(source) // 2 * 2)
    batch = batches[0]
    (row,) = (batch.indices == 0).nonzero().flatten().tolist()
    assert batch.weights.tolist() == [float(i != row) for i in range(len(batch.weights))]
    assert batch.scenes[row] == Scene() and not batch.images[row].any()


def test_pictures_of_several_sizes_stand_at_the_top_left(tmp_path):
    sizes = Sizes(shorter=(12, 16, 20), longest=64, before=(20,), window=(8, 16))
    joint = Joint(scale=None, crop=None, sizes=sizes, distort=None)
    batch = made(scenes(tmp_path), joint, batch_size=4)[0]
    assert len({tuple(size) for size in batch.sizes.tolist()}) > 1
    assert batch.images.shape[-2:] == tuple(batch.sizes.max(dim=0).values.tolist())
    for image, (rows, columns), scene in zip(
        batch.images, batch.sizes.tolist(), batch.scenes, strict=True
    ):
        assert scene.mask.shape == (rows, columns)
        assert not image[:, rows:].any() and not image[:, :, columns:].any()


class Big(Source):
    """One grey picture of a size."""

    channels, classes, kind = 3, ("a", "b"), "mask"
    labels = np.zeros(2, np.int64)

    def read(self, index):
        return torch.full((3, 90, 300), 9, dtype=torch.uint8)

    def scene(self, index):
        return Scene(mask=torch.arange(90 * 300).view(90, 300).remainder(2).byte())

    def header(self, index): ...
    def name(self, index): ...
    def fingerprint(self): ...


def test_scales_are_of_the_size_that_pictures_are_fitted_into():
    assert seen_size(90, 300, None) == (90, 300)
    assert seen_size(90, 300, (100, 60)) == (30, 100)
    assert seen_size(300, 90, (400, 45)) == (150, 45)
    joint = Joint(scale=(1.0, 1.0), crop=None, distort=None)
    for within, size in ((None, [90, 300]), ((100, 60), [30, 100])):
        frame = Frame(image_size=(16, 16), within=within)
        assert made(Big(), joint, frame)[0].sizes.tolist() == [size, size]


def test_settings_that_cannot_be_are_refused():
    with pytest.raises(ConfigError, match="in the place of scale and crop"):
        Joint(sizes=Sizes())
    with pytest.raises(ConfigError, match=r"joint\.scale"):
        Joint(scale=(2.0, 1.0))
    with pytest.raises(ConfigError, match=r"joint\.flip"):
        Joint(flip=2.0)
    assert Joint(distort=Distort(), crop=None, scale=None).steps(FRAME)[-1] == Distort()
