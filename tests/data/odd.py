"""Pictures that are odd, broken or hostile: how each is made, and what is right for it."""

import io
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from patchword.data.pixels import Pixels
from tests.data.pictures import smooth

COLOUR = Pixels()
SIDE = 32
RAMP = np.repeat(np.arange(256, dtype=np.uint8), 4).reshape(SIDE, SIDE)
PHOTO = np.kron(smooth(4, 6), np.ones((16, 16, 1), np.uint8))  # of even blocks: JPEG keeps them
ADOBE = np.array(  # from linear RGB to XYZ under D50
    [[0.60974, 0.20528, 0.14919], [0.31111, 0.62567, 0.06322], [0.01947, 0.06087, 0.74457]]
)
SRGB = np.array(
    [[0.43607, 0.38515, 0.14307], [0.22249, 0.71687, 0.06061], [0.01392, 0.09708, 0.71410]]
)


@dataclass(frozen=True)
class Odd:
    """One kind of picture. Without a truth, it has to be refused."""

    name: str
    suffix: str
    write: Callable[[Path], object]
    truth: np.ndarray | None  # rows, columns[, channels]
    pixels: Pixels = COLOUR
    near: float = 0.0  # levels that the mean may differ by: of lossy formats
    needs: str = ""  # a library
    stated: str = ""  # what the contract was told, in words


def odd_pictures() -> list[Odd]:
    """Return all kinds."""
    return [*_deep(), *_coloured(), *_arranged(), *_broken()]


def _deep() -> list[Odd]:
    wide = RAMP.astype(np.uint16) * 257
    twelve = np.rint(RAMP * (4095 / 255)).astype(np.uint16)
    window = Pixels(window=(0.0, 4095.0))
    unit = (RAMP / 255).astype(np.float32)

    def signed(path: Path) -> None:
        import tifffile

        tifffile.imwrite(path, (wide.astype(np.int32) - 32768).astype(np.int16))

    def white_is_zero(path: Path) -> None:
        import tifffile

        tifffile.imwrite(path, 65535 - wide, photometric="miniswhite")

    return [
        Odd("16-bit grey PNG", "png", _saved(wide), RAMP),
        Odd("16-bit grey TIFF", "tif", _saved(wide), RAMP),
        Odd("16-bit grey TIFF, white is zero", "tif", white_is_zero, RAMP, needs="tifffile"),
        Odd("16-bit colour PNG", "png", _deep_colour, np.stack([RAMP, RAMP.T, 255 - RAMP], -1)),
        Odd(
            "12 bits in a 16-bit PNG", "png", _saved(twelve), RAMP, window, 0.0, "",
            "window 0 .. 4095",
        ),
        Odd("float32 TIFF, 0 .. 1", "tif", _saved(unit), RAMP),
        Odd(
            "float32 TIFF, 0 .. 4095", "tif", _saved(unit * 4095), RAMP, window, 0.0, "",
            "window 0 .. 4095",
        ),
        Odd("int16 TIFF", "tif", signed, RAMP, needs="tifffile"),
        Odd("1-bit PNG", "png", _saved(Image.fromarray(RAMP > 99)), (RAMP > 99) * np.uint8(255)),
    ]  # fmt: skip


def _coloured() -> list[Odd]:
    hidden = np.dstack([PHOTO, np.zeros(PHOTO.shape[:2], np.uint8)])
    hidden[:8, :, 3] = 255
    shown = np.where(hidden[..., 3:] > 0, PHOTO, np.uint8(255))
    half = np.dstack([np.zeros_like(PHOTO), np.full(PHOTO.shape[:2], 51, np.uint8)])
    palette = Image.fromarray((RAMP > 99).astype(np.uint8), "P")
    palette.putpalette([200, 30, 60, 10, 20, 30])
    clear = np.where(RAMP[..., None] > 99, np.uint8([10, 20, 30]), np.uint8(255))
    cmyk = Image.fromarray(PHOTO).convert("CMYK")
    even = {"quality": 100, "subsampling": 0}
    return [
        Odd("RGBA PNG with hidden colours", "png", _saved(hidden), shown),
        Odd("RGBA PNG, black at 20 %", "png", _saved(half), np.full_like(PHOTO, 204)),
        Odd("palette PNG with a clear colour", "png", _saved(palette, transparency=0), clear),
        Odd("palette GIF with a clear colour", "gif", _saved(palette, transparency=0), clear),
        Odd("CMYK JPEG, Adobe's (inverted)", "jpg", _saved(cmyk, **even), PHOTO, near=1.0),
        Odd("CMYK TIFF", "tif", _saved(cmyk), PHOTO),
        Odd(
            "Adobe RGB by profile, PNG", "png", _saved(PHOTO, icc_profile=adobe_rgb()),
            as_srgb(PHOTO), near=1.0,
        ),
        Odd("broken profile, PNG", "png", _saved(PHOTO, icc_profile=b"none" * 40), PHOTO),
    ]  # fmt: skip


def _arranged() -> list[Odd]:
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = Image.fromarray(PHOTO).transpose(Image.Transpose.ROTATE_90)
    frames = [Image.fromarray(PHOTO)] + [
        Image.new("RGB", PHOTO.shape[1::-1], (k, 0, 9)) for k in (9, 99)
    ]
    pages = [Image.fromarray(RAMP.astype(np.uint16) * 257), Image.fromarray(np.zeros_like(RAMP))]
    several = {"save_all": True, "append_images": frames[1:], "lossless": True}
    even = {"quality": 100, "subsampling": 0}

    def five(path: Path) -> None:
        import tifffile

        bands = [PHOTO[..., k] for k in (2, 1, 0)] + [PHOTO[..., 0] // 2, PHOTO[..., 1] // 3]
        tifffile.imwrite(path, np.stack(bands, -1), photometric="minisblack", planarconfig="contig")

    def trailing(path: Path) -> None:
        Image.fromarray(PHOTO).save(path, **even)
        path.write_bytes(path.read_bytes() + b"a film that a telephone put here" * 9)

    return [
        Odd(
            "JPEG with EXIF orientation 6", "jpg", _saved(turned, exif=exif, **even), PHOTO, near=1
        ),
        Odd("PNG with EXIF orientation 6", "png", _saved(turned, exif=exif), PHOTO),
        Odd("animated WebP", "webp", _saved(frames[0], **several), PHOTO),
        Odd("animated PNG", "png", _saved(frames[0], **several), PHOTO),
        Odd(
            "16-bit TIFF of several pages", "tif",
            _saved(pages[0], save_all=True, append_images=pages[1:]), RAMP,
        ),
        Odd(
            "TIFF of 5 bands", "tif", five, PHOTO, Pixels(bands=(2, 1, 0)), 0.0, "tifffile",
            "bands 2, 1, 0",
        ),
        Odd("JPEG with trailing bytes", "jpg", trailing, PHOTO, near=1),
    ]  # fmt: skip


def _broken() -> list[Odd]:
    file = io.BytesIO()
    Image.fromarray(PHOTO).save(file, "JPEG")
    half = file.getvalue()[: file.tell() // 2]

    def wrong_sum(path: Path) -> None:
        packed = bytearray(zlib.compress(b"".join(b"\0" + row.tobytes() for row in RAMP)))
        packed[-1] ^= 1
        path.write_bytes(png(SIDE, SIDE, 8, 0, bytes(packed)))

    def broken_inside(path: Path) -> None:
        rows = np.random.default_rng(0).integers(0, 256, (64, 65), np.uint8)
        rows[:, 0] = 0  # the filter
        packed = bytearray(zlib.compress(rows.tobytes()))
        packed[2000:2040] = bytes(40)
        path.write_bytes(png(64, 64, 8, 0, bytes(packed)))

    return [
        Odd("JPEG cut in half", "jpg", lambda p: p.write_bytes(half), None),
        Odd("PNG of a wrong checksum", "png", wrong_sum, None),
        Odd("PNG broken inside", "png", broken_inside, None),
        Odd("PNG of 169 million pixels, 1 bit", "png", _black(13_000), None),
        Odd("PNG of 400 million pixels, 1 bit", "png", _black(20_000), None),
        Odd("web page called .jpg", "jpg", lambda p: p.write_bytes(b"<!DOCTYPE html>"), None),
    ]  # fmt: skip


def _saved(picture: "np.ndarray | Image.Image", **how: object) -> Callable[[Path], object]:
    image = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
    return lambda path: image.save(path, **how)


def png(rows: int, columns: int, bits: int, colours: int, packed: bytes) -> bytes:
    """Return a PNG of deflated rows; `colours` is 0 for grey, 2 for RGB."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    head = struct.pack(">IIBBBBB", columns, rows, bits, colours, 0, 0, 0)
    parts = ((b"IHDR", head), (b"IDAT", packed), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts)


def _deep_colour(path: Path) -> None:
    colours = np.stack([RAMP, RAMP.T, 255 - RAMP], -1).astype(">u2") * 257
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in colours)
    path.write_bytes(png(SIDE, SIDE, 16, 2, zlib.compress(rows)))


def _black(side: int) -> Callable[[Path], object]:
    def write(path: Path) -> None:
        packer, row = zlib.compressobj(1), bytes(1 + -(-side // 8))
        packed = b"".join(packer.compress(row) for _ in range(side)) + packer.flush()
        path.write_bytes(png(side, side, 1, 0, packed))

    return write


def adobe_rgb() -> bytes:
    """Return an ICC profile of Adobe RGB's primaries and gamma of 2.2."""
    gamma = struct.pack(">4sII H", b"curv", 0, 1, round(2.19921875 * 256)) + bytes(2)
    tags = {b"wtpt": _xyz([0.9642, 1.0, 0.8249])}
    for name, column in zip(b"rgb", ADOBE.T, strict=True):
        tags[bytes([name]) + b"XYZ"] = _xyz(column)
        tags[bytes([name]) + b"TRC"] = gamma
    start = 128 + 4 + 12 * len(tags)
    table, body = struct.pack(">I", len(tags)), b""
    for name, tag in tags.items():
        table += struct.pack(">4sII", name, start + len(body), len(tag))
        body += tag
    size = start + len(body)
    head = struct.pack(">I4sI4s4s4s", size, bytes(4), 0x02100000, b"mntr", b"RGB ", b"XYZ ")
    head += bytes(12) + b"acsp" + bytes(28) + _xyz([0.9642, 1.0, 0.8249])[8:]
    return head.ljust(128, b"\0") + table + body


def _xyz(values: "list[float] | np.ndarray") -> bytes:
    return b"XYZ " + bytes(4) + b"".join(struct.pack(">i", round(v * 65536)) for v in values)


def as_srgb(levels: np.ndarray) -> np.ndarray:
    """Convert Adobe RGB to sRGB by the formulas, not by littlecms."""
    linear = (levels / 255) ** 2.19921875 @ (np.linalg.inv(SRGB) @ ADOBE).T
    linear = linear.clip(0, 1)
    curve = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return np.rint(255 * curve).astype(np.uint8)
