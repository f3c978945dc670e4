"""A trained model's answers for every pixel of pictures, written as files."""

from collections.abc import Iterator, Mapping, Sequence
from os.path import commonpath
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float32, UInt8
from torch import Tensor

from patchword.data import decode, header
from patchword.data.frame import seen_size
from patchword.data.views import views as named
from patchword.errors import ConfigError, ImageError
from patchword.evaluation.viewing import Viewer, Viewing
from patchword.factory import metric
from patchword.files import replacing
from patchword.heads.dense import Dense
from patchword.pages.overlays import palette
from patchword.predictor import Card
from patchword.results import Prediction
from patchword.training.pictured import answer, colours

MILLIMETRES = 1000.0  # per metre: depths are whole numbers of them
DEEPEST = 65535


def placed(
    model: Dense, names: Sequence[str], out: Path, *, top: int, views: Sequence[str]
) -> Iterator[Prediction]:
    """Answer pictures place by place, and write what was answered into a folder.

    Masks stand in `masks/`, depths in `depths/`, what shows them in `overlays/`, under the
    pictures' own names below the folder that they have in common.

    Args:
        model: in evaluation mode.
        names: files.
        out: the folder; it is made.
        top: how many classes to name for each.
        views: flip, and scale=1.2 for a closer look.

    Raises:
        ConfigError: there is no such view, or the folder is one of the pictures'.
    """
    assert model.card is not None
    viewer, how = Viewer(model, model.card), viewing(views)
    kind = "masks" if model.card.kind == "mask" else "depths"
    for each in pictures(names, model.card, out, {kind: ".png", "overlays": ".jpg"}):
        if isinstance(each, Prediction):
            yield each
            continue
        name, picture, notes, places = each
        found = answer(viewer, picture, how)
        write_answer(places[0], found, viewer)
        write_picture(places[1], colours(viewer, picture, found))
        of = shares(found, viewer) if kind == "masks" else {}
        most = sorted(of, key=lambda one: -of[one])[:top]
        yield Prediction(
            name,
            names=tuple(most),
            shares=tuple(of[one] for one in most),
            notes=(*notes, *windowed(viewer, picture, how)),
            written=tuple(map(str, places)),
        )


class Opened(NamedTuple):
    """A picture, and the files that what is answered of it goes into."""

    name: str
    picture: UInt8[Tensor, "c h w"]
    notes: tuple[str, ...]  # what the pixel contract did to it
    places: tuple[Path, ...]


def pictures(
    names: Sequence[str], card: Card, out: Path, folders: Mapping[str, str]
) -> Iterator[Opened | Prediction]:
    """Read pictures one by one; of one that cannot be read, say why.

    Args:
        names: files.
        card: of the model that answers them.
        out: the folder of the answers.
        folders: in it, and the suffix of what goes into each, under the pictures' own names below
            the folder that they have in common.

    Raises:
        ConfigError: an answer would be written over a picture.
    """
    root = Path(commonpath([Path(name).absolute().parent for name in names]))
    for name in names:
        inside = Path(name).absolute().relative_to(root)
        places = tuple(out / kind / inside.with_suffix(end) for kind, end in folders.items())
        if Path(name).resolve() in {place.resolve() for place in places}:
            raise ConfigError(f"--out {out} would write over {name}; name another folder")
        try:
            picture = decode(Path(name), card.pixels)
            notes = header(Path(name), card.pixels).notes
        except ImageError as error:
            yield Prediction(name, error=str(error))
            continue
        yield Opened(name, picture, notes, places)


def windowed(viewer: Viewer, picture: UInt8[Tensor, "c h w"], how: Viewing) -> tuple[str, ...]:
    """Say through which windows a picture was seen, if it was not seen whole."""
    within = viewer.card.preprocessing.within
    windows = viewer.windows(seen_size(picture.shape[-2], picture.shape[-1], within), how)
    return (
        () if windows is None else ("seen through windows of {}x{} pixels".format(*windows.size),)
    )


def viewing(views: Sequence[str]) -> Viewing:
    """Return how pictures are looked at, from the words of the command.

    Raises:
        ConfigError: a word is not known, or has no meaning here.
    """
    asked = named(views)
    if asked.crops:
        raise ConfigError("--views crops: every pixel is answered already; wanted: flip, scale=1.2")
    return Viewing(scales=asked.scales, flip=asked.flip)


def shares(mask: UInt8[Tensor, "h w"], viewer: Viewer) -> dict[str, float]:
    """Return the share of the pixels of each class that is there."""
    names = viewer.card.names
    counts = mask.flatten().bincount(minlength=len(names)).tolist()
    return {name: count / mask.numel() for name, count in zip(names, counts, strict=True) if count}


def write_answer(
    path: Path, found: UInt8[Tensor, "h w"] | Float32[Tensor, "h w"], viewer: Viewer
) -> None:
    """Write classes as a PNG with a palette; depths as one of 16 bits.

    Depths of a metric model are millimetres; others are inverse depths of no unit, the farthest
    place at 0 and the nearest at 65535.
    """
    from PIL import Image

    if found.dtype == torch.uint8:
        image = Image.fromarray(found.numpy(), mode="P")
        image.putpalette(palette().tobytes())
    else:
        values = found.double().numpy()
        if metric(viewer.card):
            values = values * MILLIMETRES
        else:
            low, high = float(values.min()), float(values.max())
            values = (values - low) / max(high - low, 1e-12) * DEEPEST
        image = Image.fromarray(values.round().clip(0, DEEPEST).astype(np.uint16))
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as part:
        image.save(part, format="PNG")


def write_picture(path: Path, pixels: UInt8[np.ndarray, "h w 3"]) -> None:
    """Write a picture to look at."""
    from PIL import Image

    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as part:
        Image.fromarray(pixels).save(part, format="JPEG", quality=90)
