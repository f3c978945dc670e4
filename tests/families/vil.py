"""ViL beside its authors' own code; tests/parity/test_plain_vil.py has its plain form."""

from dataclasses import replace

import torch

from patchword.heads.classify import classifier
from patchword.layers import to_tokens
from patchword.models.vil import FORMATS, ViLConfig
from patchword.weights import fill

VIL = ViLConfig(
    image_size=(20, 32),
    patch_size=(2, 2),
    embed_dim=(8, 16),
    depth=(2, 1),
    num_heads=(2, 4),
    mlp_ratio=2.0,
    local=(True, False),
    window_size=(3, 2),
    num_globals=(1, 0),
    position=("absolute",) * 2,
)
RELATIVE = replace(VIL, position=("relative",) * 2)

TINY = {
    "absolute": VIL,
    "relative": replace(RELATIVE, shared=False, reach="window", num_globals=(2, 1), pool="token"),
    "cyclic": replace(RELATIVE, reach="cyclic", norm_embed=False, in_chans=1, image_size=(8, 16)),
    "local": replace(VIL, local=(True, True), num_globals=(1, 2), shared=False, pool="token"),
}
FIXED = ()
QUICK = {}  # no library has it


def peers(name, config, num_classes):
    return []


REACH = {0: "chunks", 1: "window", -1: "cyclic"}


def config(golden):
    """Return our config of the authors' arguments.

    Raises:
        NotImplementedError: they ask for attention that is another paper's.
    """
    kwargs = golden.kwargs
    kind = kwargs.get("attn_type", "longformerhand")
    if kind not in ("full", "longformerhand", "longformerauto") or kwargs.get("only_glo"):
        raise NotImplementedError(f"{golden.name} has another attention: {kind}")
    stages = [parsed(stage) for stage in kwargs["arch"].split("_")]
    sparse = [kind != "full"] * len(stages)
    for i, stage in enumerate(stages):  # after a stage of whole attention, theirs has no other
        sparse[i:] = [sparse[i] and stage["s"] == 1] * len(sparse[i:])
    token = stages[-1]["g"] and not kwargs.get("avg_pool", False)
    side = kwargs.get("img_size", 512)
    return ViLConfig(
        image_size=(side, side),
        patch_size=tuple(stage["p"] for stage in stages),
        in_chans=kwargs.get("in_chans", 3),
        embed_dim=tuple(stage["d"] for stage in stages),
        depth=tuple(stage["n"] for stage in stages),
        num_heads=tuple(stage["h"] for stage in stages),
        local=tuple(sparse),
        window_size=tuple(stage["f"] for stage in stages),
        reach=REACH[kwargs.get("sw_exact", 0)],
        num_globals=tuple(stage["g"] for stage in stages),
        shared=kwargs.get("sharew", False),
        position=tuple("absolute" if stage["a"] else "relative" for stage in stages),
        norm_embed=kwargs.get("norm_embed", False),
        pool="token" if token else "mean",
    )


def parsed(stage):
    """Read a stage of the authors' string, as in "l1,h3,d96,n1,s1,g1,p4,f7,a1"."""
    known = {"l": 1, "h": 3, "d": 192, "n": 1, "s": 1, "g": 1, "p": 2, "f": 7, "a": 1}
    return known | {part[0]: int(part[1:]) for part in stage.split(",")}


def read(golden):
    """Answer with the logits, and with all tokens of each stage."""
    ours = config(golden)
    model = classifier(ours.build(), golden.kwargs["num_classes"]).eval()
    shared, separate = FORMATS
    fill(model, (shared if ours.shared else separate).load(golden.weights))
    names = [f"stages.{i}" for i in range(len(ours.depth))]
    taps = model.backbone(golden.image, taps=names).taps
    layers = {f"layer{i + 1}": tokens(tap) for i, tap in enumerate(taps)}
    found = {"logits": model(golden.image), **layers}
    return {name: found[name] for name in golden.wanted}


def tokens(tap):
    return torch.cat([tap.prefix, to_tokens(tap.map)], dim=1)


GOLDENS = {"orig_vil_": read}
