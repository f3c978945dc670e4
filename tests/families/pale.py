"""Pale Transformer: neither weights nor code by its authors exist; its plain form is elsewhere.

One golden is of a stranger's code. Ours becomes that network where the departures which its notes
name are undone: no norms after merging nor before the head, and scores as if heads were twice as
wide.
"""

from torch import nn

from patchword.heads.classify import classifier
from patchword.models.pale import PaleConfig
from patchword.weights import POINTWISE, Format, Rule, fill

SMALL = {"embed_dim": 8, "depth": (1, 2), "mlp_ratio": 2.0}

TINY = {
    "even": PaleConfig(image_size=(32, 48), num_heads=(2, 4), pale_size=4, **SMALL),
    "padded": PaleConfig(
        image_size=(44, 28), num_heads=(1, 2), pale_size=3, in_chans=1, qkv_bias=False, **SMALL
    ),
    "whole": PaleConfig(image_size=(32, 24), num_heads=(4, 2), pale_size=9, **SMALL),
}
FIXED = ()
QUICK = {}


def peers(name, config, num_classes):
    return []


QKV = ("q", "k", "v")
UNOFFICIAL = Format(
    "unofficial",
    *(
        Rule(f"ps_blocks.#.#.attn.qkv.{i}.{theirs}", f"stages.#.blocks.#.block.attn.{name}.{ours}")
        for i, name in enumerate(QKV)
        for theirs, ours in (("dw.weight", "depthwise.linear.weight"), ("bn.*", "depthwise.bn.*"))
    ),
    *(
        Rule(f"ps_blocks.#.#.{theirs}.weight", f"stages.#.blocks.#.block.{ours}.weight", POINTWISE)
        for theirs, ours in (
            *((f"attn.qkv.{i}.pw", f"attn.{name}.pointwise") for i, name in enumerate(QKV)),
            *((name, name) for name in ("attn.proj", "mlp.fc1", "mlp.fc2")),
        )
    ),
    *(
        Rule(
            f"ps_blocks.#.#.attn.qkv.{i}.pw.bias",
            f"stages.#.blocks.#.block.attn.{n}.pointwise.bias",
        )
        for i, n in enumerate(QKV)
    ),
    Rule("ps_blocks.#.#.norm#.ln.*", "stages.#.blocks.#.block.norm#.*"),
    Rule("ps_blocks.#.#.cpe.*", "stages.#.blocks.#.cpe.*"),
    Rule("ps_blocks.#.#.*", "stages.#.blocks.#.block.*"),
    Rule("patch_merg_convs.#.*", "stages.#.embed.proj.*"),
    head=(Rule("proj.*", "head.label.*"),),
)


def unofficial(golden):
    kwargs = golden.kwargs
    config = PaleConfig(
        image_size=tuple(golden.image.shape[2:]),
        embed_dim=kwargs["dims"][0],
        depth=tuple(kwargs["depths"]),
        num_heads=tuple(kwargs["heads"]),
        pale_size=kwargs["pale"][0],
        mlp_ratio=golden.weights["ps_blocks.0.0.mlp.fc1.weight"].shape[0] / kwargs["dims"][0],
    )
    weights = dict(golden.weights)
    for name in [name for name in weights if name.endswith("dw.bias")]:
        weights[name.replace("dw.bias", "bn.running_mean")] -= weights.pop(name)
    for name in [name for name in weights if ".qkv.0.pw." in name]:
        weights[name] = weights[name] * 0.5**0.5
    model = classifier(config.build(), kwargs["classes"])
    for stage in model.backbone.stages:
        stage.embed.norm = nn.Identity()
    model.backbone.norm = nn.Identity()
    fill(model, UNOFFICIAL.load(weights))
    return {"logits": model.eval()(golden.image)}


GOLDENS = {"orig_pale_unofficial_": unofficial}
