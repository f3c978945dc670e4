"""SAN beside its authors' own code; where no golden reaches, tests/parity/test_plain_san.py."""

from dataclasses import replace

from patchword.models.san import FORMATS, Pairwise, Patchwise, SANConfig, SelfAttention
from tests.parity.golden import layer_of, of_classifier

SMALL = {"embed_dim": (48, 64, 64), "depth": (1, 2, 1), "share": 4}
PAIRWISE = SANConfig(image_size=(24, 32), kernel_size=(5, 3, 3), **SMALL)

TINY = {
    "pairwise": PAIRWISE,
    "patchwise": replace(PAIRWISE, kernel_size=(3, 5, 3), attention="patchwise", in_chans=2),
}
FIXED = ()
QUICK = {}
KINDS = ("pairwise", "patchwise")  # the authors' `sa_type`


def peers(name, config, num_classes):
    return []


def layer(golden):
    """Answer as `SAM`."""
    kwargs = golden.kwargs
    attn = SelfAttention(
        kwargs["in_planes"],
        kwargs["rel_planes"],
        kwargs["out_planes"],
        (Pairwise, Patchwise)[kwargs["sa_type"]],
        kwargs.get("kernel_size", 3),
        kwargs["share_planes"],
    )
    layer_of(FORMATS[0], attn, golden.weights, "layer0.0.sam.", "stages.0.0.attn.")
    return {"logits": attn.eval()(golden.image)}


def config(golden):
    kwargs = golden.kwargs
    return SANConfig(
        image_size=tuple(golden.image.shape[2:]),
        attention=KINDS[kwargs["sa_type"]],
        depth=tuple(kwargs["layers"]),
        kernel_size=tuple(kwargs["kernels"]),
    )


GOLDENS = {
    "orig_san_pairwise_layer_": layer,
    "orig_san_patchwise_layer_": layer,
    "orig_full_san10_": of_classifier("san", "authors", config),
}
