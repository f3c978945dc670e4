"""Batches: pure functions of their number, whoever makes them; epochs, slices, repeats, workers."""

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from multiprocessing import active_children

import numpy as np
import pytest
import torch
from torch.utils.data import Dataset

from patchword.data.augment import Augment
from patchword.data.batches import Epochs, EvalBatches, TrainBatches
from patchword.data.frame import Frame
from patchword.data.loader import cores, loader
from patchword.data.open import open_data
from patchword.data.pixels import Pixels
from patchword.data.randaugment import RandAugment
from patchword.data.source import ArraySource, cache
from patchword.errors import ConfigError, DataError
from tests.data.pictures import folder, smooth

FRAME = Frame(image_size=(16, 16), crop=1.0)
SMALL = Augment(crop_scale=None, translate=0.1)
PHOTOS = Augment(rand_augment=RandAugment(), erase=0.3)


def array_source(count=20, classes=3):
    images = np.stack([smooth(16, 16, seed) for seed in range(count)])
    labels = np.arange(count) % classes
    names = [str(label) for label in range(classes)]
    return ArraySource(torch.from_numpy(images).permute(0, 3, 1, 2), labels, names, "train")


def train(source=None, augment=SMALL, batch_size=4, **settings):
    source = source or array_source()
    return TrainBatches(
        source, augment=augment, frame=FRAME, batch_size=batch_size, seed=0, **settings
    )


def same(a, b):
    return all(
        torch.equal(x, y) if isinstance(x, torch.Tensor) else x == y
        for x, y in zip(a, b, strict=True)
    )


@pytest.fixture
def photos(tmp_path):
    folder(tmp_path, {"train/a": 5, "train/b": 5}, size=(20, 30))
    (tmp_path / "train/a/3.jpg").write_bytes(b"broken")
    return open_data(tmp_path, pixels=Pixels(), seed=0).train


def test_an_epoch_shows_every_picture_once():
    batches = train()
    assert batches.steps_per_epoch == 5
    first, second = ([batches[n + k] for k in range(5)] for n in (0, 5))
    for epoch, items in enumerate((first, second)):
        indices = torch.cat([item.indices for item in items])
        assert sorted(indices.tolist()) == list(range(20))
        assert [item.epoch for item in items] == [epoch] * 5
        assert torch.equal(torch.cat([item.labels for item in items]), indices % 3)
    assert [item.number for item in first + second] == list(range(10))
    assert not torch.equal(first[0].indices, second[0].indices)


def test_the_rest_that_fills_no_batch_is_left_out():
    assert train(batch_size=6).steps_per_epoch == 3
    assert train(batch_size=100).batch_size == 20
    assert train(array_source(21), batch_size=100, slices=3).batch_size == 18
    with pytest.raises(ConfigError, match="3 equal slices"):
        train(batch_size=4, slices=3)
    with pytest.raises(ConfigError, match="of 2 pictures"):
        train(array_source(2), slices=3)


@pytest.mark.parametrize("augment", [SMALL, PHOTOS])
def test_slices_make_up_the_whole_batch(augment):
    whole, sliced = (
        train(batch_size=8, augment=augment),
        train(batch_size=8, slices=4, augment=augment),
    )
    for number in (0, 1, 5):
        parts = [sliced[4 * number + part] for part in range(4)]
        assert [part.number for part in parts] == [number] * 4
        for field in ("images", "labels", "indices", "weights"):
            joined = torch.cat([getattr(part, field) for part in parts])
            assert torch.equal(joined, getattr(whole[number], field))


def test_repeats_show_fewer_pictures_in_more_views_and_neighbours_differ():
    batches = train(epochs=Epochs(repeats=3), batch_size=6)
    assert batches.steps_per_epoch == 3
    batch = batches[0]
    assert batch.indices[::2].unique().numel() == 1  # a b a b a b
    assert batch.indices[0] != batch.indices[1]
    assert not torch.equal(batch.images[0], batch.images[2]) or not torch.equal(
        batch.images[0], batch.images[4]
    )
    pictures = torch.cat([batches[n].indices for n in range(3)])
    assert pictures.unique().numel() == 6
    assert (pictures.view(-1, 2)[:, 0] != pictures.view(-1, 2)[:, 1]).all()
    assert train(array_source(1), epochs=Epochs(repeats=3), batch_size=1)[0].indices.tolist() == [0]


@pytest.mark.parametrize("augment", [SMALL, PHOTOS])
def test_a_picture_that_cannot_be_read_is_zeros_and_weighs_nothing(photos, augment):
    batches = train(photos, augment, batch_size=10)
    evaluated = EvalBatches(photos, frame=FRAME, batch_size=10)[0]
    for source in (batches[0], train(cache(photos), augment, batch_size=10)[0], evaluated):
        gone = source.indices == 3
        assert source.weights.tolist() == (~gone).float().tolist()
        assert not source.images[gone].any()
        assert source.images[~gone].flatten(1).any(1).all()
        assert len(source.images) == 10


def test_a_cached_source_gives_the_same_batches(photos):
    for augment in (SMALL, PHOTOS):
        assert same(train(photos, augment)[3], train(cache(photos), augment)[3])
    for size in ((16, 16), (20, 30)):
        frame = Frame(image_size=size, crop=1.0)
        plain = EvalBatches(photos, frame=frame, batch_size=4)
        assert same(plain[0], EvalBatches(cache(photos), frame=frame, batch_size=4)[0])


def test_evaluation_shows_all_in_order():
    batches = EvalBatches(array_source(10), frame=FRAME, batch_size=4)
    items = list(loader(batches, start=0, stop=len(batches)))
    assert [len(item.images) for item in items] == [4, 4, 2]
    assert torch.cat([item.indices for item in items]).tolist() == list(range(10))
    assert torch.equal(torch.cat([item.images for item in items]), batches.source.images)


def test_grey_pictures_are_spread_over_three_channels():
    data = open_data("digits", pixels=Pixels(), seed=0)
    batches = TrainBatches(
        data.train, augment=SMALL, frame=Frame(image_size=(8, 8), crop=1.0), batch_size=4, seed=0
    )
    images = batches[0].images
    assert images.shape == (4, 3, 8, 8)
    assert torch.equal(images[:, 0], images[:, 2])
    images[0] = 7  # the source must not be written through
    assert data.train.images.max() <= 255 and not (data.train.images[0] == 7).all()


def test_workers_change_nothing(photos):
    batches = train(photos, PHOTOS)
    alone = [batches[n] for n in range(1, 8, 2)]
    state = torch.random.get_rng_state()
    for settings in (dict(workers=0), dict(workers=2), dict(workers=1, context="spawn")):
        made = list(loader(batches, start=1, stop=8, step=2, **settings))
        assert len(made) == 4
        assert all(same(a, b) for a, b in zip(alone, made, strict=True)), settings
    assert torch.equal(torch.random.get_rng_state(), state)


class Failing(Dataset):
    def __getitem__(self, item):
        if item == 2:
            raise DataError("item 2")
        return item


@pytest.mark.parametrize("workers", [0, 1])
def test_what_an_item_raises_comes_through(workers):
    items = loader(Failing(), start=0, stop=9, workers=workers)
    assert [next(items), next(items)] == [0, 1]
    with pytest.raises(DataError, match="item 2"):
        next(items)


def test_closing_stops_the_thread():
    made = []

    class Counting(Dataset):
        def __getitem__(self, item):
            made.append(item)
            return item

    items = loader(Counting(), start=0, stop=1000)
    assert next(items) == 0
    items.close()
    assert not [t for t in threading.enumerate() if t.name.startswith("patchword-data")]
    assert len(made) <= 3


class Killed(Dataset):
    def __getitem__(self, item):
        if item == 3:
            time.sleep(0.1)  # else it may die while it hands over an item, and all wait 5 s for it
            os.kill(os.getpid(), signal.SIGKILL)
        return torch.zeros(1)


def test_a_killed_worker_is_an_error_not_a_hang():
    """And the other ends with it, though the error is kept: else the process could not end."""
    others = {*active_children()}
    with pytest.raises(DataError, match="a data worker died") as caught:
        list(loader(Killed(), start=0, stop=50, workers=2))
    assert caught.value and {*active_children()} <= others


def test_importing_data_imports_no_heavy_library():
    heavy = ("torchvision", "sklearn", "pyarrow", "timm")
    code = f"""
        import sys
        import patchword.data
        sys.exit(",".join(name for name in {heavy} if name in sys.modules) or 0)
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(code)], check=True)


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="the system binds no process")
def test_cores_are_those_that_the_process_may_use():
    all_ = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(all_)})
        assert cores() == 1
    finally:
        os.sched_setaffinity(0, all_)
    assert cores() == len(all_)
