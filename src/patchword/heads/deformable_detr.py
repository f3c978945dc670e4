"""Deformable DETR: queries and cells read a few points each, of maps of several resolutions.

Paper      Zhu et al., "Deformable DETR: Deformable Transformers for End-to-End Object Detection",
           ICLR 2021, arXiv:2010.04159
Reference  github.com/fundamentalvision/Deformable-DETR, models/deformable_detr.py and
           deformable_transformer.py; transformers' DeformableDetrForObjectDetection
Departures a map of fewer cells than queries are wanted of has a proposal of each cell
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import log, pi
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from patchword.claim import Claim
from patchword.errors import ConfigError
from patchword.features import Backbone, Level, Tap
from patchword.heads.deformable_attention import DecoderLayer, EncoderLayer, Scales, spots, start
from patchword.heads.dense import MAIN, Design, chosen, pyramid
from patchword.heads.detector import (
    PROPOSALS,
    DetectorConfig,
    Extent,
    Found,
    SetHead,
    inverse_sigmoid,
)
from patchword.heads.queries import BoxLayers, Sine, waves
from patchword.layers import GroupNorm, to_tokens
from patchword.weights import HeadFormat, Layered, Rule, Rules, modules, multihead, within

PRIOR = 0.01  # probability of each class at the start


@dataclass(frozen=True, kw_only=True)
class DeformableDETRConfig(DetectorConfig):
    """The transformer and its answers (section 4 and appendix A.4)."""

    embed_dim: int = 256  # channels of a token
    num_heads: int = 8
    depth: tuple[int, int] = (6, 6)  # layers of encoder and decoder
    mlp_dim: int = 1024  # hidden channels of the MLPs
    num_queries: int = 300  # boxes that it answers with
    num_levels: int = 4  # maps: levels of the backbone, and below these halves of the last
    points: int = 4  # that a head reads of each map
    refine: bool = False  # each layer of the decoder improves the boxes of the one before
    two_stage: bool = False  # the boxes of the first are read from the memory
    drop_rate: float = 0.1  # dropout, of attention's weights too
    levels: tuple[str, ...] | None = None  # that are read, finest first; the last three if None

    def __post_init__(self) -> None:
        if self.two_stage and not self.refine:
            raise ConfigError("two_stage starts from boxes, which refine improves: set both")

    def head(self, backbone: Backbone, num_classes: int) -> "DeformableDETRHead":
        names = self.levels or pyramid(backbone)[-min(3, self.num_levels) :]
        return DeformableDETRHead(self, chosen(backbone, names), num_classes)


PLAIN = DeformableDETRConfig()
SINGLE = DeformableDETRConfig(num_levels=1)
REFINED = DeformableDETRConfig(refine=True)
TWO_STAGE = DeformableDETRConfig(refine=True, two_stage=True)
SMALL = DeformableDETRConfig(
    embed_dim=128,
    depth=(3, 3),
    mlp_dim=512,
    num_queries=100,
    refine=True,
    two_stage=True,
    drop_rate=0.0,
)
DILATED: dict[str, Any] = {"dilated": True}
COCO = 91  # its largest number of a class, and 1

VARIANTS = {
    "deformable_detr": Design(head=PLAIN, num_classes=COCO),
    "deformable_detr_single_scale": Design(head=SINGLE, num_classes=COCO),
    "deformable_detr_refine": Design(head=REFINED, num_classes=COCO),
    "deformable_detr_two_stage": Design(head=TWO_STAGE, num_classes=COCO),
    "deformable_detr_small": Design(head=SMALL, num_classes=COCO),  # ours, for small machines
    "deformable_detr_resnet50": Design(head=PLAIN, backbone="resnet50", num_classes=COCO),
    "deformable_detr_single_scale_resnet50": Design(
        head=SINGLE, backbone="resnet50", num_classes=COCO
    ),
    "deformable_detr_single_scale_resnet50_dc5": Design(
        head=SINGLE, backbone="resnet50", changes=DILATED, num_classes=COCO
    ),
    "deformable_detr_refine_resnet50": Design(head=REFINED, backbone="resnet50", num_classes=COCO),
    "deformable_detr_two_stage_resnet50": Design(
        head=TWO_STAGE, backbone="resnet50", num_classes=COCO
    ),
    "deformable_detr_swin_tiny": Design(
        head=PLAIN, backbone="swin_tiny_patch4_window7_224", num_classes=COCO
    ),
    "deformable_detr_small_mit_b0": Design(head=SMALL, backbone="mit_b0", num_classes=COCO),
}

README = "README of Deformable-DETR"
CLAIMS = {
    "deformable_detr_resnet50": Claim(params=40.0, source=README),
    "deformable_detr_single_scale_resnet50": Claim(params=34.0, source=README),
    "deformable_detr_single_scale_resnet50_dc5": Claim(params=34.0, source=README),
    "deformable_detr_refine_resnet50": Claim(params=41.0, source=README),
    "deformable_detr_two_stage_resnet50": Claim(params=41.0, source=README),
}

DEFORMABLE = {
    "sampling_offsets": "offsets",
    "attention_weights": "weights",
    "value_proj": "value",
    "output_proj": "proj",
}
HEADS = {"class_embed.{i}": "head.scores.{i}", "bbox_embed.{i}.layers.{k}": "head.boxes.{i}.{k}"}


def authors_names() -> Rules:
    """Return the authors' names of all but the heads, which depend on the settings."""
    deformable = modules(DEFORMABLE)
    linear = modules({"linear1": "mlp.branch.0", "linear2": "mlp.branch.3"})
    return (
        Rule("query_embed.weight", "head.queries"),
        Rule("transformer.level_embed", "head.level_embed"),
        *modules(
            {
                "input_proj.#.0": "head.project.#.0",
                "input_proj.#.1": "head.project.#.1",
                "transformer.reference_points": "head.refer",
                "transformer.enc_output": "head.propose.enter",
                "transformer.enc_output_norm": "head.propose.norm",
                "transformer.pos_trans": "head.propose.place",
                "transformer.pos_trans_norm": "head.propose.place_norm",
            }
        ),
        *within(
            "transformer.encoder.layers.#",
            "head.encoder.#",
            *within("self_attn", "mix.branch", *deformable),
            *modules({"norm1": "mix.norm", "norm2": "mlp.norm"}),
            *linear,
        ),
        *within(
            "transformer.decoder.layers.#",
            "head.decoder.#",
            *multihead("self_attn", "mix.branch"),
            *within("cross_attn", "read.branch", *deformable),
            *modules({"norm2": "mix.norm", "norm1": "read.norm", "norm3": "mlp.norm"}),
            *linear,
        ),
    )


def transformers_names(out: str, mlp: str) -> Rules:
    """Return transformers' names of all but the heads, on disk or in memory."""
    deformable = modules(DEFORMABLE)
    apart = modules({tuple(f"{part}_proj" for part in "qkv"): "qkv"})
    norms = {"self_attn_layer_norm": "mix.norm", "final_layer_norm": "mlp.norm"}
    linear = modules({f"{mlp}fc1": "mlp.branch.0", f"{mlp}fc2": "mlp.branch.3"})
    return (
        Rule("model.query_position_embeddings.weight", "head.queries"),
        Rule("model.level_embed", "head.level_embed"),
        *modules(
            {
                "model.input_proj.#.0": "head.project.#.0",
                "model.input_proj.#.1": "head.project.#.1",
                "model.reference_points": "head.refer",
                "model.enc_output": "head.propose.enter",
                "model.enc_output_norm": "head.propose.norm",
                "model.pos_trans": "head.propose.place",
                "model.pos_trans_norm": "head.propose.place_norm",
            }
        ),
        *within(
            "model.encoder.layers.#",
            "head.encoder.#",
            *within("self_attn", "mix.branch", *deformable),
            *modules(norms),
            *linear,
        ),
        *within(
            "model.decoder.layers.#",
            "head.decoder.#",
            *within("self_attn", "mix.branch", *apart, *modules({out: "proj"})),
            *within("encoder_attn", "read.branch", *deformable),
            *modules({**norms, "encoder_attn_layer_norm": "read.norm"}),
            *linear,
        ),
    )


def layered(before: str, *, copied: bool) -> Any:
    """Return what names the heads of a config's layers, one for all or one for each.

    Args:
        before: what stands before the names of heads that refine boxes.
        copied: all that are one tensor are written, under each of its names.
    """

    def names(config: DeformableDETRConfig) -> Layered:
        c = config
        count = c.depth[1] + c.two_stage
        places = [f"class_embed.{i}" for i in range(count)]
        places += [f"bbox_embed.{i}.layers.{k}" for i in range(count) for k in range(3)]
        rules, twins = dict[str, str](), dict[str, str]()
        for place in places:
            kind, number, *rest = place.split(".")
            first = place if c.refine else ".".join([kind, "0", *rest])
            decoder = (c.refine and kind == "bbox_embed") or c.two_stage
            held = f"{before}{first}" if decoder and not copied else first
            ours = "scores" if kind == "class_embed" else "boxes"
            rules[held] = ".".join(["head", ours, number if c.refine else "0", *rest[1:]])
            also = [place, f"{before}{place}"] if decoder else [place]
            for name in also:
                if name != held:
                    twins |= {f"{name}.{t}": f"{held}.{t}" for t in ("weight", "bias")}
        return Layered(modules(rules), twins, copied)

    return names


FORMATS = (
    HeadFormat(
        "authors",
        *authors_names(),
        root="backbone.0.body.",
        backbone="torchvision",
        layered=layered("transformer.decoder.", copied=True),
    ),
    HeadFormat(
        "transformers",
        *transformers_names("out_proj", ""),
        root="model.backbone.conv_encoder.model.",
        backbone="timm",
        layered=layered("model.decoder.", copied=False),
    ),
    HeadFormat(
        "transformers without timm",
        *transformers_names("out_proj", ""),
        root="model.backbone.conv_encoder.model.",
        backbone="transformers",
        layered=layered("model.decoder.", copied=False),
    ),
    HeadFormat(
        "transformers in memory",
        *transformers_names("o_proj", "mlp."),
        root="model.backbone.model.",
        backbone="timm",
        layered=layered("model.decoder.", copied=True),
    ),
    HeadFormat(
        "transformers without timm in memory",
        *transformers_names("o_proj", "mlp."),
        root="model.backbone.model.",
        backbone="transformers",
        layered=layered("model.decoder.", copied=True),
    ),
)


class Propose(nn.Module):
    """What becomes of cells that propose a box, and of boxes that are taken up as queries."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.enter, self.norm = nn.Linear(dim, dim), nn.LayerNorm(dim)
        self.place, self.place_norm = nn.Linear(2 * dim, 2 * dim), nn.LayerNorm(2 * dim)

    def queries(
        self, boxes: Float[Tensor, "b q 4"]
    ) -> tuple[Float[Tensor, "b q d"], Float[Tensor, "b q d"]]:
        """Return place and content of queries for boxes."""
        waving = waves(boxes * 2 * pi, self.enter.out_features // 2).flatten(2)
        place, content = self.place_norm(self.place(waving)).chunk(2, dim=-1)
        return place, content


class DeformableDETRHead(SetHead):
    """Maps through a transformer; a class and a box from each query of its decoder."""

    def __init__(
        self, config: DeformableDETRConfig, levels: Sequence[Level], num_classes: int
    ) -> None:
        super().__init__(levels, config.num_queries)
        c, dim = config, config.embed_dim
        self.refine = c.refine
        self.project = entering([level.channels for level in levels], dim, c.num_levels)
        self.position = Sine(dim, shift=0.5)
        self.level_embed = nn.Parameter(torch.randn(c.num_levels, dim))
        shape, rest = (c.num_heads, c.num_levels, c.points), (c.mlp_dim, c.drop_rate)
        self.encoder = nn.ModuleList(EncoderLayer(dim, shape, *rest) for _ in range(c.depth[0]))
        self.decoder = nn.ModuleList(DecoderLayer(dim, shape, *rest) for _ in range(c.depth[1]))
        self.propose = Propose(dim) if c.two_stage else None
        for part in (self.encoder, self.decoder, self.propose):
            start(part)
        if not c.two_stage:
            self.queries = nn.Parameter(torch.randn(c.num_queries, 2 * dim))
            self.refer = nn.Linear(dim, 2)
            nn.init.xavier_uniform_(self.refer.weight)
            nn.init.zeros_(self.refer.bias)
        count = c.depth[1] + c.two_stage if c.refine else 1
        self.scores = nn.ModuleList(nn.Linear(dim, num_classes) for _ in range(count))
        self.boxes = nn.ModuleList(BoxLayers(dim) for _ in range(count))
        self.start_heads(two_stage=c.two_stage)

    @torch.no_grad()
    def start_heads(self, *, two_stage: bool) -> None:
        """Let all heads start alike: unsure, and with boxes where they are asked from."""
        for number, (scores, boxes) in enumerate(zip(self.scores, self.boxes, strict=True)):
            scores.load_state_dict(self.scores[0].state_dict())
            boxes.load_state_dict(self.boxes[0].state_dict())
            last = [*boxes.children()][-1]
            assert isinstance(scores, nn.Linear) and isinstance(last, nn.Linear)
            nn.init.constant_(scores.bias, -log((1 - PRIOR) / PRIOR))
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)
            if not (number or two_stage):
                last.bias[2:] = -2

    def heads(self, taps: Sequence[Tap], extent: Extent) -> dict[str, Found]:
        memory, scales = self.encode(taps, extent)
        found: dict[str, Found] = {}
        if self.propose is None:
            place, x = (part[None].expand(len(memory), -1, -1) for part in self.queries.chunk(2, 1))
            boxes = self.refer(place).sigmoid()
        else:
            found[PROPOSALS], boxes = self.proposals(memory, scales)
            place, x = self.propose.queries(boxes)
        for i, layer in enumerate(self.decoder):
            shares = scales.shares.repeat(1, 1, boxes.shape[-1] // 2)
            x = layer(x, place, boxes[:, :, None] * shares[:, None], memory, scales)
            head = i if self.refine else 0
            apart = self.boxes[head](x)
            base = inverse_sigmoid(boxes)
            moved = apart[..., : base.shape[-1]] + base
            answer = torch.cat([moved, apart[..., base.shape[-1] :]], dim=-1).sigmoid()
            name = MAIN if i == len(self.decoder) - 1 else f"aux.{i}"
            found[name] = Found(self.scores[head](x), answer)
            boxes = answer.detach() if self.refine else boxes
        return found

    def encode(self, taps: Sequence[Tap], extent: Extent) -> tuple[Float[Tensor, "b m d"], Scales]:
        """Return the memory of all maps."""
        maps = [project(tap.map) for project, tap in zip(self.project, taps, strict=False)]
        for project in self.project[len(taps) :]:
            maps.append(project(taps[-1].map if len(maps) == len(taps) else maps[-1]))
        grids = tuple(tuple(x.shape[2:]) for x in maps)
        cells = [extent.inside(grid, x) for grid, x in zip(grids, maps, strict=True)]
        known = [part.flatten(1) for part in cells if part is not None]
        shares = [extent.shares(grid, x) for grid, x in zip(grids, maps, strict=True)]
        scales = Scales(grids, torch.cat(known, 1) if known else None, torch.stack(shares, 1))
        x = torch.cat([to_tokens(x) for x in maps], dim=1)
        place = torch.cat(
            [
                self.position(x, inside).to(x.dtype) + own
                for x, inside, own in zip(maps, cells, self.level_embed, strict=True)
            ],
            dim=1,
        )
        places = spots(scales)[:, :, None] * scales.shares[:, None]
        for layer in self.encoder:
            x = layer(x, place, places, scales)
        return x, scales

    def proposals(
        self, memory: Float[Tensor, "b m d"], scales: Scales
    ) -> tuple[Found, Float[Tensor, "b q 4"]]:
        """Return what each cell answers, and the boxes of the surest, by the first class's score.

        Cells in the padding, and those too near the border for a box of their size, propose none.
        """
        assert self.propose is not None
        sides = [
            memory.new_full((1, grid[0] * grid[1], 2), 0.05 * 2**level)
            for level, grid in enumerate(scales.grids)
        ]
        around = torch.cat(sides, dim=1).expand(len(memory), -1, -1)
        boxes = torch.cat([spots(scales), around], dim=-1)
        fit = ((boxes > 0.01) & (boxes < 0.99)).all(dim=-1, keepdim=True)
        if scales.inside is not None:
            fit = fit & scales.inside[..., None]
        base = (boxes / (1 - boxes)).log().masked_fill(~fit, torch.inf)
        x = self.propose.norm(self.propose.enter(memory.masked_fill(~fit, 0)))
        scores, answers = self.scores[-1](x), self.boxes[-1](x) + base
        count = min(self.num_queries, memory.shape[1])
        best = scores[..., 0].topk(count, dim=1).indices
        answers = answers.sigmoid()
        chosen = answers.detach().gather(1, best[..., None].expand(-1, -1, 4))
        return Found(scores, answers), chosen


def entering(channels: Sequence[int], dim: int, count: int) -> nn.ModuleList:
    """Return what brings levels to one width: below the last, with half its resolution each."""
    convs = [nn.Conv2d(c, dim, 1) for c in channels[:count]]
    while len(convs) < count:
        last = channels[-1] if len(convs) == len(channels) else dim
        convs.append(nn.Conv2d(last, dim, 3, 2, padding=1))
    for conv in convs:
        nn.init.xavier_uniform_(conv.weight)
        assert conv.bias is not None
        nn.init.zeros_(conv.bias)
    return nn.ModuleList(nn.Sequential(conv, GroupNorm(min(32, dim), dim)) for conv in convs)
