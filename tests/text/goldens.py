"""Readers of the goldens about text: the beginning of a name -> how our outputs are made."""

import torch

from patchword.layers import Attend
from patchword.text import seq2seq, transformer
from patchword.text.seq2seq import Attention, Seq2SeqConfig
from patchword.text.transformer import TransformerConfig, sinusoids
from patchword.weights import fill
from tests.parity.golden import Golden


def formats(module):
    """Return a file's formats by name."""
    return {format_.name: format_ for format_ in module.FORMATS}


class Annotated(Attend):
    """Where a query may attend to nothing, that code attends evenly to everything."""

    def forward(self, q, k, v, bias=None):
        hidden = None if bias is None else torch.where(bias, 0.0, -1e9)
        return super().forward(q, k, v, hidden)


def annotated_config(kwargs):
    """Read the arguments of the annotated code's constructor."""
    return TransformerConfig(
        vocab_size=kwargs["src_vocab"],
        target_vocab_size=kwargs["tgt_vocab"],
        embed_dim=kwargs["d_model"],
        depth=kwargs["N"],
        num_heads=kwargs["h"],
        hidden_dim=kwargs["d_ff"],
        drop_rate=kwargs["dropout"],
        order="pre",
        final_norm=True,
        norm="deviation",
        norm_eps=1e-6,
    )


def annotated(golden: Golden):
    """Build the annotated code's network, with a golden's weights."""
    model = annotated_config(golden.kwargs).build().eval()
    weights = {n: t for n, t in golden.weights.items() if not n.startswith("_")}
    fill(model, formats(transformer)["annotated"].load(weights))
    layers = [*model.encoder.layers, *model.decoder.layers]
    for module in [m for layer in layers for m in layer.modules()]:
        if isinstance(getattr(module, "attend", None), Attend):
            module.attend = Annotated()
    return model


def of_backbones(golden: Golden):
    """Read a golden that holds all states."""
    model, source, target = annotated(golden), golden.held["in.src"], golden.held["in.tgt"]
    memory = model.encoder(source, source != 0)
    decoded = model.decoder(target, memory, target != 0, source != 0)
    return {
        "memory": memory,
        "decoded": decoded,
        "log_probs": model.head(decoded).log_softmax(-1),
    }


def of_multimodal(golden: Golden):
    """Read a golden that holds the states of words, and a sentence written greedily."""
    model, source, target = annotated(golden), golden.held["in.src"], golden.held["in.tgt"]
    target, wanted = target[:, :-1], golden.wanted
    memory = model.encoder(source, source != 0)
    scores = model(source, target, source != 0, target != 0).log_softmax(-1)
    written = torch.ones(1, 1, dtype=torch.long)
    for _ in range(wanted["greedy"].shape[1] - 1):
        best = model(source[:1], written, source[:1] != 0)[:, -1:].argmax(-1)
        written = torch.cat([written, best], 1)
    return {
        "memory_valid": memory[source != 0],
        "log_probs_valid": scores[target != 0],
        "pe": sinusoids(*wanted["pe"].shape[1:], "interleaved", memory.device)[None],
        "greedy": written,
    }


SCORES = {"dot": "dot", "general": "general", "mlp": "additive"}


def until(lengths):
    """Return a mask of sequences of these lengths."""
    return torch.arange(int(lengths.max())) < lengths[:, None]


def seen(module, outputs):
    """Gather the weights of an attention's calls in a list."""
    module.register_forward_hook(
        lambda operator, inputs, _: outputs.append(operator.weights(*inputs)[:, 0])
    )


def of_attention(golden: Golden):
    """Read a golden that holds each of the three attentions."""
    found, held = {}, golden.held
    format_ = formats(seq2seq)["onmt"]
    for theirs, ours in SCORES.items():
        layer, weights = Attention(golden.kwargs["dim"], ours).eval(), []
        loaded = format_.load(parts(golden.weights, f"{theirs}.", "dec.attn."))
        fill(layer, parts(loaded, "decoder.attn."))
        seen(layer.attend, weights)
        found[theirs] = layer(held["in.query"], held["in.memory"], until(held["in.lengths"]))
        found[f"{theirs}_weights"] = weights[0]
    return found


def parts(weights, begin, instead=""):
    """Return the tensors whose names begin so, under names that begin otherwise."""
    return {
        f"{instead}{n.removeprefix(begin)}": t for n, t in weights.items() if n.startswith(begin)
    }


def of_seq2seq(golden: Golden):
    """Read a golden of both networks; sizes are those of the weights."""
    kwargs, weights, held = golden.kwargs, golden.weights, golden.held
    words, fed = weights["src.weight"], "dec.rnn.layers.0.weight_ih" in weights
    config = Seq2SeqConfig(
        vocab_size=len(words),
        target_vocab_size=len(weights["gen.weight"]),
        word_dim=words.shape[1],
        embed_dim=kwargs["hidden"],
        depth=kwargs["layers"],
        cell=kwargs["rnn"].lower(),
        directions=2 if "enc.weight_ih_l0_reverse" in weights else 1,
        score=SCORES[kwargs["attention"]],
        feeds="attended" if fed else "words",
    )
    model, maps = config.build().eval(), []
    names = formats(seq2seq)
    fill(model, names["onmt, fed what was attended to" if fed else "onmt"].load(weights))
    seen(model.decoder.attn.attend, maps)
    logits = model(held["in.src"], held["in.tgt"], until(held["in.lengths"]))
    attention = torch.cat(maps, 1)
    return {"logits": logits, "attention": attention.transpose(0, 1) if fed else attention}


GOLDENS = {
    "orig_annotated_transformer": of_backbones,
    "annotated_transformer": of_multimodal,
    "onmt_attention": of_attention,
    "onmt_rnn_seq2seq": of_seq2seq,
}
