"""A copy of a data set, damaged on purpose, and a table of what was done to which file.

    python benchmarks/damage.py DATA OUT [--seed 0] [--limit 2000] [--share 0.01] [--kinds ...]

DATA is anything that `patchword train` reads; OUT/data becomes a folder of pictures with split and
class folders, OUT/truth.csv the table. Names of files are numbers and say nothing. The same seed
and limit choose the same pictures, whatever the kinds: with `--kinds none` the copy is undamaged.
No file is damaged twice.

This stood before `patchword doctor` was written and is not adapted to it; benchmarks/doctor.py
measures the one against the other.

    label      the picture lies in the folder of another class
    exact      a further file with the same pixels: same bytes, other bytes, or other container
    near       a further file with nearly the same pixels: jpeg, resize, bright, crop, flip
    unreadable cut short, empty, or no picture at all
    rotated    stored turned or mirrored, with the EXIF tag that says so
    suffix     the name says another format than the bytes
    constant   one colour all over
    mode       stored as palette, 16-bit grey, CMYK, with transparency, or 1-bit
    class      a class has another name in one held-out split (one row, of the folder)
    rare       of a class, nine in ten training pictures are missing (one row, of the folder)

`exact` and `near` copies lie in the same split or in another one (`across`), and one exact copy in
four lies in another class.
"""

import argparse
import csv
import io
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path

import numpy as np
from PIL import Image, ImageEnhance, ImageOps

from patchword.data import Data, Pixels, Source, Subset, open_data

KINDS = (  # in the order in which they are done
    "rare",
    "label",
    "exact",
    "near",
    "unreadable",
    "rotated",
    "suffix",
    "constant",
    "mode",
    "class",
)
TURNS = {  # what undoes an EXIF orientation, for it to be stored
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    6: Image.Transpose.ROTATE_90,
    8: Image.Transpose.ROTATE_270,
}
ORIENTATION = 0x0112


@dataclass(frozen=True, kw_only=True)
class Damage:
    """A row of the truth: what was done to a file (or a class folder)."""

    file: str
    kind: str
    how: str
    original: str = ""  # of a copy
    was: str = ""  # the true class of a wrong label, the true name of a class


@dataclass
class Copy:
    """A folder of pictures on its way to ruin."""

    root: Path
    rng: np.random.Generator
    share: float
    places: dict[str, tuple[str, str]] = field(default_factory=dict)  # file -> split, class
    truth: list[Damage] = field(default_factory=list)
    next: int = 0

    def __post_init__(self) -> None:
        self.untouched: list[str] = []

    def add(self, split: str, label: str, data: bytes, suffix: str) -> str:
        name = f"{split}/{label}/{self.next:06}{suffix}"
        self.next += 1
        (self.root / name).parent.mkdir(parents=True, exist_ok=True)
        (self.root / name).write_bytes(data)
        self.places[name] = (split, label)
        return name

    def remove(self, name: str) -> None:
        (self.root / name).unlink()
        del self.places[name]

    def take(self, share: float | None = None) -> list[str]:
        """Choose files that nothing has happened to yet; they are spoken for from now on."""
        count = max(5, round((share or self.share) * len(self.places)))
        taken, self.untouched = self.untouched[:count], self.untouched[count:]
        if len(taken) < count:
            raise SystemExit("too few pictures for so much damage; lower --share or --kinds")
        return taken

    def one(self, options: list) -> object:
        return options[int(self.rng.integers(len(options)))]

    def image(self, name: str) -> Image.Image:
        with Image.open(self.root / name) as image:
            upright = ImageOps.exif_transpose(image)
            upright.load()
        return upright if upright.mode in ("L", "RGB") else upright.convert("RGB")

    def classes(self) -> list[str]:
        return sorted({label for _, label in self.places.values()})

    def splits(self) -> list[str]:
        return sorted({split for split, _ in self.places.values()})

    def note(self, file: str, kind: str, how: str, original: str = "", was: str = "") -> None:
        self.truth.append(Damage(file=file, kind=kind, how=how, original=original, was=was))


def encoded(image: Image.Image, suffix: str, **options: object) -> bytes:
    data = io.BytesIO()
    kind = "JPEG" if suffix.lower() in (".jpg", ".jpeg") else "PNG"
    if kind == "JPEG":
        options = {"quality": 95, **options}
    image.save(data, kind, **options)
    return data.getvalue()


def damage(
    data: str | Path, out: Path, *, seed: int, limit: int, share: float, kinds: tuple[str, ...]
) -> list[Damage]:
    """Copy at most `limit` pictures of each split, and damage a share of them, kind by kind."""
    opened = open_data(data, pixels=Pixels(), seed=0)
    copied = Copy(out / "data", np.random.default_rng(seed), share)
    copy(opened, copied, limit)
    copied.untouched = [str(name) for name in copied.rng.permutation(sorted(copied.places))]
    for kind in KINDS:
        if kind in kinds:
            DAMAGES[kind](copied)
    with (out / "truth.csv").open("w", encoding="utf-8", newline="") as file:
        table = csv.DictWriter(file, [f.name for f in fields(Damage)])
        table.writeheader()
        table.writerows(map(asdict, copied.truth))
    return copied.truth


def copy(data: Data, copied: Copy, limit: int) -> None:
    splits = {"train": data.train, "val": data.validation, "test": data.test}
    for split, source in splits.items():
        if source is None:
            continue
        count = min(limit, len(source))
        chosen = np.sort(copied.rng.permutation(len(source))[:count])
        for index in chosen.tolist():
            label = source.classes[int(source.labels[index])].replace("/", " or ")
            copied.add(split, label, *stored(source, index))


def stored(source: Source, index: int) -> tuple[bytes, str]:
    """Return a picture as its file holds it; as PNG where it has no file of its own."""
    if isinstance(source, Subset):
        return stored(source.source, int(source.indices[index]))
    path = getattr(source, "root", Path()) / source.name(index)
    if path.is_file():
        return path.read_bytes(), path.suffix
    pixels = source.read(index)
    grey = source.header(index).mode == "L"
    image = Image.fromarray(pixels[0].numpy() if grey else pixels.permute(1, 2, 0).numpy())
    return encoded(image, ".png"), ".png"


def label(copied: Copy) -> None:
    for name in copied.take(3 * copied.share):
        split, was = copied.places[name]
        other = copied.one([c for c in copied.classes() if c != was])
        data = (copied.root / name).read_bytes()
        copied.remove(name)
        moved = copied.add(split, str(other), data, Path(name).suffix)
        copied.note(moved, "label", "moved", was=was)


def exact(copied: Copy) -> None:
    for name in copied.take():
        split, own = copied.places[name]
        across = copied.rng.random() < 0.5 and len(copied.splits()) > 1
        place = copied.one([s for s in copied.splits() if s != split]) if across else split
        strange = copied.rng.random() < 0.25
        into = copied.one([c for c in copied.classes() if c != own]) if strange else own
        how = copied.one(["same bytes", "other bytes", "other container"])
        data, suffix = (copied.root / name).read_bytes(), Path(name).suffix
        if how == "other container":
            suffix, data = ".png", encoded(copied.image(name), ".png", compress_level=1)
        elif how == "other bytes":
            data += b"\0" * 16
        file = copied.add(str(place), str(into), data, suffix)
        copied.note(file, "exact", f"{how}{', across' if across else ''}", original=name)


def near(copied: Copy) -> None:
    for name in copied.take(2 * copied.share):
        split, own = copied.places[name]
        across = copied.rng.random() < 0.5 and len(copied.splits()) > 1
        place = copied.one([s for s in copied.splits() if s != split]) if across else split
        how = str(copied.one(sorted(NEAR)))
        data, suffix = NEAR[how](copied, copied.image(name), Path(name).suffix)
        file = copied.add(str(place), own, data, suffix)
        copied.note(file, "near", f"{how}{', across' if across else ''}", original=name)


def jpeg(copied: Copy, image: Image.Image, suffix: str) -> tuple[bytes, str]:
    return encoded(image, ".jpg", quality=int(copied.rng.integers(40, 86))), ".jpg"


def resize(copied: Copy, image: Image.Image, suffix: str) -> tuple[bytes, str]:
    scale = copied.rng.uniform(0.5, 0.9)
    size = tuple(max(1, round(scale * side)) for side in image.size)
    return encoded(image.resize(size, Image.Resampling.LANCZOS), suffix), suffix


def bright(copied: Copy, image: Image.Image, suffix: str) -> tuple[bytes, str]:
    factor = 1 + copied.rng.choice([-1, 1]) * copied.rng.uniform(0.05, 0.2)
    return encoded(ImageEnhance.Brightness(image).enhance(factor), suffix), suffix


def crop(copied: Copy, image: Image.Image, suffix: str) -> tuple[bytes, str]:
    columns, rows = image.size
    left, top, right, bottom = (
        max(1, round(copied.rng.uniform(0, 0.04) * side)) for side in (columns, rows) * 2
    )
    return encoded(image.crop((left, top, columns - right, rows - bottom)), suffix), suffix


def flip(copied: Copy, image: Image.Image, suffix: str) -> tuple[bytes, str]:
    return encoded(ImageOps.mirror(image), suffix), suffix


NEAR: dict[str, Callable[[Copy, Image.Image, str], tuple[bytes, str]]] = {
    "jpeg": jpeg,
    "resize": resize,
    "bright": bright,
    "crop": crop,
    "flip": flip,
}


def unreadable(copied: Copy) -> None:
    for name in copied.take():
        data = (copied.root / name).read_bytes()
        how = str(copied.one(["cut", "cut", "empty", "text"]))
        if how == "cut":
            share = copied.rng.uniform(0.1, 0.9)
            how, data = f"cut at {share:.0%}", data[: int(share * len(data))]
        else:
            data = b"" if how == "empty" else b"<html><body>404 Not Found</body></html>\n"
        (copied.root / name).write_bytes(data)
        copied.note(name, "unreadable", how)


def rotated(copied: Copy) -> None:
    for name in copied.take():
        turn = int(copied.one(sorted(TURNS)))  # pyright: ignore[reportArgumentType]
        exif = Image.Exif()
        exif[ORIENTATION] = turn
        turned = copied.image(name).transpose(TURNS[turn])
        (copied.root / name).write_bytes(encoded(turned, Path(name).suffix, exif=exif))
        copied.note(name, "rotated", f"orientation {turn}")


def suffix(copied: Copy) -> None:
    for name in copied.take():
        split, label = copied.places[name]
        data, own = (copied.root / name).read_bytes(), Path(name).suffix.lower()
        said = ".jpg" if own == ".png" else ".png"
        copied.remove(name)
        copied.note(copied.add(split, label, data, said), "suffix", f"{own} called {said}")


def constant(copied: Copy) -> None:
    for name in copied.take():
        image = copied.image(name)
        colour = tuple(copied.rng.integers(0, 256, 3).tolist())
        flat = Image.new("RGB", image.size, colour).convert(image.mode)
        (copied.root / name).write_bytes(encoded(flat, Path(name).suffix))
        copied.note(name, "constant", Path(name).suffix)


def mode(copied: Copy) -> None:
    for name in copied.take():
        split, label = copied.places[name]
        image = copied.image(name)
        how = str(copied.one(["palette", "16-bit", "CMYK", "transparent", "1-bit"]))
        data, ending = strange(image, how)
        copied.remove(name)
        copied.note(copied.add(split, label, data, ending), "mode", how)


def strange(image: Image.Image, how: str) -> tuple[bytes, str]:
    if how == "palette":
        return encoded(image.convert("P", palette=Image.Palette.ADAPTIVE), ".png"), ".png"
    if how == "16-bit":
        deep = np.asarray(image.convert("L")).astype(np.uint16) * 257
        return encoded(Image.fromarray(deep), ".png"), ".png"
    if how == "CMYK":
        return encoded(image.convert("RGB").convert("CMYK"), ".jpg"), ".jpg"
    if how == "transparent":
        clear = image.convert("RGBA")
        columns, rows = clear.size
        clear.paste((0, 0, 0, 0), (0, 0, max(1, columns // 2), rows))
        return encoded(clear, ".png"), ".png"
    return encoded(image.convert("1"), ".png"), ".png"


def class_(copied: Copy) -> None:
    held = [split for split in copied.splits() if split != "train"]
    if not held:
        return
    split, was = str(copied.one(held)), str(copied.one(copied.classes()))
    name = was.capitalize() if was.capitalize() != was else f"{was}s"
    moved = shutil.move(copied.root / split / was, copied.root / split / name)
    for row, damage in enumerate(copied.truth):
        old, new = f"{split}/{was}/", f"{split}/{name}/"
        changed = {
            key: new + value.removeprefix(old) if value.startswith(old) else value
            for key, value in asdict(damage).items()
        }
        copied.truth[row] = Damage(**changed)
    copied.note(Path(moved).relative_to(copied.root).as_posix(), "class", "renamed", was=was)


def rare(copied: Copy) -> None:
    label = str(copied.one(copied.classes()))
    members = [name for name, place in copied.places.items() if place == ("train", label)]
    for name in members[max(2, len(members) // 10) :]:
        copied.remove(name)
    copied.untouched = [name for name in copied.untouched if name in copied.places]
    copied.note(f"train/{label}", "rare", f"{len(members)} before")


DAMAGES: dict[str, Callable[[Copy], None]] = {
    "rare": rare,
    "label": label,
    "exact": exact,
    "near": near,
    "unreadable": unreadable,
    "rotated": rotated,
    "suffix": suffix,
    "constant": constant,
    "mode": mode,
    "class": class_,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("data")
    parser.add_argument("out", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--limit", type=int, default=2000)
    parser.add_argument("--share", type=float, default=0.01)
    parser.add_argument("--kinds", nargs="*", default=KINDS, choices=[*KINDS, "none"])
    given = parser.parse_args()
    given.out.mkdir(parents=True)
    rows = damage(
        given.data,
        given.out,
        seed=given.seed,
        limit=given.limit,
        share=given.share,
        kinds=tuple(given.kinds),
    )
    for kind in KINDS:
        print(f"{kind:<11}{sum(row.kind == kind for row in rows)}")


if __name__ == "__main__":
    main()
