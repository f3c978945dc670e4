"""Sparse R-CNN: learned boxes, whose contents are read by convolutions that their queries make.

Paper      Sun et al., "Sparse R-CNN: End-to-End Object Detection with Learnable Proposals", CVPR
           2021, arXiv:2011.12450; the pyramid: Lin et al. 2017, arXiv:1612.03144; reading regions:
           He et al. 2017, arXiv:1703.06870
Reference  github.com/PeizeSun/SparseR-CNN, projects/SparseRCNN/sparsercnn; detectron2's FPN,
           ROIAlignV2 and assign_boxes_to_levels
Departures a fresh bias is low for classes alone, not for whatever else has as many numbers; levels
           of one resolution, of plain transformers, are read as they are
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import log, log2
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from patchword.features import Backbone, Level, Tap
from patchword.heads.dense import MAIN, Design, chosen, pyramid, refuse
from patchword.heads.detector import DetectorConfig, Extent, Found, SetHead, centred, corners
from patchword.heads.fpn import Pyramid
from patchword.heads.queries import mlp
from patchword.layers.sequence import PostNorm, SelfAttention
from patchword.weights import HeadFormat, Rule, modules, multihead, within

PRIOR = 0.01  # probability of each class at the start
CANONICAL = (224, 16)  # pixels along a box, and the stride at which it is read
GROWTH = 100_000 / 16  # by which a side grows at once, at most


@dataclass(frozen=True, kw_only=True)
class SparseRCNNConfig(DetectorConfig):
    """The cascade (sections 3.2 and 3.3)."""

    embed_dim: int = 256  # channels of a query and of the pyramid
    num_heads: int = 8
    depth: int = 6  # stages
    mlp_dim: int = 2048  # hidden channels of the MLPs
    num_queries: int = 100  # boxes that it starts from
    hidden: int = 64  # channels between the two convolutions that a query makes
    cells: int = 7  # along a side of a region
    branches: tuple[int, int] = (1, 3)  # layers before the scores, and before the boxes
    levels: tuple[str, ...] | None = None  # that are read, finest first; stages or quarters if None

    def head(self, backbone: Backbone, num_classes: int) -> "SparseRCNNHead":
        levels = chosen(backbone, self.levels or pyramid(backbone))
        if any(len(set(level.stride or ())) > 1 for level in levels):
            refuse(backbone, "has cells that are not square", "levels with square ones")
        return SparseRCNNHead(self, levels, num_classes)


FEW = SparseRCNNConfig()
MANY = SparseRCNNConfig(num_queries=300)
COCO = 80  # its classes

VARIANTS = {
    "sparse_rcnn": Design(head=FEW, num_classes=COCO),
    "sparse_rcnn_300": Design(head=MANY, num_classes=COCO),
    "sparse_rcnn_resnet50": Design(head=FEW, backbone="resnet50", num_classes=COCO),
    "sparse_rcnn_resnet101": Design(head=FEW, backbone="resnet101", num_classes=COCO),
    "sparse_rcnn_300_resnet50": Design(head=MANY, backbone="resnet50", num_classes=COCO),
    "sparse_rcnn_300_resnet101": Design(head=MANY, backbone="resnet101", num_classes=COCO),
}

FORMATS = (
    HeadFormat(
        "authors",
        Rule("init_proposal_features.weight", "head.queries"),
        Rule("init_proposal_boxes.weight", "head.boxes"),
        *modules(
            {
                "backbone.fpn_lateral{#+2}": "head.pyramid.lateral.#",
                "backbone.fpn_output{#+2}": "head.pyramid.output.#",
            }
        ),
        *within(
            "head.head_series.#",
            "head.stages.#",
            *multihead("self_attn", "mix.branch"),
            *modules(
                {
                    "inst_interact.dynamic_layer": "interact.make",
                    "inst_interact.norm{#+1}": "interact.norms.#",
                    "inst_interact.out_layer": "interact.out",
                    "norm1": "mix.norm",
                    "norm2": "norm",
                    "norm3": "mlp.norm",
                    "linear1": "mlp.branch.0",
                    "linear2": "mlp.branch.3",
                    "cls_module.#": "label.#",
                    "reg_module.#": "change.#",
                    "class_logits": "scores",
                    "bboxes_delta": "deltas",
                }
            ),
        ),
        root="backbone.bottom_up.",
        backbone="torchvision",
        first=(
            Rule("stem.conv1.weight", "stem.conv.conv.weight"),
            Rule("stem.conv1.norm.*", "stem.conv.norm.*"),
            *within(
                "res{#+2}.#",
                "stages.#.#",
                Rule("conv{#+1}.weight", "branch.#.conv.weight"),
                Rule("conv{#+1}.norm.*", "branch.#.norm.*"),
                Rule("shortcut.weight", "shortcut.conv.weight"),
                Rule("shortcut.norm.*", "shortcut.norm.*"),
            ),
        ),
        unused=("pixel_mean", "pixel_std"),
    ),
)


class Interact(nn.Module):
    """A query reads its region by two 1x1 convolutions that it makes itself (section 3.2)."""

    def __init__(self, dim: int, hidden: int, cells: int) -> None:
        super().__init__()
        self.shape = (dim, hidden)
        self.make = nn.Linear(dim, 2 * dim * hidden)
        self.norms = nn.ModuleList(nn.LayerNorm(d) for d in (hidden, dim, dim))
        self.out = nn.Linear(dim * cells * cells, dim)

    def forward(
        self, x: Float[Tensor, "b q d"], regions: Float[Tensor, "b q n d"]
    ) -> Float[Tensor, "b q d"]:
        """Return what each query reads in its region of n cells."""
        first, second = self.make(x).chunk(2, dim=-1)
        y = self.norms[0](regions @ first.unflatten(-1, self.shape)).relu()
        y = self.norms[1](y @ second.unflatten(-1, self.shape[::-1])).relu()
        return self.norms[2](self.out(y.flatten(2))).relu()


class Stage(nn.Module):
    """Queries read each other and their regions, and say what is there and where it is exactly."""

    def __init__(self, config: SparseRCNNConfig, num_classes: int) -> None:
        super().__init__()
        c, dim = config, config.embed_dim
        self.mix = PostNorm(nn.LayerNorm(dim), SelfAttention(dim, c.num_heads))
        self.interact, self.norm = Interact(dim, c.hidden, c.cells), nn.LayerNorm(dim)
        self.mlp = PostNorm(nn.LayerNorm(dim), mlp(dim, c.mlp_dim, 0.0))
        self.label, self.change = (branch(dim, depth) for depth in c.branches)
        self.scores, self.deltas = nn.Linear(dim, num_classes), nn.Linear(dim, 4)
        for parameter in self.parameters():
            if parameter.ndim > 1:
                nn.init.xavier_uniform_(parameter)
        nn.init.constant_(self.scores.bias, -log((1 - PRIOR) / PRIOR))

    def forward(
        self, x: Float[Tensor, "b q d"], regions: Float[Tensor, "b q n d"]
    ) -> tuple[Float[Tensor, "b q d"], Float[Tensor, "b q classes"], Float[Tensor, "b q 4"]]:
        """Return queries, scores, and by how much boxes are to change."""
        x = self.mix(x, None)
        x = self.mlp(self.norm(x + self.interact(x, regions)))
        return x, self.scores(self.label(x)), self.deltas(self.change(x))


def branch(dim: int, depth: int) -> nn.Sequential:
    """Return layers before an answer."""
    layers: list[nn.Module] = []
    for _ in range(depth):
        layers += [nn.Linear(dim, dim, bias=False), nn.LayerNorm(dim), nn.ReLU()]
    return nn.Sequential(*layers)


class SparseRCNNHead(SetHead):
    """A pyramid, and stages that each start from the boxes of the one before."""

    compared: ClassVar[Literal["centred", "corners"]] = "corners"

    def __init__(self, config: SparseRCNNConfig, levels: Sequence[Level], num_classes: int) -> None:
        super().__init__(levels, config.num_queries)
        c = config
        self.kept, self.cells = c.num_queries, c.cells
        self.strides = [max(level.stride or (1,)) for level in levels]
        self.multiple = max(self.strides)
        self.pyramid = Pyramid([level.channels for level in levels], c.embed_dim)
        self.queries = nn.Parameter(torch.randn(c.num_queries, c.embed_dim))
        whole = torch.tensor([0.5, 0.5, 1.0, 1.0])
        self.boxes = nn.Parameter(whole.repeat(c.num_queries, 1))
        self.stages = nn.ModuleList(Stage(c, num_classes) for _ in range(c.depth))

    def heads(self, taps: Sequence[Tap], extent: Extent) -> dict[str, Found]:
        maps = self.pyramid([tap.map for tap in taps])
        high, wide = extent.padded
        sizes = maps[0].new_tensor([[wide, high]] * len(maps[0]))
        if extent.sizes is not None:
            sizes = extent.sizes.flip(1).to(sizes)
        sides = sizes.repeat(1, 2)[:, None]
        found: dict[str, Found] = {}
        steps = self.cascade(maps, corners(self.boxes)[None] * sides, self.queries)
        for i, (scores, boxes) in enumerate(steps):
            name = MAIN if i == len(steps) - 1 else f"aux.{i}"
            found[name] = Found(scores, centred(boxes / sides))
        return found

    def cascade(
        self,
        maps: Sequence[Float[Tensor, "b d _ _"]],
        boxes: Float[Tensor, "b q 4"],
        queries: Float[Tensor, "q d"],
    ) -> list[tuple[Float[Tensor, "b q classes"], Float[Tensor, "b q 4"]]]:
        """Return scores and boxes of every stage.

        Args:
            maps: of the pyramid.
            boxes: to start from: left, top, right, bottom, in pixels.
            queries: to start from.
        """
        x = queries.expand(len(boxes), -1, -1)
        steps: list[tuple[Tensor, Tensor]] = []
        for stage in self.stages:
            regions = regions_of(maps, self.strides, boxes.detach(), self.cells)
            x, scores, deltas = stage(x, regions)
            boxes = changed(boxes, deltas)
            steps.append((scores, boxes))
            boxes = boxes.detach()
        return steps


def changed(
    boxes: Float[Tensor, "b q 4"], deltas: Float[Tensor, "b q 4"]
) -> Float[Tensor, "b q 4"]:
    """Move boxes by halves of their sides, and scale these by powers of e."""
    centre, sides = centred(boxes).split(2, dim=-1)
    moves, scales = deltas.to(boxes.dtype).split(2, dim=-1)
    centre = centre + moves / 2 * sides
    return corners(torch.cat([centre, sides * scales.clamp(max=log(GROWTH)).exp()], dim=-1))


@torch.no_grad()
def level_of(boxes: Float[Tensor, "b q 4"], strides: Sequence[int]) -> Int[Tensor, "b q"]:
    """Return the level at which each box is read: the larger it is, the coarser."""
    side, stride = CANONICAL
    size = (boxes[..., 2:] - boxes[..., :2]).prod(-1).clamp(min=0).sqrt()
    ideal = log2(stride) + (size / side + 1e-8).log2()
    steps = boxes.new_tensor([log2(step) for step in strides])
    return (ideal.floor()[..., None] >= steps).sum(-1).clamp(min=1) - 1


def regions_of(
    maps: Sequence[Float[Tensor, "b d _ _"]],
    strides: Sequence[int],
    boxes: Float[Tensor, "b q 4"],
    cells: int,
    samples: int = 2,
) -> Float[Tensor, "b q n d"]:
    """Read a grid of cells in each box, of the level that is for its size (RoIAlign).

    A cell is the mean of points between those of the map, as one weighted sum over its cells; no
    gradient goes to the boxes.

    Args:
        maps: finest first.
        strides: pixels along the side of a cell of each.
        boxes: left, top, right, bottom, in pixels.
        cells: along a side of a region; there are n in all.
        samples: points along the side of a cell.
    """
    b, q = boxes.shape[:2]
    level = level_of(boxes, strides)
    sides = boxes.new_tensor([[*x.shape[2:]] for x in maps])[level].flip(-1)
    starts = torch.tensor([0, *(x[0, 0].numel() for x in maps[:-1])], device=boxes.device).cumsum(0)
    scaled = boxes / boxes.new_tensor(strides)[level][..., None]
    steps = torch.arange(cells * samples, dtype=boxes.dtype, device=boxes.device)
    low, extent = scaled[..., :2] - 0.5, scaled[..., 2:] - scaled[..., :2]
    spots = low[..., None] + extent[..., None] * (steps + 0.5) / len(steps)  # b q 2 points
    last = sides[..., None] - 1
    inside = (spots >= -1) & (spots <= sides[..., None])
    first = spots.clamp(min=0).floor().minimum(last)
    share = (spots.clamp(min=0) - first).where(first < last, 0)
    near = torch.stack([first, (first + 1).minimum(last)], dim=-1).long()
    weights = torch.stack([1 - share, share], dim=-1).where(inside[..., None], 0)
    x, y = near.unflatten(3, (cells, samples)).flatten(4).unbind(2)  # b q cells, points and ends
    x_weights, y_weights = weights.unflatten(3, (cells, samples)).flatten(4).unbind(2)
    image = torch.arange(b, device=boxes.device)[:, None] * sum(x[0, 0].numel() for x in maps)
    base = (image + starts[level])[:, :, None, None, None, None]
    width = sides[..., 0].long()[:, :, None, None, None, None]
    rows = base + y[:, :, :, None, :, None] * width + x[:, :, None, :, None, :]
    shares = y_weights[:, :, :, None, :, None] * x_weights[:, :, None, :, None, :] / samples**2
    table = torch.cat([x.flatten(2) for x in maps], dim=2).transpose(1, 2).flatten(0, 1)
    shares = shares.to(table.dtype)
    bags = rows.flatten(4).flatten(0, 3), shares.flatten(4).flatten(0, 3)
    read = F.embedding_bag(bags[0], table, mode="sum", per_sample_weights=bags[1])
    return read.view(b, q, cells * cells, -1)
