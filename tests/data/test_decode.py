"""The pixel contract, on pictures made here and on a collection of hostile ones."""

import csv
import io
import os
import struct
import time
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from PIL import Image

from patchword.data.decode import ORIENTATION, decode, header
from patchword.data.pixels import Pixels
from patchword.errors import ImageError
from tests.data.odd import adobe_rgb
from tests.data.pictures import smooth

GREY = Pixels(channels=1)
COLOUR = Pixels()
# Its floats go from -3.1 to 3.1: the contract wants a window for them.
STATED = {"files/10ct_32bit_128.tiff": Pixels(window=(-3.2, 3.2))}


def values(image, pixels=COLOUR):
    return decode(image, pixels).numpy()


@pytest.mark.parametrize("tag", range(1, 9))
@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tif"])
def test_pictures_are_turned_upright(tmp_path, tag, suffix):
    upright = Image.fromarray(np.kron(smooth(3, 5), np.ones((16, 16, 1), np.uint8)))
    backwards = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    stored = upright.transpose(backwards[tag]) if tag > 1 else upright
    exif = Image.Exif()
    exif[ORIENTATION] = tag
    path = tmp_path / f"picture.{suffix}"
    stored.save(path, exif=exif, quality=100)
    read = values(path)
    assert read.shape == (3, 48, 80)
    error = np.abs(read.transpose(1, 2, 0).astype(int) - np.asarray(upright)).mean()
    assert error < 12  # chroma is stored at half resolution; a wrong turn differs by 60 and more
    if suffix != "png":  # whose metadata may come after the pixels
        assert header(path, COLOUR).size == (48, 80)


def test_sixteen_bits_are_scaled_by_what_the_container_can_hold(tmp_path):
    ramp = np.arange(0, 65536, 257, dtype=np.uint16).reshape(16, 16)
    Image.fromarray(ramp).save(tmp_path / "deep.png")
    Image.fromarray(ramp).save(tmp_path / "deep.tif")
    (tmp_path / "deep.pgm").write_bytes(b"P5 16 16 65535\n" + ramp.astype(">u2").tobytes())
    for name in ("deep.png", "deep.tif", "deep.pgm"):
        assert np.array_equal(values(tmp_path / name, GREY)[0], np.arange(256).reshape(16, 16))
        assert values(tmp_path / name).shape == (3, 16, 16)
    dark = np.full((4, 4), 255, np.uint16)  # stays dark: no picture is stretched by its contents
    assert values(Image.fromarray(dark), GREY).max() == 1


def test_floats_must_lie_between_0_and_1():
    ramp = np.linspace(0, 1, 256, dtype=np.float32).reshape(16, 16)
    assert np.array_equal(values(Image.fromarray(ramp), GREY)[0].ravel(), np.arange(256))
    for bad in (ramp * 255, ramp - 0.1, np.where(ramp > 0.5, np.nan, ramp)):
        with pytest.raises(ImageError, match="needs a window"):
            decode(Image.fromarray(bad.astype(np.float32)), GREY)
    with pytest.raises(ImageError, match="needs a window"):
        decode(Image.fromarray(np.full((4, 4), 70, np.int32)), GREY)


def test_transparency_shows_the_background():
    pixels = Pixels(background=(10, 200, 30))
    half = Image.new("RGBA", (2, 1), (255, 0, 0, 255))
    half.putpixel((1, 0), (255, 0, 0, 0))
    assert values(half, pixels)[:, 0].T.tolist() == [[255, 0, 0], [10, 200, 30]]
    assert values(Image.new("RGBA", (1, 1), (255, 0, 0, 128)), pixels)[:, 0, 0].tolist() == [
        133, 100, 15,
    ]  # fmt: skip
    grey = Image.new("LA", (1, 1), (7, 0))
    assert values(grey, Pixels(channels=1, background=(9, 9, 9))).ravel().tolist() == [9]


@pytest.mark.parametrize("mode", ["L", "RGB", "P", "I;16"])
def test_a_colour_may_stand_for_transparent(tmp_path, mode):
    picture = Image.fromarray(np.array([[0, 9]], np.uint16)) if mode == "I;16" else None
    picture = picture or Image.fromarray(np.array([[0, 9]], np.uint8)).convert(mode)
    key = (9, 9, 9) if mode == "RGB" else 9
    if mode == "P":
        picture.info["transparency"] = picture.getpixel((1, 0))
    picture.save(tmp_path / "key.png", transparency=picture.info.get("transparency", key))
    read = values(tmp_path / "key.png", Pixels(background=(1, 2, 3)))
    assert read[:, 0, 0].tolist() == [0, 0, 0]
    assert read[:, 0, 1].tolist() == [1, 2, 3]


def test_grey_stays_grey_and_colour_becomes_luma():
    grey = Image.fromarray(np.arange(256, dtype=np.uint8).reshape(16, 16))
    assert np.array_equal(values(grey, GREY)[0].ravel(), np.arange(256))
    assert np.array_equal(values(grey), np.broadcast_to(values(grey, GREY), (3, 16, 16)))
    red, green, blue = np.eye(3, dtype=np.uint8) * 255
    luma = values(Image.fromarray(np.stack((red, green, blue))[None]), GREY).ravel()
    assert luma.tolist() == [76, 150, 29]  # 0.299, 0.587, 0.114


@pytest.mark.parametrize("mode", ["1", "P", "CMYK", "YCbCr", "HSV", "LAB", "RGBa", "La", "PA"])
def test_every_mode_has_a_way_to_both_contracts(mode):
    colour = Image.fromarray(smooth(8, 8))
    start = colour.convert({"RGBa": "RGBA", "La": "LA", "PA": "P"}.get(mode, mode))
    if mode == "LAB":
        start = Image.new("LAB", (8, 8), (128, 128, 128))
    picture = start if start.mode == mode else start.convert(mode)
    assert decode(picture, COLOUR).shape == (3, 8, 8)
    assert decode(picture, GREY).shape == (1, 8, 8)


def test_the_first_of_several_frames_is_read(tmp_path):
    frames = [Image.new("RGB", (4, 4), (k, 0, 0)) for k in (200, 100, 0)]
    for name in ("many.gif", "many.webp", "many.tif", "many.png"):
        frames[0].save(tmp_path / name, save_all=True, append_images=frames[1:], lossless=True)
        assert values(tmp_path / name)[0].min() >= 198


def test_what_is_too_large_is_refused_by_its_header(tmp_path):
    def chunk(kind, body):
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    head = struct.pack(">IIBBBBB", 30_000, 30_000, 8, 0, 0, 0, 0)  # 900 megapixels of nothing
    bomb = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")
    with pytest.raises(ImageError, match="pixels"):
        decode(bomb, COLOUR)
    with pytest.raises(ImageError, match="max_pixels = 5"):
        decode(Image.new("L", (3, 2)), Pixels(max_pixels=5))


@pytest.mark.parametrize("make", [os.mkdir, os.mkfifo, lambda path: None])
def test_what_is_no_file_is_refused_at_once(tmp_path, make):
    path = tmp_path / "picture.png"
    make(path)
    with pytest.raises(ImageError, match="picture"):
        decode(path, COLOUR)


def test_formats_are_told_by_contents_and_only_the_contract_s_are_read(tmp_path):
    Image.new("RGB", (2, 2)).save(tmp_path / "really.jpg", format="PNG")
    assert decode(tmp_path / "really.jpg", COLOUR).shape == (3, 2, 2)
    with pytest.raises(ImageError, match="wanted: JPEG"):
        decode(tmp_path / "really.jpg", Pixels(formats=("JPEG",)))


def test_errors_are_one_line_whatever_the_name(tmp_path):
    path = tmp_path / "a\nb.png"
    path.write_bytes(b"no picture")
    with pytest.raises(ImageError) as caught:
        decode(path, COLOUR)
    assert "\n" not in str(caught.value)


def test_broken_pictures_are_errors_of_ours(tmp_path):
    Image.fromarray(smooth(64, 64)).save(tmp_path / "whole.jpg")
    whole = (tmp_path / "whole.jpg").read_bytes()
    random = np.random.default_rng(0)
    for _ in range(100):
        broken = bytearray(whole[: random.integers(1, len(whole))])
        for place in random.integers(0, len(broken), 3):
            broken[place] = random.integers(256)
        try:
            decode(bytes(broken), COLOUR)
        except ImageError as error:
            assert "\n" not in str(error)


def test_warnings_stay_inside_and_nothing_global_is_touched(tmp_path):
    path = tmp_path / "odd.jpg"
    cut_short = b"Exif\0\0MM\0*\0\0\0\x08\0\x05"  # a directory of five entries, none there
    Image.fromarray(smooth(9, 9)).save(path, exif=cut_short)
    with pytest.warns(UserWarning, match="Corrupt EXIF"), Image.open(path) as image:
        image.getexif()
    before, limit = list(warnings.filters), Image.MAX_IMAGE_PIXELS
    with ThreadPoolExecutor(8) as pool:  # with warnings as errors, as in all of these tests
        read = list(pool.map(lambda _: decode(path, COLOUR), range(64)))
    assert all(image.shape == (3, 9, 9) for image in read)
    assert list(warnings.filters) == before
    assert limit == Image.MAX_IMAGE_PIXELS


def test_hostile_pictures(shared):
    root = shared / "sets/hostile_images"
    with (root / "manifest.tsv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    assert len(rows) > 200
    for row in rows:
        start = time.thread_time()
        try:
            image = decode(root / row["file"], STATED.get(row["file"], COLOUR))
        except ImageError as error:
            assert row["expect"] != "ok", str(error)
            assert "\n" not in str(error)
        else:
            assert row["expect"] != "reject", row
            assert image.dtype == torch.uint8
            assert image.shape[0] == 3
        assert time.thread_time() - start < 5, row
    for file in STATED:
        with pytest.raises(ImageError, match="needs a window"):
            decode(root / file, COLOUR)


def test_hostile_profiles():
    """littlecms is handed what strangers wrote: broken profiles are left out, never an error."""
    random = np.random.default_rng(1)
    picture, whole = Image.fromarray(smooth(8, 8)), adobe_rgb()
    for _ in range(200):
        broken = bytearray(whole[: random.integers(1, len(whole) + 1)])
        for place in random.integers(0, len(broken), random.integers(1, 8)):
            broken[place] = random.integers(256)
        picture.info["icc_profile"] = bytes(broken)
        assert decode(picture, COLOUR).shape == (3, 8, 8)


def test_a_png_whose_end_is_broken_has_its_pixels_none_the_less():
    file = io.BytesIO()
    Image.fromarray(smooth(64, 64)).save(file, "PNG")
    whole = file.getvalue()
    read = decode(whole[:-10], COLOUR)
    assert np.array_equal(read.permute(1, 2, 0), smooth(64, 64))
    inside = bytearray(whole[:-10])
    inside[len(inside) // 2] ^= 255
    with pytest.raises(ImageError):
        decode(bytes(inside), COLOUR)
