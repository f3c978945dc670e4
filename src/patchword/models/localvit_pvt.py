"""LocalViT-PVT: PVT with feed-forwards that look at each patch's neighbours.

Paper      Li et al., "LocalViT: Bringing Locality to Vision Transformers", 2021,
           arXiv:2104.05707
Reference  github.com/ofsoundof/LocalViT, models/localvit_pvt.py
Departures those of PVT; the last block's feed-forward, which the class token passes by, is left
           out where only `pooled` is asked for
"""

from dataclasses import dataclass

from torch import nn

from patchword.claim import Claim
from patchword.data.frame import Frame
from patchword.layers import Block, Mlp, truncated
from patchword.models.localvit import LocalBlock, LocalFeedForward
from patchword.models.pvt import PVT, Embed, PVTConfig
from patchword.weights import Format, Rule, modules, within


@dataclass(frozen=True, kw_only=True)
class LocalPVTConfig(PVTConfig):
    """PVT's settings; `mlp_ratio` is of the local feed-forward."""

    def build(self) -> "LocalPVT":
        """Make the backbone, with fresh weights."""
        return LocalPVT(self)


VARIANTS = {"localvit_pvt_tiny": LocalPVTConfig()}

CLAIMS: dict[str, Claim] = {"localvit_pvt_tiny": Claim(top1=78.14, source="README")}

PREPROCESSING = Frame(image_size=(224, 224), mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))

FORMATS = (
    Format(
        "authors",
        Rule("pos_embed{#+1}", "stages.#.embed.position.table"),
        Rule("patch_embed{#+1}.*", "stages.#.embed.*"),
        *within(
            "block{#+1}.#",
            "stages.#.blocks.#",
            *modules({"attn.sr": "attn.reduce.conv", "attn.norm": "attn.reduce.norm"}),
            *modules({"conv.conv": "local.layers", "attn": "attn", "norm1": "norm1"}),
        ),
        Rule("norm.*", "norm.*"),
        head=(Rule("head.*", "head.label.*"),),
        placed=lambda config: [
            Rule("cls_token", f"stages.{len(config.depth) - 1}.embed.class_token")
        ],
    ),
)


class LocalPVT(PVT):
    """PVT with a local feed-forward, as wide, in the place of each MLP."""

    def __init__(self, config: LocalPVTConfig) -> None:
        super().__init__(config)
        for place, block in [*self.named_modules()]:
            if isinstance(block, Block) and isinstance(block.mlp, Mlp):
                dim, hidden = block.mlp.fc1.in_features, block.mlp.fc1.out_features
                local = LocalFeedForward(dim, hidden, reduction=dim).apply(truncated)
                rate, eps = block.drop_path1.rate, block.norm1.eps
                self.set_submodule(
                    place, LocalBlock(dim, block.attn, local, drop_path=rate, eps=eps)
                )
        last = len(config.depth) - 1
        self.silent = (f"stages.{last}.blocks.{config.depth[last] - 1}.local.*",)

    def spine(self) -> list[nn.Module]:
        """Return each stage's embedding and blocks in turn, and the last norm."""
        return [*(m for m in self.modules() if isinstance(m, Embed | LocalBlock)), self.norm]
