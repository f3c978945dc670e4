"""Segmenter: a token per class attends with the patches, and scores them by scalar products.

Paper      Strudel et al., "Segmenter: Transformer for Semantic Segmentation", ICCV 2021,
           arXiv:2105.05633
Reference  github.com/rstrudel/segmenter, segm/model/decoder.py and segmenter.py
Departures none
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from patchword.claim import Claim
from patchword.features import Backbone, Level
from patchword.heads.dense import DenseHead, Design, HeadConfig, chosen
from patchword.layers import Attention, Block, Mlp, ramp, to_map, to_tokens, truncated
from patchword.weights import HeadFormat, Rule, within


@dataclass(frozen=True, kw_only=True)
class SegmenterConfig(HeadConfig):
    """The mask transformer (section 3.2), or the linear decoder that it is compared with."""

    decoder: Literal["mask", "linear"] = "mask"
    depth: int = 2  # blocks; the width is the backbone's
    head_dim: int = 64  # channels of an attention head
    mlp_ratio: float = 4.0  # hidden channels of the MLP per channel of a token
    drop_rate: float = 0.0  # dropout in the blocks
    drop_path_rate: float = 0.0  # stochastic depth of the last block; it rises from 0
    norm_eps: float = 1e-5

    def head(self, backbone: Backbone, num_classes: int) -> DenseHead:
        levels = chosen(backbone, ("final",))
        if self.decoder == "linear":
            return LinearDecoder(levels, num_classes)
        return MaskTransformer(self, levels, num_classes)


MASK = SegmenterConfig()
LINEAR = SegmenterConfig(decoder="linear")


def sized(side: int, patch_size: int = 16) -> dict[str, Any]:
    """Return the authors' ViT for square crops: torch's epsilon, positions read linearly."""
    shape = {"image_size": (side, side), "patch_size": patch_size}
    return {**shape, "norm_eps": 1e-5, "resample": "bilinear"}


VARIANTS = {
    "segmenter": Design(head=MASK),
    "segmenter_linear": Design(head=LINEAR),
    "segmenter_vit_tiny_patch16": Design(
        head=MASK, backbone="vit_tiny_patch16_384", changes=sized(512)
    ),
    "segmenter_vit_small_patch16": Design(
        head=MASK, backbone="vit_small_patch16_384", changes=sized(512)
    ),
    "segmenter_vit_base_patch16": Design(
        head=MASK, backbone="vit_base_patch16_384", changes=sized(512)
    ),
    "segmenter_vit_large_patch16": Design(
        head=MASK, backbone="vit_large_patch16_384", changes=sized(640)
    ),
    "segmenter_deit_base_distilled_patch16": Design(
        head=MASK, backbone="deit_base_distilled_patch16_384", changes=sized(512)
    ),
    "segmenter_linear_vit_base_patch8": Design(
        head=LINEAR, backbone="vit_base_patch8_224", changes=sized(512, 8)
    ),
    "segmenter_linear_deit_base_distilled_patch16": Design(
        head=LINEAR, backbone="deit_base_distilled_patch16_384", changes=sized(512)
    ),
}

README = "README of segmenter"
CLAIMS = {
    "segmenter_vit_tiny_patch16": Claim(params=7.0, source=README),
    "segmenter_vit_small_patch16": Claim(params=27.0, source=README),
    "segmenter_vit_base_patch16": Claim(params=106.0, source=README),
    "segmenter_linear_vit_base_patch8": Claim(params=89.0, source=README),
    "segmenter_vit_large_patch16": Claim(params=334.0, source=README),
    "segmenter_linear_deit_base_distilled_patch16": Claim(params=87.0, source=README),
    "segmenter_deit_base_distilled_patch16": Claim(params=106.0, source=README),
}

FORMATS = (
    HeadFormat(
        "authors",
        *within(
            "decoder",
            "head",
            Rule("head.*", "scores.*"),
            Rule("proj_dec.*", "enter.*"),
            Rule("cls_emb", "classes"),
            Rule("proj_patch", "project_patches"),
            Rule("proj_classes", "project_classes"),
            Rule("decoder_norm.*", "norm.*"),
            Rule("mask_norm.*", "norm_scores.*"),
            Rule("blocks.#.*", "blocks.#.*"),
        ),
        root="encoder.",
        backbone="timm",
        unused=("head.*", "head_dist.*"),  # of the classifier that the encoder was
    ),
)


class LinearDecoder(DenseHead):
    """Scores of each patch from its token alone (section 3.2)."""

    def __init__(self, levels: Sequence[Level], num_classes: int) -> None:
        super().__init__(levels)
        self.scores = nn.Linear(levels[0].channels, num_classes)
        self.apply(truncated)

    def decode(
        self, maps: Sequence[Float[Tensor, "b _ _ _"]]
    ) -> Float[Tensor, "b classes rows columns"]:
        """Answer on the patches' grid."""
        return to_map(self.scores(to_tokens(maps[0])), tuple(maps[0].shape[2:]))


class MaskTransformer(DenseHead):
    """Class tokens and patches through blocks; the scores are their cosines, normed by patch."""

    def __init__(self, config: SegmenterConfig, levels: Sequence[Level], num_classes: int) -> None:
        super().__init__(levels)
        c, dim = config, levels[0].channels
        self.count = num_classes
        self.enter = nn.Linear(dim, dim)
        self.classes = nn.Parameter(torch.empty(1, num_classes, dim))
        self.blocks = nn.ModuleList(
            Block(
                dim,
                Attention(dim, max(dim // c.head_dim, 1), drop=c.drop_rate),
                Mlp(dim, int(dim * c.mlp_ratio), drop=c.drop_rate),
                drop_path=rate,
                eps=c.norm_eps,
            )
            for rate in ramp(c.drop_path_rate, c.depth)
        )
        self.norm = nn.LayerNorm(dim, c.norm_eps)
        self.project_patches, self.project_classes = (
            nn.Parameter(dim**-0.5 * torch.randn(dim, dim)) for _ in range(2)
        )
        self.norm_scores = nn.LayerNorm(num_classes, c.norm_eps)
        self.apply(truncated)
        nn.init.trunc_normal_(self.classes, std=0.02)

    def decode(
        self, maps: Sequence[Float[Tensor, "b _ _ _"]]
    ) -> Float[Tensor, "b classes rows columns"]:
        """Answer on the patches' grid."""
        grid = tuple(maps[0].shape[2:])
        x = self.enter(to_tokens(maps[0]))
        x = torch.cat([x, self.classes.expand(len(x), -1, -1)], dim=1)
        for block in self.blocks:
            x = block(x, grid)
        patches, classes = self.norm(x).split([x.shape[1] - self.count, self.count], dim=1)
        patches = F.normalize(patches @ self.project_patches, dim=-1)
        classes = F.normalize(classes @ self.project_classes, dim=-1)
        return to_map(self.norm_scores(patches @ classes.mT), grid)
