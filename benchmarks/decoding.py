"""How many photos a second one core decodes: ours beside torchvision's ImageFolder and timm's.

    python benchmarks/decoding.py FOLDER [--rounds N]

FOLDER holds pictures in class folders. No workers, one thread. Three lots, each shuffled anew in
every round so that all meet the same weather: decoding alone, resizing and cropping to 224 as in
evaluation, and a random resized crop and flip to 224 as in training. Outputs are compared first:
levels are of 255, and in training the crops are drawn differently, so there only shapes are.
"""

import argparse
import os
import platform
import random
import time
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from statistics import median

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch

from patchword.data import Augment, Frame, Pixels, TrainBatches, decode, frame, open_data
from patchword.data.folder import FolderSource
from patchword.errors import ImageError

SIZE = (224, 224)
INTO = Frame(image_size=SIZE, crop=0.875, interpolation="bilinear")
AUGMENT = Augment(crop_scale=(0.08, 1.0), hflip=0.5, interpolation="bilinear")


def contracts():
    found = {"ours, Pillow": Pixels(profile="ignore"), "ours, profiles": Pixels()}
    if find_spec("simplejpeg"):
        fast = Pixels(profile="ignore", decoder="simplejpeg")
        found["ours, simplejpeg"] = fast
        found["ours, simplejpeg, shrink 256"] = Pixels(
            profile="ignore", decoder="simplejpeg", shrink=256
        )
    return found


def readable(folder):
    """Return the pictures that every loader reads, with their class folders."""
    source = open_data(folder, pixels=Pixels(), seed=0).train
    names = [source.name(index) for index in range(len(source))]
    return [name for index, name in enumerate(names) if _reads(source, index)]


def _reads(source, index):
    try:
        source.read(index)
    except ImageError:
        return False
    return True


def decoding(folder, names):
    from torchvision.datasets.folder import pil_loader

    found = {
        name: lambda p, c=contract: decode(p, c).permute(1, 2, 0).numpy()
        for name, contract in contracts().items()
    }
    found["torchvision pil_loader"] = lambda p: np.asarray(pil_loader(str(p)))
    return {
        name: (lambda load=load: [load(folder / path) for path in names])
        for name, load in found.items()
    }


def evaluating(folder, names):
    from torchvision.datasets.folder import pil_loader
    from torchvision.transforms import v2

    torchvision = v2.Compose([v2.Resize(256), v2.CenterCrop(224), v2.PILToTensor()])
    found = {
        name: lambda p, c=contract: frame(decode(p, c), INTO)
        for name, contract in contracts().items()
    }
    found["torchvision ImageFolder"] = lambda p: torchvision(pil_loader(str(p)))
    if find_spec("timm"):
        from timm.data import create_transform

        made = create_transform(224, interpolation="bilinear", crop_pct=0.875, normalize=False)
        found["timm"] = lambda p: made(pil_loader(str(p)))
    return {
        name: (lambda load=load: [load(folder / path) for path in names])
        for name, load in found.items()
    }


def training(folder, names):
    from torchvision.datasets.folder import pil_loader
    from torchvision.transforms import v2

    files = [(name, number % 2) for number, name in enumerate(names)]
    found = {}
    for name, contract in contracts().items():
        batches = TrainBatches(
            FolderSource(folder, files, ("a", "b"), contract),
            augment=AUGMENT,
            frame=INTO,
            batch_size=1,
            seed=0,
        )
        found[name] = lambda b=batches: [b[item].images[0] for item in range(len(names))]
    crop = v2.Compose([v2.RandomResizedCrop(224), v2.RandomHorizontalFlip(), v2.PILToTensor()])
    found["torchvision ImageFolder"] = lambda: [crop(pil_loader(str(folder / n))) for n in names]
    if find_spec("timm"):
        from timm.data import create_transform

        made = create_transform(
            224, is_training=True, color_jitter=None, interpolation="bilinear", normalize=False
        )
        found["timm"] = lambda: [made(pil_loader(str(folder / n))) for n in names]
    return found


def compared(made):
    """Say how far each lot of pictures is from the first, in levels."""
    first, *_ = made.values()
    expected = [np.asarray(image).astype(int) for image in first()]
    for name, run in made.items():
        read = [np.asarray(image).astype(int) for image in run()]
        same = [a.shape == b.shape for a, b in zip(expected, read, strict=True)]
        if not all(same):
            print(f"  {name}: {len(same) - sum(same)} pictures of another size")
            continue
        gaps = [np.abs(a - b) for a, b in zip(expected, read, strict=True)]
        print(
            f"  {name}: at most {max(g.max() for g in gaps)} levels from the first, "
            f"mean {np.mean([g.mean() for g in gaps]):.3f}"
        )


def timed(made, count, rounds):
    spent = {name: [] for name in made}
    for _ in range(rounds):
        for name in random.sample(list(made), len(made)):
            start = time.perf_counter(), time.process_time()
            made[name]()
            spent[name].append((time.perf_counter() - start[0], time.process_time() - start[1]))
    for name, times in spent.items():
        wall, core = (sorted(count / t[k] for t in times) for k in (0, 1))
        print(
            f"  {name:<30}{median(wall):7.0f} images/s   ({wall[0]:.0f} to {wall[-1]:.0f}), "
            f"{median(core):.0f} per second of the core"
        )


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rounds", type=int, default=7)
    given = parser.parse_args()
    torch.set_num_threads(1)
    names = readable(given.folder)
    peers = ", ".join(f"{n} {version(n)}" for n in ("pillow", "torchvision", "torch"))
    print(f"{platform.processor() or platform.machine()}, {peers}, {len(names)} pictures")
    lots = {"decoding": decoding, "as in evaluation": evaluating, "as in training": training}
    for lot, make in lots.items():
        made = make(given.folder, names)
        print(lot)
        if lot != "as in training":
            compared(made)
        timed(made, len(names), given.rounds)


if __name__ == "__main__":
    main()
