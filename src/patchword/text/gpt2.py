"""GPT-2: a causal decoder that scores each next word.

Paper      Radford et al., "Language Models are Unsupervised Multitask Learners", OpenAI 2019
Reference  github.com/openai/gpt-2, src/model.py; transformers, GPT2LMHeadModel
Departures no dropout of attention weights
"""

from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from patchword.layers import Mlp
from patchword.layers.sequence import PreNorm, SequenceAttention
from patchword.text.contract import TextEncoder, causal, last_word
from patchword.weights import Format, Rule, View


@dataclass(frozen=True, kw_only=True)
class GPT2Config:
    """Table 2 of the paper."""

    vocab_size: int = 50257
    context: int = 1024  # words that positions are made for
    embed_dim: int = 768
    depth: int = 12
    num_heads: int = 12
    mlp_ratio: float = 4.0
    drop_rate: float = 0.1
    norm_eps: float = 1e-5

    def build(self) -> "GPT2":
        """Make the decoder, with fresh weights."""
        return GPT2(self)


VARIANTS = {
    "gpt2": GPT2Config(),
    "gpt2_medium": GPT2Config(embed_dim=1024, depth=24, num_heads=16),
    "gpt2_large": GPT2Config(embed_dim=1280, depth=36, num_heads=20),
    "gpt2_xl": GPT2Config(embed_dim=1600, depth=48, num_heads=25),
}

TURNED = View(lambda theirs: theirs.mT, lambda ours: ours.mT.contiguous())
"""Their matrices are stored [in, out]."""


def _rules(root: str) -> tuple[Rule, ...]:
    """Return the rules, given what stands before their names."""
    linear = {
        "attn.c_attn": "attn.qkv",
        "attn.c_proj": "attn.proj",
        "mlp.c_fc": "mlp.branch.fc1",
        "mlp.c_proj": "mlp.branch.fc2",
    }
    return (
        Rule(f"{root}wte.weight", "words.weight"),
        Rule(f"{root}wpe.weight", "positions.weight"),
        Rule(f"{root}ln_f.*", "norm.*"),
        Rule(f"{root}h.#.ln_1.*", "blocks.#.norm.*"),
        Rule(f"{root}h.#.ln_2.*", "blocks.#.mlp.norm.*"),
        *(
            rule
            for theirs, ours in linear.items()
            for rule in (
                Rule(f"{root}h.#.{theirs}.weight", f"blocks.#.{ours}.weight", TURNED),
                Rule(f"{root}h.#.{theirs}.bias", f"blocks.#.{ours}.bias"),
            )
        ),
    )


FORMATS = (
    Format(
        "transformers in memory",
        head=_rules("transformer."),
        ignore=("lm_head.weight",),
        copies=lambda _: {"lm_head.weight": "transformer.wte.weight"},
    ),
    Format("transformers", head=_rules("transformer.")),
    Format(  # the first files on the Hub, which also hold the causal mask
        "transformers 2019",
        head=_rules(""),
        ignore=("h.#.attn.bias", "h.#.attn.masked_bias"),
        derived=lambda config: {
            f"h.{i}.attn.bias": torch.ones(1, 1, config.context, config.context).tril()
            for i in range(config.depth)
        },
    ),
)


class Past(NamedTuple):
    """The keys and values of words that were read, by block: what later words attend to."""

    k: list[Float[Tensor, "b h m c"]]
    v: list[Float[Tensor, "b h m c"]]

    @property
    def length(self) -> int:
        """How many words they are."""
        return self.k[0].shape[2]


class Decoded(NamedTuple):
    """States of new words, and the past with them in it."""

    states: Float[Tensor, "b n d"]
    past: Past


class Block(nn.Module):
    """Causal self-attention and an MLP, each of which reads what is normed."""

    def __init__(self, config: GPT2Config) -> None:
        super().__init__()
        c, hidden = config, int(config.embed_dim * config.mlp_ratio)
        self.norm = nn.LayerNorm(c.embed_dim, c.norm_eps)
        self.attn = SequenceAttention(c.embed_dim, c.num_heads)
        self.drop = nn.Dropout(c.drop_rate)
        mlp = Mlp(c.embed_dim, hidden, act=partial(nn.GELU, approximate="tanh"))
        self.mlp = PreNorm(nn.LayerNorm(c.embed_dim, c.norm_eps), mlp, c.drop_rate)

    def forward(
        self,
        x: Float[Tensor, "b n d"],
        k: Float[Tensor, "b h past c"],
        v: Float[Tensor, "b h past c"],
        mask: Bool[Tensor, "#b 1 n m"],
    ) -> tuple[Float[Tensor, "b n d"], Float[Tensor, "b h m c"], Float[Tensor, "b h m c"]]:
        """Return new words, and the keys and values of all so far."""
        q, new_k, new_v = self.attn.project(self.norm(x))
        k, v = torch.cat([k, new_k], 2), torch.cat([v, new_v], 2)
        return self.mlp(x + self.drop(self.attn.mix(q, k, v, mask))), k, v


class GPT2(TextEncoder):
    """Every word reads those before it; the words' own matrix scores the next."""

    def __init__(self, config: GPT2Config) -> None:
        super().__init__()
        c = self.config = config
        self.width = c.embed_dim
        self.words = nn.Embedding(c.vocab_size, c.embed_dim)
        self.positions = nn.Embedding(c.context, c.embed_dim)
        self.drop = nn.Dropout(c.drop_rate)
        self.blocks = nn.ModuleList(Block(c) for _ in range(c.depth))
        self.norm = nn.LayerNorm(c.embed_dim, c.norm_eps)
        for name, parameter in self.named_parameters():
            if parameter.ndim > 1:  # what ends a branch starts smaller, as there are 2 per block
                ends = name.endswith(("attn.proj.weight", "fc2.weight"))
                nn.init.normal_(parameter, std=0.02 * ((2 * c.depth) ** -0.5 if ends else 1))
            elif name.endswith("bias"):
                nn.init.zeros_(parameter)

    def embed(self, ids: Int[Tensor, "b n"], past: int = 0) -> Float[Tensor, "b n d"]:
        """Sum the vectors of words and of positions, which go on after `past` words."""
        return self.drop(self.words(ids) + self.positions.weight[past : past + ids.shape[1]])

    def encode(
        self, x: Float[Tensor, "b n d"], mask: Bool[Tensor, "b n"] | None = None
    ) -> Float[Tensor, "b n d"]:
        """Let every token read itself and those before it."""
        return self._read(x, self.start(len(x)), mask).states

    def pool(
        self, states: Float[Tensor, "b n d"], mask: Bool[Tensor, "b n"] | None = None
    ) -> Float[Tensor, "b d"]:
        """Return the last word, the only one that has read all."""
        return last_word(states, mask)

    def start(self, count: int) -> Past:
        """Return the past of `count` sequences of which no word was read."""
        heads, width = self.config.num_heads, self.width // self.config.num_heads
        none = self.words.weight.new_empty(count, heads, 0, width)
        return Past([none] * len(self.blocks), [none] * len(self.blocks))

    def decode(
        self, ids: Int[Tensor, "b n"], past: Past, mask: Bool[Tensor, "b m"] | None = None
    ) -> Decoded:
        """Read n more words after a past, as `forward` would at once.

        Args:
            ids: the new words.
            past: of `start`, or of the words before.
            mask: of all m words, past and new.
        """
        return self._read(self.embed(ids, past.length), past, mask)

    def _read(
        self, x: Float[Tensor, "b n d"], past: Past, mask: Bool[Tensor, "b m"] | None
    ) -> Decoded:
        seen = causal(x.shape[1], mask, device=x.device, past=past.length)
        keys: list[Tensor] = []
        values: list[Tensor] = []
        for block, old_k, old_v in zip(self.blocks, *past, strict=True):
            x, k, v = block(x, old_k, old_v, seen)
            keys.append(k)
            values.append(v)
        return Decoded(self.norm(x), Past(keys, values))

    def scores(self, states: Float[Tensor, "*b d"]) -> Float[Tensor, "*b v"]:
        """Return logits of the word after each state."""
        return F.linear(states, self.words.weight)
