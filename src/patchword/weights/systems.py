"""Files that hold more than a classifier: the image encoder in them, and what is left aside.

Those who train without labels, or with captions, save decoders, projectors, slow copies and text
towers beside the encoder. What stands in the tables below is known to be such; anything else
stays with the encoder, and is refused by whoever reads it.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any, NamedTuple

from torch import Tensor

from patchword.weights.report import summed

Statistics = tuple[tuple[float, float, float], tuple[float, float, float]]
IMAGENET: Statistics = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


@dataclass(frozen=True, kw_only=True)
class System:
    """What is around an encoder in the files of one project, by patterns of names."""

    name: str
    signs: tuple[str, ...]  # the file has a name like each of these
    without: tuple[str, ...] = ()  # and none like these
    root: str = ""  # before the encoder's names
    aside: tuple[str, ...] = ()  # what the encoder does not need
    family: str | None = None  # which holds the encoder, where names alone would leave it open
    settings: Mapping[str, Any] = field(default_factory=dict[str, Any])  # that shapes do not show
    statistics: Statistics | None = None  # mean and deviation of its pixels; the family's if None

    def fits(self, names: Iterable[str]) -> bool:
        """Tell whether a file with tensors of these names is of this project."""
        names = list(names)
        return all(_like(names, sign) for sign in self.signs) and not any(
            _like(names, sign) for sign in self.without
        )


def _like(names: list[str], pattern: str) -> bool:
    return any(fnmatchcase(name, pattern) for name in names)


TEXT = (
    *("transformer.*", "token_embedding.*", "positional_embedding", "ln_final.*", "text.*"),
    *("text_projection", "text_projection.*", "logit_scale", "logit_bias"),
    *("attn_mask", "input_resolution", "context_length", "vocab_size", "visual.input_resolution"),
)

SYSTEMS = (
    System(
        name="MoCo v3",
        signs=("base_encoder.blocks.*",),
        root="base_encoder.",
        aside=("momentum_encoder.*", "predictor.*", "base_encoder.head.[0-9]*"),
        family="vit",
        settings={"num_heads": 12},  # the small one's too
        statistics=IMAGENET,
    ),
    System(
        name="MoCo v3",
        signs=("base_encoder.layer1.*",),
        root="base_encoder.",
        aside=("momentum_encoder.*", "predictor.*", "base_encoder.fc.*"),
        statistics=IMAGENET,
    ),
    System(
        name="MoCo",
        signs=("encoder_q.layer1.*",),
        root="encoder_q.",
        aside=("encoder_k.*", "queue", "queue_ptr", "encoder_q.fc.*"),
        statistics=IMAGENET,
    ),
    System(
        name="MAE",
        signs=("decoder_embed.weight", "mask_token"),
        aside=("decoder_*", "mask_token"),
        family="vit",
        statistics=IMAGENET,
    ),
    System(
        name="MAE, fine-tuned",
        signs=("cls_token", "fc_norm.weight", "pos_embed"),
        without=("reg_token", "blocks.*.gamma_1", "blocks.*.attn.q_bias"),
        family="vit",
        settings={"pool": "mean", "norm_pooled": True},
        statistics=IMAGENET,
    ),
    System(
        name="DINO",
        signs=("backbone.*", "head.mlp.*", "head.last_layer.*"),
        root="backbone.",
        aside=("head.mlp.*", "head.last_layer.*"),
        family="vit",
        settings={"resample": "bicubic_offset"},
        statistics=IMAGENET,
    ),
    System(
        name="SiT",
        signs=("backbone.*", "head.mlp.*", "head_recons.*"),
        root="backbone.",
        aside=("head.*", "head_recons.*"),
        family="vit",
        statistics=IMAGENET,
    ),
    System(
        name="DINOv2",
        signs=("mask_token", "blocks.*.ls1.gamma"),
        aside=("mask_token",),
        family="vit",
        statistics=IMAGENET,
    ),
    System(
        name="BEiT before fine-tuning",
        signs=("lm_head.weight", "mask_token", "rel_pos_bias.*"),
        aside=("lm_head.*", "mask_token"),
        family="beit",
        settings={"relative": "shared", "pool": "token"},
    ),
    System(
        name="CLIP",
        signs=("visual.conv1.weight", "visual.ln_post.weight"),
        aside=TEXT,
        family="clip",
    ),
    System(
        name="transformers' CLIP",
        signs=("vision_model.pre_layrnorm.*", "text_model.*"),
        aside=("text_model.*", "text_projection.*", "logit_scale"),
        family="clip",
    ),
    System(
        name="OpenCLIP with a tower of timm's",
        signs=("visual.trunk.*",),
        root="visual.trunk.",
        aside=(*TEXT, "visual.head.*"),
    ),
    System(
        name="SegFormer",
        signs=("backbone.block1.*", "decode_head.*"),
        aside=("decode_head.*",),
        family="mit",
    ),
    System(
        name="torchvision",
        signs=("encoder.layers.encoder_layer_0.*", "conv_proj.weight"),
        family="vit",
        statistics=IMAGENET,
    ),
)


class Encoder(NamedTuple):
    """The tensors of an image encoder, perhaps with a classifier's head."""

    tensors: dict[str, Tensor]
    dropped: tuple[str, ...] = ()  # names, as in the file
    system: System | None = None  # whose file it is; None: one that holds a classifier alone


def encoder_of(tensors: Mapping[str, Tensor]) -> Encoder:
    """Return the image encoder of a file, told by the names in it."""
    system = next((system for system in SYSTEMS if system.fits(tensors)), None)
    if system is None:
        return Encoder(dict(tensors))
    dropped = tuple(n for n in tensors if any(fnmatchcase(n, p) for p in system.aside))
    kept = {n: t for n, t in tensors.items() if n not in dropped}
    return Encoder({n.removeprefix(system.root): t for n, t in kept.items()}, dropped, system)


def beside_encoder(encoder: Encoder) -> str:
    """Say what is left aside of a file that holds more than an encoder."""
    return f"{summed(encoder.dropped)} beside the encoder"
