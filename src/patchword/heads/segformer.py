"""SegFormer: levels projected to one width, laid over each other, and read cell by cell.

Paper      Xie et al., "SegFormer: Simple and Efficient Design for Semantic Segmentation with
           Transformers", NeurIPS 2021, arXiv:2105.15203
Reference  github.com/NVlabs/SegFormer, mmseg/models/decode_heads/segformer_head.py; transformers'
           SegformerForSemanticSegmentation, which adds 1e-5 in all norms where the authors add
           1e-6 in those of blocks and stages
Departures none
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from patchword.claim import Claim
from patchword.features import Backbone, Level
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
from patchword.weights import HeadFormat, Rule, modules, normed, within


@dataclass(frozen=True, kw_only=True)
class SegFormerConfig(HeadConfig):
    """The all-MLP decoder (section 3.2)."""

    channels: int = 256  # to which every level is projected
    drop_rate: float = 0.1  # dropout before the scores, of whole channels
    levels: tuple[str, ...] | None = None  # that are read, finest first; stages or quarters if None

    def head(self, backbone: Backbone, num_classes: int) -> "SegFormerHead":
        levels = chosen(backbone, self.levels or pyramid(backbone))
        return SegFormerHead(self, levels, num_classes)


SMALL = SegFormerConfig()
LARGE = SegFormerConfig(channels=768)
AT_512 = {"image_size": (512, 512)}

VARIANTS = {
    "segformer": Design(head=SMALL),
    "segformer_b0": Design(head=SMALL, backbone="mit_b0", changes=AT_512),
    "segformer_b1": Design(head=SMALL, backbone="mit_b1", changes=AT_512),
    "segformer_b2": Design(head=LARGE, backbone="mit_b2", changes=AT_512),
    "segformer_b3": Design(head=LARGE, backbone="mit_b3", changes=AT_512),
    "segformer_b4": Design(head=LARGE, backbone="mit_b4", changes=AT_512),
    "segformer_b5": Design(head=LARGE, backbone="mit_b5", changes={"image_size": (640, 640)}),
}

TABLE_1 = "paper, table 1"
CLAIMS = {
    "segformer_b0": Claim(params=3.8, macs=8.4, source=TABLE_1),
    "segformer_b1": Claim(params=13.7, macs=15.9, source=TABLE_1),
    "segformer_b2": Claim(params=27.5, macs=62.4, source=TABLE_1),
    "segformer_b3": Claim(params=47.3, macs=79.0, source=TABLE_1),
    "segformer_b4": Claim(params=64.1, macs=95.7, source=TABLE_1),
    "segformer_b5": Claim(params=84.7, macs=183.3, source=TABLE_1),
}

SCORES = {"classifier": "scores"}
FORMATS = (
    HeadFormat(
        "authors",
        *within(
            "decode_head",
            "head",
            Rule("linear_c{#+1}.proj.*", "project.#.*"),
            *normed({"linear_fuse": "fuse.0"}, "conv", "bn"),
            Rule("linear_pred.*", "scores.*"),
        ),
        root="backbone.",
        unused=("decode_head.conv_seg.*",),  # of mmseg's base class
    ),
    HeadFormat(
        "transformers",
        *within(
            "decode_head",
            "head",
            Rule("linear_c.#.proj.*", "project.#.*"),
            Rule("linear_fuse.*", "fuse.0.linear.*"),
            *modules({"batch_norm": "fuse.0.bn", **SCORES}),
        ),
        root="segformer.",
    ),
    HeadFormat(
        "transformers in memory",
        *within(
            "decode_head",
            "head",
            Rule("linear_projections.#.proj.*", "project.#.*"),
            Rule("linear_fuse.*", "fuse.0.linear.*"),
            *modules({"batch_norm": "fuse.0.bn", **SCORES}),
        ),
        root="segformer.",
    ),
)


class SegFormerHead(DenseHead):
    """Levels at one width and on the finest grid, mixed by two layers that see a cell each."""

    def __init__(self, config: SegFormerConfig, levels: Sequence[Level], num_classes: int) -> None:
        super().__init__(levels)
        c = config
        self.project = nn.ModuleList(nn.Linear(level.channels, c.channels) for level in levels)
        self.fuse = conv_relu(len(levels) * c.channels, c.channels, 1)
        self.drop = nn.Dropout2d(c.drop_rate)
        self.scores = scoring(c.channels, num_classes)

    def decode(
        self, maps: Sequence[Float[Tensor, "b _ _ _"]]
    ) -> Float[Tensor, "b classes rows columns"]:
        """Answer on the finest level's grid (equation 4)."""
        size = maps[0].shape[2:]
        projected = [
            resized(linear(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2), size)
            for linear, x in zip(self.project, maps, strict=True)
        ]
        return self.scores(self.drop(self.fuse(torch.cat(projected[::-1], dim=1))))
