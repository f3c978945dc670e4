"""DPT: tokens of four depths reassembled into maps, and fused from the coarsest to the finest.

Paper      Ranftl et al., "Vision Transformers for Dense Prediction", ICCV 2021, arXiv:2103.13413
Reference  github.com/isl-org/DPT, dpt/models.py, blocks.py and vit.py; transformers'
           DPTForDepthEstimation and DPTForSemanticSegmentation
Departures levels of a pyramid are fused as they are, as the convolutional ones of DPT-Hybrid; a map
           is enlarged to the next one's size, which need not be its double; the last bias of a
           fresh depth head is 1, since one whose answers are all below 0 would never learn
"""

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from patchword.claim import Claim
from patchword.errors import ConfigError
from patchword.features import Backbone, Level, Tap
from patchword.heads.dense import DenseHead, Design, HeadConfig, HeadKind, chosen, refuse, resized
from patchword.layers import Grid, to_map, to_tokens
from patchword.weights import HeadFormat, Rule, Rules, modules

Readout = Literal["project", "add", "ignore"]


@dataclass(frozen=True, kw_only=True)
class DPTConfig(HeadConfig):
    """What both heads have in common (sections 3.1 and 3.2)."""

    normed: ClassVar[bool] = False  # batch norms in the units of the fusion
    readout: Readout | None = None  # of the class token; where there is one it is projected if None
    reassembled: tuple[int, ...] = (256, 512, 1024, 1024)  # channels of the maps that tokens become
    channels: int = 256  # of the fused maps
    levels: tuple[str, ...] | None = None  # that are read, shallowest first; the quarters if None

    @abstractmethod
    def answering(self, num_classes: int) -> nn.Sequential:
        """Make what answers at the cells of the finest fused map."""

    def auxiliary(self, num_classes: int) -> nn.Sequential | None:
        """Make what answers from that map beside it while training, if anything does."""
        return None

    def head(self, backbone: Backbone, num_classes: int) -> "DPTHead":
        levels = chosen(backbone, self.levels or backbone.pyramid())
        sizes = {level.channels for level in levels if level.prefix}
        there = sizes != set() and all(v.prefix or v.channels not in sizes for v in levels)
        if self.readout not in (None, "ignore") and not there:
            words = "one at every level of tokens, or is told to ignore it (readout)"
            refuse(backbone, f"has no class token to {self.readout}", words)
        readout = self.readout or ("project" if there else "ignore")
        return DPTHead(self, levels, readout, num_classes)


@dataclass(frozen=True, kw_only=True)
class DPTDepthConfig(DPTConfig):
    """Inverse depth, up to a scale and a shift; or depth, where `affine` settles these."""

    kind: ClassVar[HeadKind] = "depth"
    affine: tuple[float, float] | None = None  # scale, shift: depth is 1 / (scale y + shift)

    @property
    def metric(self) -> bool:
        return self.affine is not None

    def answering(self, num_classes: int) -> nn.Sequential:
        if num_classes != 1:
            raise ConfigError(f"a pixel has one depth, and num_classes is {num_classes}: say 1")
        half = self.channels // 2
        last = nn.Conv2d(32, num_classes, 1)
        nn.init.ones_(last.bias)  # pyright: ignore[reportArgumentType]
        return nn.Sequential(
            nn.Conv2d(self.channels, half, 3, padding=1),
            Double(),
            nn.Conv2d(half, 32, 3, padding=1),
            nn.ReLU(),
            last,
            nn.ReLU() if self.affine is None else Inverse(*self.affine),
        )


@dataclass(frozen=True, kw_only=True)
class DPTMaskConfig(DPTConfig):
    """Classes of pixels; the units of the fusion have batch norms, and training another head."""

    normed: ClassVar[bool] = True
    drop_rate: float = 0.1  # dropout before the scores
    aux: bool = True

    def answering(self, num_classes: int) -> nn.Sequential:
        return nn.Sequential(*self.scoring(num_classes), Double())

    def auxiliary(self, num_classes: int) -> nn.Sequential | None:
        return self.scoring(num_classes) if self.aux else None

    def scoring(self, num_classes: int) -> nn.Sequential:
        """Make what scores the cells of a fused map."""
        return nn.Sequential(
            nn.Conv2d(self.channels, self.channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(self.channels),
            nn.ReLU(),
            nn.Dropout(self.drop_rate),
            nn.Conv2d(self.channels, num_classes, 1),
        )


AT_384: dict[str, Any] = {"resample": "bilinear"}
BASE = (96, 192, 384, 768)

VARIANTS = {
    "dpt": Design(head=DPTDepthConfig(), num_classes=1),
    "dpt_segmentation": Design(head=DPTMaskConfig()),
    "dpt_large": Design(
        head=DPTDepthConfig(), backbone="vit_large_patch16_384", changes=AT_384, num_classes=1
    ),
    "dpt_base": Design(
        head=DPTDepthConfig(reassembled=BASE),
        backbone="vit_base_patch16_384",
        changes=AT_384,
        num_classes=1,
    ),
    "dpt_mit_b0": Design(  # ours, for small machines
        head=DPTDepthConfig(channels=64), backbone="mit_b0", num_classes=1
    ),
    "dpt_hybrid": Design(
        head=DPTDepthConfig(reassembled=(256, 512, 768, 768)),
        backbone="vit_base_r50_s16_384",
        changes=AT_384,
        num_classes=1,
    ),
    "dpt_large_segmentation": Design(
        head=DPTMaskConfig(), backbone="vit_large_patch16_384", changes=AT_384
    ),
    "dpt_base_segmentation": Design(
        head=DPTMaskConfig(reassembled=BASE), backbone="vit_base_patch16_384", changes=AT_384
    ),
    "dpt_hybrid_segmentation": Design(
        head=DPTMaskConfig(reassembled=(256, 512, 768, 768)),
        backbone="vit_base_r50_s16_384",
        changes=AT_384,
    ),
}

CLAIMS = {
    "dpt_base": Claim(params=112.0),
    "dpt_hybrid": Claim(params=123.0),
    "dpt_large": Claim(params=343.0),
}


def fusion(theirs: str, place: int | str, unit: str, parts: dict[str, str]) -> Rules:
    """Return a project's names of the `place`-th fusion, its units numbered from 1."""
    ours = f"head.fusion.{place}"
    units = {f"{theirs}.{unit}1": f"{ours}.skip", f"{theirs}.{unit}2": f"{ours}.unit"}
    inner = {
        f"{a}.{c}": f"{b}.{d}" for a, b in units.items() for c, d in parts.items() if c[-1] == "#"
    }
    return modules({**inner, f"{theirs}.{parts['out']}": f"{ours}.out"})


def idle(config: Any) -> dict[str, Tensor]:
    """Return the last norm, which they keep and do not use."""
    return {"weight": torch.ones(config.embed_dim), "bias": torch.zeros(config.embed_dim)}


FORMATS = (
    HeadFormat(
        "authors",
        *modules(
            {
                "pretrained.act_postprocess{#+1}.0.project.0": "head.reassemble.#.project",
                "pretrained.act_postprocess{#+1}.3": "head.reassemble.#.narrow",
                "pretrained.act_postprocess{#+1}.4": "head.reassemble.#.resize",
                "scratch.output_conv.#": "head.answer.#",
                "auxlayer.#": "head.aux.#",
            }
        ),
        Rule("scratch.layer{#+1}_rn.*", "head.enter.#.*"),
        *fusion(
            "scratch.refinenet{#+1}",
            "#",
            "resConfUnit",
            {"conv#": "conv#", "bn#": "bn#", "out": "out_conv"},
        ),
        root="pretrained.model.",
        backbone="timm",
        unread=("norm.*",),
        unused=("head.*",),  # of the classifier that the encoder was
        derived=lambda config: {f"norm.{name}": t for name, t in idle(config).items()},
    ),
    HeadFormat(
        "transformers",
        *modules(
            {
                "neck.reassemble_stage.readout_projects.#.0": "head.reassemble.#.project",
                "neck.reassemble_stage.layers.#.projection": "head.reassemble.#.narrow",
                "neck.reassemble_stage.layers.#.resize": "head.reassemble.#.resize",
                "neck.convs.#": "head.enter.#",
                "head.head.#": "head.answer.#",
                "auxiliary_head.head.#": "head.aux.#",
            }
        ),
        *(
            rule
            for place in range(4)  # they count from the coarsest
            for rule in fusion(
                f"neck.fusion_stage.layers.{3 - place}",
                place,
                "residual_layer",
                {"convolution#": "conv#", "batch_norm#": "bn#", "out": "projection"},
            )
        ),
        root="dpt.",
        unread=("norm.*",),
        derived=lambda config: {f"layernorm.{name}": t for name, t in idle(config).items()},
    ),
)


class Double(nn.Module):
    """Enlarge a map by two, the centres of its corners held."""

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c H W"]:
        """Return the map at twice its rows and columns."""
        return resized(x, [2 * side for side in x.shape[2:]], aligned=True)


class Inverse(nn.Module):
    """The depth of an inverse depth that is known up to a scale and a shift, after a ReLU."""

    def __init__(self, scale: float, shift: float) -> None:
        super().__init__()
        self.scale, self.shift = scale, shift

    def forward(self, x: Float[Tensor, "b 1 h w"]) -> Float[Tensor, "b 1 h w"]:
        """Return depths, in the unit that the scale is for."""
        return (self.scale * x.relu() + self.shift).clamp(min=1e-8).reciprocal()


class Reassemble(nn.Module):
    """Tokens to a map: the class token read into each, other channels, another resolution.

    Args:
        dim: channels of a token.
        channels: of the map.
        readout: what becomes of the class token.
        scale: the map's cells per token's side; a power of two, down to a half.
    """

    def __init__(self, dim: int, channels: int, readout: Readout, scale: float) -> None:
        super().__init__()
        self.readout = readout
        self.project = nn.Linear(2 * dim, dim) if readout == "project" else None
        self.act = nn.GELU()
        self.narrow = nn.Conv2d(dim, channels, 1)
        self.resize: nn.Module = nn.Identity()
        if scale > 1:
            self.resize = nn.ConvTranspose2d(channels, channels, int(scale), int(scale))
        elif scale < 1:
            self.resize = nn.Conv2d(channels, channels, 3, int(1 / scale), padding=1)

    def forward(self, tap: Tap) -> Float[Tensor, "b c h w"]:
        """Return the map (figure 1, centre)."""
        x, grid = to_tokens(tap.map), tuple(tap.map.shape[2:])
        if self.readout != "ignore":
            token = tap.prefix[:, :1].expand_as(x)
            if self.project is None:
                x = x + token
            else:
                x = self.act(self.project(torch.cat([x, token], dim=-1)))
        return self.resize(self.narrow(to_map(x, grid)))


class Unit(nn.Module):
    """x + conv(relu(conv(relu(x)))): a residual unit of RefineNet's, perhaps with batch norms."""

    def __init__(self, channels: int, *, norm: bool) -> None:
        super().__init__()
        self.conv1, self.conv2 = (
            nn.Conv2d(channels, channels, 3, padding=1, bias=not norm) for _ in range(2)
        )
        self.bn1, self.bn2 = (nn.BatchNorm2d(channels) if norm else nn.Identity() for _ in range(2))

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """Refine a map."""
        return x + self.bn2(self.conv2(self.bn1(self.conv1(x.relu())).relu()))


class Fusion(nn.Module):
    """A map and the one fused so far, refined and enlarged (figure 1, right).

    The first has nothing to be added to, and does not use its `skip`, which checkpoints hold.
    """

    def __init__(self, channels: int, *, norm: bool) -> None:
        super().__init__()
        self.skip, self.unit = Unit(channels, norm=norm), Unit(channels, norm=norm)
        self.out = nn.Conv2d(channels, channels, 1)

    def forward(
        self,
        x: Float[Tensor, "b c h w"],
        fused: Float[Tensor, "b c h w"] | None,
        size: Grid,
    ) -> Float[Tensor, "b c H W"]:
        """Return the next fused map, at a size."""
        x = x if fused is None else fused + self.skip(x)
        return self.out(resized(self.unit(x), size, aligned=True))


class DPTHead(DenseHead):
    """Four maps, and one that they are fused to, at twice the resolution of the finest."""

    def __init__(
        self, config: DPTConfig, levels: Sequence[Level], readout: Readout, num_classes: int
    ) -> None:
        super().__init__(levels)
        c, dims = config, [level.channels for level in levels]
        strides = [max(level.stride or (1,)) for level in levels]
        sizes = [*zip(dims, strides, strict=True)]
        tokens = [sizes.count(size) > 1 for size in sizes]  # a transformer's levels are alike
        finest = strides[0] / 4 if tokens[0] else strides[0]
        self.reassemble = nn.ModuleDict()
        for i, level in enumerate(levels):
            if tokens[i]:
                dims[i] = c.reassembled[i]
                scale = strides[i] / (finest * 2**i)
                self.reassemble[str(i)] = Reassemble(level.channels, dims[i], readout, scale)
        self.enter = nn.ModuleList(nn.Conv2d(d, c.channels, 3, padding=1, bias=False) for d in dims)
        self.fusion = nn.ModuleList(Fusion(c.channels, norm=c.normed) for _ in levels)
        self.silent = (f"fusion.{len(levels) - 1}.skip.*",)
        self.answer, self.aux = c.answering(num_classes), c.auxiliary(num_classes)

    def maps(self, taps: Sequence[Tap]) -> tuple[Float[Tensor, "b _ _ _"], ...]:
        """Return the one map to which all are fused."""
        known = dict(self.reassemble.items())
        maps = [known[str(i)](tap) if str(i) in known else tap.map for i, tap in enumerate(taps)]
        entered = [conv(x) for conv, x in zip(self.enter, maps, strict=True)]
        fused = None
        for i in reversed(range(len(entered))):
            x = entered[i]
            size = entered[i - 1].shape[2:] if i else [2 * side for side in x.shape[2:]]
            fused = self.fusion[i](x, fused, tuple(size))
        assert fused is not None
        return (fused,)

    def decode(
        self, maps: Sequence[Float[Tensor, "b _ _ _"]]
    ) -> Float[Tensor, "b classes rows columns"]:
        """Answer on a grid four times as fine as the finest level's; of tokens, for every pixel."""
        return self.answer(maps[0])

    def auxiliary(
        self, maps: Sequence[Float[Tensor, "b _ _ _"]]
    ) -> dict[str, Float[Tensor, "b classes _ _"]]:
        return {} if self.aux is None else {"aux": self.aux(maps[0])}
