"""Every odd picture comes out as it should, or is refused in one line; no file is written to."""

import hashlib
import time
from importlib.util import find_spec

import numpy as np
import pytest

from patchword.data.decode import decode, header
from patchword.data.jpeg import decode_jpeg
from patchword.data.pixels import Pixels
from patchword.errors import ConfigError, ImageError
from tests.data.odd import odd_pictures

ODD = {odd.name: odd for odd in odd_pictures()}


def written(odd, folder):
    if odd.needs and find_spec(odd.needs) is None:
        pytest.skip(f"{odd.needs} is not installed")
    path = folder / f"picture.{odd.suffix}"
    odd.write(path)
    return path


def as_truth(read, truth):
    grey = truth.ndim == 2
    return read.numpy().transpose(1, 2, 0).astype(int), np.stack([truth] * 3, -1) if grey else truth


@pytest.mark.parametrize("name", ODD)
def test_odd_pictures(tmp_path, name):
    odd = ODD[name]
    path = written(odd, tmp_path)
    before = hashlib.sha256(path.read_bytes()).digest()
    if odd.truth is None:
        start = time.thread_time()
        with pytest.raises(ImageError) as caught:
            decode(path, odd.pixels)
        assert time.thread_time() - start < 1
        assert "\n" not in str(caught.value)
    else:
        read, truth = as_truth(decode(path, odd.pixels), odd.truth)
        assert read.shape == truth.shape
        assert np.abs(read - truth).mean() <= odd.near
        assert header(path, odd.pixels).size == truth.shape[:2]
    assert hashlib.sha256(path.read_bytes()).digest() == before


NOTES = {
    "16-bit grey PNG": "16-bit greys from 0 to 65535 scaled",
    "16-bit colour PNG": "16-bit colours cut to their upper 8 bits",
    "12 bits in a 16-bit PNG": "16-bit greys from 0 to 4095 scaled",
    "float32 TIFF, 0 .. 1": "floats from 0 to 1 scaled",
    "int16 TIFF": "16-bit greys from -32768 to 32767 scaled",
    "RGBA PNG with hidden colours": "transparency laid over white",
    "CMYK TIFF": "CMYK without a colour profile converted plainly",
    "Adobe RGB by profile, PNG": "a colour profile converted to sRGB",
    "broken profile, PNG": "a colour profile that is broken or does not fit left out",
    "JPEG with EXIF orientation 6": "turned upright, as EXIF says",
    "animated WebP": "only the first frame used",
    "16-bit TIFF of several pages": "only the first page used",
    "TIFF of 5 bands": "bands 2, 1, 0 of 5 used",
}


@pytest.mark.parametrize("name", NOTES)
def test_what_is_done_is_said(tmp_path, name):
    path = written(ODD[name], tmp_path)
    assert NOTES[name] in header(path, ODD[name].pixels).notes


def test_plain_pictures_need_no_words(tmp_path):
    assert header(written(ODD["JPEG with trailing bytes"], tmp_path), Pixels()).notes == ()
    assert header(written(ODD["1-bit PNG"], tmp_path), Pixels()).notes == ()


def test_a_profile_may_be_left_out(tmp_path):
    odd = ODD["Adobe RGB by profile, PNG"]
    raw, _ = as_truth(decode(written(odd, tmp_path), Pixels(profile="ignore")), odd.truth)
    assert np.abs(raw - odd.truth).max() > 20


def test_a_deep_colour_takes_no_window(tmp_path):
    path = written(ODD["16-bit colour PNG"], tmp_path)
    with pytest.raises(ImageError, match="no window can be put to"):
        decode(path, Pixels(window=(0.0, 4095.0)))


def test_bands_that_are_not_there_are_refused(tmp_path):
    path = written(ODD["TIFF of 5 bands"], tmp_path)
    with pytest.raises(ImageError, match=r"has 5 bands, from 0; wanted: band 7"):
        decode(path, Pixels(channels=1, bands=(7,)))
    with pytest.raises(ImageError, match=r"state pixels\.bands"):
        decode(path, Pixels())
    assert decode(path, Pixels(channels=5, bands=(0, 1, 2, 3, 4))).shape[0] == 5
    plain = written(ODD["1-bit PNG"], tmp_path)
    with pytest.raises(ImageError, match="is no TIFF"):
        decode(plain, Pixels(bands=(0, 1, 2)))


def test_decoding_that_takes_too_long_is_stopped(tmp_path):
    path = written(ODD["JPEG with trailing bytes"], tmp_path)
    with pytest.raises(ImageError, match="takes more than max_seconds"):
        decode(path, Pixels(max_seconds=1e-9))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"channels": 2}, "channels is 2; wanted: 1 or 3"),
        ({"bands": (0, 1)}, "wanted: 2, one per band"),
        ({"window": (5.0, 5.0)}, "wanted: what becomes black"),
        ({"background": (0, 0, 256)}, "wanted: 0 to 255 each"),
        ({"formats": ("JPG",)}, "did you mean 'JPEG'"),
        ({"formats": ("EPS",)}, "formats has 'EPS'"),
        ({"max_seconds": 0.0}, "wanted: above 0"),
    ],
)
def test_contracts_that_mean_nothing(settings, message):
    with pytest.raises(ConfigError, match=message):
        Pixels(**settings)


def test_simplejpeg_gives_pillow_s_pixels(shared):
    """The bound of the fast decoder: no level apart, on real photos, plain or not."""
    pytest.importorskip("simplejpeg")
    fast = Pixels(decoder="simplejpeg")
    for path in sorted((shared / "sets/imagenet_samples/val").glob("*/*.JPEG"))[::6]:
        assert (decode(path, fast) == decode(path, Pixels())).all(), path.name


@pytest.mark.parametrize("name", [name for name, odd in ODD.items() if odd.suffix == "jpg"])
def test_simplejpeg_leaves_odd_jpegs_to_pillow(tmp_path, name):
    pytest.importorskip("simplejpeg")
    path = written(ODD[name], tmp_path)
    try:
        expected = decode(path, Pixels())
    except ImageError as error:
        with pytest.raises(ImageError) as caught:
            decode(path, Pixels(decoder="simplejpeg"))
        assert str(caught.value) == str(error)
    else:
        assert (decode(path, Pixels(decoder="simplejpeg")) == expected).all()


def test_shrinking_is_asked_for_and_the_same_by_both_decoders(tmp_path):
    from PIL import Image

    pytest.importorskip("simplejpeg")
    path = tmp_path / "large.jpg"
    Image.effect_noise((301, 203), 40).convert("RGB").save(path)
    whole = decode(path, Pixels())
    small = decode(path, Pixels(shrink=64))
    assert whole.shape == (3, 203, 301)
    assert small.shape == (3, 102, 151)  # half; a quarter would be below 64 rows
    assert (decode(path, Pixels(shrink=64, decoder="simplejpeg")) == small).all()
    with Image.open(path) as image:
        assert decode_jpeg(image, Pixels()) is not None
