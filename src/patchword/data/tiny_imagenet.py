"""Tiny ImageNet's layout: class folders to train on, and one folder of validation pictures.

    train/n01443537/images/n01443537_0.JPEG
    val/images/val_0.JPEG       val/val_annotations.txt: val_0.JPEG, its class, a box
    test/images/test_0.JPEG     without labels

The classes are called as their folders: by WordNet's numbers.
"""

from pathlib import Path

from patchword.data.folder import FolderSource, scan, suffixes_of
from patchword.data.pixels import Pixels
from patchword.data.source import Data
from patchword.data.targets import Fault, Row, labelled, note
from patchword.errors import DataError

ANNOTATIONS = Path("val/val_annotations.txt")


def is_tiny_imagenet(folder: Path) -> bool:
    """Tell whether a folder is laid out so."""
    return (folder / ANNOTATIONS).is_file() and (folder / "train").is_dir()


def open_tiny_imagenet(root: Path, pixels: Pixels) -> Data:
    """Read the layout, but no picture.

    Raises:
        DataError: there are no training pictures, or too many lines of the annotations are wrong.
    """
    faults: list[Fault] = []
    found = scan(root, root / "train", suffixes_of(pixels))
    train = [
        Row(path, name, path)
        for name in sorted(found.pictures)
        for path in sorted(found.pictures[name])
    ]
    strange = [path for path in found.ignored if not path.endswith("_boxes.txt")]
    faults += [Fault(path, "is no picture in a class folder") for path in strange]
    if not train:
        raise DataError(f"{root}/train holds no pictures; wanted: train/CLASS/images/*.JPEG")
    lines = (root / ANNOTATIONS).read_text(encoding="utf-8").splitlines()
    held: list[Row] = []
    for number, line in enumerate(lines, start=1):
        place = f"{ANNOTATIONS.name}:{number}"
        name, _, rest = line.partition("\t")
        label = rest.split("\t")[0].strip()
        path = root / ANNOTATIONS.parent / "images" / Path(name).name
        if not line.strip():
            continue
        if not label:
            faults.append(Fault(place, "has no label"))
        elif not path.is_file():
            faults.append(Fault(place, "names a picture that is not in val/images"))
        else:
            held.append(Row(place, label, path.relative_to(root).as_posix()))
    made, wrong = labelled({"train": train, "validation": held}, "class")
    sources = {
        split: FolderSource(root, [row.picture for row in rows], targets, pixels)
        for split, (rows, targets) in made.items()
    }
    unlabelled = ("test: left out, since its pictures have no labels",)
    notes = note([*faults, *wrong], len(train) + len(lines)) + unlabelled * (root / "test").is_dir()
    return Data(name=root.name, notes=notes, ids=(), **sources)
