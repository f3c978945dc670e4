"""How fast every family is: ours beside the best configuration of each live peer.

    python -m benchmarks.zoo [--only 'swin*'] [--mode forward|step] [--compile] [--dry]
    python -m benchmarks.zoo --page

For each family's model: the peer with fresh weights, ours with the same ones, outputs compared;
then every configuration of either side (fp32, bf16 under autocast or bf16 whole, channels last or
not, timm's experimental fused attention or not, our form for inference, which `patchword predict`
takes, or not; with --compile, the fastest of these compiled as well) is tried, and the fastest of
each whose outputs are right is timed against the other's, turn by turn (duel.py). Rows gather in
benchmarks/zoo.json, from which --page draws docs/speed.md, and after them those of the families
that no library has (plain.py).
"""

from dataclasses import replace
from pathlib import Path
from statistics import geometric_mean

import timm.layers

from benchmarks.duel import COLUMNS, ROUNDS, asked, fewest, kept, line, means, raced, run
from patchword import models
from patchword.heads.classify import classifier
from patchword.weights import fill
from tests.families import FAMILIES
from tests.parity.compare import format_of
from tests.parity.peer import CLASSES, perturbed, varied

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
    "xcit_tiny_12_p16_224": {},
}
EXPERIMENTAL = ("timm.models.swin_transformer",)  # where timm has kernels that it leaves off
KEPT = Path(__file__).with_name("zoo.json")
UNPACKAGED = Path(__file__).with_name("plain.json")
PRODUCTS = Path(__file__).with_name("products.json")  # see products.py
PAGE = Path(__file__).parents[1] / "docs" / "speed.md"
HEAD = """\
# Speed of the zoo

Seconds of the best packaged peer over ours, made by `python -m benchmarks.zoo`: above 1, ours is
faster. Same weights, outputs compared, {rounds} rounds turn by turn; each side in the fastest of
its configurations whose outputs are right (named: ours, theirs). "Same" is the peer against itself.
A model's verdict is by the peer that fares best against it; a row is slower where its whole range
lies below that of "same". {about}

"""
LEFT = """
## What is left to gain

Made by `python -m benchmarks.products`: how much of our time is products of matrices and
convolutions, by oneDNN, which the other side calls too. Were all else free, the ratio could at most
be the one of the last column.

| model | mode | milliseconds | products | ratio at most |
| --- | --- | ---: | ---: | ---: |
"""
APART = """
## Families that no library has

Made by `python -m benchmarks.plain` in the same way, and no part of the means above. The other
side is our own network, in which each operator of the paper computes as its authors' code does, or,
where they published none, as its formulas are commonly written in PyTorch; everything else is
shared, so a ratio is what our form of those operators is worth to the whole network. {about}

"""


def race(name, change, given):
    """Yield a row for each live peer of a model."""
    config = replace(models.config(name), **change)
    for make in FAMILIES[models.index()[name]].peers(name, config, CLASSES):
        peer = built(make, experimental=False)
        perturbed(peer.model, name)
        forms = {"": peer.model}
        if type(peer.model).__module__ in EXPERIMENTAL:
            forms["experimental"] = built(make, experimental=True).model
            forms["experimental"].load_state_dict(peer.model.state_dict())
        ours = classifier(config.build(), CLASSES).eval()
        fill(ours, format_of(name, peer.format).load(peer.model.state_dict(), config))
        facts = {"model": name, "changed": change, "peer": peer.label}
        yield facts | raced(ours, forms, varied(config, given.batch), given)


def built(make, *, experimental):
    """Make a peer, with timm's experimental kernels or without them."""
    timm.layers.set_fused_attn(True, experimental=experimental)
    return make()


def page():
    """Draw docs/speed.md from the rows that were kept."""
    rows, unpackaged = kept(KEPT), kept(UNPACKAGED)
    head = HEAD.format(rounds=ROUNDS, about=measured(rows))
    text = [head, COLUMNS, *map(line, rows), *means(rows), *left(rows)]
    if unpackaged:
        text += [APART.format(about=measured(unpackaged)), COLUMNS, *map(line, unpackaged)]
    PAGE.write_text("".join(text))


def left(rows):
    """Yield the lines of a page that say how far ratios could grow."""
    most = {mode: [] for mode in ("forward", "step")}
    yield LEFT
    for row in kept(PRODUCTS):
        mode, share = row["mode"], row["share"]
        most[mode].append(fewest(rows, mode, False)[row["model"]] / share)
        figures = f"{row['ms']:.0f} | {share:.0%} | {most[mode][-1]:.2f}"
        yield f"| `{row['model']}` | {mode} | {figures} |\n"
    yield "\nGeometric means of the last column:\n\n"
    for mode, ratios in most.items():
        if ratios:
            yield f"- {mode}: {geometric_mean(ratios):.2f} over {len(ratios)} models\n"


def measured(rows):
    return "Measured on: " + "; ".join(sorted({row["on"] for row in rows})) + "."


def main():
    given = asked(__doc__)
    if given.page:
        return page()
    run(race, MODELS, KEPT, given)


if __name__ == "__main__":
    main()
