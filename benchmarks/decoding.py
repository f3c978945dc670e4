"""How many photos a second one core reads: ours beside torchvision's ImageFolder and timm's.

    python -m benchmarks.decoding FOLDER [--rounds N] [--page]

FOLDER holds photos in class folders. One process, one thread, a picture after the other, as each
loader's workers make them, as bytes; the rate is by the core's own time. Three jobs: decoding
alone; resizing and cropping to 224 as in evaluation; a random resized crop and flip to 224 as in
training, where ours are drawn for a batch at once, and so timed, stacked. In a round everybody has
a turn, in an order drawn anew, so that all meet the same weather; the ratio is that of one round,
and its median and range are kept. Pixels are held against ours by Pillow without profiles, as peers
know none, in levels of 255; in training crops are drawn differently, so there nothing is compared.
`--page` puts the table into docs/decoding.md.
"""

import argparse
import os
import random
import re
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import date
from importlib.metadata import version
from pathlib import Path
from statistics import median

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch

from patchword.data import Augment, Frame, Pixels, TrainBatches, frame
from patchword.data.folder import open_pictures
from patchword.training.origin import processor

SIDE = 224
INTO = Frame(image_size=(SIDE, SIDE), crop=0.875, interpolation="bilinear")
AUGMENT = Augment(crop_scale=(0.08, 1.0), hflip=0.5, interpolation="bilinear")
PAGE = Path(__file__).parents[1] / "docs/decoding.md"
BETWEEN = re.compile(r"(?<=<!-- rates -->\n).*(?=<!-- end of rates -->)", re.DOTALL)
TOGETHER = 30  # pictures in a batch of ours
BASE = "torchvision ImageFolder"
Reader = Callable[[int], object]  # the number of a picture to its pixels


def contracts():
    fast = Pixels(profile="ignore", decoder="simplejpeg")
    return {
        "Patchword, profiles ignored": Pixels(profile="ignore"),
        "Patchword": Pixels(),
        "Patchword, profiles ignored, simplejpeg": fast,
        "Patchword, profiles ignored, simplejpeg, shrink 256": replace(fast, shrink=256),
    }


def own(folder):
    return {name: open_pictures(folder, ("a",), c).read for name, c in contracts().items()}


def peers(folder, pictures, tensors, timm):
    """Return torchvision's and timm's readers, by their transforms of pictures and of tensors."""
    from timm.data import create_dataset
    from torchvision.datasets import ImageFolder
    from torchvision.io import ImageReadMode, decode_image

    def fast(path):
        return decode_image(path, mode=ImageReadMode.RGB)

    plain = ImageFolder(folder, pictures)
    direct = ImageFolder(folder, tensors, loader=fast)
    found = {BASE: lambda i: plain[i][0], f"{BASE}, decode_image": lambda i: direct[i][0]}
    theirs = create_dataset("", root=str(folder))
    theirs.transform = timm
    return {**found, "timm": lambda i: theirs[i][0]}


def decoding(folder):
    theirs = peers(folder, None, None, None)  # Pillow's pictures, whose pixels are no array yet
    arrays = {name: lambda i, read=read: np.asarray(read(i)) for name, read in theirs.items()}
    return {**own(folder), **arrays}


def evaluating(folder):
    from timm.data import create_transform
    from torchvision.transforms import v2

    found = {name: lambda i, read=read: frame(read(i), INTO) for name, read in own(folder).items()}
    cut = [v2.Resize(256), v2.CenterCrop(SIDE)]
    timm = create_transform(SIDE, interpolation="bilinear", crop_pct=INTO.crop, use_prefetcher=True)
    return {
        **found,
        **peers(folder, v2.Compose([*cut, v2.PILToTensor()]), v2.Compose(cut), timm),
    }


def in_batches(batches):
    """Return a reader that makes a whole batch when its first picture is asked for."""
    made = {}

    def read(index):
        number, row = divmod(index, TOGETHER)
        if row == 0:
            made[0] = batches[number].images
        return made[0][row]

    return read


def training(folder):
    from timm.data import create_transform
    from torchvision.transforms import v2

    found = {}
    for name, contract in contracts().items():
        source = open_pictures(folder, ("a",), contract)
        found[name] = in_batches(
            TrainBatches(source, augment=AUGMENT, frame=INTO, batch_size=TOGETHER, seed=0)
        )
    cut = [v2.RandomResizedCrop(SIDE), v2.RandomHorizontalFlip()]
    timm = create_transform(
        SIDE, is_training=True, color_jitter=None, interpolation="bilinear", use_prefetcher=True
    )
    return {
        **found,
        **peers(folder, v2.Compose([*cut, v2.PILToTensor()]), v2.Compose(cut), timm),
    }


def levels(picture):
    """Return pixels as (c, h, w), whoever read them."""
    found = np.asarray(picture).astype(np.int16)
    return found.transpose(2, 0, 1) if found.shape[2] == 3 else found


def apart(readers: dict[str, Reader], count: int) -> dict[str, str]:
    """Say how far the pixels of each are from the first's: at most, and in the mean."""
    first, *_ = readers.values()
    gaps: dict[str, list[tuple[int, float]]] = {name: [] for name in readers}
    other = dict.fromkeys(readers, 0)
    for index in range(count):
        wanted = levels(first(index))
        for name, read in readers.items():
            found = levels(read(index))
            if found.shape != wanted.shape:
                other[name] += 1
            else:
                gap = np.abs(found - wanted)
                gaps[name].append((int(gap.max()), float(gap.mean())))
    said = {}
    for name, seen in gaps.items():
        most, means = max((m for m, _ in seen), default=0), [mean for _, mean in seen]
        said[name] = f"{most}, {np.mean(means):.2f}" if means else ""
        said[name] += f"; {other[name]} of another size" if other[name] else ""
    return said


def timed(readers: dict[str, Reader], count: int, rounds: int) -> dict[str, list[float]]:
    """Return the pictures per second of the core in each round."""
    rates: dict[str, list[float]] = {name: [] for name in readers}
    for _ in range(rounds):
        for name in random.sample(list(readers), len(readers)):
            read, start = readers[name], time.process_time()
            for index in range(count):
                read(index)
            rates[name].append(count / (time.process_time() - start))
    return rates


def rows(folder: Path, count: int, rounds: int):
    """Yield a row of the table for each job and reader, the fastest last."""
    jobs = {"decode": decoding, "as in evaluation": evaluating, "as in training": training}
    for job, make in jobs.items():
        readers = make(folder)
        gaps = dict.fromkeys(readers, "") if make is training else apart(readers, count)
        rates = timed(readers, count, rounds)
        for name, seen in sorted(rates.items(), key=lambda pair: median(pair[1])):
            ratios = [rate / base for rate, base in zip(seen, rates[BASE], strict=True)]
            yield (
                *(job, name, f"{median(seen):.0f}", f"{min(seen):.0f} to {max(seen):.0f}"),
                f"{median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})",
                gaps[name],
            )


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--page", action="store_true", help="put the table into docs/decoding.md")
    given = parser.parse_args()
    torch.set_num_threads(1)
    count = len(open_pictures(given.folder, ("a",), Pixels())) // TOGETHER * TOGETHER
    libraries = ("pillow", "torchvision", "timm", "simplejpeg", "torch")
    used = ", ".join(f"{name} {version(name)}" for name in libraries)
    lines = [
        f"Measured {date.today()} by `python -m benchmarks.decoding`, {processor()}, one thread, "
        f"{used}, {count} photos, {given.rounds} rounds:",
        "",
        "| job | reader | photos per second and core | range | to ImageFolder's | levels apart |",
        "| --- | --- | ---: | --- | --- | --- |",
    ]
    print("\n".join(lines), flush=True)
    for row in rows(given.folder, count, given.rounds):
        lines.append("| " + " | ".join(row) + " |")
        print(lines[-1], flush=True)
    if given.page:
        page = PAGE.read_text(encoding="utf-8")
        table = "\n".join([*lines, ""])
        PAGE.write_text(BETWEEN.sub(lambda _: table, page), encoding="utf-8")


if __name__ == "__main__":
    main()
