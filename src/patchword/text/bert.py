"""BERT: a Transformer encoder that learns from words taken out of a text.

Paper      Devlin et al., "BERT: Pre-training of Deep Bidirectional Transformers for Language
           Understanding", NAACL 2019, arXiv:1810.04805
Reference  github.com/google-research/bert, modeling.py; transformers, BertForPreTraining
Departures no dropout of attention weights
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from patchword.layers import Mlp
from patchword.layers.sequence import PostNorm, SelfAttention
from patchword.text.contract import TextEncoder, keys
from patchword.weights import Format, Rule


@dataclass(frozen=True, kw_only=True)
class BertConfig:
    """Section 3 of the paper."""

    vocab_size: int = 30522
    context: int = 512  # words that positions are made for
    types: int = 2  # segments: of a first sentence and a second
    embed_dim: int = 768
    depth: int = 12
    num_heads: int = 12
    mlp_ratio: float = 4.0
    drop_rate: float = 0.1
    norm_eps: float = 1e-12

    def build(self) -> "Bert":
        """Make the encoder, with fresh weights."""
        return Bert(self)


def large(vocab_size: int) -> BertConfig:
    """Return the larger of the paper's two networks."""
    return BertConfig(vocab_size=vocab_size, embed_dim=1024, depth=24, num_heads=16)


VARIANTS = {
    "bert_base_uncased": BertConfig(),
    "bert_large_uncased": large(30522),
    "bert_base_cased": BertConfig(vocab_size=28996),
    "bert_large_cased": large(28996),
    "bert_base_multilingual_cased": BertConfig(vocab_size=119547),
    "bert_base_chinese": BertConfig(vocab_size=21128),
}


def _rules(weight: str, bias: str) -> tuple[Rule, ...]:
    """Return the rules, given what their norms call their factors and offsets."""
    layer, block = "bert.encoder.layer.#", "backbone.blocks.#"
    qkv = tuple(f"{layer}.attention.self.{part}.*" for part in ("query", "key", "value"))
    norms = {
        "bert.embeddings.LayerNorm": "backbone.norm",
        f"{layer}.attention.output.LayerNorm": f"{block}.attn.norm",
        f"{layer}.output.LayerNorm": f"{block}.mlp.norm",
        "cls.predictions.transform.LayerNorm": "word.norm",
    }
    return (
        *(Rule(f"{theirs}.{weight}", f"{ours}.weight") for theirs, ours in norms.items()),
        *(Rule(f"{theirs}.{bias}", f"{ours}.bias") for theirs, ours in norms.items()),
        Rule("bert.embeddings.word_embeddings.weight", "backbone.words.weight"),
        Rule("bert.embeddings.position_embeddings.weight", "backbone.positions.weight"),
        Rule("bert.embeddings.token_type_embeddings.weight", "backbone.types.weight"),
        Rule(qkv, f"{block}.attn.branch.qkv.*"),
        Rule(f"{layer}.attention.output.dense.*", f"{block}.attn.branch.proj.*"),
        Rule(f"{layer}.intermediate.dense.*", f"{block}.mlp.branch.fc1.*"),
        Rule(f"{layer}.output.dense.*", f"{block}.mlp.branch.fc2.*"),
        Rule("bert.pooler.dense.*", "backbone.pooler.*"),
        Rule("cls.predictions.transform.dense.*", "word.dense.*"),
        Rule("cls.predictions.bias", "word.bias"),
        Rule("cls.seq_relationship.*", "follows.*"),
    )


TIED = {
    "cls.predictions.decoder.weight": "bert.embeddings.word_embeddings.weight",
    "cls.predictions.decoder.bias": "cls.predictions.bias",
}
FORMATS = (
    Format(
        "transformers in memory",
        head=_rules("weight", "bias"),
        ignore=(*TIED, "bert.embeddings.position_ids"),
        copies=lambda _: TIED,
    ),
    Format("transformers", head=_rules("weight", "bias")),
    Format(  # the first files on the Hub; they name norms as TensorFlow does
        "transformers 2018",
        head=_rules("gamma", "beta"),
        ignore=tuple(TIED),
        copies=lambda _: {"cls.predictions.decoder.weight": TIED["cls.predictions.decoder.weight"]},
    ),
)


class Block(nn.Module):
    """Self-attention and an MLP, each normed after it is added."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        c, hidden = config, int(config.embed_dim * config.mlp_ratio)
        self.attn = PostNorm(
            nn.LayerNorm(c.embed_dim, c.norm_eps),
            SelfAttention(c.embed_dim, c.num_heads),
            c.drop_rate,
        )
        self.mlp = PostNorm(
            nn.LayerNorm(c.embed_dim, c.norm_eps), Mlp(c.embed_dim, hidden), c.drop_rate
        )

    def forward(
        self, x: Float[Tensor, "b n d"], mask: Bool[Tensor, "#b 1 #n n"] | None
    ) -> Float[Tensor, "b n d"]:
        """Mix between words, then transform each."""
        return self.mlp(self.attn(x, mask))


class Bert(TextEncoder):
    """Every word reads all of them, both ways; the first, [CLS], stands for the whole."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        c = self.config = config
        self.width = c.embed_dim
        self.words = nn.Embedding(c.vocab_size, c.embed_dim)
        self.positions = nn.Embedding(c.context, c.embed_dim)
        self.types = nn.Embedding(c.types, c.embed_dim)
        self.norm = nn.LayerNorm(c.embed_dim, c.norm_eps)
        self.drop = nn.Dropout(c.drop_rate)
        self.blocks = nn.ModuleList(Block(c) for _ in range(c.depth))
        self.pooler = nn.Linear(c.embed_dim, c.embed_dim)
        self.apply(fresh)

    def embed(
        self, ids: Int[Tensor, "b n"], types: Int[Tensor, "b n"] | None = None
    ) -> Float[Tensor, "b n d"]:
        """Sum the vectors of words, positions and segments (figure 2); all are of segment 0."""
        kinds = self.types.weight[0] if types is None else self.types(types)
        return self.drop(self.norm(self.words(ids) + self.positions.weight[: ids.shape[1]] + kinds))

    def encode(
        self, x: Float[Tensor, "b n d"], mask: Bool[Tensor, "b n"] | None = None
    ) -> Float[Tensor, "b n d"]:
        """Let every token read all of them."""
        for block in self.blocks:
            x = block(x, keys(mask))
        return x

    def pool(
        self, states: Float[Tensor, "b n d"], mask: Bool[Tensor, "b n"] | None = None
    ) -> Float[Tensor, "b d"]:
        """Transform the first token, [CLS]."""
        return torch.tanh(self.pooler(states[:, 0]))


class WordHead(nn.Module):
    """Which word stands where one was taken out; the words' own matrix scores (section 3.1)."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.dense = nn.Linear(config.embed_dim, config.embed_dim)
        self.norm = nn.LayerNorm(config.embed_dim, config.norm_eps)
        self.bias = nn.Parameter(torch.zeros(config.vocab_size))

    def forward(
        self, states: Float[Tensor, "*b d"], words: Float[Tensor, "v d"]
    ) -> Float[Tensor, "*b v"]:
        """Return logits over the vocabulary."""
        return F.linear(self.norm(F.gelu(self.dense(states))), words, self.bias)


class Guess(NamedTuple):
    """What BERT makes of two sentences."""

    words: Float[Tensor, "b n v"]  # logits of the word at each place
    follows: Float[Tensor, "b 2"]  # logits: the second follows the first; it does not


class BertPretraining(nn.Module):
    """BERT with both heads that it learns by."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.config, self.backbone = config, Bert(config)
        self.word = WordHead(config)
        self.follows = nn.Linear(config.embed_dim, 2)
        self.word.apply(fresh)
        self.follows.apply(fresh)

    def forward(
        self,
        ids: Int[Tensor, "b n"],
        mask: Bool[Tensor, "b n"] | None = None,
        types: Int[Tensor, "b n"] | None = None,
    ) -> Guess:
        """Guess the words that were taken out, and whether the sentences belong together."""
        states = self.backbone.encode(self.backbone.embed(ids, types), mask)
        words = self.word(states, self.backbone.words.weight)
        return Guess(words, self.follows(self.backbone.pool(states)))


def fresh(module: nn.Module) -> None:
    """Weights normal with deviation 0.02, cut at two of them, biases zero (appendix A.2's code)."""
    if isinstance(module, nn.Linear | nn.Embedding):
        nn.init.trunc_normal_(module.weight, std=0.02, a=-0.04, b=0.04)
    if isinstance(module, nn.Linear):
        nn.init.zeros_(module.bias)
