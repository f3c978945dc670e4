"""DeiT III: the plain ViT with LayerScale and positions of patches alone, better trained.

Paper      Touvron et al., "DeiT III: Revenge of the ViT", ECCV 2022, arXiv:2204.07118
Reference  github.com/facebookresearch/deit, models_v2.py; timm's deit.py
Departures `drop_rate` is ViT's dropout; theirs is before the head alone, and 0 in every recipe
"""

from dataclasses import dataclass, replace
from typing import Literal

from patchword.claim import Claim
from patchword.data.frame import Frame
from patchword.layers import StochasticDepth
from patchword.models.vit import ViT, ViTConfig
from patchword.weights import Format, Rule
from patchword.weights.plain import TIMM


@dataclass(frozen=True, kw_only=True)
class DeiT3Config(ViTConfig):
    """ViT's settings; `drop_path_rate` is that of every block."""

    position: Literal["learned_patches"] = "learned_patches"  # the class token has none
    layer_scale: float | None = 1e-4
    fresh: Literal["truncated"] = "truncated"

    def build(self) -> ViT:
        """Make the backbone, with fresh weights."""
        model = ViT(self)
        for part in model.modules():
            if isinstance(part, StochasticDepth):
                part.rate = self.drop_path_rate
        return model


SMALL = DeiT3Config(embed_dim=384, num_heads=6)
MEDIUM = DeiT3Config(embed_dim=512, num_heads=8)
BASE = DeiT3Config()
LARGE = DeiT3Config(embed_dim=1024, depth=24, num_heads=16)
HUGE = DeiT3Config(patch_size=14, embed_dim=1280, depth=32, num_heads=16)


def large(config: DeiT3Config) -> DeiT3Config:
    """Return the same network for images of 384 pixels a side."""
    return replace(config, image_size=(384, 384))


VARIANTS = {
    "deit3_small_patch16_224": SMALL,
    "deit3_small_patch16_384": large(SMALL),
    "deit3_medium_patch16_224": MEDIUM,
    "deit3_base_patch16_224": BASE,
    "deit3_base_patch16_384": large(BASE),
    "deit3_large_patch16_224": LARGE,
    "deit3_large_patch16_384": large(LARGE),
    "deit3_huge_patch14_224": HUGE,
}

README = "README_revenge.md, trained on ImageNet-1k alone"
CLAIMS = {
    "deit3_small_patch16_224": Claim(params=22.0, macs=4.6, top1=81.4, source=README),
    "deit3_small_patch16_384": Claim(params=22.0, macs=15.5, top1=83.4, source=README),
    "deit3_base_patch16_224": Claim(params=86.6, macs=17.5, top1=83.8, source=README),
    "deit3_base_patch16_384": Claim(params=86.9, macs=55.5, top1=85.0, source=README),
    "deit3_large_patch16_224": Claim(params=304.4, macs=61.6, top1=84.9, source=README),
    "deit3_large_patch16_384": Claim(params=304.8, macs=191.2, top1=85.8, source=README),
    "deit3_huge_patch14_224": Claim(params=632.1, macs=167.4, top1=85.2, source=README),
}

PREPROCESSING = Frame(image_size=(224, 224), mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))

FORMATS = (
    Format(
        "authors",
        Rule("cls_token", "stem.prefix.class_token"),
        Rule("pos_embed", "stem.position.table"),
        Rule("patch_embed.proj.*", "stem.patch_embed.proj.*"),
        Rule("blocks.#.gamma_1", "blocks.#.ls1.gamma"),
        Rule("blocks.#.gamma_2", "blocks.#.ls2.gamma"),
        Rule("blocks.#.norm#.*", "blocks.#.norm#.*"),
        Rule("blocks.#.attn.*", "blocks.#.attn.*"),
        Rule("blocks.#.mlp.*", "blocks.#.mlp.*"),
        Rule("norm.*", "norm.*"),
        head=(Rule("head.*", "head.label.*"),),
    ),
    TIMM,
)
