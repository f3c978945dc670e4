"""Google's names of a plain transformer's tensors, in the `.npz` files of its JAX code.

The files do not say how the MLP computes its GELU. The code that trained them calls flax's
`nn.gelu`, which is the tanh approximation, so a bare file is read as a network with that; timm
reads them with the exact one, and answers up to 3e-4 otherwise.
"""

from collections.abc import Callable
from typing import Any

from torch import Tensor

from patchword.weights.formats import Format
from patchword.weights.rules import Rule, Rules, View

GOOGLE = "google"

KERNEL = View(lambda kernel: kernel.permute(3, 2, 0, 1), lambda kernel: kernel.permute(2, 3, 1, 0))
"""Their convolution is rows, columns, channels in, channels out."""

TURNED = View(lambda kernel: kernel.mT, lambda matrix: matrix.mT)
"""Their linear layer is channels in, channels out."""

FLAT = View(lambda vector: vector.flatten(), lambda vector: vector)
"""Some of their vectors have further axes of length 1."""


def linear(theirs: str, ours: str) -> Rules:
    """Return the rules about a linear layer."""
    return Rule(f"{theirs}/kernel", f"{ours}.weight", TURNED), Rule(
        f"{theirs}/bias", f"{ours}.bias"
    )


def norm(theirs: str, ours: str) -> Rules:
    """Return the rules about a norm."""
    return (
        Rule(f"{theirs}/scale", f"{ours}.weight", FLAT),
        Rule(f"{theirs}/bias", f"{ours}.bias", FLAT),
    )


def attention(theirs: str, ours: str, heads: int) -> Rules:
    """Return the rules about attention, whose kernels have an axis for the heads."""

    def split(axis: int) -> Callable[[Tensor], Tensor]:
        return lambda tensor: tensor.unflatten(axis, (heads, -1))

    parts = tuple(f"{theirs}/{part}" for part in ("query", "key", "value"))
    inwards = View(lambda kernel: kernel.flatten(1).mT, lambda matrix: split(1)(matrix.mT))
    outwards = View(lambda kernel: kernel.flatten(0, 1).mT, lambda matrix: split(0)(matrix.mT))
    biases = View(lambda bias: bias.flatten(), split(0))
    return (
        Rule(tuple(f"{part}/kernel" for part in parts), f"{ours}.qkv.weight", inwards),
        Rule(tuple(f"{part}/bias" for part in parts), f"{ours}.qkv.bias", biases),
        Rule(f"{theirs}/out/kernel", f"{ours}.proj.weight", outwards),
        Rule(f"{theirs}/out/bias", f"{ours}.proj.bias"),
    )


def google_formats(
    settings: dict[str, Any], patches: Callable[[Any], Rules] = lambda config: ()
) -> tuple[Format, Format]:
    """Return the names in files for use, and in those of pre-training with its two-layer head.

    Args:
        settings: of ours, that their networks have.
        patches: makes the rules about what stands before the patches' embedding.
    """
    block = "Transformer/encoderblock_#"

    def placed(config: Any) -> Rules:
        place = f"{block}/MultiHeadDotProductAttention_1"
        return (*attention(place, "blocks.#.attn", config.num_heads), *patches(config))

    heads = {
        GOOGLE: linear("head", "head.label"),
        f"{GOOGLE} pre-training": (
            *linear("pre_logits", "head.label.0"),
            *linear("head", "head.label.2"),
        ),
    }
    plain, pretraining = (
        Format(
            name,
            Rule("cls", "stem.prefix.class_token"),
            Rule("embedding/kernel", "stem.patch_embed.proj.weight", KERNEL),
            Rule("embedding/bias", "stem.patch_embed.proj.bias"),
            Rule("Transformer/posembed_input/pos_embedding", "stem.position.table"),
            *norm(f"{block}/LayerNorm_0", "blocks.#.norm1"),
            *norm(f"{block}/LayerNorm_2", "blocks.#.norm2"),
            *linear(f"{block}/MlpBlock_3/Dense_0", "blocks.#.mlp.fc1"),
            *linear(f"{block}/MlpBlock_3/Dense_1", "blocks.#.mlp.fc2"),
            *norm("Transformer/encoder_norm", "norm"),
            head=head,
            placed=placed,
            settings=settings,
        )
        for name, head in heads.items()
    )
    return plain, pretraining
