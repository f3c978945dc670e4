"""Readers of the goldens about text: the beginning of a name -> how our outputs are made."""

import torch

from patchword.layers import Attend
from patchword.text import transformer
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


GOLDENS = {
    "orig_annotated_transformer": of_backbones,
    "annotated_transformer": of_multimodal,
}
