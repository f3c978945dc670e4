"""The Transformer: an encoder and a decoder of attention alone.

Paper      Vaswani et al., "Attention Is All You Need", NeurIPS 2017, arXiv:1706.03762
Reference  torch.nn.Transformer (without embeddings); github.com/harvardnlp/annotated-transformer
           (pre-norm, a norm and untied embeddings of its own); positions and fresh embeddings as in
           github.com/tensorflow/tensor2tensor
Departures dropout as in the paper, after each sub-layer and embedding; both references also drop
           attention weights and hidden channels of the MLP. Biases start at 0
"""

from dataclasses import dataclass
from math import log
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from patchword.layers import Mlp, xavier
from patchword.layers.sequence import CrossAttention, PostNorm, PreNorm, SelfAttention
from patchword.text.contract import TextEncoder, causal, keys, mean_word
from patchword.weights import Format, Rule


@dataclass(frozen=True, kw_only=True)
class TransformerConfig:
    """Table 3 of the paper, and what its references do otherwise."""

    vocab_size: int = 37000  # words of the source; of the target too, where that has none
    target_vocab_size: int | None = None  # None: one matrix embeds both and scores (section 3.4)
    embed_dim: int = 512
    depth: int = 6  # layers of each stack
    num_heads: int = 8
    hidden_dim: int = 2048  # channels within the MLP
    drop_rate: float = 0.1
    order: Literal["post", "pre"] = "post"  # where a layer's norms stand
    final_norm: bool = False  # one more norm after each stack, as both references have
    norm: Literal["layer", "deviation"] = "layer"  # "deviation" is the annotated code's
    norm_eps: float = 1e-5
    position: Literal["interleaved", "halves"] = "interleaved"  # the paper's, tensor2tensor's

    def build(self) -> "Transformer":
        """Make the model, with fresh weights."""
        return Transformer(self)


VARIANTS = {
    "transformer_base": TransformerConfig(),
    "transformer_big": TransformerConfig(
        embed_dim=1024, num_heads=16, hidden_dim=4096, drop_rate=0.3
    ),
}


def _norm(theirs: str, ours: str) -> list[Rule]:
    return [Rule(f"{theirs}.a_2", f"{ours}.weight"), Rule(f"{theirs}.b_2", f"{ours}.bias")]


def _annotated(theirs: str, ours: str) -> list[Rule]:
    qkv = tuple(f"{theirs}.linears.{i}.*" for i in range(3))
    return [Rule(qkv, f"{ours}.qkv.*"), Rule(f"{theirs}.linears.3.*", f"{ours}.proj.*")]


def _torch(theirs: str, ours: str) -> list[Rule]:
    qkv = Rule(f"{theirs}.in_proj_*", f"{ours}.qkv.*")
    return [qkv, Rule(f"{theirs}.out_proj.*", f"{ours}.proj.*")]


FORMATS = (
    Format(
        "annotated",
        head=(
            *_annotated("encoder.layers.#.self_attn", "encoder.layers.#.attn.branch"),
            *_annotated("decoder.layers.#.self_attn", "decoder.layers.#.attn.branch"),
            *_annotated("decoder.layers.#.src_attn", "decoder.layers.#.cross.branch"),
            *_norm("encoder.layers.#.sublayer.0.norm", "encoder.layers.#.attn.norm"),
            *_norm("decoder.layers.#.sublayer.0.norm", "decoder.layers.#.attn.norm"),
            *_norm("decoder.layers.#.sublayer.1.norm", "decoder.layers.#.cross.norm"),
            *_norm("encoder.layers.#.sublayer.1.norm", "encoder.layers.#.mlp.norm"),
            *_norm("decoder.layers.#.sublayer.2.norm", "decoder.layers.#.mlp.norm"),
            Rule("encoder.layers.#.feed_forward.w_#.*", "encoder.layers.#.mlp.branch.fc#.*"),
            Rule("decoder.layers.#.feed_forward.w_#.*", "decoder.layers.#.mlp.branch.fc#.*"),
            *_norm("encoder.norm", "encoder.norm"),
            *_norm("decoder.norm", "decoder.norm"),
            Rule("src_embed.0.lut.weight", "encoder.embedding.words.weight"),
            Rule("tgt_embed.0.lut.weight", "decoder.embedding.words.weight"),
            Rule("generator.proj.*", "head.*"),
        ),
        ignore=("src_embed.1.pe", "tgt_embed.1.pe"),
    ),
    Format(
        "torch",
        head=(
            *_torch("encoder.layers.#.self_attn", "encoder.layers.#.attn.branch"),
            *_torch("decoder.layers.#.self_attn", "decoder.layers.#.attn.branch"),
            *_torch("decoder.layers.#.multihead_attn", "decoder.layers.#.cross.branch"),
            Rule("encoder.layers.#.norm1.*", "encoder.layers.#.attn.norm.*"),
            Rule("decoder.layers.#.norm1.*", "decoder.layers.#.attn.norm.*"),
            Rule("decoder.layers.#.norm2.*", "decoder.layers.#.cross.norm.*"),
            Rule("encoder.layers.#.linear#.*", "encoder.layers.#.mlp.branch.fc#.*"),
            Rule("decoder.layers.#.linear#.*", "decoder.layers.#.mlp.branch.fc#.*"),
            Rule("encoder.layers.#.norm2.*", "encoder.layers.#.mlp.norm.*"),
            Rule("decoder.layers.#.norm3.*", "decoder.layers.#.mlp.norm.*"),
            Rule("encoder.norm.*", "encoder.norm.*"),
            Rule("decoder.norm.*", "decoder.norm.*"),
        ),
    ),
)


class DeviationNorm(nn.Module):
    """The annotated code's norm: over the unbiased deviation, to which eps is added."""

    def __init__(self, dim: int, eps: float) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(dim)), nn.Parameter(torch.zeros(dim))
        self.eps = eps

    def forward(self, x: Float[Tensor, "*b d"]) -> Float[Tensor, "*b d"]:
        """Norm each token."""
        centred = x - x.mean(-1, keepdim=True)
        return self.weight * centred / (x.std(-1, keepdim=True) + self.eps) + self.bias


def sinusoids(
    count: int, dim: int, layout: Literal["interleaved", "halves"], device: torch.device
) -> Float[Tensor, "count dim"]:
    """Return sines and cosines of positions (section 3.5).

    Channels 2i and 2i + 1 of "interleaved" are sine and cosine of position / 10000^(2i/dim). The
    "halves" of tensor2tensor are all sines, then all cosines, and its last wave is 10000 long.
    """
    waves = dim // 2
    steps = waves if layout == "interleaved" else max(waves - 1, 1)
    rates = torch.exp(torch.arange(waves, device=device) * (-log(10000.0) / steps))
    angles = torch.arange(count, device=device)[:, None] * rates
    pair = (angles.sin(), angles.cos())
    return torch.stack(pair, -1).flatten(1) if layout == "interleaved" else torch.cat(pair, -1)


class Embedding(nn.Module):
    """Words scaled by sqrt(d), with their positions (sections 3.4 and 3.5)."""

    def __init__(self, config: TransformerConfig, vocab_size: int) -> None:
        super().__init__()
        self.words = nn.Embedding(vocab_size, config.embed_dim)
        self.layout: Literal["interleaved", "halves"] = config.position
        self.drop = nn.Dropout(config.drop_rate)
        nn.init.normal_(self.words.weight, std=config.embed_dim**-0.5)

    def forward(self, ids: Int[Tensor, "b n"]) -> Float[Tensor, "b n d"]:
        """Embed words."""
        x = self.words(ids) * self.words.embedding_dim**0.5
        return self.drop(x + sinusoids(x.shape[1], x.shape[2], self.layout, x.device).to(x.dtype))


class Layer(nn.Module):
    """What layers of both stacks are made of: branches, each with its norm."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        c = config
        around = {"post": PostNorm, "pre": PreNorm}[c.order]
        self.attn = around(norm(c), SelfAttention(c.embed_dim, c.num_heads), c.drop_rate)
        self.mlp = around(norm(c), Mlp(c.embed_dim, c.hidden_dim, act=nn.ReLU), c.drop_rate)
        self.around = around


class EncoderLayer(Layer):
    """Self-attention and an MLP (section 3.1)."""

    def forward(
        self, x: Float[Tensor, "b n d"], mask: Bool[Tensor, "#b 1 #n n"] | None
    ) -> Float[Tensor, "b n d"]:
        """Mix between words, then transform each."""
        return self.mlp(self.attn(x, mask))


class DecoderLayer(Layer):
    """The same, with attention to the memory between."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__(config)
        attention = CrossAttention(config.embed_dim, config.num_heads)
        self.cross = self.around(norm(config), attention, config.drop_rate)

    def forward(
        self,
        x: Float[Tensor, "b n d"],
        memory: Float[Tensor, "b m d"],
        mask: Bool[Tensor, "#b 1 #n n"],
        memory_mask: Bool[Tensor, "#b 1 1 m"] | None,
    ) -> Float[Tensor, "b n d"]:
        """Mix between words, read the memory, transform each word."""
        return self.mlp(self.cross(self.attn(x, mask), memory, memory_mask))


def norm(config: TransformerConfig) -> nn.Module:
    """Make the norm that a config names."""
    made = {"layer": nn.LayerNorm, "deviation": DeviationNorm}[config.norm]
    return made(config.embed_dim, config.norm_eps)


class Encoder(TextEncoder):
    """Words to memory."""

    def __init__(self, config: TransformerConfig, embedding: nn.Module) -> None:
        super().__init__()
        self.width, self.embedding = config.embed_dim, embedding
        self.layers = nn.ModuleList(EncoderLayer(config) for _ in range(config.depth))
        self.norm = norm(config) if config.final_norm else nn.Identity()

    def embed(self, ids: Int[Tensor, "b n"]) -> Float[Tensor, "b n d"]:
        """Embed words, with their positions."""
        return self.embedding(ids)

    def encode(
        self, x: Float[Tensor, "b n d"], mask: Bool[Tensor, "b n"] | None = None
    ) -> Float[Tensor, "b n d"]:
        """Let every token read all of them, both ways."""
        for layer in self.layers:
            x = layer(x, keys(mask))
        return self.norm(x)

    def pool(
        self, states: Float[Tensor, "b n d"], mask: Bool[Tensor, "b n"] | None = None
    ) -> Float[Tensor, "b d"]:
        """Return the mean word; the paper needs none."""
        return mean_word(states, mask)


class Decoder(nn.Module):
    """Words so far and a memory to states, each of which is to tell the next word.

    The memory may be anything of the model's width: another sentence, or an image's cells.
    """

    def __init__(self, config: TransformerConfig, embedding: nn.Module) -> None:
        super().__init__()
        self.width, self.embedding = config.embed_dim, embedding
        self.layers = nn.ModuleList(DecoderLayer(config) for _ in range(config.depth))
        self.norm = norm(config) if config.final_norm else nn.Identity()

    def decode(
        self,
        x: Float[Tensor, "b n d"],
        memory: Float[Tensor, "b m d"],
        mask: Bool[Tensor, "b n"] | None = None,
        memory_mask: Bool[Tensor, "b m"] | None = None,
    ) -> Float[Tensor, "b n d"]:
        """Let embedded tokens read themselves, what stands before them, and the memory."""
        seen = causal(x.shape[1], mask, device=x.device)
        for layer in self.layers:
            x = layer(x, memory, seen, keys(memory_mask))
        return self.norm(x)

    def forward(
        self,
        ids: Int[Tensor, "b n"],
        memory: Float[Tensor, "b m d"],
        mask: Bool[Tensor, "b n"] | None = None,
        memory_mask: Bool[Tensor, "b m"] | None = None,
    ) -> Float[Tensor, "b n d"]:
        """Decode words; masks are True where something is to be read."""
        return self.decode(self.embedding(ids), memory, mask, memory_mask)


class Transformer(nn.Module):
    """Scores each next word of a target, given a source and the words before it."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        c = self.config = config
        words = c.target_vocab_size or c.vocab_size
        embedding = Embedding(c, c.vocab_size)
        shared = c.target_vocab_size is None
        self.encoder = Encoder(c, embedding)
        self.decoder = Decoder(c, embedding if shared else Embedding(c, words))
        self.head = nn.Linear(c.embed_dim, words, bias=not shared)
        self.encoder.apply(xavier)
        self.decoder.apply(xavier)
        if shared:
            self.head.weight = embedding.words.weight
        else:
            xavier(self.head)

    def forward(
        self,
        source: Int[Tensor, "b m"],
        target: Int[Tensor, "b n"],
        source_mask: Bool[Tensor, "b m"] | None = None,
        target_mask: Bool[Tensor, "b n"] | None = None,
    ) -> Float[Tensor, "b n words"]:
        """Return logits of the word after each of the target's."""
        memory = self.encoder(source, source_mask)
        return self.head(self.decoder(target, memory, target_mask, source_mask))
