"""Non-local blocks beside a third party's, which scales nothing and pools what is projected.

Beside timm's layer and a plain form of the network: tests/parity/test_plain_nonlocal_net.py.
"""

from dataclasses import replace

from patchword.models.nonlocal_net import NonLocal, NonLocalConfig
from patchword.weights import POINTWISE, Format, Rule
from tests.parity.golden import layer_of

SMALL = NonLocalConfig(
    image_size=(32, 48), stem_dim=8, embed_dim=(16, 32), depth=(2, 1), nonlocal_stages=(0,)
)

TINY = {
    "embedded_gaussian": SMALL,
    "gaussian": replace(SMALL, affinity="gaussian", pool="none"),
    "dot_product": replace(SMALL, affinity="dot_product", in_chans=1),
    "concatenation": replace(SMALL, affinity="concatenation", pool="projected"),
    "not_scaled": replace(SMALL, scale="none", nonlocal_every=1, depth=(1, 1)),
}
FIXED = ()
QUICK = {}

THIRD_PARTY = Format(
    "AlexHex7",
    Rule("theta.*", "theta.*"),
    Rule("phi.0.*", "phi.*"),
    Rule("phi.*", "phi.*"),
    Rule("g.0.*", "g.*"),
    Rule("g.*", "g.*"),
    Rule("W.0.*", "out.*"),
    Rule("W.1.*", "norm.*"),
    Rule("concat_project.0.weight", "attend.project.weight", POINTWISE),
)


def peers(name, config, num_classes):
    return []


def layer(golden):
    """Answer as `NONLocalBlock2D`, which is called after its affinity."""
    kwargs = golden.kwargs
    dim = kwargs["in_channels"]
    layer = NonLocal(
        dim,
        kwargs.get("inter_channels") or max(dim // 2, 1),
        affinity=golden.about["cls"].split(".")[0].removeprefix("nl_"),
        scale=1.0,
        pool="projected" if kwargs.get("sub_sample", True) else "none",
    )
    layer_of(THIRD_PARTY, layer, golden.weights, "", "")
    return {"logits": layer.eval()(golden.image)}


GOLDENS = {"orig_nonlocal_": layer}
