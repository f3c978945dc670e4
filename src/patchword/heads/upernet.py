"""UPerNet: a pyramid's top pooled at several sizes, its levels joined from the top down.

Paper      Xiao et al., "Unified Perceptual Parsing for Scene Understanding", ECCV 2018,
           arXiv:1807.10221; its pooling: Zhao et al. 2017, arXiv:1612.01105; the auxiliary head:
           Long et al. 2015, arXiv:1411.4038. On Swin: arXiv:2103.14030; on BEiT: arXiv:2106.08254
Reference  github.com/open-mmlab/mmsegmentation, mmseg/models/decode_heads/uper_head.py and
           fcn_head.py; transformers' UperNetForSemanticSegmentation, BeitForSemanticSegmentation
Departures none
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from patchword.claim import Claim
from patchword.features import Backbone, Level, Tap
from patchword.heads.dense import (
    DenseHead,
    Design,
    HeadConfig,
    chosen,
    conv_relu,
    pyramid,
    resized,
    scoring,
)
from patchword.layers import to_map, to_tokens
from patchword.weights import HeadFormat, Rule, Rules, modules, normed, within


@dataclass(frozen=True, kw_only=True)
class UPerNetConfig(HeadConfig):
    """The head, and the fully convolutional one beside it in training."""

    channels: int = 512
    bins: tuple[int, ...] = (1, 2, 3, 6)  # cells along a side of the top's pooled maps
    aux_channels: int = 256
    aux_convs: int = 1
    aux: bool = True
    norms: bool = False  # norm each level, as where stages leave without one (Swin)
    levels: tuple[str, ...] | None = None  # that are read, finest first; stages or quarters if None

    def head(self, backbone: Backbone, num_classes: int) -> "UPerNetHead":
        own = backbone.pyramid() if self.norms else pyramid(backbone)
        return UPerNetHead(self, chosen(backbone, self.levels or own), num_classes)


SWIN = UPerNetConfig(norms=True)


def blocks(*places: int) -> tuple[str, ...]:
    """Name blocks of a plain transformer."""
    return tuple(f"blocks.{place}" for place in places)


AT_512: dict[str, Any] = {"image_size": (512, 512), "tiling": "authors"}  # windows do not tile it
AT_640: dict[str, Any] = {"image_size": (640, 640), "pool": "token"}

VARIANTS = {
    "upernet": Design(head=UPerNetConfig()),
    "upernet_swin_tiny": Design(head=SWIN, backbone="swin_tiny_patch4_window7_224", changes=AT_512),
    "upernet_swin_small": Design(
        head=SWIN, backbone="swin_small_patch4_window7_224", changes=AT_512
    ),
    "upernet_swin_base": Design(head=SWIN, backbone="swin_base_patch4_window7_224", changes=AT_512),
    "upernet_beit_base_patch16": Design(
        head=UPerNetConfig(channels=768, levels=blocks(3, 5, 7, 11)),
        backbone="beit_base_patch16_224",
        changes=AT_640,
    ),
    "upernet_beit_large_patch16": Design(
        head=UPerNetConfig(channels=1024, levels=blocks(7, 11, 15, 23)),
        backbone="beit_large_patch16_224",
        changes=AT_640,
    ),
}

SWINS = "Swin's paper, table 3"
CLAIMS = {
    "upernet_swin_tiny": Claim(params=60.0, source=SWINS),
    "upernet_swin_small": Claim(params=81.0, source=SWINS),
    "upernet_swin_base": Claim(params=121.0, source=SWINS),
}


def both(conv: str, bn: str, scores: str, top: str = "bottleneck", pool: str = "#.1") -> Rules:
    """Return a project's names of both heads, which differ in a few words."""
    main = {
        f"psp_modules.{pool}": "pooled.#.1.0",
        top: "bottleneck.0",
        "lateral_convs.#": "lateral.#.0",
        "fpn_convs.#": "smooth.#.0",
        "fpn_bottleneck": "fuse.0",
    }
    return (
        *within("decode_head", "head", *normed(main, conv, bn)),
        Rule(f"decode_head.{scores}.*", "head.scores.*"),
        *within("auxiliary_head", "head.aux", *normed({"convs.#": "#.0"}, conv, bn)),
        Rule(f"auxiliary_head.{scores}.*", "head.aux_scores.*"),
    )


def rescaled(root: str, names: dict[str, str]) -> Rules:
    """Return a project's names of what rescales a plain transformer's levels."""
    return modules({f"{root}{theirs}": f"head.scale.{ours}" for theirs, ours in names.items()})


SCALED = {"fpn1.0": "0.0", "fpn1.1": "0.1", "fpn1.3": "0.3", "fpn2.0": "1.0"}
IN_MEMORY = {
    **{"fpn1.conv_transpose1": "0.0", "fpn1.normalization": "0.1"},
    **{"fpn1.conv_transpose2": "0.3", "fpn2": "1.0"},
}
FORMATS = (
    HeadFormat(
        "authors",  # Swin's
        *both("conv", "bn", "conv_seg"),
        Rule("backbone.norm#.*", "head.norms.#.*"),
        root="backbone.",
    ),
    HeadFormat(
        "authors of BEiT",
        *both("conv", "bn", "conv_seg"),
        *rescaled("backbone.", SCALED),
        root="backbone.",
        backbone="timm",
    ),
    HeadFormat(
        "transformers",
        *both("conv", "batch_norm", "classifier"),
        Rule("backbone.hidden_states_norms.stage{#+1}.*", "head.norms.#.*"),
        root="backbone.",
        unused=("swin.layernorm.*",),
    ),
    HeadFormat(
        "transformers in memory",
        *both("conv", "batch_norm", "classifier"),
        Rule("backbone.hidden_states_norms.stage{#+1}.*", "head.norms.#.*"),
        root="backbone.swin.",
        unread=("norm.*",),
    ),
    HeadFormat(
        "transformers of BEiT",
        *both("conv", "bn", "classifier"),
        *rescaled("", SCALED),
        root="beit.",
        backbone="transformers",
    ),
    HeadFormat(
        "transformers of BEiT in memory",
        *both("convolution", "normalization", "classifier", "psp_bottleneck", "blocks.#.conv"),
        *rescaled("fpn.", IN_MEMORY),
        root="beit.",
        backbone="transformers in memory",
    ),
)


def rescaling(dim: int) -> nn.ModuleList:
    """Return what makes a pyramid of a plain transformer's levels: 4 and 2 times finer, half."""
    finest = (
        nn.ConvTranspose2d(dim, dim, 2, 2),
        nn.BatchNorm2d(dim),
        nn.GELU(),
        nn.ConvTranspose2d(dim, dim, 2, 2),
    )
    finer = nn.Sequential(nn.ConvTranspose2d(dim, dim, 2, 2))
    return nn.ModuleList([nn.Sequential(*finest), finer, nn.Identity(), nn.MaxPool2d(2, 2)])


class UPerNetHead(DenseHead):
    """Pyramid pooling of the top, a feature pyramid below it, all of it at the finest level."""

    def __init__(self, config: UPerNetConfig, levels: Sequence[Level], num_classes: int) -> None:
        super().__init__(levels)
        c, dims = config, [level.channels for level in levels]
        *lower, top = dims
        self.norms = nn.ModuleList(nn.LayerNorm(dim) for dim in dims if c.norms)
        plain = len({(level.channels, level.stride) for level in levels}) == 1 and len(levels) == 4
        self.scale = rescaling(top) if plain else nn.ModuleList()
        self.pooled = nn.ModuleList(
            nn.Sequential(nn.AdaptiveAvgPool2d(side), conv_relu(top, c.channels, 1))
            for side in c.bins
        )
        self.bottleneck = conv_relu(top + len(c.bins) * c.channels, c.channels, 3)
        self.lateral = nn.ModuleList(conv_relu(dim, c.channels, 1) for dim in lower)
        self.smooth = nn.ModuleList(conv_relu(c.channels, c.channels, 3) for _ in lower)
        self.fuse = conv_relu(len(levels) * c.channels, c.channels, 3)
        self.scores = scoring(c.channels, num_classes)
        self.third = max(len(levels) - 2, 0)  # the level that the auxiliary head reads
        widths = [dims[self.third], *[c.aux_channels] * c.aux_convs]
        self.aux = nn.Sequential(*(conv_relu(i, o, 3) for i, o in pairwise(widths) if c.aux))
        self.aux_scores = scoring(widths[-1], num_classes) if c.aux else None

    def maps(self, taps: Sequence[Tap]) -> tuple[Float[Tensor, "b _ _ _"], ...]:
        """Return the levels as a pyramid."""
        maps = [tap.map for tap in taps]
        for i, norm in enumerate(self.norms):
            maps[i] = to_map(norm(to_tokens(maps[i])), tuple(maps[i].shape[2:]))
        for i, scale in enumerate(self.scale):
            maps[i] = scale(maps[i])
        return tuple(maps)

    def decode(
        self, maps: Sequence[Float[Tensor, "b _ _ _"]]
    ) -> Float[Tensor, "b classes rows columns"]:
        """Answer on the finest level's grid."""
        top = maps[-1]
        pooled = [resized(pool(top), top.shape[2:]) for pool in self.pooled]
        joined = [self.bottleneck(torch.cat([top, *pooled], dim=1))]
        for lateral, x in zip([*self.lateral][::-1], maps[-2::-1], strict=True):
            joined.insert(0, lateral(x) + resized(joined[0], x.shape[2:]))
        smooth = [conv(x) for conv, x in zip(self.smooth, joined[:-1], strict=True)]
        finest = maps[0].shape[2:]
        levels = [resized(x, finest) for x in (*smooth, joined[-1])]
        return self.scores(self.fuse(torch.cat(levels, dim=1)))

    def auxiliary(
        self, maps: Sequence[Float[Tensor, "b _ _ _"]]
    ) -> dict[str, Float[Tensor, "b classes _ _"]]:
        if self.aux_scores is None:
            return {}
        return {"aux": self.aux_scores(self.aux(maps[self.third]))}
