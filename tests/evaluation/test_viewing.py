"""How pictures are looked at: whole, through windows, at scales; brought back to their own size."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from patchword.errors import ConfigError
from patchword.evaluation.looker import reads_any_size
from patchword.evaluation.tiles import Windows, slide
from patchword.evaluation.viewing import Viewer, Viewing
from patchword.factory import build, describe
from patchword.predictor import normalise

ONE_SIZE = {"stem_dim": 8, "embed_dim": [16, 24], "depth": [1, 1], "num_heads": 2}


def viewer(name="segmenter", backbone="vit_micro_patch2_8", within=None, size=8, **settings):
    card = describe(name, backbone=backbone, num_classes=3, image_size=size)
    frame = replace(card.preprocessing, within=within)
    card = replace(card, config={**card.config, **settings}, preprocessing=frame, kind="mask")
    torch.manual_seed(0)
    model = build(card)
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.3)
    return Viewer(model, card)


def joined(viewer, picture, how):
    return torch.cat([part for _, part in viewer.parts(picture, how)], dim=2)


PICTURE = torch.randint(0, 256, (3, 13, 22), dtype=torch.uint8)


def test_a_picture_is_seen_whole_at_its_own_size():
    it = viewer()
    images = normalise(PICTURE[None], it.card.preprocessing)
    torch.testing.assert_close(joined(it, PICTURE, Viewing()), it.model(images))
    assert torch.equal(it.classes(PICTURE, Viewing()), it.model(images).argmax(dim=1)[0].byte())


def test_windows_are_those_of_slide():
    it = viewer()
    images = normalise(PICTURE[None], it.card.preprocessing)
    wanted = slide(it.model, images, Windows(size=(8, 8), stride=(5, 5)))
    torch.testing.assert_close(joined(it, PICTURE, Viewing(by="windows")), wanted)
    other = Viewing(by="windows", window=(6, 10), stride=1.0)
    wanted = slide(it.model, images, Windows(size=(6, 10), stride=(6, 10)))
    torch.testing.assert_close(joined(it, PICTURE, other), wanted)


def test_a_picture_is_fitted_and_answered_at_its_own_size():
    it = viewer(within=(40, 7))
    seen = []
    it.model.register_forward_hook(lambda model, given, found: seen.append(given[0].shape[2:]))
    assert it.classes(PICTURE, Viewing()).shape == (13, 22)
    assert seen == [(7, 12)]
    assert it.classes(PICTURE, Viewing(by="windows")).shape == (13, 22)


def test_a_large_picture_is_seen_through_windows():
    it = viewer()
    assert it.windows((32, 32), Viewing()) is None
    assert it.windows((33, 32), Viewing()) == Windows(size=(8, 8), stride=(5, 5))
    assert it.windows((33, 32), Viewing(by="whole")) is None


def test_a_network_of_one_size_sees_windows_filled_up():
    """Smaller pictures are cut back, and what fills them up says nothing of classes beyond them."""
    it = viewer("segformer", "axial26s", size=32, **ONE_SIZE)
    assert not reads_any_size(it.card)
    for picture in (PICTURE, torch.randint(0, 256, (3, 40, 21), dtype=torch.uint8)):
        assert joined(it, picture, Viewing()).shape[2:] == picture.shape[1:]
    with pytest.raises(ConfigError, match="reads pictures of 32x32 pixels alone"):
        it.classes(PICTURE, Viewing(by="whole"))


def test_several_looks_are_averaged_as_probabilities():
    it = viewer()
    twice = joined(it, PICTURE, Viewing(flip=True))
    plain, mirrored = (
        joined(it, picture, Viewing()).softmax(dim=1) for picture in (PICTURE, PICTURE.flip(-1))
    )
    torch.testing.assert_close(twice, (plain + mirrored.flip(-1)) / 2)


def test_depths_are_averaged_as_they_are():
    card = describe("dpt", backbone="vit_micro_patch2_8", num_classes=1, image_size=8)
    card = replace(card, kind="depth")
    torch.manual_seed(0)
    it = Viewer(build(card), card)
    nn.init.constant_(it.model.head.answer[-2].bias, 2.0)
    plain, mirrored = (it.depths(p, Viewing()) for p in (PICTURE, PICTURE.flip(-1)))
    found = it.depths(PICTURE, Viewing(flip=True))
    torch.testing.assert_close(found, (plain + mirrored.flip(-1)) / 2)


def test_settings_that_cannot_be_are_refused():
    for wrong in ({"stride": 0.0}, {"stride": 1.5}, {"scales": ()}, {"scales": (0.0,)}):
        with pytest.raises(ConfigError, match="wanted: a share above 0"):
            Viewing(**wrong)
