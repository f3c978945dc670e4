"""DPT beside its authors' tensors and transformers'."""

from dataclasses import replace
from functools import partial

import torch

from patchword.heads.dense import resized
from patchword.heads.dpt import DPTDepthConfig, DPTMaskConfig
from patchword.models.hybrid import HybridConfig
from patchword.models.vit import ViTConfig
from tests.families import pvtv2, vit
from tests.heads import packaged
from tests.heads.made import filled
from tests.heads.peer import DensePeer

FAMILY = None
SMALL = {"reassembled": (6, 8, 10, 12), "channels": 8}
CONFIG = ViTConfig(
    image_size=(64, 64),
    patch_size=16,
    embed_dim=24,
    depth=4,
    num_heads=3,
    mlp_ratio=2.0,
    resample="bilinear",
)
HYBRID = HybridConfig(
    image_size=(64, 64),
    patch_size=16,
    stem_dim=32,
    stem_depth=(1, 2, 1),
    embed_dim=24,
    depth=4,
    num_heads=3,
    mlp_ratio=2.0,
    resample="bilinear",
)
TINY = {
    "hybrid": (HYBRID, DPTDepthConfig(**SMALL)),
    "depth": (vit.VIT, DPTDepthConfig(**SMALL)),
    "add": (vit.VIT, DPTDepthConfig(readout="add", **SMALL)),
    "ignore": (vit.MEAN, DPTDepthConfig(affine=(0.05, 0.1), **SMALL)),
    "mask": (vit.VIT, DPTMaskConfig(**SMALL)),
    "pyramid": (pvtv2.TINY["strided"], DPTMaskConfig(aux=False, **SMALL)),
}


def authors(golden):
    """Answer as the authors' networks, of square images and of others."""
    kwargs = golden.about["config"]
    v = kwargs["vit"]
    config = ViTConfig(
        image_size=(v["img_size"], v["img_size"]),
        patch_size=v["patch_size"],
        embed_dim=v["embed_dim"],
        depth=v["depth"],
        num_heads=v["num_heads"],
        mlp_ratio=float(v["mlp_ratio"]),
        resample="bilinear",
    )
    masks = "Segmentation" in golden.about["cls"]
    head = (DPTMaskConfig if masks else DPTDepthConfig)(
        readout=kwargs["readout"],
        reassembled=tuple(kwargs["feats"]),
        channels=kwargs["features"],
        levels=tuple(f"blocks.{i}" for i in kwargs["hooks"]),
    )
    if kwargs["invert"]:
        head = replace(head, affine=(kwargs["scale"], kwargs["shift"]))
    classes = golden.wanted["y"].shape[1] if masks else 1
    model, _ = filled("dpt", "authors", "vit", (config, head), golden.weights, classes)
    found = {name: model(golden.held[f"in.x{name[1:]}"]) for name in ("y", "y_rect")}
    return found if masks else {name: y[:, 0] for name, y in found.items()}


def transformers_s(pair, classes=5):
    """Return transformers' network for depth or for masks, on a ViT or a hybrid."""
    from transformers import DPTConfig, DPTForDepthEstimation, DPTForSemanticSegmentation

    c, head = pair
    masks, mixed = isinstance(head, DPTMaskConfig), isinstance(c, HybridConfig)
    with torch.device("meta"):
        names = head.levels or c.build().pyramid()
    about = DPTConfig(
        image_size=c.image_size[0],
        patch_size=c.patch_size,
        hidden_size=c.embed_dim,
        num_hidden_layers=c.depth,
        num_attention_heads=c.num_heads,
        intermediate_size=int(c.mlp_ratio * c.embed_dim),
        layer_norm_eps=c.norm_eps,
        backbone_out_indices=[int(name.rpartition(".")[2]) for name in names],
        readout_type=head.readout or "project",
        neck_hidden_sizes=list(head.reassembled),
        fusion_hidden_size=head.channels,
        use_batch_norm_in_fusion_residual=masks,
        num_labels=classes,
        **convnet(c) if mixed else {},
    )
    model = (DPTForSemanticSegmentation if masks else DPTForDepthEstimation)(about)
    if not masks:
        model.head.head[4].bias.data.fill_(1.0)  # or a last ReLU that is closed hides all

    def depth(model, batch):
        return {"main": model(batch).predicted_depth[:, None]}

    def mask(model, batch):
        states = model.dpt(batch, output_hidden_states=True).hidden_states
        chosen = [states[i + 1] for i in about.backbone_out_indices]
        aux = model.auxiliary_head(model.neck(chosen)[-1])
        return {"main": model(batch).logits, "aux": resized(aux, batch.shape[2:])}

    return DensePeer(
        model=model,
        see=mask if masks else depth,
        pair=pair,
        file="dpt",
        format="transformers",
        family="hybrid" if mixed else "vit",
        classes=classes if masks else 1,
    )


def convnet(config):
    """Return transformers' settings of what a hybrid's patches are cut from."""
    from transformers import BitConfig

    widths = [4 * config.stem_dim * 2**i for i in range(len(config.stem_depth))]
    below = BitConfig(
        embedding_size=config.stem_dim,
        hidden_sizes=widths,
        depths=list(config.stem_depth),
        layer_type="bottleneck",
        global_padding="same",
        embedding_dynamic_padding=True,
        out_features=[f"stage{i + 1}" for i in range(len(widths))],
    )
    grid = [side // config.patch_size for side in config.image_size]
    return {
        "is_hybrid": True,
        "backbone_config": below,
        "backbone_featmap_shape": [1, widths[-1], *grid],
    }


ON_HYBRID = (HYBRID, DPTDepthConfig(**SMALL | {"reassembled": (128, 256, 10, 12)}))
PACKAGED = {kind: (CONFIG, DPTMaskConfig(readout=kind, **SMALL)) for kind in packaged.READOUTS}
PEERS = {
    "hybrid": lambda: transformers_s(ON_HYBRID),
    "project": lambda: transformers_s((CONFIG, DPTDepthConfig(readout="project", **SMALL))),
    "add": lambda: transformers_s((CONFIG, DPTDepthConfig(readout="add", **SMALL))),
    "ignore": lambda: transformers_s((CONFIG, DPTDepthConfig(readout="ignore", **SMALL))),
    "mask": lambda: transformers_s((CONFIG, DPTMaskConfig(readout="project", **SMALL))),
    **{f"{kind}-packaged": partial(packaged.dpt, pair) for kind, pair in PACKAGED.items()},
}
THEIRS = {"transformers": transformers_s}
WHOLE = {
    "dpt_base*": THEIRS,
    "dpt_large*": THEIRS,
    "dpt_hybrid": THEIRS,
    "dpt_[bl]*_segmentation": {packaged.NAME: packaged.dpt},
}
GOLDENS = {"dpt_orig_": authors}
