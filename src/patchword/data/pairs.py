"""Pictures and what lies beside them: files of one stem in two folders, in the layouts in use.

images/train/1.jpg  masks/train/1.png        the split within
train/images/1.jpg  train/masks/1.png        the split without
images/1.jpg        masks/1.png              no split
train/1.png         trainannot/1.png         as CamVid has it
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, TypeAlias

from patchword.data.columns import SPLIT_NAMES
from patchword.data.source import Data, Source, divided

IMAGES = ("images", "image", "imgs", "img", "JPEGImages", "input_images", "rgb", "leftImg8bit")
WHOLE = "all"  # the split of what has none


class Pair(NamedTuple):
    """Two files, by their paths relative to the data set's folder."""

    picture: str
    beside: str | None  # None where there is no such file


Pairs: TypeAlias = dict[str, list[Pair]]  # by split: train, validation, test; or `WHOLE`


@dataclass(frozen=True, kw_only=True)
class Beside:
    """What is looked for beside pictures."""

    folders: tuple[str, ...]  # what theirs are called
    suffixes: tuple[str, ...]
    endings: tuple[str, ...] = ("",)  # of their stems, after the picture's
    own: tuple[str, ...] = ("",)  # endings of the pictures' stems, which theirs lack
    annot: bool = False  # they may lie in a split's folder with `annot` behind its name


def find_pairs(root: Path, beside: Beside, suffixes: tuple[str, ...]) -> Pairs:
    """Return pictures with what lies beside them, by split, in the order of their names.

    Args:
        root: the data set's folder.
        beside: what is looked for; nothing is returned unless at least one file is found.
        suffixes: of pictures.
    """
    found: Pairs = {}
    for split, pictures, others in _folders(root, beside):
        pairs = list(_paired(root, pictures, others, beside, suffixes))
        if split not in found and any(pair.beside for pair in pairs):
            found[split] = pairs
    return {WHOLE: found[WHOLE]} if WHOLE in found and "train" not in found else _split(found)


def _split(found: Pairs) -> Pairs:
    found.pop(WHOLE, None)
    return found if "train" in found else {}


def _folders(root: Path, beside: Beside) -> Iterator[tuple[str, Path, Path]]:
    """Yield every split with its folder of pictures and the one beside it, as far as they exist."""
    splits = [path for path in _within(root) if path.name.lower() in SPLIT_NAMES]
    for folder in splits:
        split = SPLIT_NAMES[folder.name.lower()]
        for other in [folder / name for name in beside.folders]:
            yield from ((split, folder / name, other) for name in IMAGES if other.is_dir())
        if beside.annot:
            yield split, folder, folder.with_name(f"{folder.name}annot")
    for pictures in [root / name for name in IMAGES if (root / name).is_dir()]:
        for others in [root / name for name in beside.folders if (root / name).is_dir()]:
            for folder in _within(pictures):
                if folder.name.lower() in SPLIT_NAMES:
                    yield SPLIT_NAMES[folder.name.lower()], folder, others / folder.name
            yield WHOLE, pictures, others


def _within(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_dir())


def _paired(
    root: Path, pictures: Path, others: Path, beside: Beside, suffixes: tuple[str, ...]
) -> Iterator[Pair]:
    if not (pictures.is_dir() and others.is_dir()):
        return
    known = {
        path.relative_to(others).with_suffix("").as_posix(): path.relative_to(root).as_posix()
        for path in sorted(others.rglob("*"))
        if path.suffix.lower() in beside.suffixes
    }
    for path in sorted(pictures.rglob("*")):
        if path.suffix.lower() in suffixes:
            stem = path.relative_to(pictures).with_suffix("").as_posix()
            names = (
                stem.removesuffix(own) + ending for own in beside.own for ending in beside.endings
            )
            match = next((known[name] for name in names if name in known), None)
            yield Pair(path.relative_to(root).as_posix(), match)


def with_both(pairs: Pairs, what: str) -> tuple[dict[str, list[tuple[str, str]]], list[str]]:
    """Leave out pictures that nothing lies beside; return the others, and a note on those."""
    kept: dict[str, list[tuple[str, str]]] = {}
    notes: list[str] = []
    for split, found in pairs.items():
        kept[split] = [(p.picture, p.beside) for p in found if p.beside is not None]
        alone = [pair.picture for pair in found if pair.beside is None]
        if alone:
            notes.append(f"{split}: {len(alone)} left out, without {what}: {alone[0]!r}, ...")
    return kept, notes


def data_of(root: Path, sources: Mapping[str, Source], notes: Sequence[str], *, seed: int) -> Data:
    """Return the data set of some splits; where there is but one, a share of it is held out."""
    if len(sources) == 1 and (only := sources.get(WHOLE) or sources.get("train")):
        return divided(root.name, only, seed=seed, notes=notes)
    return Data(
        name=root.name,
        train=sources["train"],
        validation=sources.get("validation"),
        test=sources.get("test"),
        notes=tuple(notes),
    )
