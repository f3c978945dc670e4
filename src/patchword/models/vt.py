"""VT: Visual Transformers, a ResNet whose last stage works on a few tokens in place of pixels.

Paper      Wu et al., "Visual Transformers: Token-based Image Representation and Processing for
           Computer Vision", 2020, arXiv:2006.03677
Reference  the paper's equations; its authors released no code
Departures what the paper leaves open: queries and keys of the token transformer have half of the
           tokens' channels; their products, divided by nothing, start at a variance of 1; the last
           projector is left out, as the classifier reads tokens
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from patchword.claim import Claim
from patchword.data.frame import Frame
from patchword.features import Backbone, Features, Level, Trace
from patchword.layers import Attend, to_map, to_tokens
from patchword.models.resnet import ConvNorm, Stem, basic, bottleneck, conv, he, stages


@dataclass(frozen=True, kw_only=True)
class VTConfig:
    """Section 5.1 of the paper: the stages of a ResNet, and what replaces the last."""

    image_size: tuple[int, int] = (224, 224)  # rows, columns; any other works as well
    in_chans: int = 3  # channels of an image
    stem_dim: int = 64  # channels after the stem
    embed_dim: tuple[int, ...] = (64, 128, 256)  # channels of each stage of residual blocks
    depth: tuple[int, ...] = (2, 2, 2, 2)  # blocks of each stage; last, of visual transformers
    block: Literal["basic", "bottleneck"] = "basic"
    num_tokens: int = 16  # per image
    token_dim: int = 1024  # channels of a token
    attn_dim: int = 512  # channels of a token's query and key
    drop_path_rate: float = 0.0  # stochastic depth of the last residual block; it rises from 0

    def build(self) -> "VT":
        """Make the backbone, with fresh weights."""
        return VT(self)


DEEP = VTConfig(embed_dim=(256, 512, 1024), depth=(3, 4, 6, 3), block="bottleneck")

VARIANTS = {
    "vt_resnet18": VTConfig(),
    "vt_resnet34": VTConfig(depth=(3, 4, 6, 3)),
    "vt_resnet50": DEEP,
    "vt_resnet101": replace(DEEP, depth=(3, 4, 23, 3)),
}

CLAIMS: dict[str, Claim] = {}  # none that was read in the paper itself

PREPROCESSING = Frame(
    image_size=(224, 224),
    crop=0.875,
    interpolation="bilinear",
    mean=(0.485, 0.456, 0.406),
    std=(0.229, 0.224, 0.225),
)

FORMATS = ()  # there are no checkpoints


def linear(dim: int, out: int, gain: float = 1.0) -> nn.Linear:
    """Return a matrix that makes of channels of variance 1 ones of variance `gain` squared."""
    made = nn.Linear(dim, out, bias=False)
    nn.init.normal_(made.weight, std=gain * dim**-0.5)
    return made


class Match(nn.Module):
    """softmax(a b') c, over the second of two sets of vectors; the paper scales by nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.attend = Attend()

    def forward(
        self, a: Float[Tensor, "b n d"], b: Float[Tensor, "b m d"], c: Float[Tensor, "b m e"]
    ) -> Float[Tensor, "b n e"]:
        """Mix the vectors c by how well those beside them match a."""
        return self.attend((a * a.shape[-1] ** 0.5)[:, None], b[:, None], c[:, None])[:, 0]


class Tokenizer(nn.Module):
    """Pool pixels into tokens, by learned filters or by those that earlier tokens ask for.

    The projection of the pixels' channels to the tokens' is taken after pooling, as it commutes.

    Args:
        dim: channels of a pixel.
        tokens: how many there are.
        token_dim: their channels.
        recurrent: let the tokens of the module before make the filters (equation 2).
    """

    def __init__(self, dim: int, tokens: int, token_dim: int, *, recurrent: bool) -> None:
        super().__init__()
        self.recur = linear(token_dim, dim, dim**-0.5) if recurrent else None
        filters = None if recurrent else nn.Parameter(torch.randn(tokens, dim) * dim**-0.5)
        self.register_parameter("filters", filters)
        self.match = Match()
        self.value = linear(dim, token_dim)

    filters: Tensor

    def forward(
        self, pixels: Float[Tensor, "b n c"], tokens: Float[Tensor, "b l d"] | None
    ) -> Float[Tensor, "b l d"]:
        """Return the tokens that the pixels hold (equations 1 and 2)."""
        if self.recur is None or tokens is None:
            filters = self.filters.expand(len(pixels), -1, -1)
        else:
            filters = self.recur(tokens)
        return self.value(self.match(filters, pixels, pixels))


class TokenTransformer(nn.Module):
    """Attention among tokens, which are their own values, then two layers (equations 3, 4)."""

    def __init__(self, token_dim: int, attn_dim: int) -> None:
        super().__init__()
        gain = attn_dim**-0.25
        self.key, self.query = (linear(token_dim, attn_dim, gain) for _ in range(2))
        self.match = Match()
        self.fc1, self.fc2 = linear(token_dim, token_dim, 2**0.5), linear(token_dim, token_dim)

    def forward(self, x: Float[Tensor, "b l d"]) -> Float[Tensor, "b l d"]:
        """Mix tokens, then transform each."""
        x = x + self.match(self.key(x), self.query(x), x)
        return x + self.fc2(F.relu(self.fc1(x)))


class Projector(nn.Module):
    """Refine pixels by what the tokens say (equation 5)."""

    def __init__(self, dim: int, token_dim: int) -> None:
        super().__init__()
        gain = dim**-0.25
        self.query, self.key = linear(dim, dim, gain), linear(token_dim, dim, gain)
        self.match = Match()
        self.value = linear(token_dim, dim)

    def forward(
        self, pixels: Float[Tensor, "b n c"], tokens: Float[Tensor, "b l d"]
    ) -> Float[Tensor, "b n c"]:
        """Add to each pixel the tokens that it matches."""
        return pixels + self.match(self.query(pixels), self.key(tokens), self.value(tokens))


class VisualTransformer(nn.Module):
    """From pixels to tokens, among tokens, and back to pixels (figure 2)."""

    def __init__(self, config: VTConfig, place: int) -> None:
        super().__init__()
        c, dim = config, config.embed_dim[-1]
        self.tokenizer = Tokenizer(dim, c.num_tokens, c.token_dim, recurrent=place > 0)
        self.transformer = TokenTransformer(c.token_dim, c.attn_dim)
        last = place + 1 == c.depth[-1]
        self.projector = None if last else Projector(dim, c.token_dim)

    def forward(
        self, x: Float[Tensor, "b c h w"], tokens: Float[Tensor, "b l d"] | None
    ) -> tuple[Float[Tensor, "b c h w"], Float[Tensor, "b l d"]]:
        """Return the map and the tokens for the next module; the last leaves the map alone."""
        pixels = to_tokens(x)
        found = self.transformer(self.tokenizer(pixels, tokens))
        if self.projector is None:
            return x, found
        return to_map(self.projector(pixels, found), (x.shape[2], x.shape[3])), found


class VT(Backbone):
    """A ResNet up to its last stage, visual transformers, and the mean over their tokens."""

    def __init__(self, config: VTConfig) -> None:
        super().__init__()
        c = self.config = config
        stem = ConvNorm(conv(c.in_chans, c.stem_dim, 7, 2), nn.ReLU(inplace=True))
        self.stem = Stem(c.in_chans, stem)
        block = basic if c.block == "basic" else bottleneck
        self.stages = stages(c.stem_dim, c.embed_dim, c.depth[:-1], block, c.drop_path_rate)
        self.apply(he)
        self.stages.append(nn.ModuleList(VisualTransformer(c, i) for i in range(c.depth[-1])))
        self.norm = nn.Identity()
        pixels = [Level(f"stages.{i}", d, (4 * 2**i,) * 2) for i, d in enumerate(c.embed_dim)]
        tokens = Level(f"stages.{len(pixels)}", c.token_dim, None)
        self.levels = (*pixels, tokens, replace(tokens, name="final"))
        self.width = c.token_dim
        self.head_std = (3 * self.width) ** -0.5  # of torch's own start

    def forward(self, images: Float[Tensor, "b c h w"], taps: Sequence[str] = ()) -> Features:
        """Encode images; `taps` are stages, the last of which holds tokens, or `final`."""
        trace = Trace(self, taps)
        x, tokens = self.stem(images), None
        *convolutions, transformers = self.stages
        for i, stage in enumerate(convolutions):
            x = stage(x)
            trace.map(f"stages.{i}", x)
        for module in transformers.children():
            x, tokens = module(x, tokens)
        assert tokens is not None
        trace.map(f"stages.{len(convolutions)}", tokens.mT)
        trace.map("final", self.norm(tokens).mT)
        return trace.features(tokens.mean(dim=1))

    def spine(self) -> list[nn.Module]:
        """Return the stem, the blocks of all stages, and the last norm, which is none."""
        return [self.stem, *(part for stage in self.stages for part in stage.children()), self.norm]
