"""How fast the families are that no library has: ours beside their authors' algorithm.

    python -m benchmarks.plain [--only 'san*'] [--mode forward|step] [--compile] [--dry]
    python -m benchmarks.plain --page

The plain forms that our outputs are held against (tests/parity/plain_*.py) go cell by cell, so a
time against them would say nothing. The other side is our own network in which each operator of
the paper computes as its authors' code does (tests/parity/theirs.py), with the same weights, and
everything else shared, the form for inference too. Rows gather in benchmarks/plain.json; the page
is zoo.py's.
"""

import copy
from dataclasses import replace

import torch

from benchmarks import zoo
from benchmarks.duel import asked, raced, run
from patchword import models
from patchword.heads.classify import classifier
from patchword.layers import for_inference
from tests.parity.peer import CLASSES, Peer, perturbed, settled, varied
from tests.parity.theirs import TABLES, swapped

SMALLER = {"image_size": (128, 128)}  # where unfolded windows would not fit into memory

MODELS = {  # of each family, and of each operator that it may have
    "CSWin_64_12211_tiny_224": {},
    "axial26s": {},
    "ceit_tiny_patch16_224": {},
    "dat_tiny": {},
    "deepvit_patch16_224_re_attn_16b": {},
    "hvt_ti_1": {},
    "localvit_tiny_mlp4_act3_r4": {},
    "lrnet26": SMALLER,
    "nonlocal5_resnet50": {},
    "nonlocal5_resnet50_dot_product": {},
    "pale_tiny_224": {},
    "sa_quadratic_32": {},
    "san10_pairwise": SMALLER,
    "san10_patchwise": SMALLER,
    "sasa_resnet26_conv_stem": SMALLER,
    "vil_tiny": {},
    "vt_resnet18": {},
}
SHARP = ("lrnet", "sasa")  # softmaxes so sharp that rounding changes who wins them
UNPUBLISHED = ("lrnet", "pale", "sasa", "vt")  # no code of the authors that runs a network


def race(name, change, given):
    """Yield the one row of a model."""
    config, family = replace(models.config(name), **change), models.index()[name]
    ours = perturbed(classifier(config.build(), CLASSES), name).eval()
    if family in SHARP:
        soften(ours)
    settled(Peer(label="ours", model=ours, format="", see=answer), config)
    theirs = swapped(ours, TABLES[family])
    peer = "formulas" if family in UNPUBLISHED else "authors"
    forms = {"": theirs}
    if given.mode == "forward":
        forms["packed"] = for_inference(copy.deepcopy(theirs))
    batch = varied(config, given.batch)
    yield {"model": name, "changed": change, "peer": peer} | raced(ours, forms, batch, given)


@torch.no_grad()
def soften(model):
    """Make queries and keys smaller, so that the outputs of two forms can be compared at all."""
    for key, tensor in model.named_parameters():
        if key.endswith((".q.weight", ".k.weight", ".qkv.weight")):
            tensor *= 0.2


def answer(model, batch):
    return model(batch), {}


def main():
    given = asked(__doc__)
    if given.page:
        return zoo.page()
    run(race, MODELS, zoo.UNPACKAGED, given)


if __name__ == "__main__":
    main()
