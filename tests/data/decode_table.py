"""Write what each loader makes of odd pictures into docs/decoding.md.

    python -m tests.data.decode_table

Each cell is measured here and now, with the peers as installed: the mean difference from what is
right, in levels of 255, `error`, or `decoded` where the picture should have been refused. A cell
in bold is wrong. torchvision and timm are told to let every suffix in.
"""

import logging
import platform
import re
import tempfile
import warnings
from datetime import date
from importlib.metadata import version
from pathlib import Path

import numpy as np
from PIL import Image

from patchword.data.decode import decode
from patchword.errors import ImageError
from tests.data.odd import Odd, odd_pictures

PAGE = Path(__file__).parents[2] / "docs/decoding.md"
BETWEEN = re.compile(r"(?<=<!-- measured -->\n).*(?=<!-- end -->)", re.DOTALL)
WRONG = 1.5  # levels: more is no matter of rounding or of a JPEG's quality


def ours(path, odd):
    return decode(path, odd.pixels).permute(1, 2, 0).numpy()


def naive(path, odd):
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


def torchvision_folder(path, odd):
    from torchvision.datasets import ImageFolder

    return np.asarray(ImageFolder(path.parent.parent, is_valid_file=lambda _: True)[0][0])


def timm_dataset(path, odd):
    from timm.data import create_dataset
    from timm.data.readers import add_img_extensions

    add_img_extensions([path.suffix])  # by itself it passes over all but PNG and JPEG
    return np.asarray(create_dataset("", root=str(path.parent.parent))[0][0])


def transformers_load(path, odd):
    from transformers.image_utils import load_image

    return np.asarray(load_image(str(path)))


LOADERS = {
    "Patchword": (ours, None),
    "torchvision ImageFolder": (torchvision_folder, "torchvision"),
    "timm": (timm_dataset, "timm"),
    "transformers load_image": (transformers_load, "transformers"),
    "Pillow, convert('RGB')": (naive, "pillow"),
}


def cell(load, path: Path, odd: Odd) -> str:
    """Measure one loader on one picture."""
    try:
        read = load(path, odd)
    except ImageError:
        return "refused" if odd.truth is None else "**refused**"
    except Exception:  # peers raise everything
        return "error" if odd.truth is None else "**error**"
    if odd.truth is None:
        return "**decoded**"
    truth = odd.truth if odd.truth.ndim == 3 else np.stack([odd.truth] * 3, -1)
    if read.shape != truth.shape:
        return f"**{read.shape[1]} x {read.shape[0]}**"
    error = np.abs(read.astype(int) - truth).mean()
    return f"**{error:.0f}**" if error > WRONG else f"{error:.1f}".replace("0.0", "0")


def rows() -> list[list[str]]:
    """Measure every loader on every picture, each in a folder of its own."""
    found = []
    for odd in odd_pictures():
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "class" / f"picture.{odd.suffix}"
            path.parent.mkdir()
            odd.write(path)
            name = f"{odd.name} ({odd.stated} stated)" if odd.stated else odd.name
            found.append([name, *(cell(load, path, odd) for load, _ in LOADERS.values())])
    return found


def main() -> None:
    """Measure, and put the table between its marks on the page."""
    warnings.simplefilter("ignore")
    logging.disable()
    peers = ", ".join(f"{name} {version(name)}" for _, name in LOADERS.values() if name)
    lines = [
        f"Measured {date.today()} by `python -m tests.data.decode_table`, Python "
        f"{platform.python_version()}, {peers}:",
        "",
        "| picture | " + " | ".join(LOADERS) + " |",
        "| --- |" + " --- |" * len(LOADERS),
        *("| " + " | ".join(row) + " |" for row in rows()),
        "",
    ]
    page = PAGE.read_text(encoding="utf-8")
    PAGE.write_text(BETWEEN.sub(lambda _: "\n".join(lines), page), encoding="utf-8")


if __name__ == "__main__":
    main()
