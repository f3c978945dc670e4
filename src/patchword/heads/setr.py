"""SETR: a plain transformer's one resolution, decoded by convolutions in three ways.

Paper      Zheng et al., "Rethinking Semantic Segmentation from a Sequence-to-Sequence Perspective
           with Transformers", CVPR 2021, arXiv:2012.15840
Reference  github.com/fudan-zvg/SETR, mmseg/models/decode_heads/vit_up_head.py, vit_mla_head.py and
           backbones/vit_mla.py
Departures the grid is known, so that crops of every size are read; the authors' code takes the
           class token off where the number of tokens is no multiple of 48
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from operator import add
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from patchword.claim import Claim
from patchword.data.frame import Frame
from patchword.features import Backbone, Level, Tap
from patchword.heads.dense import (
    DenseHead,
    Design,
    HeadConfig,
    chosen,
    conv_relu,
    refuse,
    resized,
    scoring,
)
from patchword.layers import to_map, to_tokens
from patchword.weights import HeadFormat, Rule, View, modules, within


@dataclass(frozen=True, kw_only=True)
class SETRConfig(HeadConfig):
    """One of the three decoders (section 3.3), and the auxiliary heads of its training."""

    decoder: Literal["naive", "pup", "mla"] = "naive"
    channels: int = 256  # of the decoder's maps
    head_channels: int = 128  # of each of MLA's four streams before they are joined
    level: str | None = None  # that naive and PUP read; the last block if None
    aux: tuple[str, ...] | None = None  # levels with a head for training; earlier quarters if None
    levels: tuple[str, ...] | None = None  # MLA's; the quarters if None
    norm_eps: float = 1e-6

    def head(self, backbone: Backbone, num_classes: int) -> DenseHead:
        *earlier, last = backbone.pyramid()
        if self.decoder == "mla":
            levels = chosen(backbone, self.levels or (*earlier, last))
            if len({(level.channels, level.stride) for level in levels}) > 1:
                widths = ", ".join(str(level.channels) for level in levels)
                refuse(
                    backbone,
                    f"has levels of {widths} channels, each on a grid of its own",
                    "levels of one width on one grid, as plain transformers have (vit, deit, beit);"
                    " segformer and upernet read a pyramid",
                )
            return MultiLevelHead(self, levels, num_classes)
        names = (*(earlier if self.aux is None else self.aux), self.level or last)
        return UpsamplingHead(self, chosen(backbone, names), num_classes)


NAIVE = SETRConfig(level="blocks.23", aux=("blocks.9", "blocks.14", "blocks.19"))
PUP = replace(NAIVE, decoder="pup", aux=("blocks.9", "blocks.14", "blocks.19", "blocks.23"))
MLA = SETRConfig(decoder="mla")
IMAGENET = Frame(
    image_size=(768, 768), crop=1.0, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)
)
AT_768: dict[str, Any] = {"image_size": (768, 768), "resample": "bilinear"}
WITHOUT_TOKEN: dict[str, Any] = {**AT_768, "prefix": (), "pool": "mean"}


def vit_large(head: SETRConfig, changes: dict[str, Any]) -> Design:
    """Return SETR as on Cityscapes, on T-Large (section 4.1)."""
    return Design(
        head=head,
        backbone="vit_large_patch16_384",
        changes=changes,
        num_classes=19,
        frame=IMAGENET,
    )


VARIANTS = {
    "setr_naive": Design(head=SETRConfig()),
    "setr_pup": Design(head=SETRConfig(decoder="pup")),
    "setr_mla": Design(head=MLA),
    "setr_naive_vit_large_patch16": vit_large(NAIVE, AT_768),
    "setr_pup_vit_large_patch16": vit_large(PUP, AT_768),
    "setr_mla_vit_large_patch16": vit_large(MLA, WITHOUT_TOKEN),
}

ALONE = "paper, table 2, without auxiliary heads"
CLAIMS = {
    "setr_naive_vit_large_patch16": Claim(params=305.67, source=ALONE),
    "setr_pup_vit_large_patch16": Claim(params=318.31, source=ALONE),
    "setr_mla_vit_large_patch16": Claim(params=310.57, source=ALONE),
}

PATCHES = View(  # without the class token's place, which their MLA adds to a token it drops
    lambda table: table[:, 1:], lambda table: torch.cat([torch.zeros_like(table[:, :1]), table], 1)
)
UP = (
    *modules({"norm": "norm", "conv_#": "convs.#.0.linear", "syncbn_fc_#": "convs.#.0.bn"}),
    Rule("scores.*", "scores.*"),
)


def up_format(name: str, main: int) -> HeadFormat:
    """Return the authors' names of a decoder with so many convolutions before the scores."""
    return HeadFormat(
        name,
        *within("decode_head", "head", Rule(f"conv_{main}.*", "main.scores.*")),
        *within("auxiliary_head.#", "head.aux.#", Rule("conv_1.*", "scores.*")),
        *within("decode_head", "head.main", *UP),
        *within("auxiliary_head.#", "head.aux.#", *UP),
        root="backbone.",
        backbone="timm",
        unused=("decode_head.conv_seg.*", "auxiliary_head.#.conv_seg.*"),
    )


def streams() -> tuple[Rule, ...]:
    """Return the authors' names of MLA, whose streams they number from 2."""
    pairs = {
        "backbone.mla.mla_p{#+2}_1x1.0": "head.inward.#.0.linear",
        "backbone.mla.mla_p{#+2}_1x1.1": "head.inward.#.0.bn",
        "backbone.mla.mla_p{#+2}.0": "head.outward.#.0.linear",
        "backbone.mla.mla_p{#+2}.1": "head.outward.#.0.bn",
        "decode_head.mlahead.head{#+2}.0": "head.streams.#.0.0.linear",
        "decode_head.mlahead.head{#+2}.1": "head.streams.#.0.0.bn",
        "decode_head.mlahead.head{#+2}.3": "head.streams.#.1.0.linear",
        "decode_head.mlahead.head{#+2}.4": "head.streams.#.1.0.bn",
        "backbone.norm_#": "head.norms.#",
        "decode_head.cls": "head.scores",
        "auxiliary_head.#.aux": "head.aux.#",
    }
    return modules(pairs)


FORMATS = (
    up_format("authors", 1),
    up_format("authors PUP", 4),
    HeadFormat(
        "authors MLA",
        *streams(),
        root="backbone.",
        backbone="timm",
        first=(Rule("pos_embed", "stem.position.table", PATCHES),),
        unread=("stem.prefix.class_token",),
        unused=("decode_head.conv_seg.*", "auxiliary_head.#.conv_seg.*"),
        derived=lambda config: {"cls_token": torch.zeros(1, 1, config.embed_dim)},
    ),
)


class Up(nn.Module):
    """Norm, convolutions with an enlargement after each, scores.

    Args:
        dim: channels of a token.
        channels: of the convolutions.
        kernel: side of their kernels.
        scales: by which the map is enlarged after each of them.
        num_classes: scores per cell.
        eps: of the norm.
    """

    def __init__(
        self,
        dim: int,
        channels: int,
        kernel: int,
        scales: Sequence[int],
        num_classes: int,
        eps: float,
    ) -> None:
        super().__init__()
        self.norm, self.scales = nn.LayerNorm(dim, eps), tuple(scales)
        dims = (dim, *[channels] * (len(scales) - 1))
        self.convs = nn.ModuleList(conv_relu(d, channels, kernel, bias=True) for d in dims)
        self.scores = scoring(channels, num_classes)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b classes rows columns"]:
        """Score the cells of an enlarged map."""
        x = normed_map(self.norm, x)
        for conv, scale in zip(self.convs, self.scales, strict=True):
            x = conv(x)
            x = resized(x, [side * scale for side in x.shape[2:]])
        return self.scores(x)


def normed_map(norm: nn.Module, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
    """Norm the channels of every cell."""
    return to_map(norm(to_tokens(x)), (x.shape[2], x.shape[3]))


class UpsamplingHead(DenseHead):
    """Naive, or progressive upsampling (PUP), of the last of its levels.

    Naive has one pointwise convolution, PUP four of 3x3 cells with an enlargement by two after
    each, the last of which stands after the scores and is left to whoever fits these to the image.
    """

    def __init__(self, config: SETRConfig, levels: Sequence[Level], num_classes: int) -> None:
        super().__init__(levels)
        c, (*earlier, last) = config, levels
        kernel = 3 if c.decoder == "pup" else 1
        scales, aside = ((2, 2, 2, 1), (4,)) if c.decoder == "pup" else ((1,), (1,))
        self.main = Up(last.channels, c.channels, kernel, scales, num_classes, c.norm_eps)
        self.aux = nn.ModuleList(
            Up(level.channels, c.channels, kernel, aside, num_classes, c.norm_eps)
            for level in earlier
        )

    def decode(
        self, maps: Sequence[Float[Tensor, "b _ _ _"]]
    ) -> Float[Tensor, "b classes rows columns"]:
        """Answer on the level's grid, or on one eight times as fine."""
        return self.main(maps[-1])

    def auxiliary(
        self, maps: Sequence[Float[Tensor, "b _ _ _"]]
    ) -> dict[str, Float[Tensor, "b classes _ _"]]:
        return {f"aux.{i}": head(maps[i]) for i, head in enumerate(self.aux)}


class MultiLevelHead(DenseHead):
    """Multi-level feature aggregation (MLA): depths of one grid, summed from the deepest up."""

    def __init__(self, config: SETRConfig, levels: Sequence[Level], num_classes: int) -> None:
        super().__init__(levels)
        c, count = config, len(levels)
        self.norms = nn.ModuleList(nn.LayerNorm(level.channels, c.norm_eps) for level in levels)
        self.inward = nn.ModuleList(conv_relu(level.channels, c.channels, 1) for level in levels)
        self.outward = nn.ModuleList(conv_relu(c.channels, c.channels, 3) for _ in levels)
        self.streams = nn.ModuleList(
            nn.Sequential(
                conv_relu(c.channels, c.head_channels, 3),
                conv_relu(c.head_channels, c.head_channels, 3),
            )
            for _ in levels
        )
        self.scores = scoring(count * c.head_channels, num_classes, 3)
        on = levels if c.aux is None else ()
        self.aux = nn.ModuleList(scoring(c.channels, num_classes, bias=False) for _ in on)

    def maps(self, taps: Sequence[Tap]) -> tuple[Float[Tensor, "b _ _ _"], ...]:
        """Return four maps, each with all deeper ones added."""
        parts = zip(self.inward, self.norms, taps, strict=True)
        inward = [conv(normed_map(norm, tap.map)) for conv, norm, tap in parts]
        summed = [*accumulate(inward[::-1], add)][::-1]
        return tuple(conv(x) for conv, x in zip(self.outward, summed, strict=True))

    def decode(
        self, maps: Sequence[Float[Tensor, "b _ _ _"]]
    ) -> Float[Tensor, "b classes rows columns"]:
        """Answer on a grid four times as fine."""
        streams = [stream(x) for stream, x in zip(self.streams, maps, strict=True)]
        size = [4 * side for side in maps[0].shape[2:]]
        return self.scores(torch.cat([resized(x, size, aligned=True) for x in streams], dim=1))

    def auxiliary(
        self, maps: Sequence[Float[Tensor, "b _ _ _"]]
    ) -> dict[str, Float[Tensor, "b classes _ _"]]:
        return {
            f"aux.{i}": head(x) for i, (head, x) in enumerate(zip(self.aux, maps, strict=False))
        }
