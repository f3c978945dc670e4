"""DETR: queries ask a transformer's memory of an image what is in it, and each answers with a box.

Paper      Carion et al., "End-to-End Object Detection with Transformers", ECCV 2020,
           arXiv:2005.12872
Reference  github.com/facebookresearch/detr, models/detr.py, transformer.py and
           position_encoding.py; transformers' DetrForObjectDetection
Departures none
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from patchword.claim import Claim
from patchword.features import Backbone, Level, Tap
from patchword.heads.dense import MAIN, Design, chosen, pyramid
from patchword.heads.detector import DetectorConfig, Extent, Found, SetHead
from patchword.heads.queries import BoxLayers, PlacedCross, PlacedSelf, RowsAndColumns, Sine, mlp
from patchword.layers import to_tokens
from patchword.layers.sequence import PostNorm, PreNorm
from patchword.weights import HeadFormat, Rule, Rules, modules, multihead, within


@dataclass(frozen=True, kw_only=True)
class DETRConfig(DetectorConfig):
    """The transformer and its answers (section 3.2 and appendix A.4)."""

    embed_dim: int = 256  # channels of a token
    num_heads: int = 8
    depth: tuple[int, int] = (6, 6)  # layers of encoder and decoder
    mlp_dim: int = 2048  # hidden channels of the MLPs
    num_queries: int = 100  # boxes that it answers with
    position: Literal["sine", "learned"] = "sine"  # of the map's cells
    pre_norm: bool = False  # norms before the branches, and one after the encoder
    drop_rate: float = 0.1  # dropout, of attention's weights too
    level: str | None = None  # that is read; the last, after its norm, if None

    def head(self, backbone: Backbone, num_classes: int) -> "DETRHead":
        levels = chosen(backbone, (self.level or pyramid(backbone)[-1],))
        return DETRHead(self, levels, num_classes)


SINE = DETRConfig()
LEARNED = DETRConfig(position="learned")
DILATED: dict[str, Any] = {"dilated": True}
COCO = 91  # its largest number of a class, and 1

VARIANTS = {
    "detr": Design(head=SINE, num_classes=COCO),
    "detr_learned": Design(head=LEARNED, num_classes=COCO),
    "detr_resnet50": Design(head=SINE, backbone="resnet50", num_classes=COCO),
    "detr_resnet101": Design(head=SINE, backbone="resnet101", num_classes=COCO),
    "detr_resnet50_dc5": Design(head=SINE, backbone="resnet50", changes=DILATED, num_classes=COCO),
    "detr_resnet101_dc5": Design(
        head=SINE, backbone="resnet101", changes=DILATED, num_classes=COCO
    ),
}

TABLE_1 = "paper, table 1"
CLAIMS = {
    "detr_resnet50": Claim(params=41.0, source=TABLE_1),
    "detr_resnet101": Claim(params=60.0, source=TABLE_1),
    "detr_resnet50_dc5": Claim(params=41.0, source=TABLE_1),
    "detr_resnet101_dc5": Claim(params=60.0, source=TABLE_1),
}


def layers(theirs: str, ours: str, read: str | None, norms: tuple[str, ...]) -> Rules:
    """Return the authors' names of a stack of layers.

    Args:
        theirs: what they call the stack.
        ours: what we do.
        read: their attention to the memory, where there is one.
        norms: theirs, of our branches in order.
    """
    branches = ("mix", "read", "mlp") if read else ("mix", "mlp")
    attentions = multihead("self_attn", "mix.branch")
    if read:
        attentions += multihead(read, "read.branch")
    return within(
        f"{theirs}.layers.#",
        f"{ours}.#",
        *attentions,
        *modules({"linear1": "mlp.branch.0", "linear2": "mlp.branch.3"}),
        *modules({norm: f"{ours}.norm" for norm, ours in zip(norms, branches, strict=True)}),
    )


ANSWERS = modules({"class_embed": "head.scores", "bbox_embed.layers.#": "head.boxes.#"})


def authors_names() -> Rules:
    """Return the authors' names."""
    return (
        Rule("query_embed.weight", "head.queries"),
        Rule("backbone.1.row_embed.weight", "head.position.rows"),
        Rule("backbone.1.col_embed.weight", "head.position.columns"),
        *modules({"input_proj": "head.project"}),
        *ANSWERS,
        *layers("transformer.encoder", "head.encoder", None, ("norm1", "norm2")),
        *layers(
            "transformer.decoder", "head.decoder", "multihead_attn", ("norm1", "norm2", "norm3")
        ),
        *modules({"transformer.encoder.norm": "head.memory_norm"}),
        *modules({"transformer.decoder.norm": "head.norm"}),
    )


def split_attention(theirs: str, ours: str, out: str = "out_proj") -> Rules:
    """Return transformers' names of an attention, whose queries, keys and values are apart."""
    parts = tuple(f"{part}_proj" for part in "qkv")
    return within(theirs, ours, *modules({parts: "qkv"}), *modules({out: "proj"}))


def split_layers(theirs: str, ours: str, *, read: bool, out: str, mlp: str) -> Rules:
    """Return transformers' names of a stack of layers, on disk or in memory."""
    attentions = split_attention("self_attn", "mix.branch", out)
    norms = {"self_attn_layer_norm": "mix.norm", "final_layer_norm": "mlp.norm"}
    if read:
        attentions += split_attention("encoder_attn", "read.branch", out)
        norms["encoder_attn_layer_norm"] = "read.norm"
    linear = {f"{mlp}fc1": "mlp.branch.0", f"{mlp}fc2": "mlp.branch.3"}
    return within(f"{theirs}.layers.#", f"{ours}.#", *attentions, *modules({**linear, **norms}))


def transformers_names(out: str = "out_proj", mlp: str = "", place: str = "backbone.") -> Rules:
    """Return transformers' names, on disk or in memory."""
    place = f"model.{place}position_embedding"
    return (
        Rule("model.query_position_embeddings.weight", "head.queries"),
        Rule(f"{place}.row_embeddings.weight", "head.position.rows"),
        Rule(f"{place}.column_embeddings.weight", "head.position.columns"),
        *modules(
            {
                "model.input_projection": "head.project",
                "class_labels_classifier": "head.scores",
                "bbox_predictor.layers.#": "head.boxes.#",
                "model.decoder.layernorm": "head.norm",
            }
        ),
        *split_layers("model.encoder", "head.encoder", read=False, out=out, mlp=mlp),
        *split_layers("model.decoder", "head.decoder", read=True, out=out, mlp=mlp),
    )


FORMATS = (
    HeadFormat("authors", *authors_names(), root="backbone.0.body.", backbone="torchvision"),
    HeadFormat(
        "transformers",
        *transformers_names(),
        root="model.backbone.conv_encoder.model.",
        backbone="timm",
    ),
    HeadFormat(
        "transformers without timm",
        *transformers_names(),
        root="model.backbone.conv_encoder.model.",
        backbone="transformers",
    ),
    HeadFormat(
        "transformers in memory",
        *transformers_names("o_proj", "mlp.", ""),
        root="model.backbone.model.",
        backbone="timm",
    ),
    HeadFormat(
        "transformers without timm in memory",
        *transformers_names("o_proj", "mlp.", ""),
        root="model.backbone.model.",
        backbone="transformers",
    ),
)


class EncoderLayer(nn.Module):
    """Cells read each other."""

    def __init__(self, config: DETRConfig) -> None:
        super().__init__()
        c, dim = config, config.embed_dim
        around = PreNorm if c.pre_norm else PostNorm
        attention = PlacedSelf(dim, c.num_heads, c.drop_rate)
        self.mix = around(nn.LayerNorm(dim), attention, c.drop_rate)
        self.mlp = around(nn.LayerNorm(dim), mlp(dim, c.mlp_dim, c.drop_rate), c.drop_rate)

    def forward(
        self,
        x: Float[Tensor, "b n d"],
        place: Float[Tensor, "#b n d"],
        mask: Bool[Tensor, "b 1 1 n"] | None,
    ) -> Float[Tensor, "b n d"]:
        """Return the cells, transformed."""
        return self.mlp(self.mix(x, place, mask))


class DecoderLayer(nn.Module):
    """Queries read each other, then the memory."""

    def __init__(self, config: DETRConfig) -> None:
        super().__init__()
        c, dim = config, config.embed_dim
        around = PreNorm if c.pre_norm else PostNorm
        attentions = (kind(dim, c.num_heads, c.drop_rate) for kind in (PlacedSelf, PlacedCross))
        self.mix, self.read = (around(nn.LayerNorm(dim), a, c.drop_rate) for a in attentions)
        self.mlp = around(nn.LayerNorm(dim), mlp(dim, c.mlp_dim, c.drop_rate), c.drop_rate)

    def forward(
        self,
        x: Float[Tensor, "b q d"],
        place: Float[Tensor, "#b q d"],
        keys: Float[Tensor, "b m d"],
        memory: Float[Tensor, "b m d"],
        mask: Bool[Tensor, "b 1 1 m"] | None,
    ) -> Float[Tensor, "b q d"]:
        """Return the queries, transformed."""
        return self.mlp(self.read(self.mix(x, place), place, keys, memory, mask))


class Decoded(NamedTuple):
    """What a transformer made of a level."""

    queries: list[Float[Tensor, "b q d"]]  # after each layer of the decoder, normed
    memory: Float[Tensor, "b n d"]
    entered: Float[Tensor, "b d h w"]  # the level as it went in
    inside: Bool[Tensor, "b h w"] | None  # the cells that are in the images; all if None


class DETRHead(SetHead):
    """A level through a transformer; a class and a box from each query of its decoder."""

    scoring: ClassVar[Literal["softmax", "sigmoid"]] = "softmax"

    def __init__(self, config: DETRConfig, levels: Sequence[Level], num_classes: int) -> None:
        super().__init__(levels, config.num_queries)
        c = self.config = config
        self.project = nn.Conv2d(levels[-1].channels, c.embed_dim, 1)
        self.position = (Sine if c.position == "sine" else RowsAndColumns)(c.embed_dim)
        self.encoder = nn.ModuleList(EncoderLayer(c) for _ in range(c.depth[0]))
        self.memory_norm = nn.LayerNorm(c.embed_dim) if c.pre_norm else nn.Identity()
        self.decoder = nn.ModuleList(DecoderLayer(c) for _ in range(c.depth[1]))
        self.norm = nn.LayerNorm(c.embed_dim)
        if c.pre_norm:  # the first layer's queries start from zeros, of which it makes nothing
            self.silent = ("decoder.0.mix.norm.weight",)
        for stack in (self.encoder, self.decoder):
            for parameter in stack.parameters():
                if parameter.ndim > 1:
                    nn.init.xavier_uniform_(parameter)
        self.queries = nn.Parameter(torch.randn(c.num_queries, c.embed_dim))
        self.scores = nn.Linear(c.embed_dim, num_classes + 1)
        self.boxes = BoxLayers(c.embed_dim)

    def heads(self, taps: Sequence[Tap], extent: Extent) -> dict[str, Found]:
        queries = self.decode(taps[-1], extent).queries
        names = [*(f"aux.{i}" for i in range(len(queries) - 1)), MAIN]
        return {name: self.answer(x) for name, x in zip(names, queries, strict=True)}

    def forward(self, taps: Sequence[Tap], extent: Extent) -> Found:
        """Answer from the last layer of the decoder."""
        return self.answer(self.decode(taps[-1], extent).queries[-1])

    def decode(self, tap: Tap, extent: Extent) -> Decoded:
        """Read a level, and ask for the objects in it."""
        grid = tuple(tap.map.shape[2:])
        inside = extent.inside(grid, tap.map)
        entered = self.project(tap.map)
        place = self.position(entered, inside).to(entered.dtype)
        mask = None if inside is None else inside.flatten(1)[:, None, None]
        memory = to_tokens(entered)
        for layer in self.encoder:
            memory = layer(memory, place, mask)
        memory = self.memory_norm(memory)
        keys, asked = memory + place, self.queries[None]
        x = torch.zeros_like(asked).expand(len(memory), -1, -1)
        queries: list[Tensor] = []
        for layer in self.decoder:
            x = layer(x, asked, keys, memory, mask)
            queries.append(x)
        return Decoded([self.norm(x) for x in queries], memory, entered, inside)

    def answer(self, x: Float[Tensor, "b q d"]) -> Found:
        """Answer from queries, normed."""
        return Found(self.scores(x), self.boxes(x).sigmoid())
