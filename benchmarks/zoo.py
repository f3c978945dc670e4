"""How fast every family is: ours beside the best configuration of each live peer.

    python benchmarks/zoo.py [--only 'swin*'] [--mode forward|step] [--compile] [--out FILE]

For each family's model: the peer with fresh weights, ours with the same ones, outputs compared;
then every configuration of either side (fp32 or bf16, channels last or not, eager or, with
--compile, compiled) is tried, and the fastest of each whose outputs are right is timed against the
other's, turn by turn. Printed are the median of the rounds' ratios (above 1: ours is faster), their
range, and the same for the peer against itself, which is what a difference of nothing looks like.
"""

import argparse
import copy
import json
import time
from dataclasses import asdict, dataclass, replace
from fnmatch import fnmatchcase
from itertools import product
from pathlib import Path
from statistics import geometric_mean, median

import torch
from torch import nn

from patchword import models
from patchword.heads.classify import classifier
from patchword.weights import fill
from tests.families import FAMILIES
from tests.parity.compare import format_of, relative
from tests.parity.page import processor
from tests.parity.peer import CLASSES, images, perturbed

MODELS = {  # of each family; the smallest that people use
    "beit_base_patch16_224": {"depth": 4},
    "cait_xxs24_224": {},
    "convit_tiny": {},
    "cvt_13": {},
    "deit3_small_patch16_224": {},
    "deit_small_distilled_patch16_224": {},
    "levit_256": {},
    "mit_b1": {},
    "pit_s_224": {},
    "pvt_tiny": {},
    "pvt_v2_b1": {},
    "resnet50": {},
    "resnetv2_50x1_bit": {},
    "swin_tiny_patch4_window7_224": {},
    "swinv2_tiny_window8_256": {},
    "tnt_s_patch16_224": {},
    "vit_small_patch16_224": {},
    "vit_small_r26_s32_224": {},
}
ROUNDS = 7
SECONDS = 0.6  # of one block of calls
RIGHT = {"fp32": 1e-4, "bf16": 5e-2}  # largest error, relative to the largest output


@dataclass(frozen=True)
class Way:
    """One configuration in which a network is run."""

    precision: str
    channels_last: bool
    compiled: bool

    def __str__(self):
        words = [self.precision, *["channels last"] * self.channels_last]
        return " ".join([*words, *["compiled"] * self.compiled])


class Side:
    """One network in one configuration, as a function to be timed."""

    def __init__(self, model, way, batch, *, train):
        self.way, self.train = way, train
        model = copy.deepcopy(model).train(train)
        for part in model.modules():
            if isinstance(part, nn.Dropout):
                part.p = 0.0
        if way.channels_last:
            model = model.to(memory_format=torch.channels_last)
            batch = batch.contiguous(memory_format=torch.channels_last)
        self.model = torch.compile(model) if way.compiled else model
        self.batch = batch
        self.optimizer = torch.optim.SGD(model.parameters(), lr=1e-9) if train else None

    def logits(self):
        with torch.autocast("cpu", torch.bfloat16, enabled=self.way.precision == "bf16"):
            found = self.model(self.batch)
        return found if isinstance(found, torch.Tensor) else found.logits

    def call(self):
        """Answer a batch, or take a step of a training on it."""
        if self.optimizer is None:
            with torch.inference_mode():
                return self.logits()
        self.optimizer.zero_grad()
        found = self.logits()
        found.float().square().mean().backward()
        self.optimizer.step()
        return found.detach()


def ways(*, compiled):
    kinds = product(("fp32", "bf16"), (False, True), (False, True) if compiled else (False,))
    return [Way(*kind) for kind in kinds]


def seconds(side, at_least=SECONDS):
    """Return the seconds of one call, over a block of them."""
    count, start = 0, time.perf_counter()
    while count < 1 or time.perf_counter() - start < at_least:
        side.call()
        count += 1
    return (time.perf_counter() - start) / count


def fastest(model, batch, wanted, *, train, compiled):
    """Return the fastest way of a network whose outputs are right."""
    best = None
    for way in ways(compiled=compiled):
        side = Side(model, way, batch, train=train)
        try:
            error = relative(side.call().float(), wanted)
        except Exception as error:  # a peer that cannot run this way
            print(f"    {way}: {type(error).__name__}", flush=True)
            continue
        if error > RIGHT[way.precision]:
            print(f"    {way}: wrong by {error:.1e}", flush=True)
            continue
        side.call()
        spent = seconds(side)
        if best is None or spent < best[0]:
            best = (spent, side)
    return best[1]


def duel(ours, theirs):
    """Time two sides turn by turn; return the rounds' ratios, theirs over ours."""
    ratios = []
    for number in range(ROUNDS):
        order = (ours, theirs) if number % 2 else (theirs, ours)
        spent = {id(side): seconds(side) for side in order}
        ratios.append(spent[id(theirs)] / spent[id(ours)])
    return sorted(ratios)


def race(name, change, batch_size, *, train, compiled):
    """Yield a row for each live peer of a model."""
    config = replace(models.config(name), **change)
    batch = images(config, batch_size)
    for make in FAMILIES[models.index()[name]].peers(name, config, CLASSES):
        peer = make()
        perturbed(peer.model, name).eval()
        ours = classifier(config.build(), CLASSES).eval()
        fill(ours, format_of(name, peer.format).load(peer.model.state_dict()))
        with torch.no_grad():
            wanted = (Side(ours.train(train), Way("fp32", False, False), batch, train=train)).call()
        kinds = {"train": train, "compiled": compiled}
        mine = fastest(ours, batch, wanted, **kinds)
        theirs = fastest(peer.model, batch, wanted, **kinds)
        ratios = duel(mine, theirs)
        again = duel(theirs, Side(peer.model, theirs.way, batch, train=train))
        yield {
            "model": name,
            "peer": peer.label,
            "mode": "step" if train else "forward",
            "batch": batch_size,
            "ratio": median(ratios),
            "range": [ratios[0], ratios[-1]],
            "same": [again[0], again[-1]],
            "ours": asdict(mine.way),
            "theirs": asdict(theirs.way),
        }


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--only", default="*")
    parser.add_argument("--mode", choices=("forward", "step"), default="forward")
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    print(
        f"{processor()}, torch {torch.__version__}, {torch.get_num_threads()} threads", flush=True
    )
    torch.manual_seed(0)
    rows = []
    names = [n for n in MODELS if n in models.index() and fnmatchcase(n, given.only)]
    for name in names:
        train = given.mode == "step"
        for row in race(name, MODELS[name], given.batch, train=train, compiled=given.compile):
            rows.append(row)
            low, high = row["range"]
            print(
                f"{name:36} {row['peer']:12} {row['ratio']:5.2f} ({low:.2f} to {high:.2f}; "
                f"same: {row['same'][0]:.2f} to {row['same'][1]:.2f})  "
                f"{Way(**row['ours'])} | {Way(**row['theirs'])}",
                flush=True,
            )
    best = {}
    for row in rows:  # the best peer of each model counts
        best[row["model"]] = min(row["ratio"], best.get(row["model"], float("inf")))
    if best:
        print(f"geometric mean over {len(best)} models: {geometric_mean(best.values()):.2f}")
    if given.out:
        kept = {"processor": processor(), "torch": torch.__version__, "rows": rows}
        given.out.write_text(json.dumps(kept, indent=1) + "\n")


if __name__ == "__main__":
    main()
