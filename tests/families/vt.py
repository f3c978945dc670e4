"""Visual Transformers: no code of theirs to stand beside; test_plain_vt.py has the plain form."""

from dataclasses import replace

from patchword.models.vt import VTConfig

VT = VTConfig(  # few channels, as products that nothing divides choose sharply
    image_size=(32, 48),
    stem_dim=4,
    embed_dim=(4, 4),
    depth=(1, 1, 2),
    num_tokens=3,
    token_dim=4,
    attn_dim=2,
)

TINY = {
    "basic": VT,
    "bottleneck": replace(
        VT,
        block="bottleneck",
        in_chans=2,
        num_tokens=5,
        depth=(1, 1, 3),
        token_dim=6,
        image_size=(40, 33),
    ),
}
FIXED = ()
QUICK = {}  # no library has it
GOLDENS = {"orig_vt_wu_unofficial_": None}  # of other people's code, which departs from the paper


def peers(name, config, num_classes):
    return []
