"""A picture with a wide-gamut profile, answered as timm and transformers answer it."""

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

import patchword
from patchword.conversion import save
from patchword.data import Pixels
from patchword.data.decode import decode
from patchword.factory import create_model
from patchword.predictor import normalise
from tests.data.odd import adobe_rgb
from tests.data.pictures import smooth
from tests.weights.foreign import close, images, timm_model, transformers_model


@pytest.fixture
def picture(tmp_path):
    """Write Adobe RGB of the size that the models read, so that nothing is resampled."""
    path = tmp_path / "wide.png"
    Image.fromarray(smooth(32, 32)).save(path, icc_profile=adobe_rgb())
    with Image.open(path) as image:
        assert np.abs(decode(image, Pixels()).numpy().astype(int) - decoded(image)).max() > 10
    return path


def decoded(image):
    return np.asarray(image.convert("RGB")).transpose(2, 0, 1).astype(int)


def answered(model, path):
    predictor = model.predictor()
    return model(normalise(predictor.pixels(path)[None], model.card.preprocessing))


@pytest.mark.peers
def test_a_model_of_timm_s_answers_as_timm_s_transform_has_it(tmp_path, picture):
    from timm.data import create_transform, resolve_model_data_config
    from timm.models import save_for_hf

    whole = {"crop_pct": 1.0, "input_size": (3, 32, 32)}
    theirs = timm_model("vit_tiny_patch16_224", img_size=32, pretrained_cfg_overlay=whole)
    save_for_hf(theirs, tmp_path / "timm", safe_serialization=True)
    transform = create_transform(**resolve_model_data_config(theirs))
    with Image.open(picture) as image:
        wanted = theirs(transform(image.convert("RGB"))[None])
    ours = patchword.load(tmp_path / "timm")
    assert ours.card.pixels == Pixels(profile="ignore")
    close(answered(ours, picture), wanted)
    ours.card = replace(ours.card, pixels=Pixels())
    with pytest.raises(AssertionError):
        close(answered(ours, picture), wanted)


@pytest.mark.peers
def test_a_model_of_transformers_answers_as_its_processor_has_it(tmp_path, picture):
    import transformers
    from transformers.image_utils import load_image

    theirs = transformers_model("ViTForImageClassification")
    processor = transformers.ViTImageProcessor(size={"height": 32, "width": 32})
    for part in (theirs, processor):
        part.save_pretrained(tmp_path / "hf")
    wanted = theirs(**processor(load_image(str(picture)), return_tensors="pt")).logits
    ours = patchword.load(tmp_path / "hf")
    assert ours.card.pixels == Pixels(profile="ignore")
    close(answered(ours, picture), wanted)


def test_a_contract_of_our_own_is_kept_and_one_that_others_have_no_place_for_is_not(tmp_path):
    model = create_model("vit_tiny_patch16_224", num_classes=2, image_size=32)
    for format, profile in (("patchword", "srgb"), ("timm", "ignore"), ("transformers", "ignore")):
        save(model, tmp_path / format, format=format)
        assert patchword.load(tmp_path / format).card.pixels == Pixels(profile=profile)
    again = patchword.load(tmp_path / "timm")
    save(again, tmp_path / "again")
    assert patchword.load(tmp_path / "again").card.pixels == Pixels(profile="ignore")


@pytest.mark.parametrize("profile", ["srgb", "ignore"])
def test_grey_images_are_read_as_grey(tmp_path, picture, profile):
    model = create_model("vit_mini_patch4_32", num_classes=2)
    model.card = replace(model.card, pixels=Pixels(profile=profile))
    grey, _ = patchword.adapt(model, in_chans=1)
    assert grey.card.pixels == Pixels(profile=profile, channels=1)
    fresh = create_model("vit_mini_patch4_32", num_classes=2, in_chans=1)
    for made in (grey, fresh):
        assert answered(made.eval(), picture).shape == made(images(channels=1)[:1]).shape
