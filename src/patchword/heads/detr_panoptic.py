"""DETR with masks: where a query looks in the memory, refined to a mask by finer levels.

Paper      Carion et al., "End-to-End Object Detection with Transformers", ECCV 2020,
           arXiv:2005.12872, section 4.4
Reference  github.com/facebookresearch/detr, models/segmentation.py; transformers'
           DetrForSegmentation
Departures a picture of which nothing is sure has no segment; theirs is one segment of class 1
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from patchword.errors import ConfigError
from patchword.features import Backbone, Level, Tap
from patchword.heads.dense import MAIN, Design, chosen, pyramid, resized
from patchword.heads.detector import Extent, Found
from patchword.heads.detr import DETRConfig, DETRHead, authors_names, transformers_names
from patchword.layers import Grid, GroupNorm, split_heads
from patchword.weights import HeadFormat, Rules, modules

SMALL = 4  # pixels, down to which a segment is dropped


@dataclass(frozen=True, kw_only=True)
class DETRPanopticConfig(DETRConfig):
    """DETR's, with a mask for each query; levels are read down to the finest."""

    def __post_init__(self) -> None:
        if self.embed_dim % 128 or (self.embed_dim + self.num_heads) % 8:
            raise ConfigError(
                f"embed_dim is {self.embed_dim} and num_heads {self.num_heads}: for masks these "
                "are multiples of 128 and of 8"
            )

    def head(self, backbone: Backbone, num_classes: int) -> "DETRPanopticHead":
        names = pyramid(backbone)
        levels = chosen(backbone, (*names[:-1], self.level or names[-1]))
        return DETRPanopticHead(self, levels, num_classes)


HEAD = DETRPanopticConfig()
DILATED: dict[str, Any] = {"dilated": True}
COCO = 250  # as the authors count: the largest number of a class of things or stuff, and more

VARIANTS = {
    "detr_panoptic": Design(head=HEAD, num_classes=COCO),
    "detr_panoptic_resnet50": Design(head=HEAD, backbone="resnet50", num_classes=COCO),
    "detr_panoptic_resnet101": Design(head=HEAD, backbone="resnet101", num_classes=COCO),
    "detr_panoptic_resnet50_dc5": Design(
        head=HEAD, backbone="resnet50", changes=DILATED, num_classes=COCO
    ),
}


def around(rules: Rules) -> Rules:
    """Return the names of a DETR's tensors where it is a part."""
    return tuple(replace(r, theirs=tuple(f"detr.{name}" for name in r.parts)) for r in rules)


PARTS = modules(
    {
        "bbox_attention.q_linear": "head.look.q",
        "bbox_attention.k_linear": "head.look.k",
        "mask_head.lay{#+1}": "head.refine.convs.#",
        "mask_head.gn{#+1}": "head.refine.norms.#",
        "mask_head.adapter{#+1}": "head.refine.adapters.#",
        "mask_head.out_lay": "head.refine.out",
    }
)
IN_MEMORY = modules(
    {
        "bbox_attention.q_proj": "head.look.q",
        "bbox_attention.k_proj": "head.look.k",
        "mask_head.conv1.conv": "head.refine.convs.0",
        "mask_head.conv1.norm": "head.refine.norms.0",
        "mask_head.conv2.conv": "head.refine.convs.1",
        "mask_head.conv2.norm": "head.refine.norms.1",
        "mask_head.fpn_stages.0.refine.conv": "head.refine.convs.2",
        "mask_head.fpn_stages.0.refine.norm": "head.refine.norms.2",
        "mask_head.fpn_stages.1.refine.conv": "head.refine.convs.3",
        "mask_head.fpn_stages.1.refine.norm": "head.refine.norms.3",
        "mask_head.fpn_stages.2.refine.conv": "head.refine.convs.4",
        "mask_head.fpn_stages.2.refine.norm": "head.refine.norms.4",
        "mask_head.fpn_stages.#.fpn_adapter": "head.refine.adapters.#",
        "mask_head.output_conv": "head.refine.out",
    }
)
FORMATS = (
    HeadFormat(
        "authors",
        *PARTS,
        *around(authors_names()),
        root="detr.backbone.0.body.",
        backbone="torchvision",
    ),
    HeadFormat(
        "transformers",
        *PARTS,
        *around(transformers_names()),
        root="detr.model.backbone.conv_encoder.model.",
        backbone="timm",
    ),
    HeadFormat(
        "transformers without timm",
        *PARTS,
        *around(transformers_names()),
        root="detr.model.backbone.conv_encoder.model.",
        backbone="transformers",
    ),
    HeadFormat(
        "transformers in memory",
        *IN_MEMORY,
        *around(transformers_names("o_proj", "mlp.", "")),
        root="detr.model.backbone.model.",
        backbone="timm",
    ),
    HeadFormat(
        "transformers without timm in memory",
        *IN_MEMORY,
        *around(transformers_names("o_proj", "mlp.", "")),
        root="detr.model.backbone.model.",
        backbone="transformers",
    ),
)


class Look(nn.Module):
    """Where queries look: attention's weights alone, that sum to 1 over heads and cells."""

    def __init__(self, dim: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.q, self.k = nn.Linear(dim, dim), nn.Linear(dim, dim)
        for linear in (self.q, self.k):
            nn.init.xavier_uniform_(linear.weight)
            nn.init.zeros_(linear.bias)

    def forward(
        self,
        queries: Float[Tensor, "b q d"],
        memory: Float[Tensor, "b n d"],
        inside: Bool[Tensor, "b h w"] | None,
    ) -> Float[Tensor, "b q heads n"]:
        """Return the weights; 0 outside the images."""
        q, k = (
            split_heads(linear(x), self.num_heads)
            for linear, x in ((self.q, queries), (self.k, memory))
        )
        scores = (q * q.shape[-1] ** -0.5) @ k.mT
        if inside is not None:
            scores = scores.masked_fill(~inside.flatten(1)[:, None, None], -torch.inf)
        scores = scores.transpose(1, 2)
        return scores.flatten(2).softmax(-1).view_as(scores)


class Refine(nn.Module):
    """Convolutions that bring a query's look to the finest level's grid, each level read in turn.

    Args:
        dim: channels of the coarsest map with those of the look.
        context: channels of the map; halved again and again.
        levels: channels of the others, the coarsest first.
    """

    def __init__(self, dim: int, context: int, levels: Sequence[int]) -> None:
        super().__init__()
        dims = [dim, *(context >> i for i in range(1, len(levels) + 2))]
        pairs = [(dim, dim), *pairwise(dims)]
        self.convs = nn.ModuleList(nn.Conv2d(a, b, 3, padding=1) for a, b in pairs)
        self.norms = nn.ModuleList(GroupNorm(8, b) for _, b in pairs)
        self.adapters = nn.ModuleList(
            nn.Conv2d(a, b, 1) for a, b in zip(levels, dims[1:], strict=False)
        )
        self.out = nn.Conv2d(dims[-1], 1, 3, padding=1)
        for part in self.modules():
            if isinstance(part, nn.Conv2d):
                nn.init.kaiming_uniform_(part.weight, a=1)
                assert part.bias is not None
                nn.init.zeros_(part.bias)

    def forward(
        self,
        x: Float[Tensor, "b d h w"],
        look: Float[Tensor, "b q heads h w"],
        levels: Sequence[Float[Tensor, "b _ _ _"]],
    ) -> Float[Tensor, "b q rows columns"]:
        """Return a mask for each query, as logits, on the last level's grid."""
        count = look.shape[1]
        x = torch.cat([x.repeat_interleave(count, 0), look.flatten(0, 1)], dim=1)
        for i, (conv, norm) in enumerate(zip(self.convs, self.norms, strict=True)):
            if i > 1:
                finer = self.adapters[i - 2](levels[i - 2])
                x = F.interpolate(x, finer.shape[2:], mode="nearest")
                x = x + finer.repeat_interleave(count, 0)
            x = norm(conv(x)).relu()
        return self.out(x)[:, 0].unflatten(0, (-1, count))


class DETRPanopticHead(DETRHead):
    """DETR's answers, and a mask with each of the last layer's."""

    def __init__(
        self, config: DETRPanopticConfig, levels: Sequence[Level], num_classes: int
    ) -> None:
        super().__init__(config, levels, num_classes)
        c = config
        self.look = Look(c.embed_dim, c.num_heads)
        finer = [level.channels for level in levels[-2::-1]]
        self.refine = Refine(c.embed_dim + c.num_heads, c.embed_dim, finer)

    def heads(self, taps: Sequence[Tap], extent: Extent) -> dict[str, Found]:
        seen = self.decode(taps[-1], extent)
        names = [*(f"aux.{i}" for i in range(len(seen.queries) - 1)), MAIN]
        found = {name: self.answer(x) for name, x in zip(names, seen.queries, strict=True)}
        look = self.look(seen.queries[-1], seen.memory, seen.inside)
        look = look.unflatten(-1, seen.entered.shape[2:])
        masks = self.refine(seen.entered, look, [tap.map for tap in taps[-2::-1]])
        return {**found, MAIN: found[MAIN]._replace(masks=masks)}

    def forward(self, taps: Sequence[Tap], extent: Extent) -> Found:
        """Answer from the last layer of the decoder."""
        return self.heads(taps, extent)[MAIN]


class Parted(NamedTuple):
    """A picture parted into segments that do not overlap."""

    ids: Int[Tensor, "h w"]  # a segment's number from 1; 0: none
    labels: tuple[int, ...]  # of each segment


@torch.no_grad()
def parted(
    found: Found,
    sizes: Sequence[Grid],
    original: Sequence[Grid],
    things: Collection[int],
    threshold: float = 0.85,
) -> list[Parted]:
    """Let the queries that are sure share out each picture's pixels.

    Those of the same class of stuff become one segment; where one is left with hardly a pixel, the
    others share the picture out anew, each for itself.

    Args:
        found: with masks, of a batch.
        sizes: rows and columns at which the masks compete, of each image.
        original: rows and columns of each picture.
        things: classes whose objects are told apart.
        threshold: from which a query is sure.
    """
    assert found.masks is not None
    result: list[Parted] = []
    sure, classes = found.scores.softmax(-1).max(-1)
    none = found.scores.shape[-1] - 1
    for image, (size, picture) in enumerate(zip(sizes, original, strict=True)):
        kept = (classes[image] != none) & (sure[image] > threshold)
        labels, masks = classes[image][kept], found.masks[image][kept]
        ids, areas = shared(resized(masks[:, None], size)[:, 0], labels, picture, things)
        while (small := areas <= SMALL).any():
            labels, masks = labels[~small], masks[~small]
            ids, areas = shared(resized(masks[:, None], size)[:, 0], labels, picture, None)
        result.append(Parted(ids, tuple(labels.tolist())))
    return result


def shared(
    masks: Float[Tensor, "n h w"],
    labels: Int[Tensor, " n"],
    size: Grid,
    things: Collection[int] | None,
) -> tuple[Int[Tensor, "rows columns"], Int[Tensor, " n"]]:
    """Give each pixel to the mask that wants it most; return numbers from 1, and areas.

    Args:
        masks: logits.
        labels: their classes.
        size: rows and columns of the picture.
        things: classes that are not joined; all if None.
    """
    if not len(masks):
        return labels.new_zeros(size), labels
    ids = masks.argmax(dim=0)
    first = {label: place for place, label in reversed([*enumerate(labels.tolist())])}
    if things is not None:
        owner = [i if label in things else first[label] for i, label in enumerate(labels.tolist())]
        ids = ids.new_tensor(owner)[ids]
    ids = F.interpolate(ids[None, None].double(), size, mode="nearest-exact")[0, 0].long()
    return ids + 1, ids.flatten().bincount(minlength=len(masks))
