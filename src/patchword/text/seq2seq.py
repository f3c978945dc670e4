"""Recurrent encoder and decoder, between them attention.

Paper      Sutskever et al. 2014, arXiv:1409.3215; Bahdanau et al., "Neural Machine Translation by
           Jointly Learning to Align and Translate", ICLR 2015, arXiv:1409.0473; Luong et al. 2015,
           arXiv:1508.04025
Reference  github.com/OpenNMT/OpenNMT-py, modules/global_attention.py, decoders/decoder.py
Departures as in the reference, the decoder attends after its step (Bahdanau's before it), and the
           encoder's two directions are half as wide as the decoder. The GRU is torch's, which
           resets after the product with the state (the paper before it); so are fresh weights.
           Masked sources are packed, which torch does not export; nor does it compile recurrent
           networks into one graph
"""

from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from patchword.layers import Attend
from patchword.layers.attention import Operator
from patchword.text.contract import TextEncoder, keys, last_word
from patchword.weights import Format, Rule

State = tuple[Float[Tensor, "layers b d"], ...]
"""What a recurrent network carries on: a GRU its output, an LSTM its cells too."""


@dataclass(frozen=True, kw_only=True)
class Seq2SeqConfig:
    """Sizes, and what the papers differ in."""

    vocab_size: int = 30000
    target_vocab_size: int = 30000
    word_dim: int = 620  # channels of a word
    embed_dim: int = 1000  # channels of a state
    depth: int = 1  # layers of each network
    cell: Literal["lstm", "gru"] = "gru"
    directions: Literal[1, 2] = 2  # in which the source is read
    score: Literal["dot", "general", "additive"] = "additive"
    feeds: Literal["words", "attended"] = "attended"  # what a step reads: also what the last saw
    drop_rate: float = 0.0  # between layers, and of what is attended to

    def build(self) -> "Seq2Seq":
        """Make the model, with fresh weights."""
        return Seq2Seq(self)


VARIANTS = {
    "seq2seq_bahdanau": Seq2SeqConfig(),
    "seq2seq_luong": Seq2SeqConfig(
        vocab_size=50000,
        target_vocab_size=50000,
        word_dim=1000,
        depth=4,
        cell="lstm",
        directions=1,
        score="general",
        drop_rate=0.2,
    ),
}

_SHARED = (
    Rule("src.weight", "encoder.words.weight"),
    Rule("enc.*", "encoder.rnn.*"),
    Rule("dec.embeddings.e.weight", "decoder.words.weight"),
    Rule("dec.attn.linear_in.*", "decoder.attn.query.*"),
    Rule("dec.attn.linear_query.*", "decoder.attn.query.*"),
    Rule("dec.attn.linear_context.*", "decoder.attn.memory.*"),
    Rule("dec.attn.v.weight", "decoder.attn.attend.v.weight"),
    Rule("dec.attn.linear_out.*", "decoder.attn.out.*"),
    Rule("gen.*", "head.*"),
)
FORMATS = (
    Format(
        "onmt, fed what was attended to",
        head=(
            Rule("dec.rnn.layers.#.weight_ih", "decoder.rnn.weight_ih_l#"),
            Rule("dec.rnn.layers.#.weight_hh", "decoder.rnn.weight_hh_l#"),
            Rule("dec.rnn.layers.#.bias_ih", "decoder.rnn.bias_ih_l#"),
            Rule("dec.rnn.layers.#.bias_hh", "decoder.rnn.bias_hh_l#"),
            *_SHARED,
        ),
    ),
    Format("onmt", head=(Rule("dec.rnn.*", "decoder.rnn.*"), *_SHARED)),
)


class Additive(Operator):
    """softmax(v' tanh(q + k)) values: Bahdanau's alignment."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.v = nn.Linear(dim, 1, bias=False)

    def forward(
        self,
        q: Float[Tensor, "b h n c"],
        k: Float[Tensor, "b h m c"],
        v: Float[Tensor, "b h m e"],
        mask: Bool[Tensor, "b 1 1 m"] | None,
    ) -> Float[Tensor, "b h n e"]:
        """Attend from n queries to m keys."""
        return self.weights(q, k, v, mask) @ v

    def weights(
        self,
        q: Float[Tensor, "b h n c"],
        k: Float[Tensor, "b h m c"],
        v: Float[Tensor, "b h m e"],
        mask: Bool[Tensor, "b 1 1 m"] | None,
    ) -> Float[Tensor, "b h n m"]:
        """Return how much each query reads of each key."""
        scores = self.v(torch.tanh(q[..., None, :] + k[..., None, :, :])).squeeze(-1)
        return (scores if mask is None else scores.masked_fill(~mask, -torch.inf)).softmax(-1)


class Attention(nn.Module):
    """Reads the memory for each state, and joins what it reads with the state."""

    def __init__(self, dim: int, score: Literal["dot", "general", "additive"]) -> None:
        super().__init__()
        additive = score == "additive"
        self.query = nn.Identity() if score == "dot" else nn.Linear(dim, dim, bias=additive)
        self.memory = nn.Linear(dim, dim, bias=False) if additive else nn.Identity()
        self.attend = Additive(dim) if additive else Attend()
        self.scale = 1.0 if additive else dim**0.5  # these papers' scores are not divided by it
        self.out = nn.Linear(2 * dim, dim, bias=additive)
        self.act = nn.Identity() if additive else nn.Tanh()

    def forward(
        self,
        states: Float[Tensor, "b n d"],
        memory: Float[Tensor, "b m d"],
        mask: Bool[Tensor, "b m"] | None,
    ) -> Float[Tensor, "b n d"]:
        """Attend to the memory's words."""
        q, k, v = self.query(states) * self.scale, self.memory(memory), memory
        read = self.attend(q[:, None], k[:, None], v[:, None], keys(mask))[:, 0]
        return self.act(self.out(torch.cat([read, states], -1)))


def recurrent(config: Seq2SeqConfig, width: int, reads: int, directions: int = 1) -> nn.RNNBase:
    """Make a network of the config's cells, of `width` channels each way."""
    made = {"lstm": nn.LSTM, "gru": nn.GRU}[config.cell]
    drop = config.drop_rate if config.depth > 1 else 0.0
    return made(
        reads, width, config.depth, batch_first=True, dropout=drop, bidirectional=directions == 2
    )


class Memory(NamedTuple):
    """What the encoder hands to the decoder."""

    states: Float[Tensor, "b m d"]
    last: State  # of each layer, both directions joined


class Encoder(TextEncoder):
    """Words to memory; padding, which must come last, is not read."""

    def __init__(self, config: Seq2SeqConfig) -> None:
        super().__init__()
        c = config
        self.width, self.directions = c.embed_dim, c.directions
        self.words = nn.Embedding(c.vocab_size, c.word_dim)
        self.rnn = recurrent(c, c.embed_dim // c.directions, c.word_dim, c.directions)

    def embed(self, ids: Int[Tensor, "b n"]) -> Float[Tensor, "b n e"]:
        """Embed words; a recurrent network needs no positions."""
        return self.words(ids)

    def read(self, x: Float[Tensor, "b n e"], mask: Bool[Tensor, "b n"] | None) -> Memory:
        """Return all states, and the last."""
        if mask is None:
            states, last = self.rnn(x)
        else:
            packed = pack_padded_sequence(
                x, mask.sum(1).cpu(), batch_first=True, enforce_sorted=False
            )
            packed, last = self.rnn(packed)
            states, _ = pad_packed_sequence(packed, batch_first=True, total_length=x.shape[1])
        parts = last if isinstance(last, tuple) else (last,)
        ways = self.directions
        return Memory(
            states, tuple(torch.cat([s[i::ways] for i in range(ways)], -1) for s in parts)
        )

    def encode(
        self, x: Float[Tensor, "b n e"], mask: Bool[Tensor, "b n"] | None = None
    ) -> Float[Tensor, "b n d"]:
        """Read embedded words in order."""
        return self.read(x, mask).states

    def pool(
        self, states: Float[Tensor, "b n d"], mask: Bool[Tensor, "b n"] | None = None
    ) -> Float[Tensor, "b d"]:
        """Return the last word."""
        return last_word(states, mask)


class Decoder(nn.Module):
    """Words so far and a memory to states, each of which is to tell the next word."""

    def __init__(self, config: Seq2SeqConfig) -> None:
        super().__init__()
        c = config
        self.fed = c.embed_dim if c.feeds == "attended" else 0
        self.words = nn.Embedding(c.target_vocab_size, c.word_dim)
        self.rnn = recurrent(c, c.embed_dim, c.word_dim + self.fed)
        self.attn = Attention(c.embed_dim, c.score)
        self.drop = nn.Dropout(c.drop_rate)

    def step(self, x: Float[Tensor, "b n e"], last: State) -> tuple[Float[Tensor, "b n d"], State]:
        """Read n words after a state."""
        if isinstance(self.rnn, nn.LSTM):
            return self.rnn(x, last)
        states, new = self.rnn(x, last[0])
        return states, (new,)

    def forward(
        self, ids: Int[Tensor, "b n"], memory: Memory, mask: Bool[Tensor, "b m"] | None = None
    ) -> Float[Tensor, "b n d"]:
        """Decode words; the mask is the memory's."""
        x, last = self.words(ids), memory.last
        if not self.fed:
            return self.drop(self.attn(self.step(x, last)[0], memory.states, mask))
        attended = [x.new_zeros(len(x), 1, self.fed)]
        for word in x.split(1, 1):
            states, last = self.step(torch.cat([word, attended[-1]], -1), last)
            attended.append(self.drop(self.attn(states, memory.states, mask)))
        return torch.cat(attended[1:], 1)


class Seq2Seq(nn.Module):
    """Scores each next word of a target, given a source and the words before it."""

    def __init__(self, config: Seq2SeqConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder, self.decoder = Encoder(config), Decoder(config)
        self.head = nn.Linear(config.embed_dim, config.target_vocab_size)

    def forward(
        self,
        source: Int[Tensor, "b m"],
        target: Int[Tensor, "b n"],
        source_mask: Bool[Tensor, "b m"] | None = None,
    ) -> Float[Tensor, "b n words"]:
        """Return logits of the word after each of the target's."""
        memory = self.encoder.read(self.encoder.embed(source), source_mask)
        return self.head(self.decoder(target, memory, source_mask))
