"""How fast every family is: ours beside the best configuration of each live peer.

    python benchmarks/zoo.py [--only 'swin*'] [--mode forward|step] [--compile]
    python benchmarks/zoo.py --page

For each family's model: the peer with fresh weights, ours with the same ones, outputs compared;
then every configuration of either side (fp32 or bf16, channels last or not, timm's experimental
fused attention or not, our batch norms folded as `patchword predict` does or not; with --compile,
the fastest of these compiled as well) is tried, and the fastest of each whose outputs are right is
timed against the other's, turn by turn. Kept are the
median of the rounds' ratios (above 1: ours is faster), their range, and the same for the peer
against itself, which is what a difference of nothing looks like. Rows gather in
benchmarks/zoo.json, from which --page draws docs/speed.md.
"""

import argparse
import copy
import json
import time
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path
from statistics import geometric_mean, median

import timm.layers
import torch

from patchword import models
from patchword.heads.classify import classifier
from patchword.layers import fold
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
RATES = {"p", "drop_prob", "rate"}  # of dropout and stochastic depth, by ours and the peers' names
EXPERIMENTAL = ("timm.models.swin_transformer",)  # where timm has kernels that it leaves off
KEPT = Path(__file__).with_name("zoo.json")
PAGE = Path(__file__).parents[1] / "docs" / "speed.md"
HEAD = """\
# Speed of the zoo

Seconds of the best packaged peer over ours, made by `benchmarks/zoo.py`: above 1, ours is faster.
Same weights, outputs compared, {rounds} rounds turn by turn; each side in the fastest of its
configurations whose outputs are right (named: ours, theirs). "Same" is the peer against itself. A
model's verdict is by the peer that fares best against it; a row is slower where its whole range
lies below that of "same". {about}

| model | peer | mode | ratio | range | same | ours | theirs | |
| --- | --- | --- | ---: | --- | --- | --- | --- | --- |
"""


@dataclass(frozen=True)
class Way:
    """One configuration in which a network is run."""

    precision: str
    channels_last: bool
    form: str = ""  # of the network, where there is more than one
    compiled: bool = False

    def __str__(self):
        words = [self.precision, *["channels last"] * self.channels_last]
        return " ".join([*words, *filter(None, [self.form]), *["compiled"] * self.compiled])


WAYS = [Way(precision, last) for precision in ("fp32", "bf16") for last in (False, True)]


class Side:
    """One network in one configuration, as a function to be timed."""

    def __init__(self, model, way, batch, *, train):
        self.way, self.train = way, train
        model = copy.deepcopy(model).train(train)
        for part in model.modules():
            for rate in RATES & vars(part).keys():
                setattr(part, rate, 0.0)
        if way.channels_last:
            model = model.to(memory_format=torch.channels_last)
            batch = batch.contiguous(memory_format=torch.channels_last)
        self.plain = model
        self.model = torch.compile(model) if way.compiled else model
        self.batch = batch
        self.optimizer = torch.optim.SGD(model.parameters(), lr=1e-9) if train else None

    def logits(self):
        with torch.autocast("cpu", torch.bfloat16, enabled=self.way.precision == "bf16"):
            found = self.model(self.batch)
        return found if isinstance(found, torch.Tensor) else found.logits

    def answer(self):
        """Return the logits of evaluation, however the side is timed."""
        self.plain.eval()
        with torch.inference_mode():
            found = self.logits().float()
        self.plain.train(self.train)
        return found

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


def seconds(side, at_least=SECONDS):
    """Return the seconds of one call, over a block of them."""
    count, start = 0, time.perf_counter()
    while count < 1 or time.perf_counter() - start < at_least:
        side.call()
        count += 1
    return (time.perf_counter() - start) / count


def fastest(forms, batch, wanted, *, train, compiled):
    """Return the fastest way of running a network whose outputs are right.

    Args:
        forms: the network by the form that it is in; "" is the plain one.
        batch: images.
        wanted: the outputs in fp32.
        train: time steps of a training, not answers.
        compiled: try the fastest way compiled as well.
    """
    tried = [(model, replace(way, form=form)) for form, model in forms.items() for way in WAYS]
    best = min(filter(None, (trial(*one, batch, wanted, train=train) for one in tried)), key=first)
    if compiled:
        model, way = best[1].plain, replace(best[1].way, compiled=True)
        best = min(best, trial(model, way, batch, wanted, train=train) or best, key=first)
    return best[1]


def first(found):
    return found[0]


def trial(model, way, batch, wanted, *, train):
    """Return the seconds of one way of running a network, and the side; None if it goes wrong."""
    side = Side(model, way, batch, train=train)
    try:
        error = relative(side.answer(), wanted)
    except Exception as error:  # a peer that cannot run this way
        print(f"    {way}: {type(error).__name__}", flush=True)
        return None
    if error > RIGHT[way.precision]:
        print(f"    {way}: wrong by {error:.1e}", flush=True)
        return None
    side.call()
    side.call()
    return seconds(side), side


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
    batch *= torch.linspace(0.5, 2.0, batch_size).view(
        -1, 1, 1, 1
    )  # for batch norms of pooled maps
    batch += torch.linspace(-1.0, 1.0, batch_size).view(-1, 1, 1, 1)
    for make in FAMILIES[models.index()[name]].peers(name, config, CLASSES):
        peer = built(make, experimental=False)
        perturbed(peer.model, name)
        builds = {"": peer.model}
        if type(peer.model).__module__ in EXPERIMENTAL:
            builds["experimental"] = built(make, experimental=True).model
            builds["experimental"].load_state_dict(peer.model.state_dict())
        ours = classifier(config.build(), CLASSES).eval()
        fill(ours, format_of(name, peer.format).load(peer.model.state_dict(), config))
        wanted = Side(ours, Way("fp32", False), batch, train=False).answer()
        kinds = {"train": train, "compiled": compiled}
        forms = {"": ours} if train else {"": ours, "folded": fold(copy.deepcopy(ours))}
        mine = fastest(forms, batch, wanted, **kinds)
        theirs = fastest(builds, batch, wanted, **kinds)
        ratios = duel(mine, theirs)
        again = duel(theirs, Side(theirs.plain, theirs.way, batch, train=train))
        yield {
            "model": name,
            "changed": change,
            "peer": peer.label,
            "mode": "step" if train else "forward",
            "compiled": compiled,
            "batch": batch_size,
            "ratio": median(ratios),
            "range": [ratios[0], ratios[-1]],
            "same": [again[0], again[-1]],
            "ours": str(mine.way),
            "theirs": str(theirs.way),
            "on": f"{time.strftime('%Y-%m-%d')}, {processor()}, torch {torch.__version__}",
        }


def built(make, *, experimental):
    """Make a peer, with timm's experimental kernels or without them."""
    timm.layers.set_fused_attn(True, experimental=experimental)
    return make()


def keep(row):
    """Put a row in the place of the one that it renews."""
    rows = json.loads(KEPT.read_text()) if KEPT.exists() else []
    rows = [old for old in rows if identity(old) != identity(row)]
    rows = sorted([*rows, row], key=identity)
    KEPT.write_text("[\n" + ",\n".join(json.dumps(row) for row in rows) + "\n]\n")


def identity(row):
    return row["model"], row["compiled"], row["mode"], row["peer"]


def page():
    """Draw docs/speed.md from the rows that were kept."""
    rows = json.loads(KEPT.read_text())
    about = "Measured on: " + "; ".join(sorted({row["on"] for row in rows})) + "."
    lines = [HEAD.format(rounds=ROUNDS, about=about)]
    for row in rows:
        mode = row["mode"] + (", may compile" if row["compiled"] else "")
        changed = "".join(f", {key} {value}" for key, value in row["changed"].items())
        lines.append(
            f"| `{row['model']}`{changed} | {row['peer']} | {mode} | {row['ratio']:.2f} "
            f"| {span(row['range'])} | {span(row['same'])} | {row['ours']} | {row['theirs']} "
            f"| {'slower' if row['range'][1] < row['same'][0] else ''} |\n"
        )
    lines.append("\nGeometric means, the best peer of each model:\n\n")
    for mode, compiled in sorted({(row["mode"], row["compiled"]) for row in rows}):
        best = {}
        for row in rows:
            if (row["mode"], row["compiled"]) == (mode, compiled):
                best[row["model"]] = min(row["ratio"], best.get(row["model"], float("inf")))
        kind = f"{mode}, {'eager or compiled' if compiled else 'eager'}"
        mean = geometric_mean(best.values())
        lines.append(f"- {kind}: {mean:.2f} over {len(best)} models\n")
    PAGE.write_text("".join(lines))


def span(pair):
    return f"{pair[0]:.2f} to {pair[1]:.2f}"


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--only", default="*")
    parser.add_argument("--mode", choices=("forward", "step"), default="forward")
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--page", action="store_true")
    given = parser.parse_args()
    if given.page:
        return page()
    torch.manual_seed(0)
    for name in [n for n in MODELS if fnmatchcase(n, given.only)]:
        train = given.mode == "step"
        for row in race(name, MODELS[name], given.batch, train=train, compiled=given.compile):
            keep(row)
            print(
                f"{name:36} {row['peer']:12} {row['mode']} {row['ratio']:5.2f} "
                f"({span(row['range'])}; same: {span(row['same'])})  "
                f"{row['ours']} | {row['theirs']}",
                flush=True,
            )


if __name__ == "__main__":
    main()
