"""The pixel contract as a value: what every picture is turned into, in training and ever after."""

from dataclasses import dataclass
from math import inf
from typing import Literal

from patchword.errors import ConfigError, suggest

FORMATS = {  # Pillow's name of each format that may be read: the suffixes of its files
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif", ".mpo"),
    "PNG": (".png", ".apng"),
    "WEBP": (".webp",),
    "BMP": (".bmp", ".dib"),
    "GIF": (".gif",),
    "TIFF": (".tif", ".tiff"),
    "PPM": (".ppm", ".pgm", ".pbm", ".pnm"),
    "AVIF": (".avif",),
    "JPEG2000": (".jp2", ".j2k", ".jpx"),
    "QOI": (".qoi",),
    "TGA": (".tga",),
}


@dataclass(frozen=True, kw_only=True)
class Pixels:
    """What every picture is turned into. What it is not told, it never guesses from contents."""

    channels: int = 3  # red, green, blue; 1: ITU-R 601 luma; or as many as there are bands
    background: tuple[int, int, int] = (255, 255, 255)  # shows where a picture is transparent
    window: tuple[float, float] | None = None  # what becomes black and white in samples of more
    # than 8 bits; None: all that an integer of their size holds, and floats from 0 to 1
    profile: Literal["srgb", "ignore"] = "srgb"  # an embedded ICC profile: converted, or left out
    bands: tuple[int, ...] | None = None  # of a TIFF, from 0: those that become the channels
    decoder: Literal["pillow", "simplejpeg"] = "pillow"  # of plain JPEGs; Pillow has the rest
    shrink: int | None = None  # decode JPEGs at 1/2, 1/4 or 1/8, no side below this: other pixels
    max_pixels: int = 64_000_000  # rows times columns; larger pictures are refused undecoded
    max_seconds: float = 10.0  # of the processor's time, for one picture
    formats: tuple[str, ...] = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "PPM")  # let in

    def __post_init__(self) -> None:
        if self.channels != len(self.bands) if self.bands else self.channels not in (1, 3):
            wanted = f"{len(self.bands)}, one per band" if self.bands else "1 or 3"
            raise ConfigError(f"pixels.channels is {self.channels}; wanted: {wanted}")
        if min(self.bands or (0,)) < 0:
            raise ConfigError(f"pixels.bands is {list(self.bands or ())}; wanted: 0 or more each")
        if not all(0 <= level <= 255 for level in self.background):
            raise ConfigError(
                f"pixels.background is {list(self.background)}; wanted: 0 to 255 each"
            )
        low, high = self.window or (0, 1)
        if not -inf < low < high < inf:
            raise ConfigError(
                f"pixels.window is {[low, high]}; wanted: what becomes black, and above it what "
                "becomes white"
            )
        if min(self.shrink or 1, self.max_pixels, self.max_seconds) <= 0:
            raise ConfigError("pixels.shrink, max_pixels and max_seconds; wanted: above 0")
        for name in self.formats:
            if name not in FORMATS:
                raise ConfigError(f"pixels.formats has {name!r}; {suggest(name, FORMATS)}")
