"""LocalViT-TNT: TNT with outer feed-forwards that look at each patch's neighbours.

Paper      Li et al., "LocalViT: Bringing Locality to Vision Transformers", 2021,
           arXiv:2104.05707
Reference  github.com/ofsoundof/LocalViT, models/localvit_tnt.py
Departures those of TNT; the last block's outer feed-forward, which the class token passes by, is
           left out where only `pooled` is asked for
"""

from dataclasses import dataclass

from patchword.claim import Claim
from patchword.data.frame import Frame
from patchword.layers import Block, truncated
from patchword.models.localvit import LocalBlock, LocalFeedForward
from patchword.models.tnt import PIXELS, TNT, TNTConfig, joint
from patchword.weights import Format, Rule, modules, within


@dataclass(frozen=True, kw_only=True)
class LocalTNTConfig(TNTConfig):
    """TNT's settings; `mlp_ratio` is of the inner MLPs."""

    local_ratio: float = 4.0  # hidden channels of a local feed-forward per channel of a token
    legacy: bool = True  # the authors built on TNT's first version

    def build(self) -> "LocalTNT":
        """Make the backbone, with fresh weights."""
        return LocalTNT(self)


VARIANTS = {
    "localvit_tnt_t_patch16_224": LocalTNTConfig(
        embed_dim=192, inner_dim=12, num_heads=3, inner_num_heads=3
    ),
    "localvit_tnt_s_patch16_224": LocalTNTConfig(),
}

CLAIMS: dict[str, Claim] = {"localvit_tnt_t_patch16_224": Claim(top1=75.90, source="README")}

PREPROCESSING = Frame(image_size=(224, 224), mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))

FORMATS = (
    Format(
        "authors",
        Rule("cls_token", "stem.class_token"),
        Rule("patch_pos", "stem.position.table"),
        Rule("pixel_pos", "stem.word_position", PIXELS),
        Rule("pixel_embed.proj.*", "stem.conv.*"),
        *modules({"norm#_proj": "stem.join.norm#", "proj": "stem.join.proj"}),
        *within(
            "blocks.#",
            "blocks.#",
            joint("attn_in", "inner.attn"),
            joint("attn_out", "outer.attn"),
            *modules({"norm_in": "inner.norm1", "attn_in.proj": "inner.attn.proj"}),
            *modules({"norm_mlp_in": "inner.norm2", "mlp_in": "inner.mlp"}),
            *modules({"norm1_proj": "join.norm1", "proj": "join.proj"}),
            *modules({"norm_out": "outer.norm1", "attn_out.proj": "outer.attn.proj"}),
            Rule("conv.conv.*", "outer.local.layers.*"),
        ),
        Rule("norm.*", "norm.*"),
        head=(Rule("head.*", "head.label.*"),),
    ),
)


class LocalTNT(TNT):
    """TNT with a local feed-forward in the place of each outer MLP."""

    def __init__(self, config: LocalTNTConfig) -> None:
        super().__init__(config)
        dim = config.embed_dim
        for place, block in [*self.named_modules()]:
            if isinstance(block, Block) and place.endswith(".outer"):
                local = LocalFeedForward(dim, int(dim * config.local_ratio), reduction=dim)
                local.apply(truncated)
                rate, eps = block.drop_path1.rate, block.norm1.eps
                self.set_submodule(
                    place, LocalBlock(dim, block.attn, local, drop_path=rate, eps=eps)
                )
        self.silent = (f"blocks.{config.depth - 1}.outer.local.*",)
