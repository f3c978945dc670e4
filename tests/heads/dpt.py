"""DPT beside its authors' tensors and transformers'."""

from dataclasses import replace

from patchword.heads.dense import resized
from patchword.heads.dpt import DPTDepthConfig, DPTMaskConfig
from patchword.models.hybrid import HybridConfig
from patchword.models.vit import ViTConfig
from tests.families import pvtv2, vit
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


def transformers_s(head):
    """Return transformers' network for depth or for masks."""
    from transformers import DPTConfig, DPTForDepthEstimation, DPTForSemanticSegmentation

    c, masks = CONFIG, isinstance(head, DPTMaskConfig)
    about = DPTConfig(
        image_size=64,
        patch_size=c.patch_size,
        hidden_size=c.embed_dim,
        num_hidden_layers=c.depth,
        num_attention_heads=c.num_heads,
        intermediate_size=2 * c.embed_dim,
        layer_norm_eps=c.norm_eps,
        backbone_out_indices=[0, 1, 2, 3],
        readout_type=head.readout,
        neck_hidden_sizes=list(head.reassembled),
        fusion_hidden_size=head.channels,
        use_batch_norm_in_fusion_residual=masks,
        num_labels=5,
    )

    model = (DPTForSemanticSegmentation if masks else DPTForDepthEstimation)(about)
    if not masks:
        model.head.head[4].bias.data.fill_(1.0)  # or a last ReLU that is closed hides all

    def depth(model, batch):
        return {"main": model(batch).predicted_depth[:, None]}

    def mask(model, batch):
        states = model.dpt(batch, output_hidden_states=True).hidden_states
        aux = model.auxiliary_head(model.neck(list(states[1:]))[-1])
        return {"main": model(batch).logits, "aux": resized(aux, batch.shape[2:])}

    return DensePeer(
        model=model,
        see=mask if masks else depth,
        pair=(c, head),
        file="dpt",
        format="transformers",
        family="vit",
        classes=5 if masks else 1,
    )


def transformers_s_hybrid():
    """Return transformers' hybrid for depth."""
    from transformers import BitConfig, DPTConfig, DPTForDepthEstimation

    c, head = HYBRID, DPTDepthConfig(**SMALL | {"reassembled": (128, 256, 10, 12)})
    convnet = BitConfig(
        embedding_size=c.stem_dim,
        hidden_sizes=[128, 256, 512],
        depths=list(c.stem_depth),
        layer_type="bottleneck",
        global_padding="same",
        embedding_dynamic_padding=True,
        out_features=["stage1", "stage2", "stage3"],
    )
    about = DPTConfig(
        is_hybrid=True,
        backbone_config=convnet,
        backbone_featmap_shape=[1, 512, 4, 4],
        image_size=64,
        patch_size=c.patch_size,
        hidden_size=c.embed_dim,
        num_hidden_layers=c.depth,
        num_attention_heads=c.num_heads,
        intermediate_size=2 * c.embed_dim,
        layer_norm_eps=c.norm_eps,
        backbone_out_indices=[0, 1, 2, 3],
        neck_hidden_sizes=list(head.reassembled),
        fusion_hidden_size=head.channels,
    )
    model = DPTForDepthEstimation(about)
    model.head.head[4].bias.data.fill_(1.0)  # or a last ReLU that is closed hides all
    return DensePeer(
        model=model,
        see=lambda model, batch: {"main": model(batch).predicted_depth[:, None]},
        pair=(c, head),
        file="dpt",
        format="transformers",
        family="hybrid",
        classes=1,
    )


PEERS = {
    "hybrid": transformers_s_hybrid,
    "project": lambda: transformers_s(DPTDepthConfig(readout="project", **SMALL)),
    "add": lambda: transformers_s(DPTDepthConfig(readout="add", **SMALL)),
    "ignore": lambda: transformers_s(DPTDepthConfig(readout="ignore", **SMALL)),
    "mask": lambda: transformers_s(DPTMaskConfig(readout="project", **SMALL)),
}
GOLDENS = {"dpt_orig_": authors}
